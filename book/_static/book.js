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

  // A new issue names the section, too.
  const issue = document.querySelector(".btn-source-issues-button");
  const page = issue && new URL(issue.href).searchParams.get("where");
  if (page)
    for (const event of ["pointerdown", "focus", "click"])
      issue.addEventListener(event, () => {
        const url = new URL(issue.href);
        url.searchParams.set("where", section() ? `${page}#${section()}` : page);
        issue.href = url;
      });

  // What scrolls inside itself can be reached and scrolled with the keyboard.
  const reach = () => {
    for (const box of document.querySelectorAll("article :is(p, mjx-container, .math, .cell_output)"))
      if (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === "auto") box.tabIndex = 0;
  };
  addEventListener("load", reach);
  addEventListener("resize", reach);
});

// On paper nothing is folded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});

// The search index is the largest file of the book: it comes when somebody begins to search.
addEventListener("DOMContentLoaded", () => {
  document.querySelector("#pst-search-dialog input")?.addEventListener("focus", () => {
    if (typeof Search === "undefined" || Search.hasIndex()) return;
    const root = document.documentElement.dataset.content_root || "";
    document.head.append(Object.assign(document.createElement("script"), { src: `${root}searchindex.js` }));
  }, { once: true });
});

// Search: of a pasted message, the section whose heading stands in it comes first, whatever else the message says.
if (typeof Search !== "undefined") {
  const plain = (text) => text.toLowerCase().replace(/\s+/g, " ");
  const search = Search._performSearch;
  Search._performSearch = (query, terms, ...rest) => {
    const { alltitles, docnames, filenames, titles } = Search._index;
    const sections = Object.entries(alltitles)
      .filter(([title]) => title.split(" ").length > 2 && plain(query).includes(plain(title)))
      .sort(([a], [b]) => a.length - b.length) // of two such headings the longer says more
      .flatMap(([title, places]) => places.filter(([, id]) => id !== null).map(([file, id]) => (
        [docnames[file], `${titles[file]} > ${title}`, `#${id}`, null, 100, filenames[file]])));
    // Sphinx asks for all words or for all long ones: with some of the short ones a page would be lost.
    const long = [...terms].filter((term) => !/^[a-z0-9]{1,2}$/.test(term));
    const others = search(query, long.length ? new Set(long) : terms, ...rest)
      .filter((other) => !sections.some((section) => section[0] === other[0] && section[2] === other[2]));
    return [...others, ...sections]; // the last is shown first
  };
}

// A term of a chapter shows its definition: to the mouse, to the keyboard focus, to the first tap.
addEventListener("DOMContentLoaded", () => {
  const terms = document.querySelectorAll("article a.term");
  if (!terms.length || !HTMLElement.prototype.showPopover) return;
  const box = document.createElement("div");
  Object.assign(box, { id: "preview", popover: "manual", tabIndex: -1 });
  document.querySelector("main").append(box);
  let shown = null, timer = 0, tapped = null;

  const element = (name, text, more) => Object.assign(document.createElement(name), { textContent: text }, more);
  const fill = ({ href, dataset: { name, other, means } }) => {
    const code = means.split("`").map((part, i) => (i % 2 ? element("code", part) : part));
    const meaning = element("p", "", { id: "preview-means" });
    meaning.append(...code);
    const lang = document.documentElement.lang === "en" ? "zh-CN" : "en";
    box.replaceChildren(element("a", name, { href, tabIndex: -1 }), " ", element("span", other, { lang }), meaning);
  };
  const place = (link) => {
    const { left, top, bottom } = link.getClientRects()[0];
    const room = document.documentElement.clientWidth - box.offsetWidth - 8;
    const above = bottom + box.offsetHeight > innerHeight && top > box.offsetHeight;
    box.style.left = `${Math.max(8, Math.min(left, room))}px`;
    box.style.top = `${scrollY + (above ? top - box.offsetHeight : bottom)}px`;
  };
  const hide = () => {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    if (shown) box.hidePopover();
    shown = null;
  };
  const show = (link) => {
    clearTimeout(timer);
    if (shown === link) return;
    hide();
    fill(link);
    box.showPopover();
    place(link);
    link.setAttribute("aria-describedby", "preview-means");
    shown = link;
  };
  const later = (action, delay) => { clearTimeout(timer); timer = setTimeout(action, delay); };
  const leave = (event) => { if (event.pointerType !== "touch") later(hide, 200); };

  for (const link of terms) {
    link.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") later(() => show(link), 100); });
    link.addEventListener("pointerleave", leave);
    link.addEventListener("pointerdown", (event) => { tapped = event.pointerType === "touch" && shown !== link; });
    link.addEventListener("click", (event) => {
      if (tapped) event.preventDefault(), show(link);
      tapped = null;
    });
    link.addEventListener("focus", () => { if (link.matches(":focus-visible")) show(link); });
    link.addEventListener("blur", (event) => { if (!box.contains(event.relatedTarget)) hide(); });
  }
  box.addEventListener("pointerenter", () => clearTimeout(timer));
  box.addEventListener("pointerleave", leave);
  addEventListener("pointerdown", ({ target }) => { if (shown !== target && !box.contains(target)) hide(); });
  addEventListener("keydown", ({ key }) => { if (key === "Escape") hide(); });
  addEventListener("resize", hide);
});
