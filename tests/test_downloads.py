"""Promise: what a page offers to take away is there, whole, and works alone."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import test_book
from notebooks import LANGUAGES, LAYER_TAGS, NOTEBOOKS, ROOT, comments, paths, read, tags
from test_book import HAN, check_links, resolve, soup
from test_dates import tiny_book

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT / "book"))
    build = importlib.import_module("build")

change = test_book.change
ALONE = """
import builtins, dis, importlib, sys, types
sys.path.insert(0, sys.argv[1])

def unknown(code, names):
    loads = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return (loads - names).union(*(unknown(c, names) for c in inner))

for path in sys.argv[2:]:
    module = importlib.import_module(path)
    with open(module.__file__, encoding="utf8") as file:
        code = compile(file.read(), module.__file__, "exec")
    for name in sorted(unknown(code, {*vars(module), *vars(builtins)})):
        print(f"{path}: what is {name}?")
"""


def chapters(language):
    """The chapters of a language: page in the site, notebook, and its code cells by their tags."""
    for path in paths(f"{language}/*.ipynb"):
        code = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
        yield f"{language}/{path.stem}.html", path, code


def definitions(code, *, imports):
    """What a program's statements are, as text without places: its imports, or all the others."""
    return [
        ast.dump(node)
        for node in ast.parse(code).body
        if isinstance(node, ast.Import | ast.ImportFrom) == imports
    ]


def downloads(site, name, ending):
    """The files with this ending that a page offers below its text and in its header."""
    links = soup(site / name).select(".bd-footer-article a, .bd-header-article a")
    found = [a for a in links if a["href"].endswith(ending)]
    return [(resolve(site, name, a["href"])[0], a.has_attr("download")) for a in found]


# The checks: each lists what is wrong


def check_notebooks(site):
    """A chapter offers its notebook, in the language of the page, to be saved."""
    said = []
    for language in LANGUAGES:
        for name, path, _ in chapters(language):
            offered = downloads(site, name, ".ipynb")
            if len(offered) != 2:
                said.append(f"{name}: offers its notebook {len(offered)} times")
            for file, saved in offered:
                if file.name != path.name or file.read_bytes() != path.read_bytes():
                    said.append(f"{name}: offers another notebook, {file}")
                if not saved:
                    said.append(f"{name}: shows the notebook as text")
    return said


def check_layers(site):
    """A chapter with layers offers them as a Python file: the same code, a header, no more."""
    said = []
    for language in LANGUAGES:
        for name, path, code in chapters(language):
            offered = downloads(site, name, ".py")
            if len(offered) != 2 * any("layer" in tags(cell) for cell in code):
                said.append(f"{name}: offers its layers {len(offered)} times")
            for file, saved in offered:
                text = file.read_text(encoding="utf8")
                parts = [c["source"] for c in code if tags(c) & {"recap", "layer"}]
                if definitions(text, imports=False) != definitions("\n".join(parts), imports=False):
                    said.append(f"{name}: {file.name} is not what the chapter defines")
                known = "\n".join(c["source"] for c in code if tags(c) & LAYER_TAGS)
                if not names_imported(text) <= names_imported(known):
                    said.append(f"{name}: {file.name} imports what the chapter does not")
                if set(comments("\n".join(parts))) - set(comments(text)):
                    said.append(f"{name}: {file.name} has lost a comment")
                head = text.partition("\n\n")[0]
                if path.name[:2] not in head or "SPDX-License-Identifier: BSD-3-Clause" not in head:
                    said.append(f"{name}: {file.name} does not say what it is")
                if bool(HAN.search(head)) != (language == "zh"):
                    said.append(f"{name}: {file.name} begins in another language")
                if not saved:
                    said.append(f"{name}: shows {file.name} instead of saving it")
    return said


def names_imported(code):
    return {
        (getattr(node, "module", None), alias.name, alias.asname)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def check_alone(site):
    """Each file of layers can be imported by itself, says nothing, and needs no other name."""
    said = []
    for language in LANGUAGES:
        folder = site / language / "layers"
        modules = sorted(path.stem for path in folder.glob("*.py"))
        command = [sys.executable, "-W", "error", "-c", ALONE, str(folder), *modules]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        said += (result.stdout + result.stderr).splitlines()
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    return said


def check_zip(site, folder):
    """The zip holds the site as it is, but for the offers of what is not in it."""
    with zipfile.ZipFile(site / build.ZIP) as archive:
        archive.extractall(folder)
    copy = folder / "extending-pytorch"
    here, there = (
        {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
        for root in (site, copy)
    )
    said = [f"{name} is not in both" for name in (here.keys() ^ there.keys()) - {build.ZIP}]
    for name in here.keys() & there.keys():
        if here[name].read_bytes() != there[name].read_bytes() and "index.html" not in name:
            said.append(f"{name} differs")
    return said + check_links(copy)


def offered(site):
    """What the start page and the first page of each language offer to take away."""
    names = ["index.html", *(f"{language}/index.html" for language in LANGUAGES)]
    links = [(name, a["href"]) for name in names for a in soup(site / name).select("a")]
    return {(n, a.removeprefix("../")) for n, a in links if a.endswith((".zip", ".pdf"))}


@pytest.mark.parametrize("check", [check_notebooks, check_layers], ids=lambda c: c.__name__)
def test_site(check, site):
    assert check(site) == []


def test_layers_work_alone(site, tmp_path):
    copy = tmp_path / "site"
    for language in LANGUAGES:
        shutil.copytree(site / language / "layers", copy / language / "layers")
    assert check_alone(copy) == []


def test_zip(site, tmp_path):
    assert check_zip(site, tmp_path) == []


def test_the_zip_is_offered_and_no_pdf_until_there_is_one(site):
    names = ["index.html", *(f"{language}/index.html" for language in LANGUAGES)]
    assert offered(site) == {(name, build.ZIP) for name in names}


def test_a_pdf_is_offered_once_it_is_there(site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    before = offered(copy)
    for _ in range(2):  # and again changes nothing
        for language in LANGUAGES:
            (copy / language / "book.pdf").write_bytes(b"%PDF")
        build.finish(copy)
        pdf = {(f"{language}/index.html", "book.pdf") for language in LANGUAGES}
        pdf |= {("index.html", f"{language}/book.pdf") for language in LANGUAGES}
        assert offered(copy) == before | pdf
        assert check_zip(copy, tmp_path / "unpacked") == []
    for language in LANGUAGES:
        (copy / language / "book.pdf").unlink()
    build.finish(copy)
    assert offered(copy) == before


def test_make_pdf_ends_with_the_offer(tmp_path):
    root = tiny_book(tmp_path / "book")
    shutil.copytree(ROOT / "tools", root / "tools")
    result = test_book.build(root, str(root / "book" / "pdf.py"))
    assert result.returncode == 0, result.stdout + result.stderr
    site = root / "_build" / "site"
    assert {("en/index.html", "book.pdf"), ("zh/index.html", "book.pdf")} <= offered(site)
    assert check_zip(site, tmp_path / "unpacked") == []


# Each check complains about a broken copy


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_notebooks, r' download(\s+class="btn btn-sm btn-do)', r"\1", "en/0*.html", "shows"),
        (check_notebooks, r'<p class="d-print-none">.*?</p>', "", "zh/0*.html", "1 times"),
        (check_notebooks, r'href="_sources', 'href="../en/_sources', "zh/0*.html", "another"),
        (check_layers, r'href="layers/', 'href="../en/layers/', "zh/0*.html", "another language"),
        (check_layers, r'href="layers/\w+\.py"', "href=''", "zh/0*.html", "offers its layers 1"),
        (check_layers, r"return", "pass; return", "en/layers/*.py", "not what the chapter defines"),
        (check_layers, r"import numpy", "import scipy.fft\nimport numpy", "zh/layers/*", "imports"),
        (check_layers, r"SPDX", "", "zh/layers/*.py", "does not say what it is"),
        (check_layers, r"(\n    .*?)  # .*?\n", r"\1\n", "zh/layers/*.py", "lost a comment"),
        (check_alone, r"import torch\n", "\n", "en/layers/*.py", "what is torch?"),
        (check_alone, r"$", "print('hello')", "zh/layers/*.py", "hello"),
        (check_alone, r"$", "import nothing_like_it", "zh/layers/*.py", "nothing_like_it"),
    ],
)
def test_check_complains(check, pattern, replacement, where, complaint, change):
    said = check(change(pattern, replacement, where))
    assert said != []
    assert any(complaint in finding for finding in said), said


def test_zip_check_complains(site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    (copy / "en" / "new.txt").write_text("")
    (copy / "zh" / "_static" / "book.js").write_text("")
    said = check_zip(copy, tmp_path / "unpacked")
    assert sorted(said) == ["en/new.txt is not in both", "zh/_static/book.js differs"]
    text = (copy / "zh" / "index.html").read_text(encoding="utf8")
    with zipfile.ZipFile(copy / build.ZIP, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("extending-pytorch/zh/index.html", text)  # offers the zip
    assert any(f"../{build.ZIP} does not exist" in c for c in check_zip(copy, tmp_path / "again"))


def test_every_chapter_with_layers_has_a_name_of_its_own(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    name = importlib.import_module("_ext.layers").file_name
    names = [name(path.stem) for path in paths("*.ipynb", NOTEBOOKS / "en")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]\w*\.py", found) for found in names)
