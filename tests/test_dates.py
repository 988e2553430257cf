"""Promise: a page says truly what it was run with and when it changed, or leaves it out."""

import importlib
import os
import re
import shutil
import subprocess

import pytest

import test_book
from notebooks import LANGUAGES, NOTEBOOKS, ROOT, read, write
from test_book import copy_book, pages, soup

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT / "book"))
    dates = importlib.import_module("_ext.dates")

change = test_book.change
PINS = re.findall(
    r"^(torch|numpy|scipy)==(\S+)$", (NOTEBOOKS / "requirements.txt").read_text(), re.M
)
RUN = {
    "en": "Run with torch {torch}, NumPy {numpy} and SciPy {scipy}( on {date})?.",
    "zh": "({date} )?用 torch {torch}、NumPy {numpy} 和 SciPy {scipy} 运行过。",
}
CHANGED = {"en": "Last updated on {date}.", "zh": "本页更新于 {date}。"}
DATE = r"\d{4}-\d\d-\d\d"


def told(path):
    """What the page says below its text, paragraph by paragraph."""
    return [" ".join(p.get_text().split()) for p in soup(path).select(".bd-footer-article p")]


def check_words(site, date=DATE):
    """A chapter names the pinned versions; nothing is said that has no date, where it needs one."""
    said = []
    for name, path in pages(site, *LANGUAGES).items():
        language, page = name.split("/")
        if page == "search.html":
            continue
        run = RUN[language].format(date=date, **{k: re.escape(v) for k, v in PINS})
        lines = told(path)
        if page[:2].isdigit() != any(re.fullmatch(run, line) for line in lines):
            said.append(f"{name}: says of its versions {lines}")
        changed = CHANGED[language].format(date=date)
        dated = [line for line in lines if re.search(DATE, line)]
        if not all(re.fullmatch(f"{run}|{changed}", line) for line in dated):
            said.append(f"{name}: says of its dates {lines}")
    return said


def test_words(site):
    assert check_words(site) == []


@pytest.mark.parametrize(
    ("pattern", "replacement", "where", "complaint"),
    [
        (dict(PINS)["torch"], "9.9", "en/0*.html", "of its versions"),
        ("<p>Run with", "<p>Made with", "en/0*.html", "of its versions"),
        ("运行过。", "运行过.", "zh/0*.html", "of its versions"),
        ("</footer>", "<p>Last updated on 2026-1-1, 2026-01-01</p></footer>", "en/0*", "its dates"),
    ],
)
def test_check_complains(pattern, replacement, where, complaint, change):
    assert any(complaint in said for said in check_words(change(pattern, replacement, where)))


# A small book whose commits have known dates


def git(folder, *command, date="2026-01-01"):
    name = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org"}
    name |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in name.items()}
    at = {"GIT_AUTHOR_DATE": f"{date}T12:00", "GIT_COMMITTER_DATE": "2026-09-09T12:00"}
    command = ["git", "-c", "init.defaultBranch=main", *command]
    subprocess.run(command, cwd=folder, env={**os.environ, **name, **at}, check=True)


def commit(folder, date, *files):
    git(folder, "add", *files or ["."])
    git(folder, "commit", "-qm", "A change", date=date)


INDEX = {"en": "# The book\n\nWhat it is.\n", "zh": "# 这本书\n\n它是什么。\n"}
TITLE = {"en": "# One\n\nThe first.\n", "zh": "# 其一\n\n第一章。\n"}


def tiny_book(folder):
    """A copy of the book with a first page, one chapter and the glossary."""
    root = copy_book(folder)
    toc = "format: jb-book\nroot: notebooks/en/index\nchapters:\n"
    toc += "".join(f"  - file: notebooks/en/{name}\n" for name in ("01-one", "glossary"))
    (root / "_toc.yml").write_text(toc)
    for language in LANGUAGES:
        pages = root / "notebooks" / language
        (pages / "index.md").write_text(INDEX[language], encoding="utf8")
        cell = {"id": "title", "cell_type": "markdown", "metadata": {}, "source": TITLE[language]}
        about = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}
        write({**about, "cells": [cell]}, pages / "01-one.ipynb")
    return root


@pytest.fixture
def book(tmp_path):
    return tiny_book(tmp_path / "book")


def build(root):
    result = test_book.build(root)
    assert result.returncode == 0, result.stdout
    return root / "_build" / "site"


def test_dates_are_those_of_the_commits(book):
    git(book, "init", "-q")
    commit(book, "2026-02-01")
    notebook, terms = book / "notebooks" / "zh" / "01-one.ipynb", book / "book" / "terms.yml"
    write({**read(notebook), "metadata": {"changed": True}}, notebook)
    commit(book, "2026-02-02")
    pins = book / "notebooks" / "requirements.txt"
    pins.write_text(pins.read_text(encoding="utf8") + "\n# changed\n", encoding="utf8")
    commit(book, "2026-02-03")
    terms.write_text(terms.read_text(encoding="utf8") + "\n# changed\n", encoding="utf8")
    commit(book, "2026-02-04")
    (book / "notebooks" / "en" / "01-one.ipynb").touch()  # no commit, no change
    site = build(book)
    assert check_words(site) == []
    said = {name: re.findall(DATE, " ".join(told(path))) for name, path in pages(site).items()}
    assert said["en/01-one.html"] == ["2026-02-03", "2026-02-01"]  # run with the later pins
    assert said["zh/01-one.html"] == ["2026-02-03", "2026-02-02"]
    assert said["en/index.html"] == ["2026-02-01"]
    assert said["en/glossary.html"] == said["zh/glossary.html"] == ["2026-02-04"]


def test_a_book_without_git_has_no_dates(book):
    site = build(book)
    assert check_words(site) == []
    assert not [name for name, path in pages(site).items() if re.search(DATE, str(told(path)))]


def test_no_dates_from_a_clone_without_all_commits(tmp_path, monkeypatch):
    origin, whole, shallow = (tmp_path / name for name in ("origin", "whole", "shallow"))
    (origin / "notebooks").mkdir(parents=True)
    git(tmp_path, "init", "-q", "origin")
    for date in ("2026-03-01", "2026-03-02"):
        (origin / "notebooks" / f"{date}.md").write_text("")
        commit(origin, date)
    git(tmp_path, "clone", "-q", f"file://{origin}", "whole")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{origin}", "shallow")
    expected = {f"notebooks/{date}.md": date for date in ("2026-03-01", "2026-03-02")}
    for root, found in (whole, expected), (shallow, {}), (tmp_path, {}):
        monkeypatch.setattr(dates, "ROOT", root)
        assert dates.last_changes() == found
    monkeypatch.setenv("PATH", "")  # no git at all
    monkeypatch.setattr(dates, "ROOT", whole)
    assert dates.last_changes() == {}


def test_a_book_inside_another_repository(tmp_path, monkeypatch):
    inner = tmp_path / "work" / "book"
    (inner / "notebooks").mkdir(parents=True)
    (inner / "notebooks" / "页.md").write_text("")
    git(tmp_path, "init", "-q")
    commit(tmp_path, "2026-04-01")
    shutil.copytree(inner / "notebooks", inner / "book")
    monkeypatch.setattr(dates, "ROOT", inner)
    assert dates.last_changes() == {"notebooks/页.md": "2026-04-01"}
