"""Promise: the pages are valid HTML: parsed without an error, each element where it may stand.

The parser is html5lib's, which follows the standard to the letter. What an element may hold is
checked below for all elements that the pages use. Nothing is excused: the theme's pages are valid,
too. (The W3C's checker, which needs Java, finds no error either. Two of its warnings are about the
theme: role="main" on <main> says what is clear, and an <article> has its heading in a <section>.)
"""

import re

import html5lib
import pytest

import test_address
import test_book
from test_book import pages, soup

addressed = test_address.addressed
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
TEXT = HEADINGS | {  # elements that hold text and its markup, no blocks
    "abbr", "b", "button", "cite", "code", "em", "i", "kbd", "label", "legend", "p", "pre", "q",
    "s", "small", "span", "strong", "sub", "sup", "time", "u", "var",
}  # fmt: skip
BLOCKS = HEADINGS | {
    "address", "article", "aside", "blockquote", "details", "dialog", "div", "dl", "fieldset",
    "figure", "footer", "form", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table",
    "ul",
}  # fmt: skip
HOLDS = {  # the only elements that these may have inside, directly
    "ul": {"li"}, "ol": {"li"}, "dl": {"dt", "dd", "div"}, "tr": {"th", "td"},
    "table": {"caption", "colgroup", "thead", "tbody", "tfoot", "tr"}, "colgroup": {"col"},
    "thead": {"tr"}, "tbody": {"tr"}, "tfoot": {"tr"}, "select": {"option", "optgroup"},
}  # fmt: skip
ONLY_IN = {  # and the only elements that these may stand in, directly
    "li": {"ul", "ol"}, "dt": {"dl", "div"}, "dd": {"dl", "div"}, "tr": {"table", *HOLDS["table"]},
    "th": {"tr"}, "td": {"tr"}, "summary": {"details"}, "figcaption": {"figure"},
    "legend": {"fieldset"}, "option": {"select", "optgroup", "datalist"},
    "source": {"picture", "video", "audio"}, "title": {"head", "svg"}, "meta": {"head"},
}  # fmt: skip
INTERACTIVE = "a[href], button, input:not([type=hidden]), select, textarea, label, details, iframe"
OBSOLETE = "acronym, big, center, dir, font, frame, marquee, nobr, strike, tt"
OBSOLETE_ATTRIBUTES = {
    "align", "bgcolor", "border", "cellpadding", "cellspacing", "clear", "hspace", "nowrap",
    "valign", "vspace",
}  # fmt: skip
NAMES_IDS = ("for", "aria-labelledby", "aria-describedby", "aria-controls", "aria-owns")


def check_parsing(site):
    """The parser finds no error."""
    said = []
    for name, path in pages(site).items():
        parser = html5lib.HTMLParser()
        parser.parse(path.read_text(encoding="utf8"))
        said += [f"{name}: line {line}: {kind} {what}" for (line, _), kind, what in parser.errors]
    return said


def check_content(site):
    """Each element stands where it may stand, and has what it must have."""
    said = []
    for name, path in pages(site).items():
        page = soup(path)
        said += [f"{name}: {finding}" for finding in {**dict.fromkeys(find(page))}]
    return said


def find(page):
    for element in page.find_all(True):
        tag, parent = element.name, element.parent.name
        if element.find_parent("svg"):
            continue
        if tag in BLOCKS and (around := element.find_parent(TEXT)):
            yield f"<{tag}> in <{around.name}>"
        if parent in HOLDS and tag not in HOLDS[parent] | {"script", "template"}:
            yield f"<{tag}> directly in <{parent}>"
        if tag in ONLY_IN and parent not in ONLY_IN[tag]:
            yield f"<{tag}> directly in <{parent}>"
        for attribute in OBSOLETE_ATTRIBUTES & set(element.attrs):
            yield f"<{tag} {attribute}> is obsolete"
        for attribute in NAMES_IDS:
            for id in element.get(attribute, "").split():
                if page.find(id=id) is None:
                    yield f"<{tag} {attribute}> names {id}, which is not there"
    for element in page.select(INTERACTIVE):
        if around := element.find_parent(["a", "button"]):
            yield f"<{element.name}> in <{around.name}>"
    for element in page.select(OBSOLETE):
        yield f"<{element.name}> is obsolete"
    for element in page.select("img:not([alt]), img:not([src]), a[href=''], html:not([lang])"):
        yield f"<{element.name}> lacks something"
    for element in page.select("details"):
        if [child.name for child in element.find_all(True, recursive=False)].index("summary") != 0:
            yield "<details> begins without <summary>"
    for element in page.find_all(HEADINGS):
        if not element.get_text(strip=True):
            yield f"<{element.name}> is empty"
    for one in ("title", "h1", "main"):
        if len(page.select(f"{one}:not(svg *)")) > (2 if one == "h1" else 1):  # one is for print
            yield f"more than one <{one}>"


@pytest.mark.parametrize("check", [check_parsing, check_content], ids=lambda c: c.__name__)
def test_site(check, site, addressed):
    assert check(site) == []
    assert check(addressed) == []


# Each check complains about a broken page


@pytest.mark.parametrize(
    ("check", "html", "complaint"),
    [
        (check_parsing, "<p>a</b></p>", "unexpected-end-tag"),
        (check_parsing, "<p><div>a</div></p>", "unexpected-end-tag"),
        (check_parsing, "<a href='x'>a <a href='y'>b</a></a>", "unexpected-start-tag"),
        (check_parsing, "<table><p>a</p></table>", "unexpected-start-tag-implies"),
        (check_parsing, "<p class='a' class='b'>c</p>", "duplicate-attribute"),
        (check_parsing, "<section>", "end-tag-too-early"),
        (check_parsing, "&nothing;", "named-entity"),
        (check_content, "<span><div>a</div></span>", "<div> in <span>"),
        (check_content, "<h2>a<p>b</p></h2>", "<p> in <h2>"),
        (check_content, "<ul><p>a</p></ul>", "<p> directly in <ul>"),
        (check_content, "<div><li>a</li></div>", "<li> directly in <div>"),
        (check_content, "<dl><p>a</p></dl>", "<p> directly in <dl>"),
        (check_content, "<p align='center'>a</p>", "<p align> is obsolete"),
        (check_content, "<center>a</center>", "<center> is obsolete"),
        (check_content, "<label for='none-such'>a</label>", "<label for> names none-such"),
        (check_content, "<a href='x'><button>a</button></a>", "<button> in <a>"),
        (check_content, "<button><a href='x'>a</a></button>", "<a> in <button>"),
        (check_content, "<img src='x'>", "<img> lacks something"),
        (check_content, "<details><p>a</p><summary>b</summary></details>", "without <summary>"),
        (check_content, "<h2></h2>", "<h2> is empty"),
        (check_content, "<main></main>", "more than one <main>"),
        (check_content, "<meta name='a' content='b'>", "<meta> directly in <main>"),
    ],
)
def test_check_complains(check, html, complaint, addressed, tmp_path):
    changed = test_book.change.__wrapped__(addressed, tmp_path)
    said = check(changed("</main>", f"{html}</main>", "en/index.html"))
    assert any(re.match("en/index.html: ", finding) for finding in said)
    assert any(complaint in finding for finding in said), said


def test_every_element_is_known(site):
    """The table above says of each element that the pages use what may stand in it."""
    free = {  # may hold anything that may stand around it, or nothing at all
        "a", "article", "aside", "blockquote", "body", "br", "col", "dd", "details", "dialog",
        "div", "dt", "fieldset", "figure", "figcaption", "footer", "form", "head",
        "header", "hr", "html", "img", "input", "li", "link", "main", "meta", "mjx-container",
        "nav", "noscript", "script", "section", "style", "summary", "svg", "td", "template", "th",
        "title",
    }  # fmt: skip
    used = {
        element.name
        for path in pages(site).values()
        for element in soup(path).find_all(True)
        if not element.find_parent(["svg", "mjx-container"])
    }
    assert used <= free | TEXT | set(HOLDS)
