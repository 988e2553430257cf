"""Promise: chapter 11 judges gradients rightly, its table is what runs, and the first page agrees.

The chapter is run once. Each check takes what it is about, so that a broken copy can be given.
"""

import io
import linecache
import re
import shutil
import subprocess
import sys
import types
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import Function

from notebooks import FENCE, LANGUAGES, NOTEBOOKS, broken_layers, layers, read

NAME = "11-no-wrapper"
FRESH = "<native-scipy-fresh>"  # the source of this cell as inspect knows it
BOOK = layers(NAME)
SETTINGS = settings(derandomize=True, deadline=None, max_examples=40, database=None)


def cell(identity, language="en"):
    cells = read(NOTEBOOKS / language / f"{NAME}.ipynb")["cells"]
    return next(cell for cell in cells if cell["id"] == identity)


@pytest.fixture(scope="module")
def chapter():
    """What the chapter defines, run whole as a module of its own, as a kernel would."""
    module = types.ModuleType("chapter_11")
    sys.modules["chapter_11"] = module  # torch.compile and inspect look there
    for found in read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]:
        if found["cell_type"] == "code":
            name = f"<{found['id']}>"
            lines = found["source"].splitlines(keepends=True)
            linecache.cache[name] = (len(found["source"]), None, lines, name)
            with redirect_stdout(io.StringIO()):
                exec(compile(found["source"], name, "exec"), module.__dict__)
    yield module.__dict__
    del sys.modules["chapter_11"]


# the tool


class Times(Function):
    """x * x with a gradient that is multiplied by a factor, an array of them, or raises."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        if ctx.factor is None:
            raise NotImplementedError("no derivative")
        return 2 * g * x * ctx.factor, None


def times(factor):
    return lambda x: Times.apply(x, factor)


def leaf(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


X = leaf([0.6, 1.3, -2.0], [0.7, 3.1, 1.9])
WEIGHT = torch.ones(3, dtype=torch.float64, requires_grad=True)
RIGHT = {
    "square": torch.square,
    "a number": torch.sum,
    "a matrix": lambda x: x @ x.T,
    "another shape": lambda x: x.T.reshape(3, 2, 1),
    "complex": torch.fft.rfft2,
    "nothing": lambda x: x[:0],
    "constant": lambda x: torch.softmax(x, 1).sum(1),  # only rounding changes it
    "steps": torch.round,
    "large": lambda x: 1e12 * x,
    "small": lambda x: 1e-12 * x,
    "with a parameter": lambda x: x * WEIGHT,
    "its own backward": times(1),
}
WRONG = {
    "factor": times(2),
    "sign": times(-1),
    "zero": times(0),
    "one entry": times(leaf([1, 1, 1], [1, 1, 1.001])),
    "nan": times(float("nan")),
    "a number of the input": lambda x: x / x.max().item(),
    "around the input": lambda x: WEIGHT * x.sum().item(),
    "transposed": lambda x: (
        (x[:, :2] + x[:, :2].detach().T - x[:, :2].T.detach()) @ leaf(1, 2) + x[:, 2].detach()
    ),
    "half of a complex number": lambda x: torch.complex(x, x.detach()),
    "single precision": lambda x: x.float().square(),
}
LOST = {
    "detached": lambda x: x.detach() * 2,
    "an array": lambda x: np.exp(x.detach().numpy()),
    "a list": lambda x: x.tolist(),
    "a pair": lambda x: torch.max(x, 1),
    "places": torch.argmax,
    "no gradient in torch": torch.special.bessel_j0,
}
RAISES = {
    "numpy": np.exp,
    "forward": lambda x: x @ x,
    "backward": times(None),
    "in place": lambda x: x.mul_(2),
    "jumps": lambda x: x if x[0, 0] == 0.6 else x[:1],
}


def check_answers(book):
    for answer, functions in dict(right=RIGHT, wrong=WRONG, lost=LOST, raises=RAISES).items():
        for name, function in functions.items():
            found = book["keeps_gradient"](function, X)
            assert found == answer, f"{name}: {found}, not {answer}"


def check_shapes(book):
    """Numbers without axes, vectors and empty tensors, with or without memory in order."""
    for x in leaf(0.5)[0], leaf(0.5, 2), X.T, X[:, ::2], X[:0]:
        assert book["keeps_gradient"](torch.square, x) == "right", tuple(x.shape)
        if x.numel():
            assert book["keeps_gradient"](times(2), x) == "wrong", tuple(x.shape)


def check_input(book):
    """The input is left alone, whether or not it requires a gradient, and is float64."""
    for x in X.clone(), X.clone().requires_grad_():
        before, needs = x.detach().clone(), x.requires_grad
        book["keeps_gradient"](lambda t: t.detach().mul_(3), x)
        book["keeps_gradient"](torch.square, x)
        assert torch.equal(x, before), "the input was changed"
        assert x.requires_grad == needs and x.grad is None, "the input is part of the graph"
    for bad, kind in (X.float(), "torch.float32"), (X.numpy(), "float64"), ([1.0], "list"):
        said = "nothing"
        try:
            book["keeps_gradient"](torch.square, bad)
        except TypeError as error:
            said = str(error)
        assert f"must be a float64 tensor, got {kind};" in said, f"{kind}: it says {said}"


def check_same_path(book):
    """Each call gets an input that requires a gradient, as the first one does."""
    asked = []
    book["keeps_gradient"](lambda x: asked.append(x.requires_grad) or x * 2, leaf(1, 2))
    assert asked == [True] * 5, f"another path: {asked}"


def check_interrupt(book):
    """A key pressed to stop it stops it."""

    def stop(x):
        raise KeyboardInterrupt

    try:
        answer = book["keeps_gradient"](stop, X)
    except KeyboardInterrupt:
        return
    raise AssertionError(f"not stopped: {answer}")


CHECKS = [check_answers, check_shapes, check_input, check_same_path, check_interrupt]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tool(check, language):
    check(layers(NAME, language))


@SETTINGS
@given(st.floats(-9, 9), st.integers(0, 99), st.integers(1, 4))
def test_a_factor_is_noticed(factor, seed, size):
    x = torch.from_numpy(np.random.default_rng(seed).uniform(0.5, 2, size))
    if abs(factor - 1) < 1e-8:
        assert BOOK["keeps_gradient"](times(factor), x) == "right"
    elif abs(factor - 1) > 1e-5:
        assert BOOK["keeps_gradient"](times(factor), x) == "wrong"


BROKEN = [  # check, what is replaced, by what, the complaint
    (check_answers, 'return "right" if', 'return "wrong" if',
     "square: wrong, not right"),
    (check_answers, "<= limit", ">= limit",
     "square: wrong, not right"),
    (check_answers, '"right" if (analytic - numeric).norm() <= limit else "wrong"',
     '"wrong" if (analytic - numeric).norm() > limit else "right"',
     "nan: right, not wrong"),
    (check_answers, " + 1e-8 * y.detach().norm()", "",
     "constant: wrong, not right"),
    (check_answers, "1e-6 * numeric.norm()", "1e-2 * numeric.norm()",
     "one entry: right, not wrong"),
    (check_answers, "1e-8 * y.detach().norm()", "y.detach().norm()",
     "factor: right, not wrong"),
    (check_answers, " or not y.requires_grad", "",
     "detached: raises, not lost"),
    (check_answers, "not isinstance(y, torch.Tensor) or ", "",
     "an array: raises, not lost"),
    (check_answers, "        y = real(y)\n", "",
     "complex: raises, not right"),
    (check_answers, "True, materialize_grads=True)", "True)",
     "around the input: raises, not wrong"),
    (check_answers, "= real(up - down).flatten()", "= (up - down).real.flatten()",
     "complex: raises, not right"),
    (check_answers, "/ (2 * eps)", "/ eps",
     "square: wrong, not right"),
    (check_answers, "x, unit.to(y.dtype), True,", "x, unit.to(y.dtype), False,",
     "square: raises, not right"),
    (check_answers, "    except Exception:", "    except TypeError:",
     "Can't call numpy() on Tensor that requires grad"),
    (check_shapes, "reshape(like.numel(), *like.shape)", "reshape(-1, *like.shape)",
     "(0, 3)"),
    (check_input, "input.detach().clone().requires_grad_()", "input.detach().requires_grad_()",
     "the input was changed"),
    (check_input, "input.detach().clone().requires_grad_()", "input.requires_grad_()",
     "the input was changed"),
    (check_input, " or input.dtype != torch.float64", "",
     "torch.float32: it says nothing"),
    (check_same_path, "(x.detach() + step).requires_grad_()", "x.detach() + step",
     "another path: [True, False, False, False, False]"),
    (check_interrupt, "    except Exception:", "    except BaseException:",
     "not stopped: raises"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "complaint"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_tool_is_found(check, old, new, complaint):
    book = broken_layers(NAME, (old, new))
    with pytest.raises((AssertionError, RuntimeError), match=re.escape(complaint)):
        check(book)


# the table


def printed_table(text):
    """The table as it stands in the page: {routine: {column: answer}}."""
    head, *lines = text.rstrip().splitlines()
    columns = [head[start : start + 10].strip() for start in (25, 35, 45, 55)]
    table = {}
    for line in lines:
        answers = [line[start : start + 10].strip() for start in (25, 35, 45, 55)]
        table[line[:25].strip()] = dict(zip(columns, answers, strict=True))
    return table


def check_table(printed, computed):
    """List the rows of a printed table that are not what the chapter computes."""
    computed = {n: {c: a or "-" for c, a in row.items()} for n, row in computed.items()}
    names = {**printed, **computed}
    return [name for name in names if printed.get(name) != computed.get(name)]


def stored_table(language="en"):
    return printed_table(cell("native-table-computed", language)["outputs"][0]["text"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_printed_table_is_what_runs(chapter, language):
    assert len(stored_table()) == 23
    assert check_table(stored_table(language), chapter["table"]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table["special.j0"].update(torch="right"),
        lambda table: table["signal.fftconvolve"].update({"array API": "lost"}),
        lambda table: table["signal.lfilter"].update(compile="-"),
        lambda table: table.pop("linalg.expm"),
        lambda table: table.update({"fft.hfft": table["fft.dct"]}),
    ],
)
def test_a_corrupted_row_is_found(chapter, change):
    table = stored_table()
    change(table)
    assert len(check_table(table, chapter["table"])) == 1


def under(chapter, **here):
    """The chapter's comparison with its text, as it behaves under other versions."""
    namespace = dict(chapter)
    exec(cell("native-as-printed")["source"], namespace)
    namespace["HERE"] = {**namespace["TEXT"], **here}
    return namespace["as_printed"]


def test_another_answer_fails_under_the_pinned_versions(chapter, capsys):
    as_printed = under(chapter)
    as_printed({"a": "right", "b": "lost"}, {"a": "right", "b": "lost"})
    for found in {"a": "right", "b": "right"}, {"a": "right"}, {"a": "right", "b": "lost", "c": 1}:
        with pytest.raises(AssertionError):
            as_printed(found, {"a": "right", "b": "lost"})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("other", [{"torch": "9.9"}, {"scipy": "9.9"}, {"SCIPY_ARRAY_API": "1"}])
def test_another_answer_is_explained_under_other_versions(chapter, capsys, other):
    as_printed = under(chapter, **other)
    as_printed({"a": "right"}, {"a": "right"})
    assert capsys.readouterr().out == ""
    as_printed({"a": "right", "b": "right"}, {"a": "right", "b": "lost"})
    said = capsys.readouterr().out
    assert next(iter(other.values())) in said and "b: right here, lost in the text" in said
    assert "a:" not in said


def test_the_text_names_the_pinned_versions(chapter):
    pinned = (NOTEBOOKS / "requirements.txt").read_text(encoding="utf8")
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", pinned, re.MULTILINE))
    text = chapter["TEXT"]
    assert {name: text[name] for name in ("torch", "numpy", "scipy")} == {
        name: pins[name] for name in ("torch", "numpy", "scipy")
    }


@pytest.mark.skipif(not shutil.which("false"), reason="needs a program that fails")
def test_a_second_python_that_fails_is_heard(chapter):
    namespace = {**chapter, "sys": types.SimpleNamespace(executable=shutil.which("false"))}
    with pytest.raises(RuntimeError):
        exec(compile(cell("native-scipy-fresh")["source"], FRESH, "exec"), namespace)


# the first page

ORDER = {  # the questions of the chart, in the words of: the page, the picture
    "gradient": (r"\*\*Must a gradient flow", "Must a gradient"),
    "torch": (r"\*\*Does torch have it", "Does torch have it"),
    "compile": (r"\*\*Can `torch.compile` trace", "torch.compile"),
    "array API": (r"\*\*Does the SciPy routine accept tensors", "Does SciPy take"),
    "linear": (r"\*\*Is it linear", "Is it linear"),
    "curved": (r"\*\*Is it not linear, but is its derivative known", "Is its derivative"),
    "black box": (r"\*\*Otherwise it is a black box", "A black box"),
}


def index():
    return (NOTEBOOKS / "en" / "index.md").read_text(encoding="utf8")


def picture():
    """What the chart says, line by line."""
    svg = (NOTEBOOKS / "en" / "decision-chart.svg").read_text(encoding="utf8")
    return "\n".join(re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<text.*?</text>", svg))


def check_index(page, drawn, chapter):
    """List what the first page claims and the chapter does not find."""
    said = []
    items = re.findall(r"^\d\. (.*)$", page, re.MULTILINE)
    table, tool = chapter["table"], chapter["keeps_gradient"]
    if len(items) != len(ORDER) or not all(
        re.match(pattern, item) for item, (pattern, _) in zip(items, ORDER.values(), strict=False)
    ):
        return ["the steps of the list"]
    places = [drawn.find(words) for _, words in ORDER.values()]
    if -1 in places or places != sorted(places):
        said.append("the steps of the chart")
    if [name for name in ORDER if name in chapter["columns"]] != chapter["columns"][1:]:
        said.append("the order of the table")
    for module in re.findall(r"`torch\.([\w.]+)`", items[1]):
        place = torch
        for part in module.split("."):
            place = getattr(place, part, None)
        if place is None:
            said.append(f"torch.{module}")
    if "Always pass `fullgraph=True`, from the first call on." not in items[2]:
        said.append("fullgraph")
    passes = re.findall(r"`scipy\.([\w.]+)` passes the gradient on", items[3])
    fails = re.findall(r"`scipy\.([\w.]+)` does not", items[3])
    if not passes or not fails:
        said.append("routines that pass the gradient on, and that do not")
    said += [name for name in passes if table.get(name, {}).get("array API") != "right"]
    said += [name for name in fails if table.get(name, {}).get("array API") in ("right", None)]
    linear = {"filters": "signal.lfilter", "Fourier transforms": "fft.rfft2",
              "interpolation": "CubicSpline", "linear systems": "linalg.solve"}  # fmt: skip
    for word, name in linear.items():
        if word in items[4] and not chapter["is_linear"](*chapter["calls"][name]):
            said.append(word)
    for name in re.findall(r"`torch\.special\.(\w+)` returns a tensor without a gradient", page):
        if tool(getattr(torch.special, name), leaf(1, 2)) != "lost":
            said.append(name)
    for library, version in re.findall(r"\b(torch|SciPy|NumPy) (\d+\.\d+)", page):
        if not chapter["TEXT"][library.lower()].startswith(version + "."):
            said.append(f"{library} {version}")
    counted = re.search(r"walks (\d+) routines down this chart", page)
    if not counted or int(counted[1]) != len(table):
        said.append("the number of routines")
    return said


def test_the_first_page_says_what_the_chapter_finds(chapter):
    assert check_index(index(), picture(), chapter) == []


def test_what_the_first_page_says_of_compiling(chapter):
    """Without fullgraph the gradient is lost, and nothing says so; with it there is an error."""
    strict, loose = (
        torch.compile(chapter["with_scipy"], backend="eager", fullgraph=full)
        for full in (True, False)
    )
    torch.compiler.reset()
    assert chapter["keeps_gradient"](strict, leaf(1, 2)) == "raises"
    assert chapter["keeps_gradient"](loose, leaf(1, 2)) == "lost"
    x = leaf(1, 2).requires_grad_()
    assert x.detach().numpy() is not None
    with torch.no_grad():
        assert x.numpy().tolist() == [1, 2]  # step 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("`scipy.signal.fftconvolve` passes", "`scipy.signal.convolve` passes"),
        ("`scipy.signal.correlate2d` does not", "`scipy.signal.fftconvolve` does not"),
        ("`scipy.signal.correlate2d` does not", "`scipy.signal.never` does not"),
        ("`torch.linalg`", "`torch.algebra`"),
        ("fullgraph=True`, from the first call on", "fullgraph=True`"),
        ("torch.special.bessel_j0` returns", "torch.special.i0` returns"),
        ("In torch 2.13,", "In torch 2.12,"),
        ("In SciPy 1.17,", "In SciPy 1.16,"),
        ("walks 23 routines", "walks 24 routines"),
        ("5. **Is it linear", "5. **Is it curved"),
    ],
)
def test_a_wrong_claim_of_the_first_page_is_found(chapter, old, new):
    assert index().count(old) == 1
    assert len(check_index(index().replace(old, new), picture(), chapter)) == 1


def test_a_chart_in_another_order_is_found(chapter):
    lines = picture().splitlines()
    assert check_index(index(), "\n".join(lines[::-1]), chapter) == ["the steps of the chart"]
    assert check_index(index(), "", chapter) == ["the steps of the chart"]


def run_program(program):
    """Run a program in a fresh Python, without the variable."""
    command = [sys.executable, "-c", f"import os; os.environ.pop('SCIPY_ARRAY_API', 0)\n{program}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def program_of(page):
    (block,) = (m[0] for m in FENCE.finditer(page) if m[0].startswith("```python"))
    return block.removeprefix("```python\n").removesuffix("```")


def test_the_program_of_the_first_page_runs():
    done = run_program(program_of(index()))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "three gradients, no wrapper"


def test_the_program_without_its_variable_fails():
    program = re.sub(r"^os\.environ.*$", "", program_of(index()), flags=re.MULTILINE)
    done = run_program(program)
    assert done.returncode and "Can't call numpy()" in done.stderr
