// The error of a finite difference against its step, in float64 and float32, and where it comes from.

touch.epsilon = {
  // Layers that work number by number: the value, rounded as it is computed; its slope.
  layers: {
    linear: { value: (x, round) => round(round(0.7) * x), slope: () => 0.7 },
    curved: { value: (x, round) => round(Math.exp(x)), slope: Math.exp },
  },
  precisions: { float64: (x) => x, float32: Math.fround },
  points: Array.from({ length: 20 }, (_, k) => (k + 1) / 10),

  quotient(value, x, eps, round) {
    const at = (step) => value(round(round(x) + step), round);
    return round(round(at(round(eps)) - at(-round(eps))) / round(2 * eps));
  },

  // The largest error over the points, divided by the largest slope.
  error(layer, eps, precision) {
    const { layers, precisions, points, quotient } = touch.epsilon, { value, slope } = layers[layer];
    const off = points.map((x) => Math.abs(quotient(value, x, eps, precisions[precision]) - slope(x)));
    return Math.max(...off) / Math.max(...points.map(slope));
  },
};

{
  const { make, box, group, text, input, table, grid, draw } = touch;
  const { layers, precisions, quotient, error } = touch.epsilon;
  const words = touch.zh
    ? { name: "有限差分的误差与步长", linear: "线性的层 y = 0.7 x", curved: "弯曲的层 y = exp x",
        quotient: "x = 1 处的有限差分", error: "最大误差", zoom: "x = 1 附近的 y", plot: "最大误差与步长 eps",
        hint: "拖动滑块，改变步长。左图中虚线是切线，粗线是割线，细线是实际算出的 y。步长太大，割线偏离切线；步长太小，y 变成一级级台阶。" }
    : { name: "Error of a finite difference against its step", linear: "linear layer y = 0.7 x", curved: "curved layer y = exp x",
        quotient: "difference at x = 1", error: "largest error", zoom: "y around x = 1", plot: "largest error against the step eps",
        hint: "Move the step. Left: the tangent (dashed), the secant (thick), and y as it is computed (thin). "
          + "With too large a step the secant leaves the tangent; with too small a step y is a staircase." };

  const path = (kind, points) => draw("path", { class: kind, d: `M${points.map((p) => p.map((x) => x.toFixed(1))).join("L")}` });
  const label = (x, y, words, anchor = "middle") => draw("text", { x, y, "text-anchor": anchor }, words);
  const raised = (k) => [...`${k}`].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("");
  const short = (x) => x.toExponential(1).replace("-", "−").replace("e+0", "");
  const X = (eps) => 310 + 16.5 * Math.log10(eps), Y = (error) => 22 - 7.7 * Math.log10(Math.max(error, 1e-17));
  const steps = Array.from({ length: 65 }, (_, k) => 10 ** (-k / 4));

  touch.figure("epsilon", words.name, (live) => {
    const say = touch.voice(live), names = Object.keys(precisions);
    let [layer, precision, eps] = ["curved", "float32", 1e-6];
    const zoom = draw("svg", { viewBox: "0 0 320 186", role: "img" }), plot = draw("svg", { viewBox: "0 0 320 186", role: "img" });
    const said = grid(3, 3, (i, j) => (i && j ? make("td") : make("th", { scope: i ? "row" : "col" })));

    // Around x = 1: to the right in steps, upward in rises of the true tangent over a step.
    const showZoom = () => {
      const { value, slope } = layers[layer], round = precisions[precision], base = value(1, precisions.float64);
      const unit = eps * slope(1), computed = (t) => [t, (value(round(1 + round(t * eps)), round) - base) / unit];
      const all = Array.from({ length: 301 }, (_, k) => (k - 150) / 100), ends = [-1, 1].map(computed);
      const lines = { stairs: all.map(computed), tangent: [[-1.5, -1.5], [1.5, 1.5]], secant: ends };
      const heights = Object.values(lines).flat().map(([, y]) => y), low = Math.min(...heights), high = Math.max(...heights);
      const place = ([t, y]) => [160 + 95 * t, 156 - (144 * (y - low)) / (high - low)];
      zoom.replaceChildren(
        ...[-1, 0, 1].map((t) => path("dotted", [[160 + 95 * t, 8], [160 + 95 * t, 160]])),
        ...Object.entries(lines).map(([name, points]) => path(`${name} ${precision}`, points.map(place))),
        ...ends.map(place).map(([cx, cy]) => draw("circle", { class: precision, cx, cy, r: 4.5 })),
        ...["x − eps", "x", "x + eps"].map((name, k) => label(65 + 95 * k, 178, name)));
      zoom.setAttribute("aria-label", `${words.zoom}, ${precision}`);
    };
    const showPlot = () => plot.replaceChildren(
      ...[-16, -12, -8, -4, 0].map((k) => label(X(10 ** k), 178, `10${raised(k)}`)),
      ...[-16, -12, -8, -4, 0].map((k) => label(40, Y(10 ** k) + 4, `10${raised(k)}`, "end")),
      path("axes", [[46, 8], [46, 160], [312, 160]]),
      path("dotted", [[X(1e-6), 8], [X(1e-6), 160]]), path("dotted", [[46, Y(1e-3)], [312, Y(1e-3)]]),
      path("now", [[X(eps), 8], [X(eps), 160]]),
      ...names.map((name) => path(`curve ${name}`, steps.map((step) => [X(step), Y(error(layer, step, name))]))),
      ...names.map((name) => draw("circle", { class: name, cx: X(eps), cy: Y(error(layer, eps, name)), r: 5 })));
    // The digits that are wrong are marked.
    const showNumbers = () => {
      const { value, slope } = layers[layer], truth = slope(1).toPrecision(16);
      const digits = (name) => quotient(value, 1, eps, precisions[name]).toPrecision(name === "float32" ? 8 : 16);
      const rows = names.map((name) => [name, digits(name), short(error(layer, eps, name))]);
      [[`eps = ${short(eps)}`, words.quotient, words.error], ...rows].flat().forEach((word, k) => { said.flat()[k].textContent = word; });
      rows.forEach(([, digits], k) => {
        const same = [...digits].findIndex((digit, n) => digit !== truth[n]);
        if (same >= 0) said[k + 1][1].replaceChildren(digits.slice(0, same), make("s", { textContent: digits.slice(same) }));
      });
      plot.setAttribute("aria-label", `${words.plot}: ${rows.map(([name, , off]) => `${name} ${off}`).join(", ")}`);
      slider.lastChild.ariaValueText = said[0][0].textContent;
      say(`${said[0][0].textContent}, ${plot.getAttribute("aria-label")}`);
    };
    const show = () => { showZoom(); showPlot(); showNumbers(); };

    const choices = (name, all, chosen, choose) => group(...all.map((one) =>
      input(words[one] || one, { type: "radio", name, checked: one === chosen, onchange: () => { choose(one); show(); } })));
    const slider = input("eps", { type: "range", min: -16, max: 0, step: 0.25, value: Math.log10(eps),
      oninput: ({ target }) => { eps = 10 ** target.value; show(); } });
    const caption = (svg, textContent) => box("picture", svg, make("span", { textContent, ariaHidden: "true" }));
    live.append(
      box("plots", caption(zoom, words.zoom), caption(plot, words.plot)),
      box("controls slider", slider),
      box("controls", choices("layer", Object.keys(layers), layer, (one) => { layer = one; }),
        choices("precision", names, precision, (one) => { precision = one; })),
      make("table", {}, ...said.map((row) => make("tr", {}, ...row))), text("hint", words.hint));
    show();
  });
}
