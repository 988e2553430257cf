// What the pages of the book do beyond the theme. Every page works without it.

addEventListener("DOMContentLoaded", () => {
  // The language switch keeps the section: the one in the address, or else the one that is being read.
  const headed = [...document.querySelectorAll("article section[id]")];
  const atEnd = () => scrollY + innerHeight > document.documentElement.scrollHeight - 5;
  const line = () => innerHeight * (atEnd() ? 1 : 1 / 3);
  const read = () => headed.filter((section) => section.getBoundingClientRect().top < line()).pop();
  const section = () => location.hash.slice(1) || (scrollY > 0 && read()?.id) || "";
  for (const link of document.querySelectorAll(".lang-switch a"))
    for (const event of ["pointerdown", "focus", "click"])
      link.addEventListener(event, () => { link.hash = section(); });

  // What scrolls inside itself can be reached and scrolled with the keyboard.
  const reach = () => {
    for (const box of document.querySelectorAll("article :is(p, mjx-container, .math, .cell_output)"))
      if (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === "auto") box.tabIndex = 0;
  };
  addEventListener("load", reach);
  addEventListener("resize", reach);
  window.MathJax?.startup?.promise?.then(reach);
});

// On paper nothing is folded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
