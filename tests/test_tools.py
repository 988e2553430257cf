"""Promise: a maintainer's tools change what changed, and nothing else."""

import json
import shutil

import nbformat
import pytest

import sync
from execute import execute, load, save, unchanged
from notebooks import NOTEBOOKS, ROOT, paths, read

SETUP = next(c for c in read(paths("en/*.ipynb")[0])["cells"] if c["id"] == "setup")["source"]
FIGURE = (
    "fig, ax = plt.subplots()\nax.plot(rng.random(5))\nprint(f'{rng.random():.4f}')\nplt.show()"
)


def small(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A small notebook with a figure, run once."""
    path = tmp_path_factory.mktemp("notebooks") / "small.ipynb"
    save(small(SETUP, FIGURE, "print(1.0)"), path)
    execute(path)
    return path


def test_running_again_changes_no_byte(executed):
    before = executed.read_bytes()
    assert b"<svg" in before
    execute(executed)
    assert executed.read_bytes() == before


def test_running_again_shows_what_changed(executed, tmp_path):
    path = shutil.copy(executed, tmp_path)
    notebook = load(path)
    notebook.cells[2].source = "print(2.0)"
    save(notebook, path)
    execute(tmp_path / executed.name)
    old, new = load(executed).cells, load(path).cells
    assert [a.outputs == b.outputs for a, b in zip(old, new, strict=True)] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "expected"), [("0.1234\n", True), ("0.1235\n", True), ("0.1244\n", False)]
)
def test_round_off_keeps_the_stored_output(text, expected):
    old, new = (nbformat.v4.new_output("stream", text=t) for t in ("0.1234\n", text))
    assert unchanged([old], [new]) is expected
    assert not unchanged([old], [])


def test_what_an_editor_leaves_is_dropped(tmp_path):
    notebook = small("1")
    notebook.cells[0].metadata = {"tags": ["check"], "collapsed": True, "execution": {}}
    notebook.metadata["widgets"] = {}
    save(notebook, tmp_path / "a.ipynb")
    saved = json.loads((tmp_path / "a.ipynb").read_text())
    assert saved["cells"][0]["metadata"] == {"tags": ["check"]}
    assert "widgets" not in saved["metadata"]


@pytest.mark.parametrize("path", paths(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_the_book_is_saved_as_the_tools_save_it(path, tmp_path):
    save(load(path), tmp_path / "again.ipynb")
    assert (tmp_path / "again.ipynb").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", paths("en/*.ipynb"), ids=lambda p: p.stem)
def test_languages_in_step_stay_as_they_are(path):
    chinese = load(NOTEBOOKS / "zh" / path.name)
    before = nbformat.writes(chinese)
    assert sync.sync(load(path), chinese) == []
    assert nbformat.writes(chinese) == before


def english_and_chinese():
    words = nbformat.v4.new_markdown_cell("## Two")
    code = nbformat.v4.new_code_cell("# square\ny = 2**2", metadata={"tags": ["layer"]})
    words.id, code.id = "words", "code"
    english = nbformat.v4.new_notebook(cells=[words, code])
    chinese = nbformat.reads(nbformat.writes(english), as_version=4)
    chinese.cells[0].update(source="## 二", metadata={"translated-from": sync.stamp("## Two")})
    return english, chinese


def test_code_without_chinese_follows_the_english():
    english, chinese = english_and_chinese()
    english.cells[1].source = "y = 3**2"
    english.cells[1].metadata["tags"] = ["check"]
    assert sync.sync(english, chinese) == []
    assert chinese.cells[1].source == "y = 3**2"
    assert chinese.cells[1].metadata.tags == ["check"]


def test_chinese_comments_are_kept_and_other_code_is_named():
    english, chinese = english_and_chinese()
    chinese.cells[1].source = "# 平方\ny = 2**2"
    assert sync.sync(english, chinese) == []
    assert chinese.cells[1].source.startswith("# 平方")
    english.cells[1].source = "# square\ny = 3**2"
    assert sync.sync(english, chinese) == ["[code] has other code: carry the change over by hand"]


def test_new_changed_and_removed_cells_are_named():
    english, chinese = english_and_chinese()
    new = nbformat.v4.new_markdown_cell("New.")
    new.id = "new"
    english.cells[0].source = "## Two more"
    english.cells = [english.cells[0], new]
    left = sync.sync(english, chinese)
    assert [line.split()[0] for line in left] == ["[words]", "[new]", "[new]", "[code]"]
    assert [cell.id for cell in chinese.cells] == ["words", "new"]


def test_a_stamp_says_that_a_cell_is_up_to_date(tmp_path, monkeypatch):
    english, chinese = english_and_chinese()
    english.cells[0].source = "## Two more"
    for name, notebook in (("EN", english), ("ZH", chinese)):
        monkeypatch.setattr(sync, name, tmp_path / name)
        (tmp_path / name).mkdir()
        save(notebook, tmp_path / name / "a.ipynb")
        (tmp_path / name / "page.md").write_text("---\nother: 1\n---\n# Page\n")
    sync.stamp_cells("a.ipynb", ["words"])
    assert sync.sync(english, load(tmp_path / "ZH" / "a.ipynb")) == []
    sync.stamp_page("page.md")
    stamp = sync.stamp((tmp_path / "EN" / "page.md").read_text())
    page = (tmp_path / "ZH" / "page.md").read_text()
    assert page == f"---\nother: 1\ntranslated-from: {stamp}\n---\n# Page\n"
    with pytest.raises(SystemExit):
        sync.stamp_cells("a.ipynb", ["unknown"])


def test_tools_do_not_need_the_folder_they_run_in():
    assert sync.EN == ROOT / "notebooks" / "en"
