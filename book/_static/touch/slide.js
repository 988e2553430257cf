// A filter slides over an image of integers; a gradient comes back through it.

touch.slide = {
  // The gradient of the image: each number of the upstream gradient spreads over its window.
  spread(upstream, filter) {
    const gradient = touch.grid(upstream.length + filter.length - 1, upstream[0].length + filter[0].length - 1, () => 0);
    upstream.forEach((row, i) => row.forEach((g, j) =>
      filter.forEach((line, a) => line.forEach((w, b) => { gradient[i + a][j + b] += g * w; }))));
    return gradient;
  },
};

{
  const { make, box, group, text, button, input, table, grid, number } = touch;
  const words = touch.zh
    ? { name: "滑动的滤波器", sum: "求和 →", spread: "← 散回", filter: "滤波器", turned: "旋转 180 度",
        correlation: "互相关", convolution: "卷积", g: "上游梯度 g", keep: "累加",
        ArrowLeft: "左移", ArrowUp: "上移", ArrowDown: "下移", ArrowRight: "右移",
        pixel: (i, j, x) => `第 ${i} 行第 ${j} 列：${x}`,
        hint: "点一个输出像素，在 input 上拖动，或者按方向键，都能移动窗口。勾选“累加”，前面各个像素散回的数就会留下来。" }
    : { name: "A sliding filter", sum: "sum →", spread: "← spread", filter: "filter", turned: "turned 180°",
        correlation: "correlation", convolution: "convolution", g: "upstream gradient g", keep: "add up",
        ArrowLeft: "left", ArrowUp: "up", ArrowDown: "down", ArrowRight: "right",
        pixel: (i, j, x) => `row ${i}, column ${j}: ${x}`,
        hint: "Move the window: tap an output pixel, drag over the input, or use the arrow keys. "
          + "“Add up” keeps what earlier pixels have spread." };

  // The image and the filter of the chapter; more pixels, for room to slide.
  const image = [[1, 0, 2, 1, 0, 3], [0, 1, 0, 0, 2, 1], [3, 0, 1, 2, 0, 0],
    [0, 2, 0, 1, 1, 2], [2, 0, 1, 0, 3, 0], [1, 3, 0, 2, 0, 1]];
  const letter = [[1, 2, 3], [4, 5, 0], [6, 0, 0]];
  const size = image.length - letter.length + 1;
  const arrows = { ArrowLeft: ["←", 0, -1], ArrowUp: ["↑", -1, 0], ArrowDown: ["↓", 1, 0], ArrowRight: ["→", 0, 1] };

  touch.figure("slide", words.name, (live) => {
    const say = touch.voice(live);
    let [row, column, turned, g, upstream] = [0, 0, false, 2];

    const press = (event) => {
      if (!arrows[event.key]) return;
      event.preventDefault();
      const [, down, right] = arrows[event.key];
      move(row + down, column + right);
      event.currentTarget.closest("table").querySelector("[aria-current=true]").focus();
    };
    const pixel = (i, j) => button("", () => move(i, j), { onkeydown: press });
    const plain = () => make("span");
    const tables = { input: [6, plain], filter: [3, plain], output: [size, pixel], grad_input: [6, plain], grad_output: [size, pixel] };
    const boxes = Object.entries(tables).map(([name, [count, cell]]) => box(name, table(name, count, count, cell), make("i")));
    const cells = Object.fromEntries(boxes.map((box) => [box.className, [...box.querySelectorAll("td")]]));
    const [input_, filter_, output_, ...gradients] = boxes;
    const products = text("products");

    // Put numbers into a table; those of the window, and no zeros but those, if there is nothing else.
    const fill = (name, values, window, sparse) => cells[name].forEach((cell, k) => {
      const [i, j] = [Math.floor(k / values.length), k % values.length], x = values[i][j], it = cell.firstChild;
      const inside = i >= row && i < row + window && j >= column && j < column + window;
      it.textContent = sparse && !x && !inside ? "" : number(x);
      cell.classList.toggle("in", inside);
      if (it.type !== "button") return;
      it.ariaLabel = words.pixel(i + 1, j + 1, number(x));
      it.ariaCurrent = inside;
      it.tabIndex = inside ? 0 : -1;
    });
    const show = () => {
      const filter = turned ? touch.turn(letter) : letter, output = touch.correlate(image, filter), sum = output[row][column];
      fill("input", image, 3);
      fill("filter", filter, 0);
      fill("output", output, 1);
      fill("grad_output", upstream, 1, true);
      fill("grad_input", touch.slide.spread(upstream, filter), 3, true);
      live.style.setProperty("--i", row);
      live.style.setProperty("--j", column);
      filter_.querySelector("caption").textContent = turned ? words.turned : words.filter;
      const lines = filter.map((line, a) => line.map((w, b) => `${image[row + a][column + b]}·${w}`).join(" + "));
      const end = ["= ", make("b", { textContent: sum })];
      products.replaceChildren(...lines.map((line, a) => make("span", {}, `${a ? "+ " : ""}${line} `, ...(a < 2 ? [] : end))));
      say(words.pixel(row + 1, column + 1, `${lines.join(" + ")} = ${sum}`));
    };
    const move = (i, j) => {
      [row, column] = [i, j].map((k) => Math.max(0, Math.min(size - 1, k)));
      if (!keep.lastChild.checked) upstream = grid(size, size, () => 0);
      upstream[row][column] = g;
      show();
    };
    const next = () => {
      const k = (row * size + column + 1) % size ** 2;
      move(Math.floor(k / size), k % size);
      return k < size ** 2 - 1;
    };
    const drag = ({ target, buttons }) => {
      const cell = target.closest("td");
      if (cell && buttons) move(cell.parentNode.rowIndex - 1, cell.cellIndex - 1);
    };
    input_.onpointerdown = input_.onpointermove = drag;

    const choice = (name, value) => input(words[name], { type: "radio", name: "slide", checked: turned === value,
      onchange: () => { turned = value; show(); } });
    const upward = input(words.g, { type: "number", min: -9, max: 9, value: g,
      oninput: ({ target }) => { g = touch.whole(target); move(row, column); } });
    const keep = input(words.keep, { type: "checkbox", onchange: () => move(row, column) });
    const pad = Object.entries(arrows).map(([key, [sign, down, right]]) =>
      button(sign, () => move(row + down, column + right), { ariaLabel: words[key] }));
    live.append(
      box("stage", input_, output_, box("between", make("b", {}, words.sum), filter_, make("b", {}, words.spread)), ...gradients),
      products,
      box("controls", group(...pad, touch.player(next, 600)),
        group(choice("correlation", false), choice("convolution", true)), group(upward, keep)),
      text("hint", words.hint));
    move(0, 0);
  });
}
