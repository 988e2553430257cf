"""Promise: one key presents a chapter: large type, a section at a time, nothing else, no mouse."""

import re
from itertools import pairwise

import pytest

from notebooks import LANGUAGES, ROOT, paths
from test_book import HAN, pages, soup
from test_pages import WIDER, accessibility, listen

SCRIPT = ROOT / "book" / "_static" / "present.js"
LARGEST = 10_000  # bytes
CHAPTER, CODE, TOUCH = "03-fft-layer", "13-engines", "04-correlate2d-layer"
SIZES = [(1280, 720), (1920, 1080), (1024, 768)]

SECTIONS = """[...document.querySelectorAll("article section")]
  .filter((it) => !it.matches("section section section section"))
  .filter((it) => [...it.children].some((child) => !/^(H[1-6]|SECTION)$/.test(child.tagName)))
  .map((it) => it.id)"""  # those with something below their heading
LOOK = """() => {
  const there = (it) => it.checkVisibility() && it.getBoundingClientRect().width > 1;
  const shown = [], said = [];
  for (const section of document.querySelectorAll("article section")) {
    if (section.matches("section section section section")) continue;
    const own = [...section.children].filter((child) => child.tagName !== "SECTION");
    const below = own.slice(1).filter(there);
    if (below.length) shown.push(section.id);
    if (below.length && own.filter(there).length < own.length) said.push(`${section.id} has gaps`);
    const above = section.parentElement.closest("article section section");
    if (below.length && above && !there(above.firstElementChild))
      said.push(`${section.id} lacks the heading above it`);
  }
  const kinds = "a, aside, button, footer, header, input, nav, p";
  for (const it of document.querySelectorAll(`body :is(${kinds})`))
    if (there(it) && (!it.closest("article, #presenter") || it.matches(".headerlink")))
      said.push(`beside the section: ${it.outerHTML.slice(0, 80)}`);
  for (const it of document.querySelectorAll("article img"))
    if (there(it) && it.getBoundingClientRect().height > innerHeight)
      said.push(`higher than the screen: ${it.alt.slice(0, 40)}`);
  return [shown, said];
}"""  # the sections that are shown; what is there and should not be
ON = "document.documentElement.classList.contains('presenting')"
HELD = "document.activeElement.closest('section')?.id === location.hash.slice(1)"
TOP = "(id) => document.getElementById(id).getBoundingClientRect().top"
BOTTOM = "scrollTo({ top: 1e6, behavior: 'instant' })"


@pytest.fixture
def chapter(browser, site):
    """Opens a chapter, in whose script a piece may be replaced; there must be no error."""
    contexts, said = [], []

    def chapter(language="en", name=CHAPTER, change=None, anchor="", size=SIZES[0], **options):
        options = {"reduced_motion": "reduce", **options}
        width, height = size
        viewport = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        said.append(listen(page, site))
        if change:
            source, (old, new) = SCRIPT.read_text(encoding="utf8"), change
            assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in the script"
            body = source.replace(old, new)
            page.route("**/present.js*", lambda route: route.fulfill(body=body))
        page.goto((site / language / f"{name}.html").as_uri() + anchor)
        return page

    yield chapter
    for context in contexts:
        context.close()
    assert [line for lines in said for line in lines] == []


def count(page):
    """Which section is shown, and of how many."""
    return [int(n) for n in page.inner_text("#presenter .controls span").split(" / ")]


def at(page):
    return page.evaluate("location.hash").removeprefix("#")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


# The checks: each lists what is wrong


def check_way(chapter, language="en", change=None, name=CHAPTER, sizes=SIZES[:1]):
    """By one key after the other, every section, in order, once, whole and alone."""
    page, said, way = chapter(language, name, change), [], []
    expected = page.evaluate(SECTIONS)
    before = page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
    press(page, "p")
    if page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") < 1.5 * before:
        said.append("the type is not large")
    for number in range(1, len(expected) + 1):
        shown, wrong = page.evaluate(LOOK)
        said += wrong
        way += shown
        if count(page) != [number, len(expected)]:
            said.append(f"{shown} is counted as {count(page)}")
        if shown != [at(page)]:
            said.append(f"the address is {at(page)}, shown is {shown}")
        page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
        for width, height in sizes:
            if len(sizes) > 1:
                page.set_viewport_size({"width": width, "height": height})
            said += [f"{shown} at {width}: {line}" for line in page.evaluate(WIDER)]
        page.evaluate("for (const it of document.querySelectorAll('details')) it.open = false")
        page.evaluate(BOTTOM)
        press(page, ["ArrowRight", "ArrowDown", "PageDown", " "][number % 4])
    if way != expected:
        said.append(f"the way is {way}, not {expected}")
    press(page, "Home")
    first = at(page)
    press(page, "End")
    if [first, at(page)] != [expected[0], expected[-1]]:
        said.append("Home and End do not lead to the first and the last")
    return said


def check_scrolling(chapter, language="en", change=None):
    """A section that is higher than the screen scrolls first, and the same way back."""
    page, said = chapter(language, change=change), []
    press(page, "p", "PageDown", "Home")
    height = page.evaluate("innerHeight")
    for start in (at(page), "fft-layer"):  # the other has code that is higher than the screen
        page.evaluate("(id) => { location.hash = id; }", start)
        page.wait_for_function(HELD)
        page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        places = []
        for _ in range(20):
            places.append(page.evaluate("scrollY"))
            press(page, "ArrowRight")
            if at(page) != start:
                break
        end = places[-1]
        press(page, "ArrowLeft")
        back = [page.evaluate("scrollY")]
        for _ in places[1:]:
            press(page, "PageUp")
            back.append(page.evaluate("scrollY"))
        if len(places) < 3:
            said.append("it does not scroll")
        if any(not 0 < after - before <= 0.9 * height for before, after in pairwise(places)):
            said.append(f"it skips something: {places}")
        if at(page) != start or back != places[::-1]:
            said.append(f"another way back: {places}, {back}")
    press(page, "Home", "ArrowDown")
    if not 0 < page.evaluate("scrollY") < 0.4 * height:
        said.append("the arrow down is not for a little")
    press(page, "ArrowUp", "Space", "Shift+Space")
    if page.evaluate("scrollY") or end < height:
        said.append("the other keys do not lead back")
    return said


def check_ends(chapter, language="en", change=None):
    """It ends by Esc or the key, at the section that was shown, all else being back."""
    page, said = chapter(language, change=change), []
    furniture = page.evaluate(LOOK)
    for key in ("Escape", "p"):
        press(page, "p")
        if not page.evaluate(ON):
            said.append("the key does not start it")
        press(page, "End", "ArrowLeft")
        section = at(page)
        press(page, key)
        if page.evaluate(ON) or page.locator("#presenter").is_visible():
            said.append(f"{key} does not end it")
        shown, others = page.evaluate(LOOK)
        if shown != furniture[0] or len(others) < len(furniture[1]):
            said.append("something is missing afterwards")
        top = page.evaluate(TOP, section)
        if at(page) != section or not 0 <= top < 200:
            said.append(f"{key} leads elsewhere: {section} is at {top}")
        press(page, "p")
        if at(page) != section:
            said.append(f"it begins at {at(page)}, not where one reads")
        press(page, "Escape")
    return said


def check_reload(chapter, language="en", change=None):
    """A reload, and a link to this page, stay in the mode; once it has ended, it stays ended."""
    page, said = chapter(language, change=change, anchor="#fft-proof"), []
    press(page, "p")
    if page.evaluate(LOOK)[0] != ["fft-why-wrong"]:
        said.append("it does not begin at the section of the address")
    page.reload()
    if not page.evaluate(ON) or page.evaluate(LOOK)[0] != ["fft-why-wrong"]:
        return [*said, "a reload leads elsewhere"]
    page.evaluate("location.hash = 'fft-twice'")
    page.wait_for_function("location.hash === '#fft-errors'")
    top = page.evaluate(TOP, "fft-twice")
    if page.evaluate(LOOK)[0] != ["fft-errors"] or not 0 <= top < 100:
        said.append("a link leads elsewhere")
    press(page, "Escape")
    page.reload()
    if page.evaluate(ON):
        said.append("it comes back after a reload")
    return said


CLOSED = "!document.querySelector('dialog[open]')"


def check_keys(chapter, language="en", change=None):
    """What has a use for a key keeps it; the first that does not is named."""
    page, said = chapter(language, change=change, anchor="#fft-questions"), []

    def stays(what, *keys):
        """Whether keys neither end it nor let it go on, be it to another section or in this."""
        page.evaluate("() => { scrollTo = (how) => { window.moved = true; scroll(how); }; }")
        page.evaluate("window.moved = false")
        press(page, *keys)
        if not page.evaluate(ON):
            said.append(f"{what}: it ends")
        elif page.evaluate("window.moved"):
            said.append(f"{what}: it goes on")
        return not said

    for modifier in ("ctrl", "alt", "meta", "shift"):
        page.evaluate(
            "(m) => dispatchEvent(new KeyboardEvent('keydown', {key: 'p', [`${m}Key`]: true}))",
            modifier,
        )
        if page.evaluate(ON):
            said.append(f"{modifier} and the key start it")
    press(page, "Control+k", "p")
    if page.evaluate(ON):
        said.append("it starts in the search")
    press(page, "Escape")
    page.wait_for_function(CLOSED)
    press(page, "p", "Control+k")
    page.wait_for_function(f"!({CLOSED})")
    press(page, "Escape")
    page.wait_for_function(CLOSED)
    if said or not page.evaluate(ON):
        return [*said, "search: closing it ends all"]
    options = page.locator("#fft-questions input[type=radio]")
    options.first.focus()
    if not stays("radio group", "p", "n", "ArrowDown", "ArrowRight", " "):
        return said
    if not options.nth(2).is_checked():
        said.append("radio group: its arrows do nothing")
    press(page, "PageDown", "PageDown", "PageDown")  # a remote control
    if at(page) == "fft-questions":
        said.append("radio group: it keeps the page keys")

    page.evaluate("location.hash = 'fft-ex-recall'")
    page.wait_for_function("document.activeElement.closest('#fft-ex-recall')")
    summary = page.locator("#fft-ex-recall summary")
    if not summary.is_visible() or page.locator("#fft-ex-recall details[open]").count():
        said.append("the solution is not folded")
    summary.focus()
    if not (stays("summary", "Enter") and stays("summary", " ")):
        return said
    if page.locator("#fft-ex-recall details[open]").count():
        said.append("summary: Enter and space do not open and close")
    press(page, "Enter")
    if page.locator("#fft-ex-recall details[open]").count() != 1:
        said.append("summary: Enter does not open")

    page = chapter(language, TOUCH, change, "#conv-window-figure")
    page.wait_for_selector(".touch.slide")
    press(page, "p")
    figure = page.locator(".slide")
    figure.locator(".output [aria-current=true]").focus()
    if not stays("figure", "ArrowRight", "ArrowDown"):
        return said
    style = figure.get_attribute("style")
    if "--i: 1; --j: 1;" not in style:
        said.append("figure: its arrows do nothing")
    if figure.bounding_box()["height"] > SIZES[0][1]:
        said.append("figure: it is higher than the screen")
    figure.locator("[type=number]").focus()
    if not stays("number", "ArrowUp", "PageDown", "Home", "p", "n"):
        return said
    figure.locator("[type=checkbox]").focus()
    if not stays("checkbox", " "):
        return said
    if not figure.locator("[type=checkbox]").is_checked():
        said.append("checkbox: the space does nothing")
    return said


def check_words(chapter, language="en", change=None):
    """A line with the keys for four seconds, and a button; all of it in the language."""
    page, said = chapter(language, change=change), []
    page.clock.install()
    button = page.locator(".btn-present")
    label = button.get_attribute("aria-label")
    button.click()
    if not page.evaluate(ON):
        return [*said, "the button does nothing"]
    line = page.locator("#presenter [role=status]")
    if not all(key in line.inner_text() for key in ("→", "↓", "Home", "End", "N", "?", "Esc")):
        said.append(f"not all keys: {line.inner_text()}")
    words = [label, *(text for text in line.locator("span").all_inner_texts())]
    controls = page.locator("#presenter .controls")
    words += [controls.get_attribute("aria-label")]
    words += [it.get_attribute("aria-label") for it in controls.locator("button").all()]
    said += [f"in another language: {word}" for word in words
             if bool(HAN.search(word)) != (language == "zh")]  # fmt: skip
    page.clock.run_for(3500)
    if not line.inner_text():
        said.append("the line with the keys is gone too soon")
    page.clock.run_for(1000)
    if line.inner_text():
        said.append("the line with the keys stays")
    press(page, "?")
    if "Esc" not in line.inner_text():
        said.append("no line with the keys when asked for")
    back, forward, leave = controls.locator("button").all()
    page.evaluate(BOTTOM)
    forward.click()
    forward.click()
    two = count(page)[0]
    back.click()
    if [two, count(page)[0]] != [3, 2]:
        said.append("the buttons do not lead back and forward")
    leave.click()
    if page.evaluate(ON):
        said.append("the button does not end it")
    return said


def check_notes(chapter, language="en", change=None):
    """The notes of the chapter open in a window of their own; the page shows nothing of them."""
    page, said = chapter(language, change=change), []
    press(page, "p", "ArrowRight")
    before = page.inner_text("body")
    with page.context.expect_page() as opened:
        press(page, "n")
    notes = opened.value
    notes.wait_for_load_state("domcontentloaded")
    if not notes.url.endswith(f"/{language}/teaching.html#teaching-{CHAPTER}"):
        said.append(f"it opens {notes.url}")
    if page.inner_text("body") != before or not page.evaluate(ON):
        said.append("the presented page changes")
    notes.close()
    page.evaluate("window.open = () => null")
    press(page, "?")
    keys = page.inner_text("#presenter [role=status]")
    press(page, "n")
    if page.inner_text("#presenter [role=status]") in ("", keys):
        said.append("nothing is said of a window that is blocked")
    return said


PAPER = """() => [...document.querySelectorAll("body *")]
  .filter((it) => it.checkVisibility())
  .map((it) => {
    const { left, top, width, height } = it.getBoundingClientRect();
    return `${it.tagName} ${[left, top + scrollY, width, height].map(Math.round)}`;
  })"""


def check_paper(chapter, language="en", change=None):
    """On paper nothing is changed."""
    page = chapter(language, change=change)
    page.emulate_media(media="print", reduced_motion="reduce")
    before = page.evaluate(PAPER)
    page.emulate_media(media="screen")
    press(page, "p", "End")
    page.emulate_media(media="print")
    after = page.evaluate(PAPER)
    return [] if before == after else [f"on paper: {set(after) ^ set(before)}"[:300]]


def check_motion(chapter, language="en", change=None):
    """It scrolls smoothly, but not for who asks for less motion."""
    said = []
    for motion, behavior in (("reduce", "instant"), ("no-preference", "smooth")):
        page = chapter(language, change=change, reduced_motion=motion)
        press(page, "p")
        page.evaluate("() => { scrollTo = (how) => { window.how = how.behavior; }; }")
        press(page, "PageDown")
        if page.evaluate("window.how") != behavior:
            said.append(f"{motion}: {page.evaluate('window.how')}")
    return said


def check_accessibility(chapter, language="en", change=None, scheme="dark"):
    """What axe-core finds: at the title with the line of keys, and below other sections."""
    page = chapter(language, change=change, color_scheme=scheme)
    press(page, "p")
    said = accessibility(page)
    for cell in ("fft-questions", "fft-errors"):
        page.evaluate("(id) => { location.hash = id; }", cell)
        page.wait_for_function(HELD)
        said += accessibility(page)
    return said


CHECKS = [
    check_way, check_scrolling, check_ends, check_reload, check_keys, check_words, check_notes,
    check_paper, check_motion, check_accessibility,
]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__[6:])
def test_presenter(check, language, chapter):
    assert check(chapter, language) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_scrolls_sideways(language, chapter):
    assert check_way(chapter, language, name=CODE, sizes=SIZES) == []


def test_it_can_be_used_in_the_light(chapter):
    assert check_accessibility(chapter, scheme="light") == []


@pytest.mark.parametrize(("size", "seen"), [((390, 740), False), (SIZES[0], True)])
def test_a_phone_has_no_button(size, seen, chapter):
    assert chapter(size=size).locator(".btn-present").is_visible() is seen


BROKEN = [  # the check, a piece of the script, what is put there, what the check says
    (check_way, 'toggle("away", ', 'toggle("off", ', "the way is"),
    (check_way, 'toggle("above", ', 'toggle("over", ', "lacks the heading"),
    (check_way, "depth < 3", "depth < 2", "the way is"),
    (check_way, "depth < 3", "depth < 1", "the way is"),
    (check_way, "show(at + way, way < 0)", "show(at + 2 * way, way < 0)", "the way is"),
    (check_way, 'add("presenting")', 'add("present")', "beside the section"),
    (check_way, "`${at + 1} / ", "`${at} / ", "is counted as"),
    (check_way, '? 0 : units.length - 1)', '? 1 : units.length - 1)', "Home and End"),
    (check_way, "`#${section.id}`", '"#title"', "the address is"),
    (check_scrolling, "if (ahead.length)", "if (false)", "it does not scroll"),
    (check_scrolling, "last + 0.85 * room", "last + 2 * room", "it skips"),
    (check_scrolling, "last + room)", "last + 2 * room)", "it skips"),
    (check_scrolling, "atEnd ? end() : 0", "0", "another way back"),
    (check_scrolling, "(way * innerHeight) / 4", "way * innerHeight", "for a little"),
    (check_scrolling, 'key === " " && shiftKey ? -1', "false ? -1", "do not lead back"),
    (check_ends, 'if (key === "Escape")', 'if (key === "Esc")', "Escape does not end it"),
    (check_ends, "return on ? leave() :", "return", "p does not end it"),
    (check_ends, "section.scrollIntoView(", "section.matches('a', ", "leads elsewhere"),
    (check_ends, 'remove("presenting")', 'remove("present")', "something is missing"),
    (check_ends, "leave() : start(reading())", "leave() : start(0)", "not where one reads"),
    (check_reload, "{ presenting: true }", "null", "a reload leads elsewhere"),
    (check_reload, "replaceState(null, ", "replaceState(history.state, ", "it comes back"),
    (check_reload, "aim.scrollIntoView(", "aim.matches('a', ", "a link leads elsewhere"),
    (check_keys, "event.ctrlKey || ", "", "ctrl and the key start it"),
    (check_keys, "event.altKey || ", "", "alt and the key start it"),
    (check_keys, "event.metaKey || ", "", "meta and the key start it"),
    (check_keys, '"p" && !shiftKey', '"p"', "shift and the key start it"),
    (check_keys, 'within("dialog") &&', "false &&", "search: closing it ends all"),
    (check_keys, "!typing && key", "key", "radio group: it ends"),
    (check_keys, ': "input, select, textarea', ': "select, textarea', "radio group: it goes on"),
    (check_keys, '"[type=range], [type=number], ', '"input, ', "it keeps the page keys"),
    (check_keys, '"[type=range], [type=number], ', '"[type=range], ', "number: it goes on"),
    (check_keys, '"button, summary, input, ', '"input, ', "summary: it goes on"),
    (check_keys, '"button, summary, input, ', '"button, summary, ', "radio group: it goes on"),
    (check_keys, '"--scale", scale', '"--scale", 1', "higher than the screen"),
    (check_words, '?.addEventListener("click"', '?.addEventListener("cl"', "the button does"),
    (check_words, 'Esc: "leave" }', "}", "not all keys"),
    (check_words, 'Esc: "leave" }', 'Esc: "退出" }', "in another language"),
    (check_words, "4000", "1000", "too soon"),
    (check_words, "4000", "9000", "stays"),
    (check_words, 'if (letter === "?") return list();', "", "when asked for"),
    (check_words, "show(at - 1)", "show(at + 1)", "back and forward"),
    (check_words, "words.leave, () => leave()", "words.leave, () => list()", "does not end it"),
    (check_notes, "#teaching-${page}", "#${page}", "it opens"),
    (check_notes, "say(words.blocked)", "list", "nothing is said"),
    (check_paper, 'toggle("away", ', 'toggle("d-none", ', "on paper"),
    (check_motion, 'still.matches ? "instant" : ', "", "reduce: smooth"),
    (check_motion, 'still.matches ? "instant" : "smooth"', '"instant"', "no-preference: instant"),
    (check_accessibility, '"role", "status"', '"role", "state"', "aria-roles"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "complaint"), BROKEN)
def test_a_broken_script_is_found(check, old, new, complaint, chapter):
    said = check(chapter, change=(old, new))
    assert any(complaint in line for line in said), said


# What the pages load and lead to


def check_loaded(site):
    """A chapter loads the script and has the button; no other page does."""
    said = []
    for language in LANGUAGES:
        chapters = {path.stem for path in paths(f"{language}/*.ipynb")}
        for name, path in pages(site, language).items():
            text = path.read_text(encoding="utf8")
            scripts = len(re.findall(r'<script defer="defer" src="_static/present\.js', text))
            buttons = text.count("btn-present")
            if [scripts, buttons] != [path.stem in chapters] * 2:
                said.append(f"{name}: {scripts} scripts, {buttons} buttons")
    return said


def check_targets(site):
    """The notes of each chapter have the anchor that the key opens."""
    said = []
    for language in LANGUAGES:
        page = soup(site / language / "teaching.html")
        there = {section["id"] for section in page.select("article section[id]")}
        names = [path.stem for path in paths(f"{language}/*.ipynb")]
        missing = [name for name in names if f"teaching-{name}" not in there]
        said += [f"{language}: no notes of {name}" for name in missing]
    return said


def test_script_is_small():
    assert SCRIPT.stat().st_size <= LARGEST


def test_chapters_load_it_and_have_notes(site):
    assert check_loaded(site) + check_targets(site) == []


def test_checks_of_the_pages_complain(site, tmp_path):
    changes = {
        CHAPTER: ("btn-present", "btn-absent"),
        TOUCH: ("present.js", "absent.js"),
        "index": ("</body>", '<button class="btn-present"></button></body>'),
        "teaching": (f'id="teaching-{CHAPTER}"', 'id="x"'),
    }
    for language in LANGUAGES:
        (tmp_path / language).mkdir()
        for name, (old, new) in changes.items():
            text = (site / language / f"{name}.html").read_text(encoding="utf8")
            assert old in text
            text = text.replace(old, new)
            (tmp_path / language / f"{name}.html").write_text(text, encoding="utf8")
    said = check_loaded(tmp_path) + check_targets(tmp_path)
    for complaint in (
        f"en/{CHAPTER}.html: 1 scripts, 0 buttons", f"zh/{TOUCH}.html: 0 scripts, 1 buttons",
        "zh/index.html: 0 scripts, 1 buttons", f"en: no notes of {CHAPTER}",
    ):  # fmt: skip
        assert complaint in said


def check_without_scripts(page, path):
    page.goto(path.as_uri())
    return page.locator(".btn-present").is_visible() or page.locator("#presenter").count() > 0


def test_without_scripts_nothing_is_changed(browser, site, tmp_path):
    page = browser.new_page(java_script_enabled=False)
    path = site / "en" / f"{CHAPTER}.html"
    assert not check_without_scripts(page, path)
    text = path.read_text(encoding="utf8")
    (tmp_path / "a.html").write_text(text.replace("btn-present pst-js-only", "btn-present"), "utf8")
    assert check_without_scripts(page, tmp_path / "a.html")
    page.close()
