// A filter learns on the photograph: its output, the gradient of each weight, and steps against it.

touch.filter = {
  // With mean 0 and standard deviation 1.
  scale(image) {
    const all = image.flat(), mean = all.reduce((sum, x) => sum + x) / all.length;
    const deviation = Math.sqrt(all.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (all.length - 1));
    return image.map((row) => row.map((x) => (x - mean) / deviation));
  },

  // The output, the error, the loss 1/2 mean(error^2), and its gradient: the correlation of image and error.
  // The published backward turned the error by 180 degrees.
  look(image, filter, target, published = false) {
    const output = touch.correlate(image, filter), error = output.map((row, i) => row.map((y, j) => y - target[i][j]));
    const all = error.flat(), loss = all.reduce((sum, e) => sum + e * e, 0) / 2 / all.length;
    const sums = touch.correlate(image, published ? touch.turn(error) : error);
    return { output, error, loss, gradient: sums.map((row) => row.map((g) => g / all.length)) };
  },

  step: (filter, gradient, rate) => filter.map((row, a) => row.map((w, b) => w - rate * gradient[a][b])),
};

{
  const { make, box, group, text, button, input, table, number, draw } = touch;
  const words = touch.zh
    ? { name: "滤波器在照片上学习", target: "目标", targets: ["Sobel", "浮雕", "锐化", "模糊"],
        rate: "步长 η", loss: "损失", step: "走一步", zero: "归零", published: "用原版的反向传播", weight: (i, j) => `第 ${i} 行第 ${j} 列的权重`,
        pictures: ["照片 x", "输出 y", "目标 t", "误差 y − t"], state: (n, loss) => `第 ${n} 步，损失 ${loss}`,
        hint: "改一个权重，或者逆着梯度走几步。步长大到多少，损失反而会增大？" }
    : { name: "A filter learns on the photograph", target: "target", targets: ["Sobel", "emboss", "sharpen", "blur"],
        rate: "step size η", loss: "loss", step: "Step", zero: "Zeros", published: "published backward", weight: (i, j) => `weight in row ${i}, column ${j}`,
        pictures: ["photograph x", "output y", "target t", "error y − t"], state: (n, loss) => `step ${n}, loss ${loss}`,
        hint: "Change a weight, or take steps against the gradient. From which step size on does the loss grow?" };
  const targets = [[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[0, 1, 2], [-1, 0, 1], [-2, -1, 0]],
    [[0, -1, 0], [-1, 5, -1], [0, -1, 0]], touch.grid(3, 3, () => 1 / 9)];
  const LAST = 150; // steps that the curve has room for

  touch.figure("filter", words.name, async (live, figure) => {
    const gray = await touch.photograph(figure), image = touch.filter.scale(gray), say = touch.voice(live);
    const [rows, columns] = [gray.length, gray[0].length];
    let [filter, rate, losses, wanted, now] = [touch.grid(3, 3, () => 0), 0.1, []];

    const [x, y, t, e] = words.pictures.map((name, k) => touch.canvas(name, rows - 2 * (k > 0), columns - 2 * (k > 0)));
    const paint = ([, paint], values) => paint((i, j) => touch.signed(values[i][j] / 3));
    x[1]((i, j) => [...Array(3).fill(255 * gray[i][j]), 255]);
    const tint = (cell, t) => {
      const [r, g, b] = touch.signed(Math.sign(t));
      cell.style.background = `rgb(${r} ${g} ${b} / ${45 * Math.min(1, Math.abs(t))}%)`;
    };

    const type = (i, j) => ({ target }) => {
      const typed = Math.max(-99, Math.min(99, target.value));
      filter = filter.map((row, a) => row.map((w, b) => (a === i && b === j ? typed : w)));
      restart(target);
    };
    const weight = (i, j) => make("input", { type: "number", step: 0.1, ariaLabel: words.weight(i + 1, j + 1), oninput: type(i, j) });
    const weights = table("w", 3, 3, weight), gradients = table("∂L/∂w", 3, 3, () => make("span"));
    const height = (loss) => 8 + 15 * (2 - Math.max(-5, Math.min(2, Math.log10(loss))));
    const line = draw("path", { class: "line" }), state = text("state");
    const curve = draw("svg", { viewBox: "0 0 240 128", "aria-hidden": "true" },
      draw("path", { d: "M32,4V116H236" }), line, draw("text", { x: 236, y: 14 }, words.loss),
      ...["10²", "1", "10⁻²", "10⁻⁴"].map((power, k) => draw("text", { x: 27, y: 12 + 30 * k }, power)));

    const show = (typed) => {
      now = touch.filter.look(image, filter, wanted, published.lastChild.checked);
      losses.push(now.loss);
      paint(y, now.output);
      paint(e, now.error);
      weights.querySelectorAll("input").forEach((it, k) => {
        const w = filter.flat()[k];
        if (it !== typed) it.value = w.toFixed(2);
        tint(it, w / 2);
      });
      gradients.querySelectorAll("span").forEach((it, k) => {
        const g = now.gradient.flat()[k];
        it.textContent = Math.abs(g) < 1e3 ? number(g, 2) : g.toExponential(0);
        tint(it.parentNode, g);
      });
      const shown = losses.slice(-LAST - 1);
      line.setAttribute("d", `M${shown.map((loss, k) => `${32 + (204 * k) / LAST},${height(loss).toFixed(1)}`).join("L")}h2`);
      state.textContent = words.state(losses.length - 1, now.loss < 1e4 ? +now.loss.toPrecision(3) : now.loss.toExponential(1));
      say(state.textContent);
    };
    const restart = (typed) => { losses = []; show(typed); };
    const step = () => {
      if (now.loss > 1e6) return false;
      filter = touch.filter.step(filter, now.gradient, rate);
      show();
      return now.loss > 1e-5;
    };
    const zero = () => { filter = touch.grid(3, 3, () => 0); restart(); };
    const aim = () => { wanted = touch.correlate(image, targets[choice.selectedIndex]); paint(t, wanted); restart(); };

    const choice = make("select", { onchange: aim }, ...words.targets.map((textContent) => make("option", { textContent })));
    const published = input(words.published, { type: "checkbox", onchange: () => restart() });
    const value = make("output", { textContent: rate });
    const slider = input(words.rate, { type: "range", min: 0.02, max: 0.32, step: 0.01, value: rate,
      oninput: ({ target }) => { rate = +target.value; value.textContent = rate; } });
    slider.append(value);
    live.append(
      box("pictures", ...[x, y, t, e].map(([picture]) => picture)), box("stage", weights, gradients, box("curve", curve, state)),
      box("controls", make("label", {}, words.target, choice),
        group(button(words.step, step), touch.player(step, 40), button(words.zero, zero)), slider, published), text("hint", words.hint));
    aim();
  });
}
