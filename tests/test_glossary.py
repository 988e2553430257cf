"""Promise: each term has one definition, in both languages, and each chapter shows it."""

import importlib
import io
import re
import textwrap
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import Comment, NavigableString
from playwright.sync_api import TimeoutError
from sphinx.application import Sphinx

import test_book
from notebooks import LANGUAGES, ROOT
from test_book import HAN, TAG, by_id, pages, soup
from test_pages import NARROW, OTHER, WIDE, WIDER
from test_wording import TERMS, check_chinese, check_english

change = test_book.change
DEFINED = {
    re.sub(r"[^a-z0-9]+", "-", term["en"].lower().replace("'", "")): term
    for term in TERMS["terms"]
    if "means" in term
}
NAME = {"en": "Nyquist frequency", "zh": "奈奎斯特频率"}  # a term with one use or more in 03
TERM = "#nyquist-frequency"
# elements and classes that are not running prose
APART = set(
    [
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "a",
        "code",
        "pre",
        "table",
        "details",
        "fieldset",
        "img",
        "script",
        "math",
        "caption",
        "cell",
    ]
)


# The checks: each lists what is wrong


def check_terms(terms):
    """A term has one entry, with a name and a definition in both languages."""
    said = []
    for language in LANGUAGES:
        names = [name.lower() for t in terms for name in names_of(t, language)]
        said += [f"{n} stands {names.count(n)} times" for n in set(names) if names.count(n) > 1]
    for term in terms:
        name, means = term["en"], term.get("means")
        if unknown := set(term) - {"en", "zh", "everyday", "also", "means"}:
            said.append(f"{name}: what is {unknown}?")
        if not HAN.search(term["zh"]):
            said.append(f"{name}: {term['zh']} is not Chinese")
        if means is None:
            continue
        if set(means) != set(LANGUAGES):
            said.append(f"{name} is defined in {sorted(means)}")
            continue
        if HAN.search(means["en"]) or not HAN.search(means["zh"]):
            said.append(f"{name}: a definition is in the wrong language")
        if not re.fullmatch(r"[^.].*[^.]\.", means["en"]) or means["zh"][-1] != "。":
            said.append(f"{name}: a definition is a sentence, with its full stop")
        slips = check_english(means["en"]) + check_chinese(means["zh"])
        said += [f"{name}: {slip}" for slip in slips]
    return said


def check_entries(site):
    """The glossary has every defined term with translation and definition, in English order."""
    said = []
    for language in LANGUAGES:
        there = by_id(site / language / "glossary.html")
        order = [i for i in there if i in DEFINED]
        if order != sorted(DEFINED, key=lambda anchor: DEFINED[anchor]["en"].lower()):
            said.append(f"{language}: missing, or not in order: {set(DEFINED) - set(order)}")
        for anchor in order:
            term, entry = DEFINED[anchor], there[anchor]
            means = entry.find_next_sibling("dd").get_text().strip()
            called = entry.get_text().replace("’", "'")
            if called != f"{term[language]} {term[OTHER[language]]}":
                said.append(f"{language}: {anchor} is called {called}")
            if entry.span["lang"] != TAG[OTHER[language]]:
                said.append(f"{language}: {anchor} has its translation in {entry.span['lang']}")
            if means != term["means"][language].replace("`", ""):
                said.append(f"{language}: {anchor} is defined as {means}")
    return said


def names_of(term, language):
    return [term["en"], *term.get("also", [])] if language == "en" else [term["zh"]]


def uses(text, language):
    """The uses of terms in a text: begin, end, anchor (or None). Longer terms hide shorter."""
    names = {n.lower(): t for t in TERMS["terms"] for n in names_of(t, language)}
    anchors = {term["en"]: anchor for anchor, term in DEFINED.items()}
    if language == "zh":
        pattern = "|".join(sorted(names, key=len, reverse=True))
    else:
        longest = "|".join(sorted(names, key=len, reverse=True)).replace(" ", r"[\s-]+")
        pattern = rf"(?<![\w-])({longest})(s?)(?![\w-])".replace("'", "['’]")
    for found in re.finditer(pattern, text, re.IGNORECASE):
        name = found[0].lower().replace("’", "'")
        candidates = [name, name.removesuffix("s")]
        candidates += [re.sub(r"[\s-]+", " ", candidate) for candidate in candidates]
        term = next(names[c] for c in candidates if c in names)
        yield found.start(), found.end(), anchors.get(term["en"])


def prose(element):
    """The texts of the running prose, each with its links: begin, end, element."""
    text, links = "", []
    for child in [*element.children, None]:
        if isinstance(child, Comment):
            continue
        if isinstance(child, NavigableString):
            text += child
            continue
        kinds = {child.name, *child.get("class", [])} if child is not None else set()
        if "term" in kinds:
            links.append((len(text), len(text) + len(child.get_text()), child))
            text += child.get_text()
            continue
        yield text, links
        text, links = "", []
        if child is not None and not kinds & APART:
            yield from prose(child)


def check_first_uses(site):
    """In each chapter the first use of each defined term is linked, and nothing else is."""
    said = []
    for name, path in pages(site, *LANGUAGES).items():
        language = name.split("/")[0]
        page, seen, linked = soup(path), set(), set()
        chapter = re.search(r"/\d+-", name)
        for text, links in prose(page.find("article")) if chapter else []:
            spans = {(begin, end): link for begin, end, link in links}
            for begin, end, anchor in uses(text, language):
                if anchor is None or anchor in seen:
                    continue
                seen.add(anchor)
                link = spans.get((begin, end))
                if link is None or link["href"] != f"glossary.html#{anchor}":
                    said.append(f"{name}: the first {text[begin:end]!r} is not linked")
                    continue
                linked.add(id(link))
                shown = [link.get(f"data-{key}") for key in ("name", "other", "means")]
                term = DEFINED[anchor]
                if shown != [term[language], term[OTHER[language]], term["means"][language]]:
                    said.append(f"{name}: the preview of {anchor} shows {shown}")
        said += [
            f"{name}: {link.get_text()!r} is linked where no term is used first"
            for link in page.find_all("a", class_="term")
            if id(link) not in linked
        ]
    return said


def check_preview(page, path, by):
    """By mouse, keyboard or touch a term shows its definition, which goes away when told to."""
    said, link, box = [], page.locator(f'a.term[href$="{TERM}"]'), page.locator("#preview")
    means = DEFINED[TERM[1:]]["means"][path.parent.name].replace("`", "")
    page.goto(path.as_uri())
    link.scroll_into_view_if_needed()
    before = link.bounding_box()
    size = page.evaluate("document.documentElement.scrollHeight")

    def seen(visible, when):
        state = "visible" if visible else "hidden"
        try:
            box.wait_for(state=state, timeout=3000 if visible else 1000)
        except TimeoutError:
            said.append(f"{by}: {'no' if visible else 'a'} preview {when}")

    if by == "keyboard":
        page.keyboard.press("Tab")
    {"mouse": link.hover, "keyboard": link.focus, "touch": link.tap}[by]()
    seen(True, "of a term")
    if said:
        return said
    if means not in box.inner_text():
        said.append(f"{by}: the preview says {box.inner_text()!r}")
    described = page.evaluate(
        "(a) => document.getElementById(a.getAttribute('aria-describedby'))?.textContent",
        link.element_handle(),
    )
    if described != means:
        said.append(f"{by}: the term is described as {described!r}")
    if (link.bounding_box(), page.evaluate("document.documentElement.scrollHeight")) != (
        before, size,
    ):  # fmt: skip
        said.append(f"{by}: the text has moved")
    if page.url != path.as_uri():
        said.append(f"{by}: has left the page")
    if by == "mouse" and not said:
        box.hover()
        page.wait_for_timeout(400)
        seen(True, "that the mouse is on")
    page.keyboard.press("Escape")
    seen(False, "after Escape")
    return said


def test_terms():
    assert not check_terms(TERMS["terms"])


@pytest.mark.parametrize("check", [check_entries, check_first_uses], ids=lambda c: c.__name__)
def test_site(check, site):
    assert not check(site)


def chapter(site, language):
    """A chapter that uses the term."""
    return site / language / "03-fft-layer.html"


@pytest.fixture
def page(browser):
    with browser.new_context() as context:
        yield without_pictures(context.new_page())


@pytest.fixture
def phone(browser):
    with browser.new_context(viewport=NARROW, has_touch=True, is_mobile=True) as context:
        yield without_pictures(context.new_page())


def without_pictures(page):
    """The page, which need not wait for formulas and drawings."""

    def fulfill(route):
        text = Path(url2pathname(urlsplit(route.request.url).path)).read_text(encoding="utf8")
        text = re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)
        route.fulfill(body=text, content_type="text/html; charset=utf-8")

    page.route("**/mathjax/**", lambda route: route.abort())
    page.route("**/03-*.html", fulfill)
    return page


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("by", ["mouse", "keyboard", "touch"])
def test_preview(language, by, site, page, phone):
    path = chapter(site, language)
    assert not check_preview(phone if by == "touch" else page, path, by)


def test_preview_goes_away_with_the_mouse_and_the_focus(site, page):
    page.goto(chapter(site, "en").as_uri())
    page.hover(f'a.term[href$="{TERM}"]')
    page.wait_for_selector("#preview", state="visible")
    page.mouse.move(2, 2)
    page.wait_for_selector("#preview", state="hidden")
    page.keyboard.press("Tab")
    page.focus(f'a.term[href$="{TERM}"]')
    page.wait_for_selector("#preview", state="visible")
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('#preview')")
    page.wait_for_selector("#preview a[href$='glossary.html" + TERM + "']", state="hidden")


@pytest.mark.parametrize("selector", ["#preview a", f'a.term[href$="{TERM}"]'])
def test_second_tap_leads_to_the_glossary(selector, site, phone):
    phone.goto(chapter(site, "zh").as_uri())
    phone.tap(f'a.term[href$="{TERM}"]')
    phone.wait_for_selector("#preview", state="visible")
    phone.tap(selector)
    phone.wait_for_url(f"**/zh/glossary.html{TERM}")
    assert NAME["zh"] in phone.locator(":target").inner_text()


def test_links_lead_to_the_glossary_by_keyboard_and_without_scripts(site, page, browser):
    page.goto(chapter(site, "en").as_uri())
    page.focus(f'a.term[href$="{TERM}"]')
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/en/glossary.html{TERM}")
    plain = browser.new_page(java_script_enabled=False)
    plain.goto(chapter(site, "en").as_uri())
    plain.click(f'a.term[href$="{TERM}"]')
    assert plain.url == (site / "en" / "glossary.html").as_uri() + TERM
    plain.close()


def check_open_preview(page, path, scheme, size):
    """An open preview fits the screen, and can be read by all."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    page.goto(path.as_uri())
    page.keyboard.press("Tab")
    page.focus(f'a.term[href$="{TERM}"]')
    page.wait_for_selector("#preview", state="visible")
    said, box = page.evaluate(WIDER), page.locator("#preview").bounding_box()
    if box["x"] < 0 or box["x"] + box["width"] > size["width"]:
        said.append("the preview does not fit the screen")
    return said + [v["id"] for v in Axe().run(page, context="#preview").response["violations"]]


@pytest.mark.parametrize(("scheme", "size"), [("light", NARROW), ("dark", WIDE)])
def test_open_preview(scheme, size, site, page):
    path = chapter(site, "zh" if scheme == "light" else "en")
    assert not check_open_preview(page, path, scheme, size)


# Each check complains about a broken copy

GOOD = {"en": "adjoint", "zh": "伴随", "means": {"en": "A map.", "zh": "一个映射。"}}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"means": {"en": "A map."}}, "is defined in ['en']"),
        ({"means": {"en": "A map.", "zh": "A map."}}, "wrong language"),
        ({"means": {"en": "A map", "zh": "一个映射。"}}, "full stop"),
        ({"means": {"en": "It is just a map.", "zh": "一个映射。"}}, "'just'"),
        ({"means": {"en": "A map.", "zh": "雅克比矩阵。"}}, "never 雅克比"),
        ({"means": {"en": "A map.", "zh": "函数`f`。"}}, "a space between"),
        ({"zh": "adjoint"}, "is not Chinese"),
        ({"mean": "A map."}, "what is"),
    ],
)
def test_a_broken_term_is_found(changes, complaint):
    assert check_terms([GOOD]) == []
    assert any(complaint in said for said in check_terms([{**GOOD, **changes}]))


def test_a_term_with_two_entries_is_found():
    other = {**GOOD, "zh": "转置", "en": "transpose", "also": ["Adjoint"]}
    assert check_terms([GOOD, other]) == ["adjoint stands 2 times"]
    assert check_terms([GOOD, {**GOOD, "en": "transpose"}]) == ["伴随 stands 2 times"]


LINK = '<a class="term" href="glossary.html#{}">{}</a>'


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_entries, r'<dt id="adjoint">.*?</dt>', "", "en/glossary.html", "{'adjoint'}"),
        (check_entries, 'lang="en">adjoint', 'lang="en">joint', "zh/glossary.html", "伴随 joint"),
        (check_entries, 'lang="zh-CN">伴随', 'lang="en">伴随', "en/glossary.html", "in en"),
        (check_entries, r"(</dt><dd><p>)[^<]*", r"\1What?", "*/glossary.html", "is defined as"),
        (
            check_first_uses,
            r'<a class="term"[^>]*>([^<]*)</a>',
            r"\1",
            "*/0*.html",
            "is not linked",
        ),
        (check_first_uses, r'(class="term"[^>]*#)', r"\1x", "*/0*.html", "not linked"),
        (check_first_uses, 'data-means="', 'data-means="Not: ', "*/0*.html", "preview of"),
        (
            check_first_uses,
            "</article>",
            f"<p>{LINK.format('phase', 'phase')}</p></article>",
            "en/03*.html",
            "'phase' is linked where",
        ),
        (
            check_first_uses,
            "</article>",
            f"<p>{LINK.format('convolution', '卷积')}核</p></article>",
            "zh/03*.html",
            "'卷积' is linked where",
        ),
        (
            check_first_uses,
            "</article>",
            "<p>A custom\noperator</p></article>",
            "en/03*.html",
            r"the first 'custom\noperator' is not linked",
        ),
    ],
)
def test_check_complains(check, pattern, replacement, where, complaint, change, site):
    copy = change(pattern, replacement, where)
    for path in copy.glob("*/0*.html"):  # the other chapters need not be read again
        if path.read_bytes() == (site / path.relative_to(copy)).read_bytes():
            path.unlink()
    said = check(copy)
    assert any(complaint in finding for finding in said), said


@pytest.mark.parametrize(
    ("by", "old", "new", "complaint"),
    [
        (
            "mouse",
            'addEventListener("pointerenter", (event)',
            'addEventListener("x", (event)',
            "no",
        ),
        ("mouse", 'box.addEventListener("pointerenter"', 'box.addEventListener("x"', "mouse is on"),
        (
            "mouse",
            "box.showPopover();",
            "link.before(`Hm `); box.showPopover();",
            "moved",
        ),
        ("keyboard", '"focus", () => {', '"x", () => {', "no preview"),
        ("keyboard", '"Escape"', '"F9"', "after Escape"),
        ("keyboard", '"aria-describedby", ', '"data-x", ', "described as None"),
        ("touch", "event.preventDefault(), ", "", "no preview"),
    ],
)
def test_preview_check_complains(by, old, new, complaint, site, page, phone):
    script = (site / "en" / "_static" / "book.js").read_text(encoding="utf8")
    assert old in script
    page = phone if by == "touch" else page
    page.route("**/book.js*", lambda route: route.fulfill(body=script.replace(old, new)))
    said = check_preview(page, chapter(site, "en"), by)
    assert any(complaint in finding for finding in said), said


def test_open_preview_check_complains(site, page):
    style = "#preview { width: 90rem; max-width: none } #preview p { color: #ddd }"
    add = f"document.head.insertAdjacentHTML('beforeend', '<style>{style}</style>')"
    page.add_init_script(f"addEventListener('DOMContentLoaded', () => {add})")
    said = check_open_preview(page, chapter(site, "en"), "light", NARROW)
    assert "the preview does not fit the screen" in said
    assert "color-contrast" in said


# Where terms begin and end, and terms that no glossary has


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        ("en", "Filters, a filtered one, a filter-bank", ["Filters"]),
        ("en", "half-spectrum, cross correlation", ["half-spectrum", "correlation"]),
        ("en", "an order of magnitude, two orders of magnitude", []),
        ("en", "Parseval’s theorem", ["Parseval’s theorem"]),
        ("en", "a transposed\nconvolution", ["transposed\nconvolution"]),
        ("zh", "卷积核和卷积层", ["卷积"]),
        ("zh", "转置卷积", ["转置卷积"]),
    ],
)
def test_terms_are_found_whole(language, text, found, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    glossary = importlib.import_module("_ext.glossary")
    terms = TERMS["terms"]
    hits = glossary.pattern(terms, language).finditer(text)
    defined = [h for h in hits if "means" in terms[int(h.lastgroup[1:].split("_")[0])]]
    assert [h[0] for h in defined] == found
    assert [text[b:e] for b, e, anchor in uses(text, language) if anchor] == found


def small_book(folder, chapter, glossary="[terms](terms.yml)"):
    """Build a glossary and one chapter with Sphinx alone; return the chapter and the warnings."""
    config = """
        own = ["cells", "figures", "languages", "glossary"]
        extensions = ["myst_parser", *(f"_ext.{name}" for name in own)]
        languages = {"en": {"tag": "en"}, "zh": {"tag": "zh-CN"}}
        myst_enable_extensions = ["dollarmath"]
        html_theme = "basic"
    """
    files = {
        "conf.py": textwrap.dedent(config),
        "terms.yml": "",
        "index.md": "# Book\n\n```{toctree}\nglossary\n01-a\n```\n",
        "glossary.md": f"# Glossary\n\n{glossary}\n",
        "01-a.md": chapter,
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf8")
    said = io.StringIO()
    out = folder / "out"
    app = Sphinx(folder, folder, out, out / "trees", "html", status=io.StringIO(), warning=said)
    app.build()
    return soup(out / "01-a.html").select_one("div.body"), said.getvalue()


CHAPTER = """# The adjoint

*Figure: the adjoint.*

> **Predict.** See `adjoint`, $adjoint$, [the adjoint](glossary.md) and
**not-adjoint**. *The finite
differences* of two adjoints. The adjoint again, a bin, and a bin.

| adjoint |
| --- |
| phase |

- The phase.
"""


def test_running_prose_is_linked(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    page, said = small_book(tmp_path, CHAPTER)
    assert said == ""
    links = [(link.parent.name, link.get_text()) for link in page.select("a.term")]
    expected = [("em", "finite\ndifferences"), ("p", "adjoints"), ("p", "bin"), ("p", "phase")]
    assert links == expected


def test_a_term_without_an_entry_is_a_warning(tmp_path, monkeypatch):
    """And in the book's build a warning is an error."""
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    _, said = small_book(tmp_path, CHAPTER, glossary="")
    assert "no glossary has the term 'adjoint'" in said
