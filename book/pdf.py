"""Make one PDF of the whole book in each language: python book/pdf.py [--output FOLDER]

Builds the site (see build.py), puts its pages together in the order of the table of contents and
lets the browser print them, to FOLDER/site/<language>/book.pdf: with an outline, links, selectable
text and vector mathematics.
"""

import argparse
import re
import sys
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import build
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright
from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

sys.path.insert(0, str(build.ROOT / "tools"))
import run

STYLE = """
@page { size: A4; margin: 18mm 16mm; @bottom-center { content: counter(page); } }
@page :first { @bottom-center { content: none; } }
html { font-size: 10.5pt; }
body { background: none; }
.bd-article { break-before: page; }
.bd-article { padding: 0; }
.bd-article h1 { display: block !important; font-size: 1.9rem; }
.bd-article :is(h1, h2, h3), .cover h1 { text-wrap: wrap; }
.cover { break-after: page; padding-top: 60mm; text-align: center; }
.cover ol { margin-top: 30mm; padding: 0; list-style: none; text-align: start; line-height: 1.8; }
pre { font-size: .8rem; }
a { text-decoration: none; }
.headerlink, .copybtn { display: none; }
"""
FRAME = """<!doctype html>
<html lang="{language}" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><title>{title}</title>
{head}
<style>{style}</style></head>
<body><div class="bd-main"><div class="bd-content"><div class="bd-article-container">
<section class="cover"><h1>{title}</h1><ol>
{contents}
</ol></section>
{articles}
</div></div></div></body>
</html>
"""
RADICAL = re.compile(rb"<(2[EF][0-9A-Fa-f]{2})>(?=\s*[<\n\r]|$)")
# radicals that Unicode's compatibility mapping leaves as they are
SIMPLIFIED = dict(zip(
    "⺁⺄⺈⺋⺍⺎⺏⺐⺑⺒⺓⺔⺗⺘⺙⺛⺝⺞⺠⺡⺢⺣⺥⺦⺧⺨⺫⺬⺭⺮⺯⺰⺱⺲⺳⺴⺵⺶⺷⺹⺻⺼⺽⺾⺿⻀⻁⻂⻃⻄⻅⻆⻈⻉⻊⻋⻍⻎⻏⻐⻑⻒⻓⻔⻖⻗⻘⻙⻚⻛⻜⻝⻟⻠⻢⻣⻤⻥⻦⻧⻨⻩⻪⻫⻬⻭⻮⻯⻰⻱⻲",
    "厂乙刀㔾小兀尣尢尢巳幺彑心扌攵旡月歺民氵氺灬爫丬牛犭罒示礻竹糹纟罓罒罒网罓羊羊耂聿肉臼艹艹艹虎衤覀西见角讠贝足车辶辶阝钅長镸长门阝雨青韦页风飞食飠饣马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀",
    strict=True,
))  # fmt: skip
POINTS = ("id", "for", "aria-labelledby", "aria-describedby")


def order(toc):
    """The pages in the order of the table of contents, and the captions of its parts."""
    yield "page", Path(toc["root"]).name
    for part in toc.get("parts", []):
        if "caption" in part:
            yield "part", part["caption"]
        for chapter in part["chapters"]:
            yield "page", Path(chapter["file"]).name


def article(folder, name, names, address):
    """A page's article, its ids and links made unique in a document that holds all pages."""
    page = BeautifulSoup((folder / f"{name}.html").read_text(encoding="utf8"), "html.parser")
    found = page.select_one("article")
    found.name, found["id"] = "div", name
    for element in found.select("script, .headerlink, .question input, details.code"):
        element.decompose()  # code that was folded would be a third of the paper
    for fold in found.select("details"):
        fold["open"] = ""
    for image in found.select("img"):
        image["loading"] = "eager"  # nobody scrolls on paper
    for section in found.select("section"):
        section.name = "div"  # in the outline, a section's heading would be of a lower level
    for element in found.find_all(True):
        for attribute in POINTS:
            if element is not found and element.get(attribute):
                element[attribute] = f"{name}--{element[attribute]}"
    for link in found.select("a[href]"):
        target = re.fullmatch(r"(?:([\w-]+)\.html)?(?:#(.*))?", link["href"])
        if target and (target[1] or name) in names:
            to, anchor = target[1] or name, unquote(target[2] or "")
            link["href"] = f"#{to}--{anchor}" if anchor else f"#{to}"
        elif not re.match(r"https?:|mailto:", link["href"]):  # a file beside the pages
            if address:
                link["href"] = address + link["href"]
            else:
                link.unwrap()
    return found, page


def join(site, code):
    """The whole book of a language as one page, beside the pages that it is made from."""
    config = build.language_config(build.read("_config.yml"), code)
    captions = config["sphinx"]["config"]["languages"][code].get("captions")
    entries = list(order(build.language_toc(build.read("_toc.yml"), captions)))
    names = {name for kind, name in entries if kind == "page"}
    articles, contents, head, language = [], [], {}, ""
    for kind, name in entries:
        if kind == "part":
            contents.append(f"<li><strong>{name}</strong></li>")
            continue
        found, page = article(site / code, name, names, config["html"]["baseurl"])
        articles.append(str(found))
        contents.append(f'<li><a href="#{name}">{found.h1.decode_contents()}</a></li>')
        language = page.html["lang"]
        head |= {str(e): e for e in page.head.select("link[rel=stylesheet]")}
    path = site / code / "book.html"
    path.write_text(
        FRAME.format(
            language=language, title=config["title"], head="\n".join(head), style=STYLE,
            contents="\n".join(contents), articles="\n".join(articles),
        ),
        encoding="utf8",
    )  # fmt: skip
    return path


def mend_text(path, headings):
    """Name Chinese characters as they are, and headings with the spaces where their lines break.

    Fonts draw 页 and the radical ⻚ alike, and the browser notes the radical: searching for 页
    would find nothing.
    """
    whole = {"".join(heading.split()): heading for heading in headings}
    writer = PdfWriter(path, incremental=True)
    for number in range(1, len(writer._objects) + 1):
        thing = writer._objects[number - 1]
        if not isinstance(thing, DictionaryObject):
            continue
        if "/ToUnicode" in thing:
            stream = thing["/ToUnicode"]
            stream.set_data(RADICAL.sub(ideograph, stream.get_data()))
        if "/Title" in thing and "/Dest" in thing:
            title = "".join(thing["/Title"].split())
            thing[NameObject("/Title")] = TextStringObject(whole.get(title, thing["/Title"]))
    writer.write(path)


def ideograph(code):
    """The character that a radical stands for, as UTF-16 in hexadecimal digits."""
    radical = chr(int(code[1], 16))
    character = SIMPLIFIED.get(radical) or unicodedata.normalize("NFKC", radical)
    return b"<%04X>" % ord(character)


def make(site, code, browser):
    """Print the book of one language; return the PDF's path."""
    page = browser.new_page()
    joined = join(site, code)
    try:
        page.goto(joined.as_uri())
        page.evaluate("document.fonts.ready.then(() => true)")
        pdf = joined.with_suffix(".pdf")
        options = {"prefer_css_page_size": True, "print_background": True}
        page.pdf(path=pdf, outline=True, tagged=True, **options)
        headings = page.locator(":is(h1, h2, h3, h4)").all_text_contents()
        mend_text(pdf, [" ".join(heading.split()) for heading in headings])
    finally:
        joined.unlink()
        page.close()
    return pdf


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=build.ROOT / "_build", metavar="FOLDER")
    folder = parser.parse_args().output.resolve()
    build.build(folder)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=run.find_browser(), args=run.BARE)
        for code in build.read("_config.yml")["sphinx"]["config"]["languages"]:
            print(f"Printed {make(folder / 'site', code, browser)}", flush=True)
    build.finish(folder / "site")  # the first pages offer it, and the zip holds it
