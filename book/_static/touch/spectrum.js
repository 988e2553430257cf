// Switch off frequencies of an image, and see what is left.

touch.spectrum = {
  // The sums over n of z[n] exp(sign 2 pi i m n / period), for m below count. A z is two lists, [re, im].
  sums([re, im], period, count, sign) {
    const turn = Array.from({ length: period }, (_, k) => (2 * Math.PI * k) / period);
    const cos = Float64Array.from(turn, Math.cos), sin = Float64Array.from(turn, (angle) => sign * Math.sin(angle));
    const sums = [new Float64Array(count), new Float64Array(count)];
    for (let m = 0; m < count; m++) {
      for (let n = 0, k = 0; n < re.length; n++, k = (k + m) % period) {
        sums[0][m] += re[n] * cos[k] - im[n] * sin[k];
        sums[1][m] += re[n] * sin[k] + im[n] * cos[k];
      }
    }
    return sums;
  },

  // The same along the columns of an array, which is a list of rows z.
  columns(rows, sign) {
    const H = rows.length, result = rows.map((row) => row.map((part) => new Float64Array(part.length)));
    rows[0][0].forEach((_, j) => {
      const column = [0, 1].map((part) => Float64Array.from(rows, (row) => row[part][j]));
      touch.spectrum.sums(column, H, H, sign).forEach((sums, part) => sums.forEach((sum, k) => { result[k][part][j] = sum; }));
    });
    return result;
  },

  // The half spectrum, as rfft2: columns 0 to floor(W / 2). Plain sums, for any size.
  forward(image) {
    const W = image[0].length;
    return touch.spectrum.columns(image.map((row) => touch.spectrum.sums([row, row.map(() => 0)], W, Math.floor(W / 2) + 1, -1)), -1);
  },

  // How often a column of the half spectrum stands in the full one.
  weight: (k, W) => (k > 0 && 2 * k < W ? 2 : 1),

  // The image of a half spectrum, as irfft2.
  backward(half, W) {
    const { columns, sums, weight } = touch.spectrum;
    const whole = (part) => part.map((x, k) => (x * weight(k, W)) / W / half.length);
    return columns(half, 1).map((row) => sums(row.map(whole), W, W, 1)[0]);
  },

  // The half spectrum without the frequencies that are off, how many are on, and their part of the energy.
  keep(half, W, isOn) {
    const H = half.length;
    let [count, part, all] = [0, 0, 0];
    const kept = half.map(([re, im], k) => {
      const on = [...re].map((_, j) => isOn(2 * k < H ? k : k - H, j));
      on.forEach((on, j) => {
        const energy = touch.spectrum.weight(j, W) * (re[j] ** 2 + im[j] ** 2);
        all += energy;
        if (on) count++, part += energy;
      });
      return [re, im].map((part) => part.map((x, j) => (on[j] ? x : 0)));
    });
    return { kept, count, part: part / all };
  },
};

{
  const { make, box, text, button, input, number } = touch, { forward, backward, keep } = touch.spectrum;
  const words = touch.zh
    ? { name: "关掉图像的频率", pictures: ["图像", "频谱 log₁₀ |X|", "这个频点的波"],
        low: "保留 |k| 从", high: "到", brush: "画笔", all: "全部打开", off: "关掉", on: "打开",
        bin: (k, mirror, size) => `频点 (${k}) 和它的镜像 (${mirror}) 合成一个波，|X| = ${size}。`,
        state: (count, all, part) => `单边频谱的 ${all} 个频点开着 ${count} 个，占能量的 ${part}%。`,
        hint: "在频谱上涂抹，或者填好 k₁、k₂，再关掉这个频点。较暗的一半 rfft2 并不返回：它是另一半的镜像，两边总是一起开关，所以图像始终是实数。" }
    : { name: "Switch off frequencies of an image", pictures: ["image", "spectrum log₁₀ |X|", "wave of the bin"],
        low: "keep |k| from", high: "to", brush: "brush", all: "All on", off: "Switch off", on: "Switch on",
        bin: (k, mirror, size) => `The bin (${k}) and its mirror image (${mirror}) make one wave, |X| = ${size}.`,
        state: (count, all, part) => `${count} of the ${all} bins of the half spectrum are on: ${part}% of the energy.`,
        hint: "Paint on the spectrum, or name a bin and switch it off. The dim half is not returned by rfft2: "
          + "it mirrors the other, goes on and off with it, and so the image stays real." };
  const COLOURS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // of viridis
  const viridis = (t) => {
    const k = Math.min(3, Math.floor(4 * t));
    return COLOURS[k].map((c, i) => c + (COLOURS[k + 1][i] - c) * (4 * t - k));
  };
  const FAR = 91; // the highest frequency, in a corner

  touch.figure("spectrum", words.name, async (live, figure) => {
    const gray = await touch.photograph(figure), say = touch.voice(live);
    const [H, W] = [gray.length, gray[0].length], half = forward(gray), off = new Set();
    const [top, left] = [H / 2, W / 2 - 1]; // where frequency 0 is drawn
    let [k1, k2, low, high, radius, erase] = [6, 9, 0, FAR, 3, true];
    const index = (k, j) => ((k + H) % H) * W + ((j + W) % W);
    const isOn = (k, j) => !off.has(index(k, j)) && Math.hypot(k, j) >= low && Math.hypot(k, j) <= high;
    const bin = (k, j) => half[((j < 0 ? -k : k) + H) % H].map((part, n) => (n && j < 0 ? -part[-j] : part[Math.abs(j)]));
    const logs = touch.grid(H, W, (i, j) => Math.log10(Math.hypot(...bin(i - top, j - left))));
    const highest = Math.max(...logs.flat());

    const [image, spectrum, wave] = words.pictures.map((name) => touch.canvas(name, H, W));
    const marks = [1, -1].map((sign) => [sign, make("i")]), canvas = spectrum[2];
    canvas.after(make("b"), ...marks.map(([, mark]) => mark));
    const [about, state] = [text("state"), text("state")];

    const show = () => {
      const { kept, count, part } = keep(half, W, isOn), values = backward(kept, W);
      image[1]((i, j) => [...Array(3).fill(255 * values[i][j]), 255]);
      const opacity = (i, j) => (isOn(i - top, j - left) ? (j < left ? 110 : 255) : 0);
      spectrum[1]((i, j) => [...viridis(Math.max(0, 1 + (logs[i][j] - highest) / 5)), opacity(i, j)]);
      const [re, im] = bin(k1, k2), phase = Math.atan2(im, re);
      wave[1]((i, j) => touch.signed(0.7 * Math.cos(2 * Math.PI * ((k1 * i) / H + (k2 * j) / W) + phase)));
      for (const [sign, { style }] of marks) {
        style.left = `${(100 * (sign * k2 + left + 0.5)) / W}%`;
        style.top = `${(100 * (sign * k1 + top + 0.5)) / H}%`;
      }
      for (const [{ lastChild: it }, k] of [[first, k1], [second, k2]]) if (it !== document.activeElement) it.value = k;
      toggle.textContent = isOn(k1, k2) ? words.off : words.on;
      about.textContent = words.bin(`${number(k1)}, ${number(k2)}`, `${number(-k1)}, ${number(-k2)}`, number(Math.hypot(re, im), 1));
      state.textContent = words.state(count, H * half[0][0].length, number(100 * part, 1));
      say(about.textContent + state.textContent);
    };
    const brush = () => {
      for (let a = -radius; a <= radius; a++)
        for (let b = -radius; b <= radius; b++)
          for (const sign of Math.hypot(a, b) <= radius ? [1, -1] : [])
            off[erase ? "add" : "delete"](index(sign * (k1 + a), sign * (k2 + b)));
    };
    const paint = ({ buttons, type, offsetX, offsetY }) => {
      if (!buttons) return;
      const place = (at, length, count) => Math.max(0, Math.min(count - 1, Math.floor((at / length) * count)));
      const [k, j] = [place(offsetY, canvas.clientHeight, H) - top, place(offsetX, canvas.clientWidth, W) - left];
      if (type === "pointerdown") [k1, k2, erase] = [k, j, !off.has(index(k, j))];
      const [down, right] = [k - k1, j - k2], far = Math.max(1, Math.abs(down), Math.abs(right));
      for (let n = far - 1; n >= 0; n--) {
        [k1, k2] = [k - Math.round((down * n) / far), j - Math.round((right * n) / far)];
        brush();
      }
      show();
    };
    canvas.onpointerdown = canvas.onpointermove = paint;

    const field = (name, value, min, max, set) => input(name, { type: "number", value, min, max, onblur: () => show(),
      oninput: ({ target }) => { set(touch.whole(target)); show(); } });
    const first = field("k₁", k1, -top, top - 1, (k) => { k1 = k; }), second = field("k₂", k2, -left, left + 1, (k) => { k2 = k; });
    const toggle = button("", () => { erase = isOn(k1, k2); brush(); show(); });
    const range = (name, value, set) => input(name, { type: "range", min: 0, max: FAR, value,
      oninput: ({ target }) => { set(+target.value); show(); } });
    const from = range(words.low, low, (k) => { low = k; }), to = range(words.high, high, (k) => { high = k; });
    const all = button(words.all, () => {
      off.clear();
      [low, high] = [from.lastChild.value, to.lastChild.value] = [0, FAR];
      show();
    });
    live.append(
      box("pictures", ...[image, spectrum, wave].map(([picture]) => picture), box("said", about, state)), box("controls", from, to),
      box("controls", first, second, field(words.brush, radius, 0, 20, (k) => { radius = k; }), toggle, all), text("hint", words.hint));
    show();
  });
}
