"""Promise: what is marked deeper, or to look up, can be skipped: no other section needs it.

Names are compared, nothing is run: a name that a section uses, and that only sections which may be
skipped define, is an error for the reader who skipped them.
"""

import ast
import builtins
import re

import pytest

from notebooks import paths, read

NAMES = {*vars(builtins), "__name__", "get_ipython"}
HEADING = re.compile(r"#{1,6} ")
SKIPPED = re.compile(r"#+ (?:Deeper:|深入：)|#+ [^\n]*\n+(?:\*To look up\.\*|\*备查\*)")


def names(sources):
    """The names that code cells bind anywhere, and those that they read."""
    bound, used = set(), set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.arg):
                bound.add(node.arg)
            elif isinstance(node, ast.alias):
                bound.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                bound.add(node.name)
    return bound, used


def parts(notebook):
    """The code that everybody runs, and the code of sections that may be skipped."""
    read_by_all, skipped, skipping = [], [], False
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and HEADING.match(cell["source"]):
            skipping = bool(SKIPPED.match(cell["source"]))
        elif cell["cell_type"] == "code":
            (skipped if skipping else read_by_all).append(cell["source"])
    return read_by_all, skipped


def needed(notebook):
    """The names that the reader who skips lacks."""
    read_by_all, skipped = parts(notebook)
    bound, used = names(read_by_all)
    return (used - bound - NAMES) & names(skipped)[0]


@pytest.mark.parametrize("path", paths(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_skipped_section_is_not_needed(path):
    assert needed(read(path)) == set()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_languages_skip_the_same(language):
    for english in paths("en/*.ipynb"):
        count = len(parts(read(english))[1])
        path = english.parents[1] / language / english.name
        assert len(parts(read(path))[1]) == count, path.name


def test_marks_are_found():
    marked = {path.stem for path in paths("en/*.ipynb") if parts(read(path))[1]}
    assert {"05-gradcheck", "06-then-and-now"} <= marked


# a section that is needed is found


@pytest.mark.parametrize(
    ("name", "other"), [("05-gradcheck", "calls"), ("06-then-and-now", "narrow")]
)
def test_a_needed_section_is_found(name, other):
    for path in paths(f"*/{name}.ipynb"):
        broken = read(path)
        broken["cells"].append({"cell_type": "markdown", "source": "## The end", "metadata": {}})
        broken["cells"].append({"cell_type": "code", "source": f"print({other})", "metadata": {}})
        assert needed(broken) == {other}
