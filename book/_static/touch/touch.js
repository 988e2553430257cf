// What the figures one can touch share. A page that has one loads this file, then the figure's own.

const touch = {
  zh: document.documentElement.lang !== "en",
  still: matchMedia("(prefers-reduced-motion: reduce)"),

  // Put what build() makes into each such figure, in the place of the picture, once all of it is there.
  figure(name, label, build) {
    addEventListener("DOMContentLoaded", () => {
      for (const figure of document.querySelectorAll(`figure[data-touch=${name}]`)) {
        const live = touch.make("div", { className: `touch ${name}`, role: "group", ariaLabel: label });
        const put = () => { figure.append(live); figure.querySelector("img").hidden = true; };
        Promise.resolve(build(live, figure)).then(put);
      }
    });
  },

  // An element with these properties or, where there is no such property, attributes.
  make(name, more = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(more)) {
      if (key in element) element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  },
  box: (className, ...children) => touch.make("div", { className }, ...children),
  group: (...children) => touch.box("group", ...children),
  text: (className, textContent = "") => touch.make("p", { className, textContent }),
  button: (textContent, onclick, more) => touch.make("button", { type: "button", textContent, onclick, ...more }),
  input: (name, more) => touch.make("label", {}, name, touch.make("input", more)),
  draw(name, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  },

  // A table with a caption; cell(i, j) makes what stands in a cell.
  table(textContent, rows, columns, cell) {
    const line = (i) => touch.make("tr", {}, ...touch.grid(1, columns, (_, j) => touch.make("td", {}, cell(i, j)))[0]);
    return touch.make("table", {}, touch.make("caption", { textContent }), ...touch.grid(rows, 1, line).flat());
  },

  // A button that calls step() until it returns false; none for who asks for less motion.
  player(step, wait) {
    let timer = 0;
    const show = () => {
      button.textContent = touch.zh ? (timer ? "暂停" : "播放") : timer ? "Pause" : "Play";
      button.hidden = touch.still.matches;
    };
    const stop = () => { clearTimeout(timer); timer = 0; show(); };
    const run = () => { if (step() === false) stop(); else timer = setTimeout(run, wait), show(); };
    const button = touch.button("", () => { if (timer) stop(); else run(); });
    touch.still.addEventListener("change", stop);
    show();
    return button;
  },

  // For who listens: says the last thing that happened, once it is over. How a figure begins is no news.
  voice(live) {
    let timer = null;
    const line = touch.make("p", { className: "visually-hidden", ariaLive: "polite" });
    live.append(line);
    return (words) => {
      clearTimeout(timer);
      timer = timer === null ? 0 : setTimeout(() => { line.textContent = words; }, 700);
    };
  },

  // A canvas with its name below, and what paints it: colour(i, j) is [red, green, blue, opacity].
  canvas(name, rows, columns) {
    const canvas = touch.make("canvas", { width: columns, height: rows, role: "img", ariaLabel: name });
    const context = canvas.getContext("2d"), pixels = context.createImageData(columns, rows);
    const paint = (colour) => {
      touch.grid(rows, columns, (i, j) => pixels.data.set(colour(i, j), 4 * (i * columns + j)));
      context.putImageData(pixels, 0, 0);
    };
    return [touch.box("picture", touch.box("frame", canvas), touch.make("span", { textContent: name, ariaHidden: "true" })), paint, canvas];
  },

  // The gray values, 0 to 1, of the photograph that comes with a figure.
  async photograph(figure) {
    const image = touch.make("img", { src: figure.dataset.photograph });
    await image.decode();
    const { width, height } = image, context = touch.make("canvas", { width, height }).getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return touch.grid(height, width, (i, j) => data[4 * (i * width + j)] / 255);
  },

  grid: (rows, columns, value) => Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => value(i, j))),

  // The correlation of two arrays of rows, in mode "valid".
  correlate(image, filter) {
    const [rows, columns] = [filter.length, filter[0].length];
    return touch.grid(image.length - rows + 1, image[0].length - columns + 1, (i, j) => {
      let sum = 0;
      for (let a = 0; a < rows; a++) for (let b = 0; b < columns; b++) sum += image[i + a][j + b] * filter[a][b];
      return sum;
    });
  },

  // Turned by 180 degrees.
  turn: (filter) => filter.map((row) => [...row].reverse()).reverse(),

  // The whole number in a field, within its limits.
  whole: ({ value, min, max }) => Math.max(min, Math.min(max, Math.round(value))),

  number: (x, digits = 0) => x.toFixed(digits).replace("-", "−"),

  // Red for 1, white for 0, blue for -1, as in RdBu_r.
  signed(t) {
    const [r, g, b] = t > 0 ? [178, 24, 43] : [33, 102, 172], part = Math.min(1, Math.abs(t));
    return [255 + (r - 255) * part, 255 + (g - 255) * part, 255 + (b - 255) * part, 255];
  },
};
