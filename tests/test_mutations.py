"""Promise: the real book, broken in one place, fails, and for the reason that fits."""

import copy
import shutil
import subprocess
import sys

import pytest

from notebooks import NOTEBOOKS, ROOT, read, write
from test_languages import compare
from test_notebooks import check_notebook

CHAPTERS = {  # chapter: (what its backward computes, a broken copy of it)
    "03-fft-layer": ("rfft2_adjoint(weighted,", "2 * rfft2_adjoint(weighted,"),
    "04-correlate2d-layer": (
        "grad_filter = torch.from_numpy(correlate2d(to_array(input), g",
        "grad_filter = 2 * torch.from_numpy(correlate2d(to_array(input), g",
    ),
}


@pytest.fixture
def book(tmp_path):
    """A copy of what nbval needs to run the book."""
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    return tmp_path


def run_nbval(book, notebook, name):
    """The report of nbval on a notebook in a copy of the book."""
    write(notebook, book / "notebooks" / "en" / name)
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--tb=short", f"notebooks/en/{name}"]
    return subprocess.run(command, cwd=book, capture_output=True, text=True).stdout


def both(chapter):
    return [read(NOTEBOOKS / language / f"{chapter}.ipynb") for language in ("en", "zh")]


def change_source(notebook, old, new):
    found = [cell for cell in notebook["cells"] if old in cell["source"]]
    assert len(found) == 1, f"{old!r} stands in {len(found)} cells"
    found[0]["source"] = found[0]["source"].replace(old, new)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_doubled_gradient_in_both_languages_fails(chapter, book):
    english, chinese = both(chapter)
    for notebook in (english, chinese):
        change_source(notebook, *CHAPTERS[chapter])
    assert compare(english, chinese) == []  # the languages agree: only running it tells
    report = run_nbval(book, english, f"{chapter}.ipynb")
    assert "GradcheckError" in report or "Jacobian mismatch" in report


def test_a_replaced_figure_fails(book):
    notebook = both("03-fft-layer")[0]
    drawings = [
        output["data"]
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "image/svg+xml" in output.get("data", {})
    ]
    drawings[1]["image/svg+xml"] = drawings[0]["image/svg+xml"]
    assert check_notebook(notebook) == []  # a figure is there: only its content tells
    report = run_nbval(book, notebook, "03-fft-layer.ipynb")
    assert "mismatch 'image/svg+xml'" in report
    assert "1 failed" in report


def test_a_changed_paragraph_without_its_translation_fails():
    english, chinese = both("03-fft-layer")
    cell = next(c for c in english["cells"][2:] if c["cell_type"] == "markdown")
    cell["source"] += "\n\nOne more sentence."
    assert compare(english, chinese) == [
        f"[{cell['id']}] stale: the English changed after this was translated"
    ]


def test_a_stripped_notebook_fails(book):
    notebook = both("03-fft-layer")[0]
    stripped = copy.deepcopy(notebook)
    for cell in stripped["cells"]:
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    said = check_notebook(stripped)
    assert said and all("not run in order" in line or "alt text" in line for line in said)
