"""Promise: a figure one can touch computes what SciPy and torch compute, and all can use it."""

import base64
import functools
import io
import re

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from scipy.signal import convolve2d, correlate2d

from notebooks import LANGUAGES, NOTEBOOKS, ROOT, layers, read
from test_book import HAN
from test_pages import NARROW, WIDE, listen

SCRIPTS = ROOT / "book" / "_static" / "touch"
FIGURES = {  # name: the page, and the cell whose picture it replaces
    "spectrum": ("03-fft-layer", "fft-slice-figure"),
    "slide": ("04-correlate2d-layer", "conv-window-figure"),
    "filter": ("04-correlate2d-layer", "conv-photo-step-figure"),
    "epsilon": ("05-gradcheck", "check-eps-figure"),
}
LARGEST = 10_000  # bytes of a script


# The arithmetic: each check lists where a script disagrees with SciPy or torch


def load(page, name, *changes):
    """An empty page with a figure's script, in which pieces of the source may be replaced."""
    source = "\n".join((SCRIPTS / f"{n}.js").read_text(encoding="utf8") for n in ("touch", name))
    for old, new in changes:
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in the scripts"
        source = source.replace(old, new)
    page.goto("about:blank")
    page.set_content("<!doctype html><html lang='en'><body>")
    page.add_script_tag(content=source)


def ask(page, expression, *arguments):
    """What an expression of the script gives for NumPy arrays (a, b, c, ...) as lists."""
    lists = [x.tolist() if isinstance(x, np.ndarray) else x for x in arguments]
    names = "abcdefgh"[: len(lists)]
    plain = "(x) => JSON.parse(JSON.stringify(x, (_, v) => ArrayBuffer.isView(v) ? [...v] : v))"
    return page.evaluate(f"([{', '.join(names)}]) => ({plain})({expression})", lists)


def differ(name, ours, theirs, rtol=1e-12):
    """A list with a complaint if two arrays are not the same up to round-off."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if ours.shape != theirs.shape:
        return [f"{name}: shape {ours.shape}, not {theirs.shape}"]
    off = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-300)
    return [] if off <= rtol else [f"{name}: off by {off:.1e}"]


def torch_gradients(x, w, g):
    """The gradients of image and filter that torch sends back through its own correlation."""
    x, w, g = (torch.tensor(array, dtype=torch.double) for array in (x, w, g))
    x, w = x.requires_grad_(), w.requires_grad_()
    y = torch.nn.functional.conv2d(x[None, None], w[None, None])[0, 0]
    return [gradient.numpy() for gradient in torch.autograd.grad(y, (x, w), g)]


def check_slide(page):
    rng, said = np.random.default_rng(0), []
    for shape, size in (((6, 6), (3, 3)), ((7, 5), (2, 3)), ((4, 6), (4, 1))):
        x, w = rng.integers(-9, 10, shape), rng.integers(-9, 10, size)
        valid = correlate2d(x, w, mode="valid")
        g = rng.integers(-9, 10, valid.shape)
        said += differ("correlation", ask(page, "touch.correlate(a, b)", x, w), valid)
        turned = ask(page, "touch.correlate(a, touch.turn(b))", x, w)
        said += differ("convolution", turned, convolve2d(x, w, mode="valid"))
        spread = ask(page, "touch.slide.spread(a, b)", g, w)
        said += differ("spread", spread, torch_gradients(x, w, g)[0])
        said += differ("full convolution", spread, convolve2d(g, w, mode="full"))
    return said


def check_filter(page):
    rng, said = np.random.default_rng(1), []
    published = layers("04-correlate2d-layer")["OldScipyConv2dFunction"].apply
    for shape, size in (((9, 9), (3, 3)), ((8, 11), (3, 3)), ((7, 5), (2, 3))):
        gray, w = rng.random(shape), rng.standard_normal(size)
        photo = torch.tensor(gray)
        x = ((photo - photo.mean()) / photo.std()).numpy()
        said += differ("scaled", ask(page, "touch.filter.scale(a)", gray), x)
        target = correlate2d(x, rng.standard_normal(size), mode="valid")
        weights = torch.tensor(w, requires_grad=True)
        y = torch.nn.functional.conv2d(torch.tensor(x)[None, None], weights[None, None])[0, 0]
        loss = (y - torch.tensor(target)).square().mean() / 2
        loss.backward()
        found = ask(page, "touch.filter.look(a, b, c)", x, w, target)
        said += differ("output", found["output"], y.detach())
        said += differ("error", found["error"], y.detach().numpy() - target)
        said += differ("loss", found["loss"], loss.item())
        said += differ("gradient", found["gradient"], weights.grad)
        stepped = ask(page, "touch.filter.step(a, b, 0.1)", w, weights.grad.numpy())
        said += differ("step", stepped, (weights - 0.1 * weights.grad).detach())
        if size[0] == size[1]:  # the published image gradient, which is not looked at, needs that
            weights = torch.tensor(w, requires_grad=True)
            loss = (published(torch.tensor(x), weights) - torch.tensor(target)).square().mean() / 2
            loss.backward()
            found = ask(page, "touch.filter.look(a, b, c, true).gradient", x, w, target)
            said += differ("published gradient", found, weights.grad)
    return said


def check_epsilon(page):
    numeric_jacobian, said = layers("05-gradcheck")["numeric_jacobian"], []
    points = torch.tensor(ask(page, "touch.epsilon.points"), dtype=torch.double)
    functions = {  # what the layer computes, its slope
        "linear": (lambda x: torch.tensor(0.7, dtype=x.dtype) * x, lambda x: 0.7 + 0 * x),
        "curved": (torch.exp, torch.exp),
    }
    for name, (function, slope) in functions.items():
        true, largest = slope(points), slope(points).max()
        for dtype, u in ((torch.float64, 2**-53), (torch.float32, 2**-24)):
            precision = str(dtype)[6:]
            for power in (0, -0.75, -2, -4.5, -6, -7.25, -9, -12, -15, -16):
                eps = 10**power
                call = f"quotient(layers.{name}.value, x, a, precisions.{precision})"
                call = f"(({{quotient, layers, precisions, points}}) => points.map((x) => {call}))"
                found = ask(page, f"{call}(touch.epsilon)", eps)
                theirs = numeric_jacobian(function, [points.to(dtype)], eps=eps).diagonal().double()
                # the last bit of exp is the library's; the quotient has it divided by the step
                slack = 1e-15 if name == "linear" else 3 * u / eps
                case = f"{name} {precision} eps 10^{power}"
                said += differ(f"quotient, {case}", found, theirs, slack + 1e-14)
                error = ask(page, f"touch.epsilon.error('{name}', a, '{precision}')", eps)
                off = (torch.tensor(found, dtype=torch.double) - true).abs().max() / largest
                said += differ(f"error, {case}", error, off.item())
    return said


def check_spectrum(page):
    rng, said = np.random.default_rng(2), []
    for H, W in ((8, 8), (6, 7), (5, 4), (3, 1), (1, 6)):
        x = rng.standard_normal((H, W))
        X, Z = np.fft.rfft2(x), rng.standard_normal((2, H, W // 2 + 1))
        found = np.array(ask(page, "touch.spectrum.forward(a)", x))  # rows of re, im
        said += differ(f"forward {H}x{W}", found, np.stack([X.real, X.imag], axis=1))
        back = ask(page, "touch.spectrum.backward(a, b)", Z.transpose(1, 0, 2), W)
        said += differ(f"backward {H}x{W}", back, np.fft.irfft2(Z[0] + 1j * Z[1], s=(H, W)))

        k1, k2 = (np.fft.fftfreq(n, 1 / n).round() for n in (H, W))
        mask = np.hypot(k1[:, None], k2) <= 2  # of the full spectrum, the same at k and -k
        full = np.fft.fft2(x)
        half = "a.map((row) => row.map((part) => Float64Array.from(part)))"
        call = f"touch.spectrum.keep({half}, b, (k, j) => Math.hypot(k, j) <= 2)"
        kept = ask(page, call, np.stack([X.real, X.imag], axis=1), W)
        energy = (np.abs(full[mask]) ** 2).sum() / (np.abs(full) ** 2).sum()
        said += differ(f"energy {H}x{W}", kept["part"], energy)
        said += differ(f"count {H}x{W}", kept["count"], mask[:, : W // 2 + 1].sum())
        left = ask(page, "touch.spectrum.backward(a, b)", kept["kept"], W)
        said += differ(f"what is left {H}x{W}", left, np.fft.ifft2(full * mask).real)
        assert np.abs(np.fft.ifft2(full * mask).imag).max() < 1e-12
    return said


CHECKS = {name: globals()[f"check_{name}"] for name in FIGURES}


@pytest.mark.parametrize("name", FIGURES)
def test_arithmetic(name, page):
    load(page, name)
    assert CHECKS[name](page) == []


BROKEN = [  # script, a piece of it, what is put there, what the check then says
    ("slide", "image[i + a][j + b]", "image[i + a][j + columns - 1 - b]", "correlation"),
    ("slide", "map((row) => [...row].reverse()).reverse()", "map((row) => row)", "convolution"),
    ("slide", "gradient[i + a][j + b] += g * w", "gradient[i + a][j + b] = g * w", "spread"),
    ("filter", "(all.length - 1)", "all.length", "scaled"),
    ("filter", "y - target[i][j]", "target[i][j] - y", "error"),
    ("filter", "/ 2 / all.length", "/ all.length", "loss"),
    ("filter", "published ? touch.turn(error) : error", "touch.turn(error)", ": gradient"),
    ("filter", "published ? touch.turn(error) : error", "error", "published gradient"),
    ("filter", "w - rate", "w + rate", "step"),
    ("epsilon", "round(round(0.7) * x)", "round(0.7 * x)", "quotient, linear float32"),
    ("epsilon", "float32: Math.fround", "float32: (x) => x", "quotient, curved float32"),
    ("epsilon", "round(round(x) + step)", "round(round(x) + 2 * step)", "quotient, linear float64"),
    ("epsilon", "Math.max(...off)", "Math.min(...off)", "error, curved"),
    ("spectrum", "sign * Math.sin(angle)", "Math.sin(angle)", "forward"),
    ("spectrum", "k > 0 && 2 * k < W ? 2 : 1", "k > 0 ? 2 : 1", "backward 8x8"),
    ("spectrum", "2 * k < H ? k : k - H", "k", "what is left"),
    ("spectrum", "if (on) count++, part += energy", "if (on) count++, part += 1", "energy"),
]  # fmt: skip


def test_arithmetic_checks_complain(page):
    silent = []
    for name, old, new, complaint in BROKEN:
        load(page, name, (old, new))
        said = CHECKS[name](page)
        if not any(complaint in f": {line}" for line in said):
            silent.append((name, new, said[:3]))
    assert silent == []


# What the pages load


def check_sizes(folder):
    said = [f"{p.name} has {p.stat().st_size} bytes" for p in sorted(folder.glob("*.js"))]
    return [line for line in said if int(line.split()[-2]) > LARGEST]


def check_loaded(site):
    """A page loads the scripts of its figures, and no other page loads any."""
    said = []
    for language in LANGUAGES:
        for path in sorted((site / language).glob("*.html")):
            text = path.read_text(encoding="utf8")
            scripts = re.findall(r'<script[^>]* src="_static/touch/(\w+)\.js', text)
            figures = re.findall(r'<figure[^>]* data-touch="(\w+)"', text)
            if scripts != (["touch", *sorted(figures)] if figures else []):
                said.append(f"{language}/{path.name}: loads {scripts} for {figures}")
            if len(re.findall(r'<link[^>]* href="_static/touch/touch\.css', text)) != bool(figures):
                said.append(f"{language}/{path.name}: loads no style, or in vain")
    return said


def check_figures(site):
    """Each figure wraps the picture of its cell, in both languages."""
    said = []
    for language in LANGUAGES:
        for name, (page, cell) in FIGURES.items():
            text = (site / language / f"{page}.html").read_text(encoding="utf8")
            output = text.partition(f' id="{cell}">')[2].partition('<div class="cell ')[0]
            figure = rf'<figure[^>]* data-touch="{name}"[^>]*>\s*<img [^>]*>\s*</figure>'
            if len(re.findall(figure, output)) != 1:
                said.append(f"{language}/{page}: {cell} has no figure {name}")
    return said


def test_scripts_are_small_and_each_is_tested():
    assert check_sizes(SCRIPTS) == []
    assert {path.stem for path in SCRIPTS.glob("*.js")} == {"touch", *FIGURES}


def test_pages_have_their_figures(site):
    assert check_loaded(site) + check_figures(site) == []


def test_checks_of_the_pages_complain(site, tmp_path):
    (tmp_path / "large.js").write_text("x" * (LARGEST + 1))
    assert check_sizes(tmp_path) == [f"large.js has {LARGEST + 1} bytes"]
    changes = {
        "03-fft-layer": (r'<script[^>]*touch/spectrum\.js[^>]*></script>', ""),
        "04-correlate2d-layer": ('data-touch="slide"', 'data-touch="glide"'),
        "05-gradcheck": ('touch/touch.css', 'touch/other.css'),
        "index": ("</head>", '<script src="_static/touch/touch.js"></script></head>'),
    }  # fmt: skip
    for language in LANGUAGES:
        (tmp_path / language).mkdir()
        for name, (old, new) in changes.items():
            text = (site / language / f"{name}.html").read_text(encoding="utf8")
            text, count = re.subn(old, new, text, count=1)
            assert count == 1, name
            (tmp_path / language / f"{name}.html").write_text(text, encoding="utf8")
    said = check_loaded(tmp_path) + check_figures(tmp_path)
    for complaint in (
        "en/03-fft-layer.html: loads ['touch'] for ['spectrum']",
        "zh/05-gradcheck.html: loads no style",
        "en/index.html: loads ['touch'] for []",
        "zh/04-correlate2d-layer: conv-window-figure has no figure slide",
    ):
        assert any(complaint in line for line in said), complaint


# What a reader sees and can do


@pytest.fixture
def open_figure(browser, site):
    """Opens a figure's page; at the end there must have been no error and no request outside."""
    contexts, said = [], []

    def open_figure(name, language="en", viewport=WIDE, **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        said.append(listen(page, site))
        page.goto((site / language / f"{FIGURES[name][0]}.html").as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector(f".touch.{name}")
        return page

    yield open_figure
    for context in contexts:
        context.close()
    assert [line for lines in said for line in lines] == []


SMALL = """(live) => [...live.querySelectorAll("button, input, select")]
  .filter((it) => it.checkVisibility())
  .map((it) => [it, (it.closest("label") || it).getBoundingClientRect()])
  .filter(([, { width, height }]) => Math.min(width, height) < 23.99)
  .map(([it]) => `less than 24 pixels: ${it.outerHTML.slice(0, 120)}`)"""
WORDS = """(live) => [...live.querySelectorAll("*")].flatMap((it) =>
  [it.ariaLabel, ...[...it.childNodes].map((node) => node.nodeType === 3 && node.data)])
  .filter((word) => word).map((word) => word.trim())"""
ENGLISH = re.compile(r"[a-z]{3,}", re.IGNORECASE)
SAME_WORDS = re.compile(r"\b(Sobel|input|output|grad_input|grad_output|eps|float64|float32)\b")


def check_live(page, name, language):
    """What is wrong with a figure as it stands on a page."""
    figure = page.locator(f"figure[data-touch={name}]")
    live, picture = figure.locator(".touch"), figure.locator("img")
    said = live.evaluate(SMALL)
    if picture.is_visible():
        said.append("the picture is still there")
    for word in live.evaluate(WORDS):
        if bool(HAN.search(word)) and language == "en":
            said.append(f"Chinese: {word}")
        if language == "zh" and not HAN.search(word) and ENGLISH.search(SAME_WORDS.sub("", word)):
            said.append(f"English: {word}")
    page.emulate_media(media="print")
    if live.is_visible() or not picture.is_visible():
        said.append("on paper the picture is not back")
    page.emulate_media(media="screen")
    return said


def accessibility(page, name):
    """What axe-core finds in a figure. (Before it is touched, test_pages.py looks at it.)"""
    found = Axe().run(page, context=f"figure[data-touch={name}]", options={"preload": False})
    return [f"{v['id']}: {v['help']}" for v in found.response["violations"]]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_there_for_all(name, open_figure):
    page = open_figure(name, "en", NARROW)
    assert check_live(page, name, "en") == []
    page = open_figure(name, "zh", WIDE, color_scheme="dark")
    assert check_live(page, name, "zh") == []


def test_check_of_a_figure_complains(open_figure):
    page = open_figure("slide", "zh", WIDE)
    page.evaluate("""() => {
      const [first, second] = document.querySelectorAll(".slide .controls button");
      Object.assign(first.style, { minWidth: 0, width: "10px", padding: 0 });
      second.ariaLabel = "Next";
      document.querySelector(".slide label").replaceWith(document.createElement("select"));
      document.querySelector("figure[data-touch=slide] img").hidden = false;
    }""")
    page.add_style_tag(content="@media print { .touch { display: block !important } }")
    said = check_live(page, "slide", "zh")
    for complaint in ("less than 24", "English: Next", "still there", "on paper"):
        assert any(complaint in line for line in said), complaint
    assert any("select-name" in line for line in accessibility(page, "slide"))
    page = open_figure("slide", "en")
    page.evaluate("document.querySelector('.slide .hint').textContent = '移动'")
    assert "Chinese: 移动" in check_live(page, "slide", "en")


@pytest.mark.parametrize("name", FIGURES)
def test_without_scripts_there_is_the_picture(name, open_figure):
    page = open_figure(name, java_script_enabled=False)
    figure = page.locator(f"figure[data-touch={name}]")
    assert figure.locator("img").is_visible() and figure.locator(".touch").count() == 0


def test_a_script_that_fails_leaves_the_picture(page, site):
    said = listen(page, site)
    page.route("**/touch/slide.js*", lambda route: route.fulfill(
        body="touch.figure('slide', '', () => { throw Error('no'); });"
    ))  # fmt: skip
    page.goto((site / "en" / f"{FIGURES['slide'][0]}.html").as_uri())
    page.wait_for_selector(".touch.filter")
    assert page.locator("figure[data-touch=slide] img").is_visible()
    assert said == ["error: no"]


def test_less_motion(open_figure):
    page = open_figure("slide", reduced_motion="reduce")
    assert page.get_by_role("button", name="Play").count() == 0
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.slide i')).transitionDuration")
        == "0s"
    )
    page.emulate_media(reduced_motion="no-preference")
    page.locator(".slide").get_by_role("button", name="Play").wait_for()
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.slide i')).transitionDuration")
        != "0s"
    )


@functools.cache
def cell_outputs(name):
    """The stored outputs of the cell that draws a figure's picture, or of another cell."""
    page, cell = FIGURES.get(name, name)
    cells = read(NOTEBOOKS / "en" / f"{page}.ipynb")["cells"]
    return next(c["outputs"] for c in cells if c["id"] == cell)


def printed(name):
    """The numbers that a cell prints."""
    text = "".join(output.get("text", "") for output in cell_outputs(name))
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def numbers(page, selector):
    """The numbers in elements; an empty one is a 0."""
    return [float(text.replace("−", "-") or 0) for text in page.locator(selector).all_inner_texts()]


def set_range(page, selector, value):
    """Move a slider, as a hand does."""
    page.locator(selector).evaluate(
        "(it, value) => { it.value = value; it.dispatchEvent(new Event('input')); }", str(value)
    )


LETTER = np.array([[1, 2, 3], [4, 5, 0], [6, 0, 0]])


def grad_input(page):
    return np.array(numbers(page, ".slide .grad_input td")).reshape(6, 6)


def at(row, column, value=1):
    """A 4x4 array that is zero but at one place."""
    array = np.zeros((4, 4))
    array[row, column] = value
    return array


def test_slide_by_mouse(open_figure):
    page = open_figure("slide")
    in_chapter = printed(("04-correlate2d-layer", "conv-by-hand"))
    output = np.array(numbers(page, ".slide .output td")).reshape(4, 4)
    assert output[:2, :2].ravel().tolist() == in_chapter[:4]
    assert np.array_equal(grad_input(page), convolve2d(at(0, 0, 2), LETTER))

    page.locator(".slide .output button").nth(6).click()  # row 1, column 2
    assert np.array_equal(grad_input(page), convolve2d(at(1, 2, 2), LETTER))
    products, total = page.locator(".slide .products").inner_text().split("=")
    terms = [term.split("·") for term in products.split("+")]
    assert len(terms) == 9
    assert sum(int(x) * int(w) for x, w in terms) == int(total) == output[1, 2]

    cells = page.locator(".slide .input td")
    cells.first.scroll_into_view_if_needed()
    cells.nth(7).hover()
    page.mouse.down()
    cells.nth(28).hover()  # row 4, column 4: the middle of the last window
    page.mouse.up()
    cells.nth(7).hover()
    assert np.array_equal(grad_input(page), convolve2d(at(3, 3, 2), LETTER))

    page.get_by_label("convolution", exact=True).check()
    output = np.array(numbers(page, ".slide .output td")).reshape(4, 4)
    assert output[:2, :2].ravel().tolist() == in_chapter[4:8]
    page.get_by_label("upstream gradient g").fill("-3")
    page.get_by_role("button", name="up", exact=True).click()
    assert np.array_equal(grad_input(page), convolve2d(at(2, 3, -3), LETTER[::-1, ::-1]))


def test_slide_by_keyboard(open_figure):
    page = open_figure("slide")
    focused = "document.activeElement.ariaLabel || document.activeElement.textContent"
    page.locator(".slide .output [aria-current=true]").focus()
    moves = {
        "ArrowRight": "row 1, column 2: 11",
        "ArrowDown": "row 2, column 2: 18",
        "ArrowLeft": "row 2, column 1: 14",
        "ArrowUp": "row 1, column 1: 30",
    }
    for key, said in moves.items():
        page.keyboard.press(key)
        assert page.evaluate(focused) == said
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == said  # the border
    for stop in ("row 1, column 1: 2", "left", "up", "down", "right", "Play"):
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == stop
    live = page.locator(".slide [aria-live=polite]")
    page.wait_for_function("(it) => it.textContent.endsWith('1·0 = 30')", arg=live.element_handle())


def test_slide_plays_and_adds_up(open_figure):
    page = open_figure("slide", color_scheme="dark")
    page.clock.install()
    page.get_by_label("add up").check()
    play = page.locator(".slide").get_by_role("button", name="Play")
    play.click()
    pause = page.locator(".slide").get_by_role("button", name="Pause")
    page.clock.run_for(600 * 5)
    pause.click()
    page.clock.run_for(600 * 5)
    assert sum(numbers(page, ".slide .grad_output td")) == 2 * 7
    play.click()
    page.clock.run_for(600 * 16)
    assert play.is_visible()  # it has come to the end
    assert np.array_equal(grad_input(page), convolve2d(np.full((4, 4), 2), LETTER))
    assert accessibility(page, "slide") == []


def test_slide_by_touch(open_figure):
    page = open_figure("slide", viewport=NARROW, has_touch=True)
    page.locator(".slide .grad_output button").nth(9).tap()
    assert np.array_equal(grad_input(page), convolve2d(at(2, 1, 2), LETTER))
    page.locator(".slide .input td").first.tap()
    assert np.array_equal(grad_input(page), convolve2d(at(0, 0, 2), LETTER))


def loss(page):
    return float(page.locator(".filter .state").inner_text().split()[-1])


def test_filter_agrees_with_the_chapter_and_learns(open_figure):
    page = open_figure("filter")
    page.clock.install()
    *gradient, before, after = printed("filter")[-12:]
    gradient = [x for x in printed("filter") if x != 64][:9]
    assert np.allclose(numbers(page, ".touch.filter table:nth-of-type(2) td"), gradient, atol=0.006)
    assert loss(page) == before
    page.get_by_role("button", name="Step").click()
    assert loss(page) == after

    play = page.locator(".touch.filter").get_by_role("button", name="Play")
    play.click()
    page.clock.run_for(40 * 150)
    page.locator(".touch.filter").get_by_role("button", name="Pause").click()
    assert loss(page) < 0.01
    weights = page.locator(".touch.filter td input").evaluate_all(
        "(all) => all.map((it) => +it.value)"
    )
    assert np.abs(np.array(weights) - [-1, 0, 1, -2, 0, 2, -1, 0, 1]).max() < 0.5

    for number, weight in enumerate([-1, 0, 1, -2, 0, 2, -1, 0, 1]):
        page.locator(".touch.filter td input").nth(number).fill(str(weight))
    assert loss(page) < 1e-20
    page.locator(".touch.filter select").select_option("blur")
    assert loss(page) > 1


def test_filter_goes_astray(open_figure):
    page = open_figure("filter", color_scheme="dark")
    step, zeros = (page.get_by_role("button", name=name) for name in ("Step", "Zeros"))
    before = loss(page)
    for way in ("a step that is too large", "the published backward"):
        set_range(page, ".touch.filter [type=range]", 0.3 if "step" in way else 0.1)
        page.get_by_label("published backward").set_checked("published" in way)
        step.evaluate("(it) => { for (let k = 0; k < 50; k++) it.click(); }")
        assert loss(page) > 10 * before, way
        zeros.click()
        assert loss(page) == before
    assert accessibility(page, "filter") == []


def test_epsilon_by_keyboard(open_figure):
    page = open_figure("epsilon", color_scheme="dark")
    cells = ".epsilon tr:nth-child({}) :is(th, td)"

    def row(number):
        return [
            text.replace("−", "-") for text in page.locator(cells.format(number)).all_inner_texts()
        ]

    def quotient(dtype, eps):
        x, step = dtype(1), dtype(eps)
        return (np.exp(x + step) - np.exp(x - step)) / dtype(2 * eps)

    assert row(1)[0] == "eps = 1.0e-6"
    for number, dtype, low, high in ((2, np.float64, 0, 1e-8), (3, np.float32, 2e-2, 1)):
        _, digits, error = row(number)
        assert np.isclose(float(digits), quotient(dtype, 1e-6), rtol=3 * np.finfo(dtype).eps / 1e-6)
        assert low < float(error) < high  # what the chapter asserts of its layers
    page.locator(".epsilon [type=range]").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert row(1)[0] == "eps = 3.2e-9"
    assert row(3)[1:] == ["0.0000000", "1.0"]
    page.keyboard.press("End")
    page.get_by_label("curved").focus()
    page.keyboard.press("ArrowLeft")
    assert float(row(2)[2]) < 1e-14 and float(row(3)[2]) < 1e-6  # linear: a step of 1 is best
    page.wait_for_function(
        "document.querySelector('.epsilon [aria-live]').textContent.includes('float64')"
    )
    assert accessibility(page, "epsilon") == []


PIXELS = """(it) => {
  const copy = document.createElement("canvas");
  Object.assign(copy, { width: it.width, height: it.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(it, 0, 0);
  return [...context.getImageData(0, 0, it.width, it.height).data];
}"""


def test_spectrum_is_what_numpy_leaves_of_the_slice(open_figure):
    page = open_figure("spectrum", color_scheme="dark")
    drawing = next(o["data"]["image/svg+xml"] for o in cell_outputs("spectrum") if "data" in o)
    data = re.search(r"base64,([^\"]+)", drawing)[1]
    head = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")) / 255
    set_range(page, ".spectrum [type=range] >> nth=1", 14)
    k1, k2 = np.fft.fftfreq(128, 1 / 128)[:, None], np.fft.rfftfreq(128, 1 / 128)
    kept = np.hypot(k1, k2) <= 14
    left = np.fft.irfft2(np.fft.rfft2(head) * kept).clip(0, 1) * 255
    shown = page.locator(".spectrum canvas").first.evaluate(PIXELS)
    assert np.abs(np.array(shown).reshape(128, 128, 4)[:, :, 0] - left).max() <= 1
    assert (
        page.locator(".spectrum .state")
        .last.inner_text()
        .startswith(f"{kept.sum()} of the 8320 bins")
    )
    assert accessibility(page, "spectrum") == []


def test_spectrum_by_mouse_and_keyboard(open_figure):
    page = open_figure("spectrum")
    state = page.locator(".spectrum .state").last
    canvas = page.locator(".spectrum canvas").nth(1)

    def is_off():
        opacity = np.array(canvas.evaluate(PIXELS)).reshape(128, 128, 4)[:, :, 3] == 0
        return opacity[1:, :-1]  # k1 from -63 to 63, k2 from -63 to 63

    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.up()
    off = is_off()
    assert 100 < off[:, 63:].sum() < 400
    assert np.array_equal(off, off[::-1, ::-1])  # the mirror image goes with it
    assert state.inner_text().startswith(f"{8320 - off[:, 63:].sum()} of the 8320 bins")

    page.get_by_role("button", name="All on").click()
    assert state.inner_text().startswith("8320 of the 8320 bins")
    page.get_by_label("k₁").press("Control+a")
    page.keyboard.type("-5")
    page.keyboard.press("Tab")
    page.keyboard.type("0")
    page.get_by_label("brush").fill("0")
    page.get_by_role("button", name="Switch off").press("Enter")
    assert np.argwhere(is_off()).tolist() == [[58, 63], [68, 63]]  # both in the half that is kept
    assert state.inner_text().startswith("8318 of the 8320 bins")
    assert (
        "(−5, 0) and its mirror image (5, 0)" in page.locator(".spectrum .state").first.inner_text()
    )
    page.get_by_role("button", name="Switch on").press("Enter")
    assert not is_off().any()
    page.wait_for_function(
        "document.querySelector('.spectrum [aria-live]').textContent.includes('8320')"
    )


def test_nothing_is_said_before_anything_happens(open_figure):
    page = open_figure("filter")
    page.wait_for_timeout(1000)
    assert page.locator(".touch [aria-live=polite]").all_inner_texts() == ["", ""]
