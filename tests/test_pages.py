"""Promise: in a browser, from a file, every page shows what it should, to all, in any width."""

import contextlib
import functools
import re
import shutil
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError

from notebooks import LANGUAGES, ROOT
from test_book import TAG, pages, soup

NARROW, WIDE = ({"width": 360, "height": 740}, {"width": 1280, "height": 900})
OTHER = {"en": "zh", "zh": "en"}
WORDS = {"en": ["gradient", "NumPy"], "zh": ["梯度", "反向传播", "NumPy"]}
MATHEMATICS = r"""() => {
  const said = [...document.querySelectorAll("mjx-merror, [data-mjx-error]")]
    .map((error) => `mathematics fails: ${error.dataset.mjxError || error.textContent}`);
  for (const math of document.querySelectorAll("article .math"))
    if (!math.querySelector("mjx-container")) said.push(`not typeset: ${math.textContent}`);
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const [text, inside] = [texts.currentNode.data, texts.currentNode.parentElement];
    if (/\\[([]|\$\$|\\begin\{/.test(text) && !inside.closest("pre, code, script, mjx-container"))
      said.push(`TeX in the text: ${text.trim()}`);
  }
  return said;
}"""
WIDER = """() => {
  const right = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= right) return [];
  const wide = [...document.querySelectorAll("main *")]
    .filter((element) => element.getBoundingClientRect().right > right + 1).slice(0, 3);
  return [`scrolls sideways: ${wide.map((element) => element.outerHTML.slice(0, 120))}`];
}"""

REACHED = """() => [...document.querySelectorAll("pre")]
  .every((box) => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"""  # a moment later
KINDS_OF_TEXT = """() => {
  const kinds = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (const mark of document.querySelectorAll("[data-kind]")) mark.removeAttribute("data-kind");
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const { color, fontSize, fontWeight, textShadow } = getComputedStyle(element);
    const kind = [color, fontSize, fontWeight, textShadow];
    for (let e = element; e; e = e.parentElement) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
      if (backgroundColor !== "rgba(0, 0, 0, 0)") kind.push(backgroundColor);
      if (backgroundImage !== "none" || opacity !== "1") kind.push(backgroundImage, opacity);
    }
    if (!kinds.has(kind.join())) element.setAttribute("data-kind", "");
    kinds.add(kind.join());
  }
}"""  # a page has thousands of texts, and each kind has one contrast


def listen(page, site):
    """A list to which the page adds what it asks for outside the site, and its errors."""
    said = []

    def request(route):
        url = route.request.url
        if url.startswith((site.as_uri(), "data:", "blob:")):
            route.continue_()
        else:
            said.append(f"asks for {url}")
            route.abort()

    def console(message):
        if message.type in ("error", "warning"):
            said.append(f"console: {message.text}")

    page.route("**/*", request)
    page.on("console", console)
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("requestfailed", lambda request: said.append(f"did not get {request.url}"))
    return said


def go(page, path, anchor=""):
    page.goto(path.as_uri() + anchor)


def accessibility(page):
    """What axe-core finds, the animations being over; each kind of text is looked at once."""
    page.evaluate("Promise.all(document.getAnimations().map((a) => a.finished.catch(() => 0)))")
    page.evaluate(KINDS_OF_TEXT)
    options = {"resultTypes": ["violations"], "preload": False}  # a file cannot fetch its styles
    runs = [
        (None, {**options, "rules": {"color-contrast": {"enabled": False}}}),
        ({"include": [["[data-kind]"]]}, {**options, "runOnly": ["color-contrast"]}),
    ]
    found = [v for context, o in runs for v in Axe().run(page, context, o).response["violations"]]
    return [f"{v['id']}: {v['help']}: {n['html'][:200]}" for v in found for n in v["nodes"][:3]]


def look(page, path, site):
    """All that is wrong with a page: narrow and wide, light and dark."""
    said = listen(page, site)
    page.set_viewport_size(NARROW)
    page.emulate_media(color_scheme="light")
    go(page, path)
    said += page.evaluate(MATHEMATICS)
    said += accessibility(page)
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    said += page.evaluate(WIDER)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(WIDE)
    page.wait_for_function("getComputedStyle(document.body).colorScheme === 'dark'")
    with contextlib.suppress(TimeoutError):  # then axe says so
        page.wait_for_function(REACHED, timeout=3000)
    said += page.evaluate(WIDER)
    said += [f"in the dark: {finding}" for finding in accessibility(page)]
    return said


def every_page():
    """The pages of both languages, known before the book is built."""
    toc = (ROOT / "_toc.yml").read_text(encoding="utf8")
    names = [*re.findall(r"notebooks/en/(\S+)", toc), "search"]
    return [f"{language}/{name}.html" for language in LANGUAGES for name in names]


@pytest.mark.parametrize("name", every_page())
def test_page(name, page, site):
    assert not look(page, site / name, site)


def test_no_page_is_forgotten(site):
    assert set(every_page()) == set(pages(site, *LANGUAGES))


BROKEN = {  # what is put into a page, and what the look at it says
    "<script src='https://cdn.example/a.js'></script>": "asks for https://cdn.example/a.js",
    "<img src='missing.png' alt='A picture'>": "did not get file:",
    "<script>console.error('oh')</script>": "console: oh",
    "<script>nothing.at.all()</script>": "error: nothing is not defined",
    r"<p>The sum \(a + b\) is small.</p>": "TeX in the text",
    r"<p><span class='math'>a + b</span></p>": "not typeset: a + b",
    "<mjx-merror data-mjx-error='Undefined'></mjx-merror>": "mathematics fails: Undefined",
    "<details><summary>a</summary><hr style='width: 50rem'></details>": "scrolls sideways: <",
    "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>": "image-alt",
    "<p style='background: #fff; color: #ddd'>pale</p>": "color-contrast",
    "<p id=dim>dim</p><style>[data-theme=dark] #dim { color: #222 }</style>": 'id="dim"',
}


def test_look_complains(page, site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    path = copy / "en" / "setup.html"
    text = path.read_text(encoding="utf8")
    path.write_text(text.replace("</article>", "".join(BROKEN) + "</article>"), encoding="utf8")
    said = look(page, path, copy)
    assert [c for c in BROKEN.values() if not any(c in finding for finding in said)] == []


# The start page


def start_page(page, site, language, script=True):
    page = page.context.browser.new_context(locale=language, java_script_enabled=script).new_page()
    page.goto((site / "index.html").as_uri())
    return page


@pytest.mark.parametrize(("language", "goes"), [("zh-CN", "zh"), ("en-GB", "en"), ("fr", "en")])
def test_start_page_goes_to_the_language_of_the_browser(language, goes, page, site):
    opened = start_page(page, site, language)
    opened.wait_for_url(f"**/{goes}/index.html")
    opened.context.close()


def test_start_page_offers_both_languages_without_scripts(page, site):
    opened = start_page(page, site, "zh-CN", script=False)
    opened.click("a[lang=en]")
    assert opened.url == (site / "en" / "index.html").as_uri()
    opened.context.close()


# The language switch


def chapter(site, language):
    """The first chapter, and the ids of its second section and its last."""
    path = sorted((site / language).glob("0*.html"))[0]
    _, second, *_, last = (section["id"] for section in soup(path).select("section section"))
    return path, [second, last]


def to_other(language):
    return f'.lang-switch a[lang="{TAG[OTHER[language]]}"]'


def other(path, language):
    return path.parents[1] / OTHER[language] / path.name


@pytest.mark.parametrize("language", LANGUAGES)
def test_switch_keeps_the_section_of_the_address(language, page, site):
    path, sections = chapter(site, language)
    go(page, path, f"#{sections[0]}")
    page.click(to_other(language))
    assert page.url == other(path, language).as_uri() + f"#{sections[0]}"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_switch_keeps_the_section_that_is_read(language, by, page, site):
    path, sections = chapter(site, language)
    for section in sections if by == "mouse" else sections[:1]:
        go(page, path)
        scroll = "(id) => document.getElementById(id).scrollIntoView({behavior: 'instant'})"
        page.evaluate(scroll, section)
        if by == "mouse":
            page.click(to_other(language))
        else:
            press_tab_until(page, to_other(language))
            page.keyboard.press("Enter")
            page.wait_for_url("**#*")
        assert page.url == other(path, language).as_uri() + f"#{section}"


def press_tab_until(page, selector, limit=40):
    for _ in range(limit):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"{limit} tabs do not reach {selector}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_switch_works_without_scripts(language, browser, site):
    path, _ = chapter(site, language)
    page = browser.new_page(java_script_enabled=False)
    page.goto(path.as_uri())
    page.click(to_other(language))
    assert page.url == other(path, language).as_uri()
    page.close()


# Search


@functools.cache
def texts(site, language):
    """What stands in each page of a language."""
    found = {name.split("/")[1]: soup(path) for name, path in pages(site, language).items()}
    articles = {name: page.select_one("article") for name, page in found.items()}
    return {name: article.get_text() for name, article in articles.items() if article}


def missed(page, site, language, word):
    """The pages that have the word, and that a search for it does not find."""
    there = {n for n, t in texts(site, language).items() if re.search(rf"{word}", t, re.IGNORECASE)}
    assert there, f"no page has {word}"
    page.goto((site / language / "search.html").as_uri() + f"?q={word}")
    page.wait_for_function(
        "!document.querySelector('#search-progress')?.textContent.match(/[.…]$/)"
    )
    page.wait_for_selector("#search-results .search-summary")
    links = page.eval_on_selector_all("#search-results li a", "(all) => all.map((a) => a.href)")
    return there - {Path(link.split("?")[0].split("#")[0]).name for link in links}


@pytest.mark.parametrize(("language", "word"), [(k, word) for k in WORDS for word in WORDS[k]])
def test_search_finds_every_page_with_a_word(language, word, page, site):
    assert not missed(page, site, language, word)


def test_missed_pages_are_seen(page, site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    index = copy / "zh" / "searchindex.js"
    index.write_text(index.read_text(encoding="utf8").replace(r"\u68af\u5ea6", "x"))
    assert missed(page, copy, "zh", "梯度")


@pytest.mark.parametrize("language", LANGUAGES)
def test_search_as_you_type(language, page, site):
    go(page, site / language / "index.html")
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").press_sequentially(WORDS[language][0])
    page.keyboard.press("Shift")  # an input method ends with a key, too
    found = page.locator("#pst-search-dialog li a").first
    target = found.get_attribute("href")
    found.click()
    page.wait_for_url(f"**/{language}/{target.split('/')[-1]}*")
    assert WORDS[language][0] in page.locator("article").inner_text().lower()
