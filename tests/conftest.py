"""The built book and a browser, for the tests that look at it: the book is built once for all."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import sync_playwright

import run

BUILD = Path(__file__).resolve().parents[1] / "book" / "build.py"

# how many cases hypothesis makes for a test that does not say so itself
EXAMPLES = int(os.environ.get("BOOK_EXAMPLES", "80"))
settings.register_profile(
    "book", derandomize=True, deadline=None, database=None, max_examples=EXAMPLES
)
settings.load_profile("book")


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder with the start page and a folder for each language."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the processes share it
    folder = folder / "book"
    said = folder / "said.txt"
    try:
        folder.mkdir()
    except FileExistsError:  # another process is building
        while not said.exists():
            time.sleep(0.5)
    else:
        command = [sys.executable, str(BUILD), "--output", str(folder)]
        result = subprocess.run(command, capture_output=True, text=True, encoding="utf8")
        problem = result.stdout + result.stderr if result.returncode else ""
        (folder / "saying.txt").write_text(problem, encoding="utf8")
        (folder / "saying.txt").rename(said)
    assert not said.read_text(encoding="utf8"), said.read_text(encoding="utf8")
    return folder / "site"


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=run.find_browser(), args=run.BARE)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()
