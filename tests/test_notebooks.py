"""Promise: every notebook was run whole and in order, is plain, and keeps the contract."""

import ast
import copy
import re
import sys

import pytest

from execute import CELL_METADATA, METADATA
from notebooks import NOTEBOOKS, paths, read, tags

TAGS = {
    "setup", "recap", "layer", "check", "hide-input", "remove-cell", "exercise", "solution",
    "hint", "questions", "measured", "raises-exception", "nbval-ignore-output",
}  # fmt: skip
IMPORTED_AS = {"scikit-learn": "sklearn"}
WITH_IPYKERNEL = {"IPython", "matplotlib_inline"}  # installed by ipykernel, which is listed
IGNORED_OUTPUTS = 0  # cells tagged nbval-ignore-output in the whole book, each with its reason
LARGEST = 600_000  # bytes of a notebook
OF_A_MACHINE = re.compile(
    r"ipykernel_\d|/home/|/Users/|/tmp/|site-packages|\b0x[0-9a-f]{6,}"
    r"|\d(?:\.\d+)? ?(?:it/s|ms\b|µs\b)"
)
NOT_PLAIN = re.compile(
    r"^\s*(?:```|:::)\s*\{|^\(\s*[\w-]+\s*\)=|\{[\w:-]+\}`|</?[a-zA-Z][\w-]*(?:\s[^>]*)?/?>|\{\{.*?\}\}",
    re.MULTILINE,
)
CODE_IN_MARKDOWN = re.compile(r"^(```+).*?^\1|(`+)(?!`).+?(?<!`)\2(?!`)", re.MULTILINE | re.DOTALL)
FENCE_OF_A_DIRECTIVE = re.compile(r"^\s*(?:`{3,}|:{3,})\s*\{", re.MULTILINE)


def check_notebook(notebook):
    """List what is wrong with one notebook."""
    said = []
    cells = notebook["cells"]
    ids = [cell["id"] for cell in cells]
    if notebook["metadata"] != METADATA:
        said.append("metadata: run tools/execute.py")
    if ids[:2] != ["title", "setup"]:
        said.append(f"the first cells are {ids[:2]}, not title and setup")
    if len(set(ids)) < len(ids):
        said.append("a cell id stands twice")
    for key in ("teaching", "exercises", "requires"):
        if key not in cells[0]["metadata"]:
            said.append(f"[title] has no {key!r} in its metadata")
    count = 0
    for cell in cells:
        if cell["cell_type"] == "code":
            count += 1
        said += [f"[{cell['id']}] {text}" for text in check_cell(cell, count)]
    exercises = [cell for cell in cells if "exercise" in tags(cell)]
    if len(exercises) < 3:
        said.append(f"{len(exercises)} exercises, not three")
    for number, cell in enumerate(cells):
        follower = tags(cells[number + 1]) if number + 1 < len(cells) else set()
        if "exercise" in tags(cell) and not follower & {"solution", "exercise"}:
            said.append(f"[{cell['id']}] has no solution")
    if not any("layer" in tags(cell) for cell in cells):
        said.append("no cell is tagged layer")
    return said


def check_cell(cell, count):
    """Yield what is wrong with a cell; ``count`` is its place among the code cells."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", cell["id"]) or re.fullmatch(
        r"[0-9a-f]{8}", cell["id"]
    ):
        yield "the id is not made of words"
    if unknown := tags(cell) - TAGS:
        yield f"unknown tags {sorted(unknown)}"
    if unknown := cell["metadata"].keys() - CELL_METADATA:
        yield f"unknown metadata {sorted(unknown)}"
    if "nbval-ignore-output" in tags(cell) and not cell["metadata"].get("reason"):
        yield "its output is ignored without a reason in its metadata"
    if cell["cell_type"] == "markdown":
        yield from check_markdown(cell)
    else:
        yield from check_code(cell, count)


def check_markdown(cell):
    source = cell["source"]
    if FENCE_OF_A_DIRECTIVE.search(source):
        yield "not plain: a MyST directive"
    if found := NOT_PLAIN.search(CODE_IN_MARKDOWN.sub("`code`", source)):
        yield f"not plain: {found[0].strip()!r}"
    headings = re.findall(r"^#+ ", CODE_IN_MARKDOWN.sub("", source), re.MULTILINE)
    if len(headings) > 1 or (headings and not source.startswith("#")):
        yield "one heading to a cell, at its start"
    if headings and tags(cell) & {"solution", "hint"}:
        yield "a heading in a solution or a hint"
    if "hint" in tags(cell) and not re.match(r"\*\*[^*\n]+\*\*", source):
        yield "a hint does not begin with its title in bold"


def needed(source):
    """The packages that a code cell imports, without Python's own."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        yield from {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def listed():
    """The packages that a learner installs."""
    text = (NOTEBOOKS / "requirements.txt").read_text(encoding="utf8")
    found = set(re.findall(r"^([\w-]+)==", text, re.MULTILINE))
    return {IMPORTED_AS.get(name, name) for name in found} | WITH_IPYKERNEL


def check_code(cell, count):
    source, outputs = cell["source"], cell["outputs"]
    if cell["execution_count"] != count:
        yield f"not run in order: execution count {cell['execution_count']}, not {count}"
    if not source.strip():
        yield "empty"
    if re.search(r"^\s*[%!]|NBVAL_|;\s*$", source, re.MULTILINE):
        yield "a magic, an NBVAL comment, or a semicolon at the end of a line"
    elif unknown := set(needed(source)) - listed():
        yield f"needs {sorted(unknown)}, which notebooks/requirements.txt does not list"
    if outputs and tags(cell) & {"setup", "layer", "recap"}:
        yield "definitions only: it prints something"
    if any("image" in kind for o in outputs for kind in o.get("data", {})) != (
        "alt" in cell["metadata"]
    ):
        yield "a figure has alt text in its metadata, and nothing else has"
    raised = any(output["output_type"] == "error" for output in outputs)
    if raised != ("raises-exception" in tags(cell)):
        yield "an error is stored where the tag raises-exception is, and nowhere else"
    for output in outputs:
        if output.get("name") == "stderr":
            yield f"a warning is stored: {output['text'][:60]!r}"
        data = output.get("data", {})
        if "<Figure" in data.get("text/plain", "") and not any("image/" in kind for kind in data):
            yield "a figure without its picture"
        texts = [output.get("text", ""), output.get("evalue", ""), data.get("text/plain", "")]
        for text in texts:
            if found := OF_A_MACHINE.search(text):
                yield f"depends on the machine: {found[0]!r}"


def check_together(notebooks):
    """List what is wrong between notebooks of a language: an id is one thing in the book."""
    said, seen, setups = [], {}, {}
    for name, notebook in notebooks.items():
        for cell in notebook["cells"]:
            identity, source = cell["id"], cell["source"]
            if identity == "setup":
                without = re.sub(r"^(?:import|from) .*\n", "", source, flags=re.MULTILINE)
                setups[name] = without.strip()
            elif identity != "title":
                again = tags(cell) & {"recap", "check"}  # a definition, or the cell `judge`
                if identity in seen and (seen[identity][1] != source or not again):
                    said.append(f"{name}: [{identity}] stands in {seen[identity][0]} too")
                seen.setdefault(identity, (name, source))
    if len(set(setups.values())) > 1:
        said.append(f"the setup cells of {', '.join(setups)} differ in more than imports")
    return said


@pytest.mark.parametrize("path", paths(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_notebook(path):
    assert check_notebook(read(path)) == []
    assert path.stat().st_size <= LARGEST


@pytest.mark.parametrize("language", ["en", "zh"])
def test_ids_are_one_thing_in_the_whole_book(language):
    assert check_together({p.stem: read(p) for p in paths(f"{language}/*.ipynb")}) == []


def test_ignored_outputs_are_counted():
    cells = [cell for path in paths("en/*.ipynb") for cell in read(path)["cells"]]
    assert sum("nbval-ignore-output" in tags(cell) for cell in cells) == IGNORED_OUTPUTS


# every complaint is heard: the same notebook, broken in one place

STDERR = {"output_type": "stream", "name": "stderr", "text": "UserWarning"}
FIGURE = {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "<Figure size 1>"}}


def code(notebook, number=-1):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][number]


def strip(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])


def remove_solutions(notebook):
    notebook["cells"] = [cell for cell in notebook["cells"] if "solution" not in tags(cell)]


BROKEN = [
    ("not run in order", strip),
    ("not run in order", lambda n: code(n).update(execution_count=99)),
    ("a warning is stored", lambda n: code(n)["outputs"].append(STDERR)),
    ("a figure without its picture", lambda n: code(n)["outputs"].append(FIGURE)),
    (
        "depends on the machine",
        lambda n: code(n)["outputs"].append(
            {**STDERR, "name": "stdout", "text": "at 0x7f12ab34cd"}
        ),
    ),
    ("unknown tags", lambda n: code(n)["metadata"].update(tags=["skip"])),
    ("unknown metadata", lambda n: code(n)["metadata"].update(collapsed=True)),
    ("without a reason", lambda n: code(n)["metadata"].update(tags=["nbval-ignore-output"])),
    ("raises-exception", lambda n: code(n)["metadata"].update(tags=["raises-exception"])),
    ("alt text", lambda n: code(n)["metadata"].update(alt="A picture that is not there")),
    ("a magic", lambda n: code(n).update(source="%matplotlib inline")),
    ("a magic", lambda n: code(n).update(source="x = 1;")),
    ("does not list", lambda n: code(n).update(source="import pandas")),
    ("does not list", lambda n: code(n).update(source="from . import tools")),
    ("empty", lambda n: code(n).update(source="\n")),
    ("definitions only", lambda n: code(n, 0)["outputs"].append({**STDERR, "name": "stdout"})),
    ("not made of words", lambda n: code(n).update(id="1a2b3c4d")),
    ("stands twice", lambda n: code(n).update(id=n["cells"][2]["id"])),
    ("not title and setup", lambda n: n["cells"].pop(0)),
    ("no 'teaching'", lambda n: n["cells"][0]["metadata"].pop("teaching")),
    ("metadata: run", lambda n: n["metadata"].update(widgets={})),
    ("a MyST directive", lambda n: n["cells"][2].update(source="```{note}\nx\n```")),
    ("not plain", lambda n: n["cells"][2].update(source="see {ref}`here`")),
    ("not plain", lambda n: n["cells"][2].update(source="a <br> b")),
    ("not plain", lambda n: n["cells"][2].update(source="(label)=\n## Heading")),
    ("one heading", lambda n: n["cells"][2].update(source="## One\n\n## Two")),
    ("exercises, not three", lambda n: [c["metadata"].pop("tags", 0) for c in n["cells"]]),
    ("has no solution", remove_solutions),
    ("title in bold", lambda n: n["cells"][2].update(source="Turn", metadata={"tags": ["hint"]})),
    ("a heading in", lambda n: n["cells"][2].update(source="# H", metadata={"tags": ["hint"]})),
]


@pytest.mark.parametrize(("complaint", "change"), BROKEN, ids=[b[0] for b in BROKEN])
def test_a_broken_notebook_is_found(complaint, change):
    notebook = read(paths("en/*.ipynb")[0])
    assert notebook["cells"][2]["cell_type"] == "markdown"
    change(notebook)
    assert any(complaint in said for said in check_notebook(notebook))


def test_a_repeated_id_is_found():
    one = read(paths("en/*.ipynb")[0])
    two = copy.deepcopy(one)
    assert check_together({"one": one, "two": two})  # no cell of the second is tagged recap
    two["cells"] = two["cells"][:2]
    assert check_together({"one": one, "two": two}) == []
    two["cells"][1]["source"] += "\ntorch.manual_seed(1)"
    assert any("setup cells" in said for said in check_together({"one": one, "two": two}))


def test_notebooks_are_where_they_are_looked_for():
    assert {path.parent.parent for path in paths()} == {NOTEBOOKS}
    with pytest.raises(FileNotFoundError):
        paths("fr/*.ipynb")
