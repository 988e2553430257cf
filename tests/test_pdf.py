"""Promise: the PDF of a language is the whole book: outline, links, text one can select."""

import re
import shutil
import sys
from pathlib import Path

import pypdfium2
import pytest
from pypdf import PdfReader

from notebooks import LANGUAGES, ROOT, paths, read
from test_book import soup

sys.path.insert(0, str(ROOT / "book"))
import pdf

SENTENCE = {"en": "Nobody stores", "zh": "没有人真的去算"}  # in chapter 02


def outline(entries):
    """The titles of a PDF's outline, in order."""
    for entry in entries:
        if isinstance(entry, list):
            yield from outline(entry)
        else:
            yield entry.title


def plain(text):
    """Text without the spaces that a line break or a formula leaves."""
    return re.sub(r"\s+", "", text)


def check_pdf(path, site, language):
    """List what the PDF lacks."""
    reader, said = PdfReader(path), []
    titles = {plain(title) for title in outline(reader.outline)}
    for page in sorted((site / language).glob("*.html")):
        if page.stem != "search":
            heading = plain(soup(page).h1.get_text().removesuffix("#"))
            said += [] if heading in titles else [f"the outline lacks {heading}"]
    with pypdfium2.PdfDocument(path) as document:
        text = plain("".join(page.get_textpage().get_text_range() for page in document))
    said += [] if plain(SENTENCE[language]) in text else ["its text cannot be found"]
    if radicals := set(re.findall("[\u2e80-\u2fdf]", text)):
        said.append(f"radicals stand for characters: {radicals}")
    for number, page in enumerate(reader.pages, 1):
        for note in page.get("/Annots", []):
            action = note.get_object().get("/A", {})
            if str(action.get("/URI", "")).startswith("file:"):
                said.append(f"page {number} links to {action['/URI']}")
    fonts = {str(f) for page in reader.pages for f in page["/Resources"].get("/Font", {})}
    said += [] if len(fonts) > 5 else ["mathematics is not set in fonts"]
    if reader.metadata.title != soup(site / language / "index.html").h1.get_text().rstrip("#"):
        said.append(f"its title is {reader.metadata.title}")
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_pdf(language, site, browser, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    path = pdf.make(copy, language, browser)
    assert check_pdf(path, copy, language) == []
    assert not (copy / language / "book.html").exists()


def test_check_complains(site, browser, tmp_path):
    """A book of one page, with a link to a file and nothing else, lacks nearly everything."""
    copy = shutil.copytree(site, tmp_path / "site")
    page = browser.new_page()
    page.set_content("<title>Another</title><h1>A page</h1><a href='file:///a.html'>a</a>")
    page.pdf(path=tmp_path / "a.pdf", outline=True, tagged=True)
    said = check_pdf(tmp_path / "a.pdf", copy, "en")
    page.close()
    for complaint in ("the outline lacks", "cannot be found", "links to file:", "not set in fonts",
                      "its title is Another"):  # fmt: skip
        assert any(complaint in line for line in said), complaint


def test_links_lead_into_the_document(site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    joined = pdf.join(copy, "en")
    page = soup(joined)
    targets = {element["id"] for element in page.find_all(id=True)}
    links = [a["href"] for a in page.select(".bd-article a[href], .cover a[href]")]
    assert {link[1:] for link in links if link.startswith("#")} <= targets
    assert all(re.match("#|https?:|mailto:", link) for link in links)
    assert len(page.select(".bd-article")) == len(list((copy / "en").glob("*.html"))) - 2
    assert len(targets) == len(page.find_all(id=True))
    chapter = read(paths("en/0*.ipynb")[0])["cells"]
    assert f"{paths('en/0*.ipynb')[0].stem}--{chapter[2]['id']}" in targets
    assert Path(joined).parent == copy / "en"
