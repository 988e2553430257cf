"""Promise: who wants to cite the book, or comes to a page that is not there, is helped."""

import re
import subprocess
import sys
import textwrap

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe

import test_address
import test_book
from notebooks import LANGUAGES, ROOT
from test_address import BASE
from test_book import HAN, check_links, soup
from test_pages import NARROW, WIDE, WIDER, listen

addressed = test_address.addressed
change = test_book.change
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
CHINESE = CONFIG["sphinx"]["config"]["languages"]["zh"]["settings"]["title"]
TITLE = {"en": CITATION["title"], "zh": CHINESE}


# The checks: each lists what is wrong


def check_citation(site):
    """The first page says how to cite: authors and title of CITATION.cff, and its own address."""
    said = []
    for language in LANGUAGES:
        name, page = f"{language}/index.html", soup(site / language / "index.html")
        box = page.select_one("#how-to-cite")
        if box is None:
            said.append(f"{name}: does not say how to cite the book")
            continue
        if bool(HAN.search(box.summary.get_text())) != (language == "zh"):
            said.append(f"{name}: names the citation in another language")
        bibtex = box.pre.get_text()
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", bibtex, re.MULTILINE))
        if not re.fullmatch(r"@\w+\{[\w-]+,\n(  \w+ = \{.*\},\n)+\}", bibtex):
            said.append(f"{name}: no BibTeX: {bibtex}")
        for what in (CITATION["authors"][0]["name"], TITLE[language], f"{BASE}/{language}/"):
            plain = [text.replace("{", "").replace("}", "") for text in fields.values()]
            if what not in box.p.get_text() or what not in plain:
                said.append(f"{name}: {what} is not cited")
    return said


def check_not_found(site, base=""):
    """It leads to both languages, from wherever it is shown, and loads nothing."""
    page = soup(site / "404.html")
    there = {a.get("href") for a in page.select("a")}
    names = ("index", "search", "glossary")
    said = [
        f"does not lead to {language}/{name}"
        for language in LANGUAGES
        for name in names
        if f"{language}/{name}.html" not in there
    ]
    if (page.base["href"] if page.base else "") != base:
        said.append(f"its base is {page.base}")
    loads = page.select("script[src], img, iframe, link:not([href='data:,'])")
    return said + [f"loads {element}" for element in loads]


def test_citation(addressed):
    assert check_citation(addressed) == []


def test_no_citation_until_there_is_an_address_to_cite(site):
    assert not any(soup(site / lang / "index.html").select("#how-to-cite") for lang in LANGUAGES)


def test_the_book_has_one_name():
    assert CONFIG["title"] == CITATION["title"]


def test_not_found(site, addressed):
    assert check_not_found(site) == []
    assert check_not_found(addressed, f"{BASE}/") == []


PROGRAM = """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    from types import SimpleNamespace as Space
    from _ext import citation
    people = [{"given-names": "Ada", "family-names": "Lovelace"}, {"name": "The Analysts"}]
    names = ", ".join(map(citation.author, people))
    cited = {"people": people, "authors": names, "date-released": "2027-05-06"}
    config = Space(citation=cited, language_code="en", html_title="On PyTorch and SciPy")
    config.html_baseurl = "https://a.org/en/"
    app = Space(config=config, last_changes={"a": "2026-01-01", "b": "2026-12-31"})
    print(citation.in_words(app), citation.as_bibtex(app), sep="\\n")
    del cited["date-released"]
    print(citation.year(app))
    app.last_changes = {}
    print("year" in citation.as_bibtex(app), citation.in_words(app))
"""


def test_people_and_years():
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(ROOT / "book")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [
        "Ada Lovelace, The Analysts. On PyTorch and SciPy. 2027. https://a.org/en/",
        "@book{extending-pytorch,",
        "  author = {Ada Lovelace and {The Analysts}},",
        "  title = {On {PyTorch} and {SciPy}},",
        "  year = {2027},",
        "  url = {https://a.org/en/},",
        "}",
        "2026",
        "False Ada Lovelace, The Analysts. On PyTorch and SciPy. https://a.org/en/",
    ]


# In a browser


def look(page, path, site):
    """All that is wrong with a page that no language has: narrow and wide, light and dark."""
    said = listen(page, site)
    for size, scheme in (NARROW, "light"), (WIDE, "dark"):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.goto(path.as_uri())
        said += page.evaluate(WIDER)
        said += [v["id"] for v in Axe().run(page).response["violations"]]
    return said


def test_look_of_not_found(page, site):
    assert look(page, site / "404.html", site) == []


def order(browser, site, address, language):
    """The languages of the sections, as they stand on the screen at this address."""
    with browser.new_context(locale=language) as context:
        page = context.new_page()
        text = (site / "404.html").read_text(encoding="utf8")
        page.route("**/*", lambda r: r.fulfill(status=404, body=text, content_type="text/html"))
        page.goto(address)
        tops = "(all) => all.map((s) => [s.getBoundingClientRect().top, s.lang || 'en'])"
        return [lang for _, lang in sorted(page.eval_on_selector_all("section", tops))]


def test_not_found_begins_with_the_language_of_the_address(browser, addressed):
    for address, reader, first in [
        (f"{BASE}/zh/old/page.html", "en-GB", "zh-CN"),
        (f"{BASE}/en/page.html", "zh-CN", "en"),
        (f"{BASE}/page.html", "zh-CN", "zh-CN"),
        (f"{BASE}/page.html", "fr-FR", "en"),
    ]:
        assert order(browser, addressed, address, reader)[0] == first


def test_not_found_leads_home_from_any_depth(browser, addressed):
    with browser.new_context() as context:
        page = context.new_page()
        text = (addressed / "404.html").read_text(encoding="utf8")
        page.route("**/*", lambda r: r.fulfill(body=text, content_type="text/html"))
        page.goto(f"{BASE}/zh/very/deep/page.html")
        page.click("section:lang(zh) a")
        assert page.url == f"{BASE}/zh/index.html"


# Each check complains about a broken copy


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_citation, 'id="how-to-cite"', "", "zh/index.html", "does not say how to cite"),
        (check_citation, "怎样引用本书", "Cite", "zh/index.html", "another language"),
        (check_citation, r"\},\n  title", "}\n  title", "en/index.html", "no BibTeX"),
        (check_citation, "The authors of", "Someone of", "en/index.html", "is not cited"),
        (check_citation, r"(url = \{.*?)/zh/", r"\1/en/", "zh/index.html", "is not cited"),
        (check_not_found, 'href="zh/search.html"', "", "404.html", "lead to zh/search"),
        (check_not_found, "<base [^>]*>", "", "404.html", "its base is"),
        (check_not_found, "</main>", "<img src='a.png'></main>", "404.html", "loads"),
        (check_links, "zh/glossary.html", "zh/terms.html", "404.html", "does not exist"),
    ],
)
def test_check_complains(check, pattern, replacement, where, complaint, addressed, tmp_path):
    copy = test_book.change.__wrapped__(addressed, tmp_path)(pattern, replacement, where)
    said = check(copy, f"{BASE}/") if check is check_not_found else check(copy)
    assert any(complaint in finding for finding in said), said


def test_look_complains(page, site, change):
    bad = "<p style='color: #eee; width: 90rem'>wide and pale</p><img src='none.png'></main>"
    copy = change("</main>", bad, "404.html")
    said = look(page, copy / "404.html", copy)
    assert {"color-contrast", "image-alt"} <= set(said)
    assert any("scrolls sideways" in finding for finding in said)
