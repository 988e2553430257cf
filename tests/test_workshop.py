"""Promise: the workshop kit is made from the book: stubs that wait, checks that explain, a zip."""

import ast
import builtins
import contextlib
import html
import io
import re
import sys
import types
import zipfile

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from torch.autograd import Function, gradcheck

import check_setup
import workshop
from execute import load
from notebooks import LANGUAGES, NOTEBOOKS, ROOT, paths
from workshop import groups, tags

NAMES = [path.stem for path in paths("en/*.ipynb")]
RUN = ("02-backward", "03-fft-layer", "04-correlate2d-layer")  # chapters that are run whole
SCHEDULES = [
    {"id": "half-day", "sessions": [
        {"welcome": 5},
        {"chapter": "02-backward", "sections": ["backward-jacobian", "backward-adjoint"]},
        {"break": 15},
        {"chapter": "02-backward"},
        {"chapter": "02-backward", "exercises": ["backward-ex-recall"]},
        {"chapter": "03-fft-layer", "exercises": ["fft-ex-derive"]},
        {"lunch": 60},
        {"chapter": "04-correlate2d-layer"},
    ]},
    {"id": "two-days", "sessions": [{"schedule": "half-day"}, {"night": 0}, {"close": 5}]},
]  # fmt: skip
POLITE = {"en": ("not yet: ", "nothing is there yet"), "zh": ("还没完成：", "这里还没有答案")}
RIGHT = {"en": "right", "zh": "正确"}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The folder of the kit's notebooks, and for each language its catch-up folders."""
    folder = tmp_path_factory.mktemp("kit")
    found = {
        language: workshop.make_notebooks(NOTEBOOKS, SCHEDULES, folder / language, language)
        for language in LANGUAGES
    }
    return folder, found


def kept(cell):
    return "solution" not in tags(cell) or bool({"check", "layer"} & tags(cell))


def judges(cell):
    return cell.cell_type == "code" and {"check", "solution"} <= tags(cell)


# learners' notebooks: what they hold


def solution_lines(source):
    """Of a chapter, the lines that only a solution has: no signatures, no docstrings."""
    known = {line.strip() for c in source.cells if kept(c) for line in c.source.splitlines()}
    for cell in source.cells:
        if kept(cell):
            continue
        lines, free = cell.source.splitlines(), set()
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                    body = node.body[ast.get_docstring(node) is not None :]
                    free |= set(range(first, body[0].lineno if body else node.end_lineno + 1))
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    free.add(node.lineno)
        for number, line in enumerate(lines, 1):
            if number not in free and len(line.strip()) > 8 and line.strip() not in known:
                yield line.strip()


def check_learner(source, made):
    """List what is wrong with a learner's notebook, beside the chapter it was made from."""
    said = []
    text = {line.strip() for cell in made.cells for line in cell.source.splitlines()}
    said += [f"a line of a solution: {line}" for line in solution_lines(source) if line in text]
    here = {cell.id: cell for cell in made.cells}
    for first, *rest in groups(source):
        if "exercise" not in tags(first):
            continue
        code = [c for c in rest if c.cell_type == "code" and "solution" in tags(c)]
        said += [f"{c.id} is missing" for c in [first, *code] if judges(c) and c.id not in here]
        said += [f"{first.id} has no cell to fill"] * bool(code and code[0].id not in here)
        goal = here.get(f"{first.id}-goal")
        for output in (o for c in code if not judges(c) for o in c.outputs):
            if goal is None or output.get("text", "").rstrip("\n") not in goal.source:
                said.append(f"{first.id} does not show its goal")
    known = set(dir(builtins)) | {"__name__", "__file__"}
    for cell in made.cells:
        if cell.cell_type == "code":
            said += [f"{cell.id}: outputs are left"] * bool(cell.outputs)
            names = list(ast.walk(ast.parse(cell.source)))
            known |= {n.id for n in names if isinstance(n, ast.Name) and not is_load(n)}
            known |= {n.name for n in names if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            known |= {n.name for n in names if isinstance(n, ast.ExceptHandler) and n.name}
            known |= {n.arg for n in names if isinstance(n, ast.arg)}
            for node in names:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    known |= {(a.asname or a.name).partition(".")[0] for a in node.names}
            used = {n.id for n in names if isinstance(n, ast.Name) and is_load(n)}
            said += [f"{cell.id}: nothing defines {name}" for name in sorted(used - known)]
    return said


def is_load(node):
    return isinstance(node.ctx, ast.Load)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_learners_notebook_has_no_solution_and_all_it_needs(kit, language, name):
    made = nbformat.read(kit[0] / language / "learner" / f"{name}.ipynb", as_version=4)
    nbformat.validate(made)
    assert check_learner(load(NOTEBOOKS / language / f"{name}.ipynb"), made) == []


def put_a_solution_back(source, made):
    cell = next(c for c in source.cells if c.id == "conv-solution-derive")
    next(c for c in made.cells if c.id == cell.id).source = cell.source


def without(id):
    def change(source, made):
        made.cells = [cell for cell in made.cells if cell.id != id]

    return change


BROKEN_LEARNERS = {
    "a line of a solution: full = convolve2d": put_a_solution_back,
    "conv-solution-derive-judge is missing": without("conv-solution-derive-judge"),
    "conv-exercise-derive has no cell to fill": without("conv-solution-derive"),
    "conv-exercise-derive does not show its goal": without("conv-exercise-derive-goal"),
    "nothing defines judge": without("judge"),
    "outputs are left": lambda source, made: made.cells[1].update(
        outputs=[nbformat.v4.new_output("stream", text="x")]
    ),
}


@pytest.mark.parametrize(
    ("complaint", "change"), BROKEN_LEARNERS.items(), ids=list(BROKEN_LEARNERS)
)
def test_a_broken_learners_notebook_is_found(kit, complaint, change):
    source = load(NOTEBOOKS / "en" / "04-correlate2d-layer.ipynb")
    path = kit[0] / "en" / "learner" / "04-correlate2d-layer.ipynb"
    made = nbformat.read(path, as_version=4)
    change(source, made)
    assert any(said.find(complaint) >= 0 for said in check_learner(source, made))


def test_a_stub_keeps_the_signature_and_says_what_to_return():
    source = (
        "class Twice(Function):\n"
        '    """Twice."""\n\n'
        "    @staticmethod\n    def forward(ctx, x, n):\n        return 2 * x\n\n"
        "    @staticmethod\n    @once\n    def backward(ctx, g):\n        return 2 * g, None\n\n\n"
        "def near(a, eps=1e-3, tolerance=0.5):\n    return a\n\n\n"
        "def helper(a):\n    return a\n\n\n"
        "answers = [1, 2]\nother = 3\nprint(answers)\n"
    )
    made = workshop.stub(
        [source], {"Twice", "near", "answers"}, "`near(a, eps, tolerance=0.5)`",
        workshop.WORDS["en"],
    )  # fmt: skip
    assert made == (
        "class Twice(Function):\n"
        '    """Twice."""\n\n'
        "    @staticmethod\n    def forward(ctx, x, n):\n"
        "        raise NotImplementedError(\n"
        '            "write Twice.forward: it returns the output, a tensor")\n\n'
        "    @staticmethod\n    @once\n    def backward(ctx, g):\n"
        "        raise NotImplementedError(\n"
        '            "write Twice.backward: it returns the gradient of each argument, x, n")'
        "\n\n\n"
        "def near(a, eps=..., tolerance=0.5):\n"
        '    raise NotImplementedError("write near(a, eps, tolerance) and return its result")'
        "\n\n\n"
        "answers = ..."
    )


# learners' notebooks: what they do


def execute(source, namespace):
    """Run a cell in this process; return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, "cell", "exec"), namespace)
    plt.close("all")
    return printed.getvalue()


def check_exercises(source, made, language):
    """Run a learner's notebook; at each check, with the stub first, and then with the solution."""
    said, main = [], types.ModuleType("__main__")
    namespace = main.__dict__
    answers = {}  # of each check: the cells of the solution
    for _, *rest in groups(source):
        code = [c for c in rest if c.cell_type == "code" and not kept(c)]
        answers |= {c.id: code for c in rest if judges(c)}
    with matplotlib.rc_context(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", main)
        matplotlib.use("agg")
        for cell in made.cells:
            if cell.cell_type != "code":
                continue
            lines = execute(cell.source, namespace).splitlines()
            if not judges(cell):
                continue
            said += [f"{cell.id} empty: {x}" for x in lines if not waits(x, language)]
            said += [f"{cell.id} says nothing"] * (not lines)
            for answer in answers[cell.id]:
                execute(answer.source, namespace)
            lines = execute(cell.source, namespace).splitlines()
            said += [f"{cell.id}: {x}" for x in lines if RIGHT[language] not in x]
    return said


def waits(line, language):
    start, empty = POLITE[language]
    return line.startswith(start) or line.endswith(empty)


@pytest.mark.parametrize("name", RUN)
def test_a_stub_waits_and_a_solution_passes(kit, name):
    language = "zh" if name == RUN[0] else "en"
    source = load(NOTEBOOKS / language / f"{name}.ipynb")
    path = kit[0] / language / "learner" / f"{name}.ipynb"
    made = nbformat.read(path, as_version=4)
    assert sum(map(judges, made.cells)) == 3
    assert check_exercises(source, made, language) == []


def test_a_stub_that_passes_and_a_solution_that_fails_are_found():
    setup = nbformat.v4.new_code_cell("def judge(x): print('not yet: x' if x is ... else x)")
    task = nbformat.v4.new_markdown_cell("### Task")
    answer, check = map(nbformat.v4.new_code_cell, ("answer = 'right'", "judge(answer)"))
    task.metadata.tags, answer.metadata.tags = ["exercise"], ["solution"]
    check.metadata.tags = ["check", "solution"]
    source = nbformat.v4.new_notebook(cells=[setup, task, answer, check])
    made = workshop.learner(source, "00", "en")
    assert check_exercises(source, made, "en") == []
    answer.source = "answer = 'the sign is wrong'"
    assert check_exercises(source, made, "en") == [f"{check.id}: the sign is wrong"]
    answer.source = "answer = 'right'"
    (filled,) = [c for c in made.cells if c.id == answer.id]
    filled.source = answer.source
    assert check_exercises(source, made, "en") == [f"{check.id} empty: right"]


def test_a_learners_notebook_runs_in_a_kernel(kit, tmp_path):
    path = kit[0] / "zh" / "learner" / "02-backward.ipynb"
    made = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}  # alone, with nothing of the book beside it
    NotebookClient(made, kernel_name="python3", timeout=120, resources=where).execute()
    said = [o.text for c in made.cells if judges(c) for o in c.outputs]
    assert len(said) == 3 and all(waits(line, "zh") for x in said for line in x.splitlines())


# what `judge` says


def judge_of(language, *changes):
    """The two functions of the cell `judge`, as the kit has them; pieces of it replaced."""
    notebook = load(NOTEBOOKS / language / "02-backward.ipynb")
    notebook.cells = [cell for cell in notebook.cells if cell.id == "judge"]
    (cell,) = workshop.finish(notebook, language, 2, ()).cells
    for old, new in changes:
        assert cell.source.count(old) == 1, old
        cell.source = cell.source.replace(old, new)
    namespace = {"np": np, "torch": torch, "gradcheck": gradcheck}
    exec(cell.source, namespace)
    return namespace


def layer(backward):
    """Three times the columns of a matrix, summed from the left; with this backward."""

    class Layer(Function):
        @staticmethod
        def forward(ctx, x):
            return torch.from_numpy(3 * np.cumsum(x.numpy(), axis=1))

        @staticmethod
        def backward(ctx, g):
            return backward(g.numpy())

    return Layer.apply


def from_the_right(g):
    return np.cumsum(g[:, ::-1], axis=1)[:, ::-1]


def first_column(g):
    found = np.zeros_like(g)
    found[:, 0] = 3 * from_the_right(g)[:, 0]
    return torch.from_numpy(found)


def unwritten(g):
    raise NotImplementedError("write it")


X = torch.arange(6.0, dtype=torch.float64).view(2, 3).requires_grad_()
BACKWARDS = {  # a wrong backward, and what is said of it in English and in Chinese
    "right": (
        lambda g: torch.from_numpy(3 * from_the_right(g)),
        "gradients: right, says gradcheck", "梯度：正确（gradcheck）",
    ),
    "sign": (
        lambda g: torch.from_numpy(-3 * from_the_right(g)),
        "gradient of argument 0: the sign is wrong", "参数 0 的梯度：正负号反了",
    ),
    "flip": (
        lambda g: torch.from_numpy(3 * from_the_right(g)[:, ::-1].copy()),
        "gradient of argument 0: flipped along axis 1", "参数 0 的梯度：沿轴 1翻转了",
    ),
    "scale": (
        lambda g: torch.from_numpy(from_the_right(g).copy()),
        "gradient of argument 0: too large by the factor 0.333333",
        "参数 0 的梯度：差一个倍数：是正确值的 0.333333 倍",
    ),
    "column": (
        first_column,
        "gradient of argument 0: only the columns [0] are right",
        "参数 0 的梯度：只有第 [0] 列是对的（从 0 数起）",
    ),
    "none": (
        lambda g: None,
        "gradient of argument 0: nothing is there yet", "参数 0 的梯度：这里还没有答案",
    ),
    "unwritten": (unwritten, "not yet: write it", "还没完成：write it"),
    "shape": (
        lambda g: torch.from_numpy(g.T.copy()),
        "RuntimeError: Function LayerBackward returned an invalid gradient at index 0 - "
        "got [3, 2] but expected shape compatible with [2, 3]", "",
    ),
}  # fmt: skip
VALUES = {  # an answer, the right one, and what is said of it
    "right": (torch.ones(2), torch.ones(2), "right"),
    "dtype": (
        torch.ones(2).double(), torch.ones(2), "the dtype is torch.float64, not torch.float32",
    ),
    "shape": (np.ones((3, 2)), np.ones((2, 3)), "the shape is (3, 2), not (2, 3)"),
    "array": (np.ones(2), torch.ones(2), "a ndarray, not a tensor"),
    "sign": ([1, -2], [-1, 2], "the sign is wrong"),
    "flip": ([1, 2, 4], [4, 2, 1], "flipped along axis 0"),
    "rotated": ([[1, 2], [3, 7]], [[7, 3], [2, 1]], "flipped along all axes"),
    "transposed": ([[1, 2], [3, 7]], [[1, 3], [2, 7]], "transposed"),
    "scale": (np.array([1j, 2]), np.array([4j, 8]), "too large by the factor 0.25"),
    "row": ([[1, 2], [3, 9]], [[1, 2], [3, 4]], "only the columns [0] are right"),
    "words": (["a", "b"], ["a", "c"], "1 of 2 are right; the first that is not: number 1"),
    "place": (
        [[9, 2, 3], [1, 9, 4], [5, 6, 9]], [[1, 2, 3], [1, 2, 4], [5, 6, 7]],
        "6 of 9 are right; the first that is not: number (0, 0)",
    ),
    "booleans": ([True, False], [True, True], "1 of 2 are right; the first that is not: number 1"),
    "nothing": (..., [1], "nothing is there yet"),
    "complex": (torch.ones(2).cfloat().conj(), torch.ones(2).cfloat(), "right"),
}  # fmt: skip


def said_of(judge, backward):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        judge(layer(backward), X, wanted=lambda x: 3 * x.cumsum(1))
    return printed.getvalue().splitlines()


def check_backwards(namespace, language):
    """The cases that `judge` describes otherwise than it should."""
    place = 1 if language == "en" else 2
    return [
        name
        for name, case in BACKWARDS.items()
        if case[place] and said_of(namespace["judge"], case[0])[-1] != case[place]
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_judge_says_what_is_wrong_with_a_gradient(language):
    assert check_backwards(judge_of(language), language) == []


def check_values(namespace):
    what = namespace["what_is_wrong"]
    return [name for name, (a, b, text) in VALUES.items() if (what(a, b) or "right") != text]


def test_judge_says_what_is_wrong_with_a_value():
    assert check_values(judge_of("en")) == []


BROKEN_JUDGES = {
    "sign": ('"the sign is wrong": -a', '"the sign is wrong": a'),
    "flip": ("np.flip(a, axis)", "a"),
    "scale": ("if factor and", "if False and"),
    "shape": ("if a.shape != b.shape:", "if a.ndim != b.ndim:"),
    "dtype": ("if len(set(types)) > 1 else", "if False else"),
    "row": ("if whole.any():", "if False:"),
    "place": ("np.argwhere(~right)[0]", "np.argwhere(right)[0]"),
    "nothing": ("if got is None or got is ...:", "if got is None:"),
}


@pytest.mark.parametrize("name", BROKEN_JUDGES)
def test_a_broken_judge_is_found(name):
    def broken():
        return check_values(judge_of("en", BROKEN_JUDGES[name]))

    with contextlib.suppress(Exception):  # a crash is found as well
        assert name in broken()


def test_judge_finds_a_cut_gradient_and_reports_an_error():
    judge = judge_of("en")["judge"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        judge(lambda x: x.detach(), X, wanted=X)
        judge(lambda x: x.detach().numpy(), X, wanted=X)
        judge(lambda x: [][1], X, wanted=X)
        judge(lambda: [1], wanted=[1])
    assert printed.getvalue().splitlines() == [
        "value: right",
        "gradients: none; the way back to the input is cut",
        "value: a ndarray, not a tensor",
        "IndexError: list index out of range",
        "answer: right",
    ]


def spoken(source):
    """The texts in a cell that a reader gets to see: all but docstrings, keys and data."""
    tree = ast.parse(source)
    shown = set()
    inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            inside.add(id(node.body[0].value) if ast.get_docstring(node) else None)
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in inside:
            text = ast.get_source_segment(source, node)
            if re.search(r"[a-z]{4}", re.sub(r"\{[^}]*\}", "", text)) and text[0] in "f\"'":
                shown.add(text)
    return shown


def test_all_that_judge_says_is_said_in_chinese():
    notebook = load(NOTEBOOKS / "zh" / "02-backward.ipynb")
    (source,) = [cell.source for cell in notebook.cells if cell.id == "judge"]
    assert not [text for text in workshop.JUDGE if text not in source]
    names = {'"fciu"', '"dtype"', '"requires_grad"'}  # no words
    left = {text for text in spoken(source) if not any(known in text for known in workshop.JUDGE)}
    assert not [t for t in left - names if not any(k.startswith(t) for k in workshop.JUDGE)]
    assert '"half done"' in spoken(source + '\nprint("half done")')


# teachers' notebooks


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_teachers_notebook_is_whole_and_has_the_notes(language, tmp_path):
    page = tmp_path / language / "teaching.md"
    page.parent.mkdir()
    page.write_text(
        "(teaching-02-backward)=\n### 02\n\nNo.\n\n(teaching-03-fft-layer)=\n### 03: [x](y.md)\n\n"
        "Ask at [the figure](03-fft-layer.ipynb#fft-four), see [help](faq.md#faq-x).\n\n"
        "#### Late\n\n[Cut](#teaching-late).\n\n(teaching-04-x)=\n### 04\n\nNo.\n",
        encoding="utf8",
    )
    source = load(NOTEBOOKS / language / "03-fft-layer.ipynb")
    made = workshop.teacher(
        source, "03-fft-layer", language, chapters=["03-fft-layer"], folder=tmp_path
    )
    nbformat.validate(made)
    title, added, *rest = made.cells
    assert [c.id for c in [title, *rest]] == [c.id for c in source.cells]
    outputs = [[c.get("outputs") for c in n.cells if c.id != "teacher"] for n in (made, source)]
    assert outputs[0] == outputs[1]
    minutes, _, text = added.source.partition("\n\n")
    assert str(source.cells[0].metadata.teaching) in minutes
    assert str(source.cells[0].metadata.exercises) in minutes
    assert text == (
        "Ask at [the figure](03-fft-layer.ipynb#fft-four), "
        f"see [help](../../site/{language}/faq.html#faq-x).\n\n#### Late\n\n"
        f"[Cut](../../site/{language}/teaching.html#teaching-late)."
    )
    assert workshop.notes("05-gradcheck", language, tmp_path) == ""


# catch-up notebooks


def solved(made, source):
    """The exercises of which a notebook holds the whole solution."""
    here = {cell.id: cell.source for cell in made.cells}
    return {
        first.id
        for first, *rest in groups(source)
        if "exercise" in tags(first) and all(here.get(c.id) == c.source for c in rest)
    }


def test_catch_up_points_come_from_the_schedules():
    found = list(workshop.breaks(SCHEDULES, NAMES))
    assert [(s, n, sorted(done)) for s, n, done in found] == [
        ("half-day", 1, ["02-backward"]),
        ("half-day", 2, ["02-backward", "03-fft-layer"]),
        ("two-days", 1, ["02-backward"]),
        ("two-days", 2, ["02-backward", "03-fft-layer"]),
        ("two-days", 3, ["04-correlate2d-layer"]),
    ]
    assert found[0][2]["02-backward"] == ({"backward-jacobian", "backward-adjoint"}, set())
    ends = list(workshop.breaks([], ["01-a", "02-b"]))
    everything = (workshop.ALL, workshop.ALL)
    assert ends == [(None, "01", {"01-a": everything}), (None, "02", {"02-b": everything})]


def check_catch_up(folder, language):
    """List what is wrong with the catch-up notebooks of the schedule above."""
    source = load(NOTEBOOKS / language / "02-backward.ipynb")
    said = []
    for number, exercises, last in (
        (1, set(), "backward-adjoint"),
        (2, {"backward-ex-recall"}, "backward-questions"),
    ):
        path = folder / language / "catch-up" / f"half-day-{number}" / "02-backward.ipynb"
        made = nbformat.read(path, as_version=4)
        nbformat.validate(made)
        if solved(made, source) != exercises:
            said.append(f"{number}: solved are {solved(made, source)}")
        section, behind = None, False
        for cell in made.cells:
            if cell.source.startswith("## "):
                behind = behind or section == last
                section = cell.id
            is_answer = any(cell.id.startswith(x) for x in exercises)
            if not is_answer and cell.cell_type == "code" and behind and cell.outputs:
                said.append(f"{number}: {cell.id} has outputs")
            if cell.id in ("backward-sweep", "backward-adjoint-by-hand") and not cell.outputs:
                said.append(f"{number}: {cell.id} has no outputs")
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_catch_up_notebooks_are_solved_up_to_the_break(kit, language):
    assert check_catch_up(kit[0], language) == []
    source = load(NOTEBOOKS / language / "03-fft-layer.ipynb")
    whole = workshop.catch_up(source, "03-fft-layer", language, (workshop.ALL, workshop.ALL))
    assert len(solved(whole, source)) == 3


def test_a_catch_up_notebook_of_another_break_is_found(kit, tmp_path):
    for number in (1, 2):
        path = tmp_path / "en" / "catch-up" / f"half-day-{number}" / "02-backward.ipynb"
        path.parent.mkdir(parents=True)
        other = kit[0] / "en" / "catch-up" / f"half-day-{3 - number}" / "02-backward.ipynb"
        path.write_bytes(other.read_bytes())
    said = check_catch_up(tmp_path, "en")
    assert any(x.startswith("1: solved") for x in said) and any("2: solved" in x for x in said)


# the zip


def check_zip(path, language):
    """List what is wrong with a language's zip."""
    with zipfile.ZipFile(path) as kit:
        names, top = set(kit.namelist()), f"workshop-{language}"
        said = [f"{kit.testzip()} is damaged"] * (kit.testzip() is not None)
        for needed in (
            "START-HERE.html", f"site/{language}/index.html", "notebooks/requirements.txt",
            "tools/check_setup.py", *(f"notebooks/{language}/{name}.ipynb" for name in NAMES),
        ):  # fmt: skip
            said += [f"{needed} is missing"] * (f"{top}/{needed}" not in names)
        if said:
            return said
        page = kit.read(f"{top}/START-HERE.html").decode()
        said += [f"START-HERE.html: {left}" for left in re.findall(r"\{\{.*?\}\}", page)]
        places = [f"notebooks/{p}" for p in re.findall("<code>(catch-up/.+?)</code>", page)]
        said += check_links("START-HERE.html", places, names, top)
        said += check_links("START-HERE.html", re.findall(r'href="([^"]+)"', page), names, top)
        shut = [e.filename for e in kit.infolist() if not e.external_attr >> 16 & 0o004]
        said += [f"{name} can be read by its owner only" for name in shut]
        for name in sorted(n for n in names if n.endswith(".ipynb") and "/site/" not in n):
            cells = nbformat.reads(kit.read(name).decode(), as_version=4).cells
            text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
            said += check_links(
                name.partition("/")[2], re.findall(r"\]\(([^)\s]+)\)", text), names, top
            )
    return said


def check_links(page, links, names, top):
    for link in links:
        address = html.unescape(link).partition("#")[0]
        if not address or re.match(r"https?:|data:", address):
            continue
        parts = [top, *page.split("/")[:-1]]
        for part in address.split("/"):
            parts = parts[:-1] if part == ".." else [*parts, part]
        if "/".join(parts) not in names:
            yield f"{page}: {link} leads nowhere"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_zip_holds_the_site_and_all_that_its_page_names(kit, site, language):
    folder, folders = kit
    archive = site / "extending-pytorch.zip"
    path = workshop.pack(folder, language, folders[language], archive)
    assert check_zip(path, language) == []


def test_a_broken_zip_is_found(kit, tmp_path, monkeypatch):
    folder, folders = kit
    small = tmp_path / "site.zip"
    with zipfile.ZipFile(small, "w") as archive:
        archive.writestr("book/index.html", "")
    monkeypatch.setattr(workshop, "ROOT", ROOT)
    assert check_zip(workshop.pack(folder, "en", [], small), "en") == [
        "site/en/index.html is missing"
    ]
    with zipfile.ZipFile(small, "w") as archive:
        archive.writestr("book/en/index.html", "")  # for its owner only
    more = [*folders["en"], ("nowhere", "never", ["01-x"])]
    said = check_zip(workshop.pack(folder, "en", more, small), "en")
    assert "START-HERE.html: notebooks/catch-up/nowhere/01-x.ipynb leads nowhere" in said
    assert "START-HERE.html: site/en/setup.html leads nowhere" in said
    assert "workshop-en/site/en/index.html can be read by its owner only" in said


def test_the_setup_check_finds_the_layers_of_a_kit(kit, tmp_path, monkeypatch):
    copied = tmp_path / "notebooks" / "zh" / "03-fft-layer.ipynb"
    copied.parent.mkdir(parents=True)
    copied.write_bytes((kit[0] / "zh" / "learner" / "03-fft-layer.ipynb").read_bytes())
    monkeypatch.setattr(check_setup, "ROOT", tmp_path)
    program = ast.parse(check_setup.program("03-fft-layer"))
    assert "fft_magnitude" in {n.name for n in program.body if isinstance(n, ast.FunctionDef)}


def test_wheels_are_asked_for_by_name_of_the_system(tmp_path):
    commands = list(workshop.wheel_commands(["windows", "linux"], "3.12", tmp_path))
    windows, linux = (" ".join(command) for command in commands)
    assert f"pip download --dest {tmp_path} --only-binary :all: --python-version 3.12" in windows
    assert "--platform win_amd64 -r" in windows and "pywinpty" in windows
    assert workshop.CPU in linux and workshop.CPU not in windows
    assert "--platform manylinux_2_28_x86_64" in linux and "pywinpty" not in linux


def test_with_wheels_the_page_installs_from_them(tmp_path):
    page = workshop.start_page("zh", [], tmp_path)
    assert "pip install --no-index --find-links wheels -r notebooks/requirements.txt" in page
    assert "--no-index" not in workshop.start_page("zh", [], None)
