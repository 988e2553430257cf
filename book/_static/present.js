// Presenter mode of a chapter: one section at a time, in large type, by keyboard. Notes open in a window of their own.

addEventListener("DOMContentLoaded", () => {
  const words = document.documentElement.lang === "en"
    ? { name: "Presenter mode", back: "Back", next: "Next", leave: "Leave", blocked: "The browser has blocked the window with the notes.",
        keys: { "→ ←": "next, back", "↓ ↑": "a little", "Home End": "first, last", N: "teaching notes", "?": "keys", Esc: "leave" } }
    : { name: "演示模式", back: "后退", next: "前进", leave: "退出", blocked: "浏览器拦截了讲课提示的窗口。",
        keys: { "→ ←": "前进、后退", "↓ ↑": "滚动一点", "Home End": "首节、末节", N: "讲课提示", "?": "按键", Esc: "退出" } };
  const root = document.documentElement, article = document.querySelector("article");
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  // The units: what stands before the first section, then each section without those inside it, down to <h3>.
  const units = [];
  const find = (section, depth) => {
    const inner = depth < 3 ? [...section.children].filter((child) => child.tagName === "SECTION") : [];
    const parts = [...section.children].filter((child) => !inner.includes(child));
    if (parts.length > 1 || !inner.length) units.push({ section, parts });
    for (const child of inner) find(child, depth + 1);
  };
  find(article.querySelector("section"), 1);
  const headings = [...article.querySelectorAll("section > :is(h1, h2)")];

  const element = (name, more, ...children) => {
    const made = Object.assign(document.createElement(name), more);
    made.append(...children);
    return made;
  };
  const button = (textContent, label, onclick) => {
    const made = element("button", { type: "button", textContent, title: label, onclick });
    made.setAttribute("aria-label", label);
    return made;
  };
  const help = element("p", { className: "help" }), count = element("span");
  help.setAttribute("role", "status");
  const controls = element("div", { className: "controls" }, button("‹", words.back, () => show(at - 1)), count,
    button("›", words.next, () => show(at + 1)), button("×", words.leave, () => leave()));
  controls.setAttribute("role", "group");
  controls.setAttribute("aria-label", words.name);
  article.parentElement.append(element("div", { id: "presenter" }, help, controls));

  let on = false, at = 0, timer = 0, goal = 0, until = 0;
  const say = (...said) => {
    clearTimeout(timer);
    help.replaceChildren(...said);
    timer = setTimeout(() => help.replaceChildren(), 4000);
  };
  const list = () => say(...Object.entries(words.keys).map(([key, does]) => element("span", {}, element("kbd", { textContent: key }), ` ${does}`)));
  const end = () => root.scrollHeight - innerHeight;
  const scroll = (top, behavior = "instant") => {
    goal = top;
    until = performance.now() + (behavior === "smooth" ? 600 : 0);
    scrollTo({ top, behavior });
  };

  // A figure one can touch shrinks to fit onto the screen, but not below the size that it has in the book.
  const fit = () => {
    const least = 16 / parseFloat(getComputedStyle(root).fontSize);
    for (const it of on ? article.querySelectorAll(".touch") : []) {
      const scale = Math.min(1, Math.max(least, (innerHeight * 0.9) / (it.offsetHeight || 1)));
      it.style.setProperty("--scale", scale);
      it.style.setProperty("--less", `${(scale - 1) * it.offsetHeight}px`);
    }
  };
  for (const event of ["load", "resize"]) addEventListener(event, fit);

  const show = (to, atEnd) => {
    at = Math.max(0, Math.min(units.length - 1, to));
    const { section, parts } = units[at];
    for (const it of [...headings, ...units.flatMap((unit) => unit.parts)]) it.classList.toggle("away", !parts.includes(it));
    for (const it of headings) it.classList.toggle("above", !parts.includes(it) && it.parentElement.contains(section));
    count.textContent = `${at + 1} / ${units.length}`;
    dispatchEvent(new Event("resize")); // also for book.js: what is too wide now can be reached
    const heading = section.firstElementChild;
    heading.tabIndex = -1;
    heading.addEventListener("blur", () => heading.removeAttribute("tabindex"), { once: true });
    heading.focus({ preventScroll: true });
    scroll(atEnd ? end() : 0);
    history.replaceState({ presenting: true }, "", `#${section.id}`); // a reload comes back to it
  };
  const aimed = () => document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const holding = (it) => units.findIndex(({ parts }) => it && parts.some((part) => part.contains(it) || it.contains(part)));
  const reading = () => {
    const aim = aimed(), top = aim ? aim.getBoundingClientRect().top : -1;
    if (top >= 0 && top < innerHeight) return holding(aim);
    const line = innerHeight * (scrollY > end() - 5 ? 1 : 1 / 3);
    return units.filter(({ parts }) => parts[0].getBoundingClientRect().top < line).length - 1;
  };

  const start = (to) => {
    for (const image of article.querySelectorAll("img[width]")) {
      image.style.setProperty("--width", `${image.getAttribute("width") / 16}rem`);
      image.style.setProperty("--ratio", image.getAttribute("width") / image.getAttribute("height"));
    }
    on = true;
    root.classList.add("presenting");
    show(to);
    list();
  };
  const leave = () => {
    on = false;
    root.classList.remove("presenting");
    for (const it of article.querySelectorAll(".away, .above")) it.classList.remove("away", "above");
    units[at].section.scrollIntoView({ behavior: "instant" });
    history.replaceState(null, "", `#${units[at].section.id}`);
  };

  // Where a section higher than the screen stops when it scrolls: where a paragraph, an item, a cell begins.
  const stops = () => {
    const tops = units[at].parts.flatMap((part) => [part, ...part.querySelectorAll("li, .option, .cell > div, .cell_output > *, figure, details > *")])
      .filter((it) => it.getClientRects().length).map((it) => it.getBoundingClientRect().top + scrollY - 16);
    const room = innerHeight * 0.9, found = [0];
    for (let last = 0; last < end() - 4; found.push(last)) {
      const next = Math.max(...tops.filter((top) => top > last + 0.4 * room && top < last + room));
      last = Math.min(end(), next > 0 ? next : last + 0.85 * room);
    }
    return found;
  };
  const go = (way, little, again) => {
    const from = performance.now() < until ? goal : scrollY;
    const near = little ? [Math.max(0, Math.min(end(), from + (way * innerHeight) / 4))] : stops();
    const ahead = near.filter((stop) => way * (stop - from) > 4);
    if (ahead.length) scroll(way > 0 ? ahead[0] : ahead.pop(), still.matches ? "instant" : "smooth");
    else if (!again && units[at + way]) show(at + way, way < 0);
  };

  const ways = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Home: 0, End: 0 };
  addEventListener("keydown", (event) => {
    const { key, target, repeat, shiftKey } = event;
    const within = (selector) => target instanceof Element && target.closest(selector);
    if (within("dialog") && key === "Escape") return target.blur(); // the search has closed
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.defaultPrevented && key !== "Escape") return; // Sphinx takes that one
    const typing = within("input, select, textarea, [contenteditable]");
    const letter = !typing && key.toLowerCase();
    if (letter === "p" && !shiftKey && !repeat) return on ? leave() : start(reading());
    if (!on) return;
    if (key === "Escape") return leave();
    if (letter === "?") return list();
    if (letter === "n" && !shiftKey) {
      const page = DOCUMENTATION_OPTIONS.pagename;
      if (!open(`teaching.html#teaching-${page}`, "teaching", "popup,width=900,height=800")) say(words.blocked);
      return;
    }
    // What has a use for the key keeps it; a remote control, which sends the page keys, is for the sections.
    const own = key === " " ? "button, summary, input, select, textarea, [contenteditable], .touch"
      : /^Page/.test(key) ? "[type=range], [type=number], select, textarea, [contenteditable]"
        : "input, select, textarea, [contenteditable], .touch";
    const wide = /^Arrow[LR]/.test(key) && target.tabIndex === 0 && target.scrollWidth > target.clientWidth;
    if (!(key in ways) || wide || within(own)) return;
    event.preventDefault();
    if (!ways[key]) show(key === "Home" ? 0 : units.length - 1);
    else go(key === " " && shiftKey ? -1 : ways[key], /^Arrow[UD]/.test(key), repeat);
  });
  addEventListener("hashchange", () => {
    const to = holding(aimed());
    if (!on || to < 0) return;
    const aim = aimed();
    show(to);
    aim.scrollIntoView({ behavior: "instant" });
  });
  document.querySelector(".btn-present")?.addEventListener("click", () => start(reading()));
  if (history.state?.presenting) start(Math.max(0, holding(aimed())));
});
