"""Promise: the head of a page says what it is, in its language, and where it is in the others."""

import importlib
import re
import unicodedata
from collections import Counter
from xml.etree import ElementTree

import pytest

import test_address
import test_book
from notebooks import LANGUAGES, ROOT
from test_address import BASE
from test_book import HAN, TAG, pages, soup
from test_pages import OTHER

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT / "book"))
    head = importlib.import_module("_ext.head")

addressed = test_address.addressed
change = test_book.change
LOCALE = {"en": "en_US", "zh": "zh_CN"}
MARKUP = re.compile(r"[$\\`<>]|\*\*|\]\(|\{|^#")
XML = {
    "map": "http://www.sitemaps.org/schemas/sitemap/0.9",
    "xhtml": "http://www.w3.org/1999/xhtml",
}


def written(site):
    """The pages that are not made by the builder."""
    found = pages(site, *LANGUAGES).items()
    return {name: soup(path) for name, path in found if not name.endswith("/search.html")}


def metas(page):
    """The contents of the page's <meta> elements by name."""
    found = {}
    for meta in page.select("head meta[content]"):
        found.setdefault(meta.get("property") or meta.get("name"), []).append(meta["content"])
    return found


# The checks: each lists what is wrong


def check_description(site):
    """One description to a page: plain words of the page, in its language, not too long."""
    said = []
    for name, page in written(site).items():
        described = metas(page).get("description", [])
        if len(described) != 1:
            said.append(f"{name}: has {len(described)} descriptions")
            continue
        text, article = described[0], " ".join(page.article.get_text().split())
        if columns(text) > 160 or columns(text) < 20:
            said.append(f"{name}: its description takes {columns(text)} columns")
        if MARKUP.search(text):
            said.append(f"{name}: markup in the description {text!r}")
        if bool(HAN.search(text)) != name.startswith("zh/"):
            said.append(f"{name}: its description is in another language")
        if text.removesuffix("…") not in article:
            said.append(f"{name}: its description does not stand on the page")
    return said


def columns(text):
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def check_card(site):
    """What is shown where a link to the page is shared."""
    said = []
    for name, page in written(site).items():
        language, found = name.split("/")[0], metas(page)
        expected = {
            "og:title": page.article.h1.get_text().removesuffix("#"),
            "og:description": found.get("description", [""])[0],
            "og:site_name": page.title.get_text().split(" — ")[-1],
            "og:type": "website" if name.endswith("/index.html") else "article",
            "og:locale": LOCALE[language],
            "og:locale:alternate": LOCALE[OTHER[language]],
        }
        for key, value in expected.items():
            if found.get(key) != [value]:
                said.append(f"{name}: {key} is {found.get(key)}")
    return said


def check_titles(site):
    """A page has a title of its own."""
    titles = Counter(soup(path).title.get_text() for path in pages(site, *LANGUAGES).values())
    return [f"{count} pages have the title {t!r}" for t, count in titles.items() if count > 1]


def check_places(site):
    """With an address, a page knows its own, and its place in every language."""
    said = []
    for name, page in written(site).items():
        file, own = name.split("/")[1], f"{BASE}/{name}"
        canonical = [link["href"] for link in page.select("link[rel=canonical]")]
        if canonical != [own] or metas(page).get("og:url") != [own]:
            said.append(f"{name}: says that it is at {canonical}, {metas(page).get('og:url')}")
        picture = metas(page).get("og:image", [""])[0].removeprefix(f"{BASE}/")
        if not (site / picture).is_file():
            said.append(f"{name}: has no picture for those who share it: {picture}")
        if alternates(page) != places(file):
            said.append(f"{name}: says of the others {alternates(page)}")
    for name in set(pages(site, *LANGUAGES)) - set(written(site)):
        page = soup(site / name)
        if metas(page).get("robots") != ["noindex"] or alternates(page):
            said.append(f"{name}: is offered to search engines")
    return said


def alternates(page):
    return {link["hreflang"]: link["href"] for link in page.select("link[hreflang]")}


def places(file):
    """The addresses of a page by language; the first page of all is for readers of any other."""
    found = {TAG[code]: f"{BASE}/{code}/{file}" for code in LANGUAGES}
    return {**found, "x-default": f"{BASE}/" if file == "index.html" else found["en"]}


def check_sitemap(site):
    """The sitemap names every page that is written, each with its places; robots.txt names it."""
    tree = ElementTree.fromstring((site / "sitemap.xml").read_text(encoding="utf8"))
    listed = {}
    for url in tree.findall("map:url", XML):
        links = {e.get("hreflang"): e.get("href") for e in url.findall("xhtml:link", XML)}
        listed.setdefault(url.find("map:loc", XML).text, []).append(links)
    expected = {f"{BASE}/{name}": [places(name.split("/")[1])] for name in written(site)}
    said = [f"the sitemap has {a} as {listed.get(a)}" for a in expected.keys() | listed.keys()
            if expected.get(a) != listed.get(a)]  # fmt: skip
    robots = (site / "robots.txt").read_text().splitlines()
    return said + ["robots.txt"] * (f"Sitemap: {BASE}/sitemap.xml" not in robots)


@pytest.mark.parametrize(
    "check", [check_description, check_card, check_titles], ids=lambda check: check.__name__
)
def test_site(check, site):
    assert check(site) == []


@pytest.mark.parametrize("check", [check_places, check_sitemap], ids=lambda check: check.__name__)
def test_addressed(check, addressed):
    assert check(addressed) == []


def test_no_places_until_the_book_has_an_address(site):
    assert not list(site.rglob("sitemap.xml")) + list(site.rglob("robots.txt"))
    assert not [name for name, page in written(site).items() if "og:url" in metas(page)]


NUMBER = "版本 3.11 到 3.14。"
SENTENCE = "A sentence of just forty columns is here."
CLAUSE = "这里是一个分句，"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (SENTENCE, SENTENCE),
        (" ".join([SENTENCE] * 5), " ".join([SENTENCE] * 3)),
        (f"Short one. {'word ' * 40}", f"Short one. {'word ' * 28}word…"),
        (
            "版本 3.11 到 3.14。" + CLAUSE * 20,
            "版本 3.11 到 3.14。" + CLAUSE * 7 + CLAUSE[:-1] + "…",
        ),
        (CLAUSE * 8 + "到这里结束。" + CLAUSE * 8, CLAUSE * 8 + "到这里结束。"),
    ],
)
def test_shorten(text, short):
    assert head.shorten(text.strip()) == short
    assert columns(short) <= 160


# Each check complains about a broken copy

META = r'<meta (property|name)="{}" content="[^"]*">'
DESCRIBED = r'(<meta name="description" content=")'


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_description, META.format("description"), "", "zh/0*.html", "0 descriptions"),
        (check_description, DESCRIBED, rf"\1{'a' * 160}", "zh/0*.html", "columns"),
        (check_description, DESCRIBED, r"\1A $x$ and `y`. ", "en/0*.html", "markup"),
        (check_description, DESCRIBED, r"\1一", "en/0*.html", "another language"),
        (check_description, DESCRIBED, r"\1Not here. ", "en/0*.html", "does not stand"),
        (check_card, META.format("og:title"), "", "en/0*.html", "og:title is None"),
        (check_card, "en_US", "zh_CN", "en/0*.html", "og:locale is ['zh_CN']"),
        (check_card, 'content="website"', 'content="book"', "en/i*.html", "og:type is ['book']"),
        (check_titles, "<title>[^<]*</title>", "<title>Chapter</title>", "*/*.html", ""),
    ],
)
def test_check_complains(check, pattern, replacement, where, complaint, change):
    copy = change(pattern, replacement, where)
    if check is check_titles:
        other = (copy / "zh" / "search.html").read_text(encoding="utf8")
        other = re.sub(pattern, replacement, other, flags=re.DOTALL)
        (copy / "zh" / "search.html").write_text(other, encoding="utf8")
        complaint = "2 pages have the title 'Chapter'"
    said = check(copy)
    assert any(complaint in finding for finding in said), said


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_places, r'rel="canonical" href="[^"]*', r"\g<0>x", "zh/0*.html", "it is at"),
        (check_places, META.format("og:url"), "", "zh/0*.html", "it is at"),
        (check_places, META.format("og:image"), "", "zh/0*.html", "no picture"),
        (check_places, "card.png", "nothing.png", "zh/0*.html", "no picture"),
        (check_places, r'hreflang="x-default" href="[^"]*', r"\g<0>x", "zh/0*", "of the others"),
        (check_places, META.format("robots"), "", "zh/search.html", "offered to search engines"),
        (check_sitemap, r"<url>.*?</url>", "", "sitemap.xml", "as None"),
        (check_sitemap, r"</urlset>", r"<url><loc>x</loc></url>\g<0>", "sitemap.xml", "has x as"),
        (check_sitemap, r"zh/01-one", "en/01-one", "sitemap.xml", "the sitemap has"),
        (check_sitemap, r"Sitemap", "Map", "robots.txt", "robots.txt"),
    ],
)
def test_addressed_check_complains(
    check, pattern, replacement, where, complaint, addressed, tmp_path
):
    changed = test_book.change.__wrapped__(addressed, tmp_path)
    said = check(changed(pattern, replacement, where))
    assert any(complaint in finding for finding in said), said
