"""Promise: the book builds without a warning, and nothing in it points to what is not there."""

import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

from notebooks import LANGUAGES, ROOT, paths, read, tags

TAG = {"en": "en", "zh": "zh-CN"}  # <html lang>
HAN = re.compile("[\u4e00-\u9fff]")
TAIWAN = re.compile("列印|檔|頁|網|顯|連結|佈|體|資訊|程式|軟|滑鼠|預設")
LOADED = {  # elements that make a browser fetch something, and where they name it
    "script": ["src"], "link": ["href"], "img": ["src", "srcset"], "iframe": ["src"],
    "source": ["src", "srcset"], "video": ["src", "poster"], "audio": ["src"],
    "embed": ["src"], "object": ["data"], "image": ["href", "xlink:href"],
}  # fmt: skip
TOLD = {
    "alternate",
    "canonical",
    "next",
    "prev",
    "search",
    "index",
}  # <link rel> that loads nothing
FOR_ROBOTS = {"robots.txt", "sitemap.xml", "card.png"}  # no page needs them


# What is in a site


@functools.lru_cache(maxsize=80)  # every page of the site, and some broken copies
def parse(text):
    """A page, and its elements that have an id, as pairs of id and element."""
    page = BeautifulSoup(text, "html.parser")
    return page, [(element["id"], element) for element in page.find_all(id=True)]


def soup(path):
    return parse(path.read_text(encoding="utf8"))[0]


def ids(path):
    return [i for i, _ in parse(path.read_text(encoding="utf8"))[1]]


def by_id(path):
    return dict(parse(path.read_text(encoding="utf8"))[1])


def pages(site, *languages):
    """The pages of these languages (or of the whole site) by their paths in the site."""
    found = {p.relative_to(site).as_posix(): p for p in sorted(site.rglob("*.html"))}
    assert found, f"no page below {site}"
    return {n: p for n, p in found.items() if not languages or n.split("/")[0] in languages}


def references(site):
    """All that pages and style sheets point to: page, element's name, address."""
    for name, path in pages(site).items():
        for element in soup(path).find_all(["a", *LOADED]):
            for attribute in LOADED.get(element.name, ["href"]):
                if element.get(attribute):
                    yield name, element, element[attribute]
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf8")
        for address in re.findall(r"""(?:url\(|@import\s+)\s*["']?([^"')\s;]+)""", text):
            yield path.relative_to(site).as_posix(), None, address


def is_external(address):
    return bool(re.match(r"(?!data:)[a-z][a-z0-9+.-]*:|//", address, re.IGNORECASE))


def resolve(site, name, address):
    """The file and the id that an address on a page leads to."""
    parts = urlsplit(address)
    path = (site / name).parent / unquote(parts.path) if parts.path else site / name
    return Path(os.path.normpath(path)), unquote(parts.fragment)


def cells(language):
    """The page's path in the site, and its cells that can be seen, for each notebook."""
    for path in paths(f"{language}/*.ipynb"):
        shown = [cell for cell in read(path)["cells"] if "remove-cell" not in tags(cell)]
        yield f"{language}/{path.stem}.html", shown


# The checks: each lists what is wrong


def check_toc(root):
    """The table of contents names every page of both languages, and only those."""
    toc = re.findall(r"notebooks/en/(\S+)", (root / "_toc.yml").read_text(encoding="utf8"))
    said = [f"_toc.yml names {name} twice" for name in set(toc) if toc.count(name) > 1]
    for language in LANGUAGES:
        folder = root / "notebooks" / language
        there = {p.stem for p in folder.iterdir() if p.suffix in {".md", ".ipynb"}}
        said += [f"{language}/{name} is missing" for name in sorted(set(toc) - there)]
        said += [f"_toc.yml does not name {language}/{name}" for name in sorted(there - set(toc))]
    return said


def check_links(site):
    """What a page or a style sheet points to exists, down to the anchor."""
    said = []
    for name, element, address in references(site):
        if is_external(address) or address.startswith("data:"):
            continue
        if element is not None and element.name == "a" and address == "#":
            continue  # this page
        file, anchor = resolve(site, name, address)
        if file.is_dir():
            said.append(f"{name}: {address} is a folder")
        elif not file.exists():
            said.append(f"{name}: {address} does not exist")
        elif anchor and file.suffix == ".html" and anchor not in ids(file):
            said.append(f"{name}: {address} has no such anchor")
    return said


def check_offline(site):
    """No page or style sheet loads anything from outside."""
    return [
        f"{name}: loads {address}"
        for name, element, address in references(site)
        if is_external(address)
        and (element is None or element.name != "a")
        and not (element is not None and TOLD & set(element.get("rel", [])))
    ]


def check_unused(site):
    """Every file is there because a page needs it."""
    used = {site / name for name in FOR_ROBOTS}
    used |= {resolve(site, n, a)[0] for n, _, a in references(site) if not is_external(a)}
    said = []
    for path in site.rglob("*"):
        name = path.relative_to(site).as_posix()
        if path.is_file() and path.suffix != ".html" and path not in used:
            said.append(f"{name} is used by no page")
    return said


def check_ids(site):
    """An id stands once on a page."""
    return [
        f"{name}: the id {i!r} stands {count} times"
        for name, path in pages(site).items()
        for i, count in Counter(ids(path)).items()
        if count > 1
    ]


def check_anchors(site):
    """Both languages have the same pages, with the same anchors in the same order."""
    names = {
        language: {n.split("/", 1)[1]: p for n, p in pages(site, language).items()}
        for language in LANGUAGES
    }
    said = [f"only one language has {n}" for n in sorted(set(names["en"]) ^ set(names["zh"]))]
    for name in sorted(set(names["en"]) & set(names["zh"])):
        en, zh = (
            [e["id"] for e in soup(names[language][name]).select("article [id]")]
            for language in LANGUAGES
        )
        if en != zh:
            said.append(f"{name}: anchors differ: {sorted(set(en) ^ set(zh)) or 'their order'}")
    for language in LANGUAGES:
        for name, shown in cells(language):
            there = set(ids(site / name))
            said += [f"{name}: no anchor {c['id']}" for c in shown if c["id"] not in there]
    return said


def check_switch(site):
    """The language switch leads from every page to the same page of the other language."""
    said = []
    for name in pages(site, *LANGUAGES):
        language, page = name.split("/", 1)
        links = soup(site / name).select(".lang-switch a")
        found = {link.get("lang"): resolve(site, name, link["href"])[0] for link in links}
        if found != {TAG[code]: site / code / page for code in LANGUAGES}:
            said.append(f"{name}: the language switch leads to {list(map(str, found.values()))}")
        current = [link.get("lang") for link in links if link.get("aria-current")]
        if current != [TAG[language]]:
            said.append(f"{name}: the language switch marks {current}")
    return said


def check_lang(site):
    """A page says its language."""
    return [
        f"{name}: <html lang> is {soup(path).html.get('lang')!r}"
        for name, path in pages(site, *LANGUAGES).items()
        if soup(path).html.get("lang") != TAG[name.split("/")[0]]
    ]


def check_alt(site):
    """A figure's alternative text is its cell's; every picture has one in the page's language."""
    said = []
    for name, path in pages(site, *LANGUAGES).items():
        for image in soup(path).select("article img"):
            alt = image.get("alt", "").strip()
            if not alt or bool(HAN.search(alt)) != name.startswith("zh/"):
                said.append(f"{name}: a picture's alternative text is {alt!r}")
    for language in LANGUAGES:
        for name, shown in cells(language):
            there = by_id(site / name)
            for cell in (cell for cell in shown if cell["cell_type"] == "code"):
                images = there[cell["id"]].select("img") if cell["id"] in there else []
                if [i.get("alt") for i in images] != [cell["metadata"].get("alt")] * len(images):
                    said.append(f"{name}: {cell['id']} has lost its alternative text")
    return said


def check_folds(site):
    """Solutions, hints, and the code of `setup`, `recap` and `hide-input` cells are folded."""
    said = []
    for language in LANGUAGES:
        for name, shown in cells(language):
            there = by_id(site / name)
            for cell in shown:
                element = there[cell["id"]]
                if "questions" in element.get("class", []):
                    continue  # answers, shown one by one (test_questions.py)
                for kind in "solution", "hint":
                    folded = element.find_parent("details", class_=kind)
                    if bool(folded) != (kind in tags(cell)):
                        said.append(f"{name}: {cell['id']} is {'not ' * (not folded)}folded")
                if "hint" in tags(cell) and folded and not folded.summary.get_text(strip=True):
                    said.append(f"{name}: {cell['id']} is folded without a title")
                code = cell["cell_type"] == "code" and element.select("details.code .cell_input")
                if bool(code) != bool(tags(cell) & {"setup", "recap", "hide-input"}):
                    said.append(f"{name}: the code of {cell['id']} is {'not ' * (not code)}folded")
        for name, path in pages(site, language).items():
            said += [f"{name}: a fold is open" for _ in soup(path).select("details[open]")]
    return said


def check_mathematics(site):
    """A page with mathematics has the style sheet for it, and only such a page."""
    said = []
    for name, path in pages(site, *LANGUAGES).items():
        styled = bool(soup(path).select('link[href$="mathematics.css"]'))
        if styled != bool(soup(path).select(".math")):
            said.append(f"{name}: {'has' if styled else 'lacks'} the style of mathematics")
        if soup(path).find("script", src=re.compile("mathjax", re.IGNORECASE)):
            said.append(f"{name}: loads MathJax")
        if soup(path).select("mjx-merror"):
            said.append(f"{name}: a formula fails")
    return said


def check_words(site):
    """What the interface says on a Chinese page is Chinese, as it is written on the mainland."""
    said = []
    for name, path in pages(site, "zh").items():
        words = [
            (element.name, element[attribute])
            for element in soup(path).find_all(True)
            for attribute in ("title", "aria-label", "placeholder", "data-bs-title")
            if element.get(attribute) and element.name != "link"
        ]
        words += [
            (e.name, e.get_text(" ", strip=True))
            for e in soup(path).select("button, summary, .prev-next-subtitle, .tocsection, footer")
        ]
        for element, word in words:
            latin = re.sub(r"Ctrl|\bK\b|\.\w+|[^A-Za-z]", "", word)  # keys and names of formats
            if latin and not HAN.search(word):
                said.append(f"{name}: <{element}> says {word!r}")
            if TAIWAN.search(word):
                said.append(f"{name}: <{element}> says {word!r}, as written in Taiwan")
    return said


CHECKS = [
    check_links, check_offline, check_unused, check_ids, check_anchors, check_switch, check_lang,
    check_alt, check_folds, check_mathematics, check_words,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_site(check, site):
    assert not check(site)


def test_toc():
    assert not check_toc(ROOT)


# Each check complains about a broken copy


@pytest.fixture
def change(site, tmp_path):
    """Copy the site with one change in the first page, of those asked for, that has the text."""

    def change(pattern, replacement, where="*/*.html"):
        copy = shutil.copytree(site, tmp_path / "site")
        for path in sorted(copy.glob(where)):
            text, count = re.subn(
                pattern, replacement, path.read_text(encoding="utf8"), count=1, flags=re.DOTALL
            )
            if count:
                path.write_text(text, encoding="utf8")
                return copy
        raise AssertionError(f"no page has {pattern}")

    return change


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_links, r'href="setup\.html', 'href="set-up.html', "*/*.html", "does not exist"),
        (check_links, r'href="#[\w-]+"', 'href="#nowhere"', "*/*.html", "no such anchor"),
        (check_links, r"_static/book\.js", "_static/look.js", "*/*.html", "does not exist"),
        (check_links, r"fa-solid-900\.woff2", "fa.woff2", "*/_static/styles/*.css", "fa.woff2"),
        (check_links, r'<img [^>]*src="', r"\g<0>x", "*/*.html", "does not exist"),
        (
            check_offline,
            "<head>",
            '<head><script src="//cdn.net/a.js"></script>',
            "*/*.html",
            "cdn",
        ),
        (check_offline, "^", "@import 'https://fonts.net/a.css';", "*/_static/*.css", "fonts.net"),
        (check_offline, "<main", "<img src='http://a.net/b.png'><main", "*/*.html", "a.net"),
        (check_ids, "<main", '<p id="title"></p><main', "*/0*.html", "'title' stands 2 times"),
        (check_anchors, 'id="setup"', 'id="set-up"', "*/0*.html", "no anchor setup"),
        (check_anchors, "</article>", '<p id="more"></p></article>', "zh/index.html", "['more']"),
        (check_switch, r'href="../zh/', 'href="../zh/../zh/x', "en/index.html", "leads to"),
        (check_switch, r' aria-current="true"', "", "en/index.html", "marks []"),
        (check_lang, '<html lang="zh-CN"', '<html lang="en"', "zh/index.html", "'en'"),
        (check_alt, r'(<img [^>]*?)alt="[^"]*"', r"\1", "*/0*.html", "lost its"),
        (check_alt, r'(<img [^>]*?)alt="[^"]*"', r'\1alt="A line"', "zh/0*.html", "'A line'"),
        (check_folds, r'<details class="[^"]*solution', '<div class="', "*/0*.html", "not folded"),
        (check_folds, r'<details class="[^"]*hint', '<div class="', "*/17*.html", "not folded"),
        (check_folds, r"<summary>(提示|Hint)[^<]*", "<summary>", "*/17*.html", "without a title"),
        (check_folds, r'<details class="[^"]*code', '<details class="', "*/0*.html", "the code of"),
        (check_folds, r"<details ", "<details open ", "*/0*.html", "is open"),
        (check_mathematics, r"_static/mathematics\.css", "a.css", "en/0*.html", "lacks the style"),
        (check_mathematics, "<main", "<mjx-merror></mjx-merror><main", "*/*.html", "fails"),
        (
            check_mathematics,
            "<main",
            "<script src='mathjax'></script><main",
            "*/search.html",
            "loads",
        ),
        (check_words, r"目录", "Contents", "zh/0*.html", "'Contents'"),
        (check_words, r"<main", '<button title="列印成 PDF"></button><main', "zh/*.html", "Taiwan"),
    ],
)
def test_site_checks_complain(change, check, pattern, replacement, where, complaint):
    assert any(complaint in said for said in check(change(pattern, replacement, where)))


def test_unused_check_complains(change):
    copy = change("<main", "<main")
    (copy / "en" / "_static" / "old.js").write_text("")
    assert check_unused(copy) == ["en/_static/old.js is used by no page"]


def test_anchors_check_complains_about_a_page_of_one_language(change):
    copy = change("<main", "<main")
    (copy / "zh" / "more.html").write_text("<p>", encoding="utf8")
    assert "only one language has more.html" in check_anchors(copy)


def test_toc_check_complains(tmp_path):
    (tmp_path / "_toc.yml").write_text("root: notebooks/en/index\n- file: notebooks/en/a\n")
    for name in ("en/index.md", "en/a.ipynb", "zh/index.md", "zh/b.md"):
        path = tmp_path / "notebooks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert check_toc(tmp_path) == ["zh/a is missing", "_toc.yml does not name zh/b"]


# Other ways to build


def copy_book(folder):
    """A copy of what the book is made from, to be changed."""
    for name in ("book", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("_config.yml", "_toc.yml", "CITATION.cff", ".github/page.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def small_book(folder, text):
    """A copy with nothing but this text, in both languages."""
    copy_book(folder)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: notebooks/en/index\n")
    for language in LANGUAGES:
        (folder / "notebooks" / language / "index.md").write_text(text, encoding="utf8")
    return folder


def build(root, *command):
    command = command or [str(root / "book" / "build.py")]
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, encoding="utf8")


def test_plain_jupyter_book_builds_the_english_book(tmp_path):
    root = copy_book(tmp_path)
    for folder in (".venv/lib", ".pytest_cache", "_build/old", "tests"):
        (root / folder).mkdir(parents=True)
        (root / folder / "README.md").write_text("# Not a page of the book\n\n[x](nowhere.md)\n")
    program = "from jupyter_book.cli.main import main; main()"
    result = build(root, "-c", program, "build", "-W", "-n", "--keep-going", ".")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stderr
    html = root / "_build" / "html"
    index = soup(html / "notebooks" / "en" / "index.html")
    assert index.html["lang"] == "en"
    assert not index.select(".lang-switch")  # there is no other language
    assert not (html / "notebooks" / "zh").exists()
    for name, shown in cells("en"):
        assert {cell["id"] for cell in shown} <= set(ids(html / "notebooks" / name))


def addresses(page):
    """What a page says of its own address and of the repository."""
    links = page.select(".bd-header-article a, link[rel=alternate], link[rel=canonical]")
    return {link["href"] for link in links if is_external(link["href"])}


def test_pages_have_no_address_until_the_book_has_one(site):
    assert [name for name, path in pages(site).items() if addresses(soup(path))] == []


def test_book_with_an_address(tmp_path):
    root = copy_book(tmp_path)
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf8"))
    config["html"]["baseurl"] = "https://reader.example/book"
    config["repository"]["url"] = "https://github.com/someone/book"
    (root / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf8")
    result = build(root)
    assert result.returncode == 0, result.stdout
    site = root / "_build" / "site"
    assert not check_links(site) + check_offline(site) + check_unused(site) + check_words(site)
    chapter = paths("en/*.ipynb")[0].stem
    for language in LANGUAGES:
        page = soup(site / language / f"{chapter}.html")
        links = addresses(page)
        notebook = f"notebooks/{language}/{chapter}.ipynb"
        assert f"https://github.com/someone/book/edit/main/{notebook}" in links
        assert any(a.startswith("https://github.com/someone/book/issues/new?") for a in links)
        binder = "https://mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/"
        assert binder + notebook in links
        colab = "https://colab.research.google.com/github/someone/book/blob/main/"
        assert colab + notebook in links
        base = "https://reader.example/book"
        assert page.find("link", rel="canonical")["href"] == f"{base}/{language}/{chapter}.html"
        links = {e["hreflang"]: e["href"] for e in page.find_all("link", rel="alternate")}
        assert {TAG[code]: f"{base}/{code}/{chapter}.html" for code in LANGUAGES}.items() <= (
            links.items()
        )


def test_a_warning_stops_the_build(tmp_path):
    broken = {
        "[text](missing.md)": "missing.md",
        "[text](#missing-label)": "missing-label",
        "[text](index.md#missing-cell)": "missing-cell",
        "![text](missing.png)": "missing.png",
        "(twice)=\n## One\n\n(twice)=\n## Two": 'target name: "twice"',
    }
    root = small_book(tmp_path, "# A book\n\n" + "\n\n".join(broken))
    result = build(root)
    assert result.returncode != 0
    assert [complaint for complaint in broken.values() if complaint not in result.stdout] == []
    assert "not built, for the reasons above: en, zh" in result.stderr
    assert not (root / "_build" / "site").exists()
    assert list((root / "_build" / "work").iterdir()) == []  # the next build warns again


def test_a_caption_without_translation_stops_the_build(tmp_path):
    root = small_book(tmp_path, "# A book\n")
    with open(root / "_toc.yml", "a", encoding="utf8") as toc:
        toc.write("parts:\n  - caption: New part\n    chapters: []\n")
    result = build(root)
    assert result.returncode != 0
    assert "no translation of the caption 'New part'" in result.stderr


def files(folder):
    """The contents of all files of a site but its zip, which notes when each was written."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}
    return {name: path.read_bytes() for name, path in found.items() if path.suffix != ".zip"}


def test_a_second_build_makes_what_a_first_would(tmp_path):
    root = small_book(tmp_path, "# A book\n\n## One\n")
    result = build(root)
    assert result.returncode == 0, result.stdout
    assert str(root / "_build" / "site" / "index.html") in result.stdout
    logs = [root / "_build" / "work" / language / "log.txt" for language in LANGUAGES]
    before = [log.stat().st_mtime_ns for log in logs]
    (root / "_build" / "site" / "en" / "old.html").write_text("")
    (root / "notebooks" / "en" / "index.md").write_text("# A book\n\n## Two\n")
    result = build(root)
    assert result.returncode == 0, result.stdout
    ran = [log.stat().st_mtime_ns != old for log, old in zip(logs, before, strict=True)]
    assert ran == [True, False]
    result = build(root, str(root / "book" / "build.py"), "--output", str(tmp_path / "_build_new"))
    assert result.returncode == 0, result.stdout
    second, first = files(root / "_build" / "site"), files(tmp_path / "_build_new" / "site")
    assert sorted(second) == sorted(first)
    assert [name for name in first if first[name] != second[name]] == []
    assert b"Two" in first["en/index.html"]


@pytest.mark.parametrize(
    ("changes", "reads"),  # what each language has left: whole pages, what was read, or nothing
    [
        (None, ["pages", "pages"]),
        ("notebooks/zh/index.md", ["pages", "read"]),
        ("a commit", ["read", "read"]),
        ("notebooks/requirements.txt", [None, None]),
        ("book/terms.yml", [None, None]),
        ("CITATION.cff", [None, None]),
        ("_build/site/index.html", ["pages", "pages"]),
    ],
)
def test_a_build_uses_what_has_not_changed(changes, reads, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    press = importlib.import_module("build")
    monkeypatch.setattr(press, "ROOT", copy_book(tmp_path))
    for code in LANGUAGES:
        work = tmp_path / "_build" / "work" / code
        (work / "_build" / "html").mkdir(parents=True)
        (work / "made-from.txt").write_text(press.made_from(code))
    if changes == "a commit":
        monkeypatch.setattr(press, "last_commit", lambda: "abc")
    elif changes:
        (tmp_path / changes).parent.mkdir(parents=True, exist_ok=True)
        with open(tmp_path / changes, "a") as file:
            file.write("\n")
    left = []
    for code in LANGUAGES:
        work = tmp_path / "_build" / "work" / code
        todo = press.tidy(work, press.made_from(code))
        left.append(("read" if todo else "pages") if work.exists() else None)
        assert (work / "_build" / "html").exists() is (not todo)
    assert left == reads
