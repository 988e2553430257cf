"""Promise: chapter 13's engines agree with F.conv2d and chapter 07, twice differentiated.

`make test` draws a sample of the configurations (conftest.py). Two thousand, in one command:

    BOOK_EXAMPLES=2000 python tools/run.py test -n 0 tests/test_engines.py -k equals

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import io
import tokenize
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import grad

from notebooks import NOTEBOOKS, broken_layers, layers, read
from test_double_backward import (
    COMPLAINTS,
    cases,
    check_jacobians,
    compare,
    derivatives,
    draw,
    leaves,
)

NAME = "13-engines"
BOOK = layers(NAME)
ENGINES = ("General", "Rows", "Fourier", "Patch")
OWN = ENGINES[1:]
DTYPES = (torch.float32, torch.float64)
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FEW = settings(max_examples=max(2, settings().max_examples // 10))
conv2d = torch.nn.functional.conv2d


@st.composite
def plain_cases(draw_from):
    """Shapes and padding that every engine covers, and how small the pieces are made."""
    one, few = st.integers(1, 3), st.integers(1, 9)
    size = draw_from(few), draw_from(few)
    image = [k + draw_from(st.integers(0, 7)) for k in size]
    batch = draw_from(st.sampled_from([1, 2, 3, 30]))
    if draw_from(st.booleans()):  # two blocks of columns
        image[1] += 330
    channels, filters = draw_from(one), draw_from(one)
    pair = st.integers(0, 10)
    padding = draw_from(st.one_of(st.just(0), st.just("same"), st.tuples(pair, pair)))
    scratch = draw_from(st.sampled_from([1, 2000, 2**20]))
    count = draw_from(st.tuples(one, one))
    return (batch, channels, *image), (filters, channels, *size), padding, scratch, count


def engine_layer(book, name, padding):
    """The layer with this engine, whatever ``choose`` would say."""

    def layer(x, w):
        options = book["check_conv2d"](x, w, None, 1, padding, 1, 1)
        engine = book[name](tuple(x.shape), tuple(w.shape), options)
        return book["Correlate"].apply(x, w, engine)

    return layer


def check_engine(book, name, case, dtype=torch.float64, seed=0):
    """Value, first and second derivatives equal those of F.conv2d."""
    image, filters, padding, scratch, count = case
    tensors = draw(seed, image, filters, dtype=dtype)
    g, *directions = draw(
        seed + 1, conv2d(*tensors, padding=padding).shape, image, filters, dtype=dtype
    )
    with patch.dict(book, SCRATCH=scratch, parts=lambda *_: count):
        ours = derivatives(engine_layer(book, name, padding), tensors, g, directions)
    theirs = derivatives(lambda x, w: conv2d(x, w, padding=padding), tensors, g, directions)
    compare(ours, theirs, scale=tensors[1][0].numel())


SMALL = [  # image, filters, padding, scratch, count
    ((1, 1, 3, 4), (1, 1, 2, 3), 0, 1, (1, 1)),
    ((2, 2, 5, 7), (3, 2, 2, 3), "same", 1, (2, 2)),
    ((3, 1, 6, 4), (2, 1, 3, 1), (3, 1), 2**20, (3, 2)),
    ((1, 2, 4, 4), (1, 2, 4, 3), (0, 2), 2**20, (1, 2)),
    ((2, 1, 3, 400), (2, 1, 2, 2), 0, 2000, (1, 3)),
]


def check_faces(book, name, case, seed=0):
    """The three faces, one by one, equal chapter 07's, and are new contiguous memory."""
    image, filters, padding, scratch, count = case
    x, w = (tensor.numpy() for tensor in draw(seed, image, filters))
    options = book["check_conv2d"](torch.from_numpy(x), torch.from_numpy(w), None, 1, padding, 1, 1)
    with patch.dict(book, SCRATCH=scratch, parts=lambda *_: count):
        g = book["correlate"](x, w, options)
        for face, two in (
            ("correlate", (x, w)),
            ("input_gradient", (g, w)),
            ("weight_gradient", (x, g)),
        ):
            right = getattr(book["General"](image, filters, options), face)(*two)
            found = getattr(book[name](image, filters, options), face)(*two)
            assert found.shape == right.shape and found.dtype == right.dtype
            assert found.flags.c_contiguous and found.flags.writeable
            assert not any(np.shares_memory(found, one) for one in two)
            assert np.abs(found - right).max() <= 1e-12 * (1 + np.abs(right).max()), face


def check_options(book, case, seed=0):
    """With all options: values, first and second derivatives equal those of F.conv2d."""
    shapes, options, needs = case
    tensors = draw(seed, *shapes)
    g, *directions = draw(
        seed + 1, conv2d(*tensors, **options).shape,
        *(shape for shape, need in zip(shapes, needs, strict=True) if need),
    )  # fmt: skip
    ours, theirs = (
        derivatives(lambda *t, f=f: f(*t, **options), tensors, g, directions, needs)
        for f in (book["fast_conv2d"], conv2d)
    )
    compare(ours, theirs, scale=max(tensors[1][0].numel(), 1))


LARGE = [  # what each engine is for: image, filters, padding, its name
    ((2, 2, 24, 21), (3, 2, 11, 12), 0, "Fourier"),
    ((1, 1, 9, 9), (1, 1, 11, 11), "same", "Fourier"),
    ((2, 2, 14, 13), (2, 2, 12, 11), 0, "Patch"),
    ((1, 1, 31, 31), (1, 1, 31, 31), 0, "Patch"),
    ((2, 2, 9, 10), (2, 2, 3, 3), 1, "Rows"),
    ((1, 1, 17, 15), (1, 1, 11, 11), 0, "Rows"),
]


def check_choice(book, case, seed=0):
    """fast_conv2d takes the engine that is meant, and is right."""
    image, filters, padding, name = case
    x, w = draw(seed, image, filters)
    options = book["check_conv2d"](x, w, None, 1, padding, 1, 1)
    assert type(book["choose"](image, filters, options)).__name__ == name
    (g, *directions) = draw(seed + 1, conv2d(x, w, padding=padding).shape, image, filters)
    both = [
        derivatives(lambda x, w, f=f: f(x, w, padding=padding), [x, w], g, directions)
        for f in (book["fast_conv2d"], conv2d)
    ]
    compare(*both, scale=w[0].numel())


def check_general(book):
    """What no engine covers goes to chapter 07's numerics."""
    image, filters = (1, 2, 40, 40), (2, 2, 11, 11)
    Options = book["Options"]
    for options in (Options(stride=(2, 1)), Options(dilation=(1, 2)), Options(groups=2)):
        sizes = filters[0], filters[1] // options.groups, *filters[2:]
        assert type(book["choose"](image, sizes, options)) is book["General"], options
    empty = book["fast_conv2d"](*draw(0, (0, 2, 40, 40), filters))
    assert empty.shape == (0, 2, 30, 30)


def transforms(book, ask):
    """How many Fourier transforms a call takes, there and back."""
    fft, count = book["fft"], []

    def counted(name):
        inner = getattr(fft, name)
        return patch.object(fft, name, lambda *a, **k: count.append(name) or inner(*a, **k))

    with counted("rfft2"), counted("irfft2"):
        ask()
    return len(count)


def check_transforms(book):
    """Three transforms forward and three backward, fewer if less is asked; no more twice."""
    for needs, expected in (((True, True), 6), ((True, False), 5), ((False, True), 5)):
        x, w = draw(0, (1, 1, 24, 24), (1, 1, 11, 11))
        asked = [t.requires_grad_() for t, need in zip((x, w), needs, strict=True) if need]
        found = transforms(book, lambda x=x, w=w, asked=asked: grad(
            book["fast_conv2d"](x, w).square().sum(), asked))  # fmt: skip
        assert found == expected, f"{needs}: {found} transforms"
        y = book["fast_conv2d"](x, w)
        known = y.grad_fn.engine.known
        assert sorted(known) == [face for face, need in zip("wx", needs, strict=True) if need]
        assert [t is not None for t in y.grad_fn.saved_tensors] == [*needs[::-1]]


def check_fresh(book):
    """Spectra belong to one upstream gradient: a second backward does not get the first's."""
    x, w = leaves(*draw(1, (2, 1, 24, 20), (2, 1, 11, 11)))
    y, right = book["fast_conv2d"](x, w), conv2d(x, w)
    for seed in (2, 3):
        (g,) = draw(seed, y.shape)
        ours, theirs = (grad(of, (x, w), g, retain_graph=True) for of in (y, right))
        compare(ours, theirs, scale=121)
    with torch.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def check_layouts(book):
    """Memory in any order, no batch, bias, autocast."""
    for filters in ((2, 2, 3, 3), (2, 2, 11, 11), (2, 2, 20, 17)):
        x, w, b = draw(4, (3, 2, 22, 18), filters, filters[:1])
        for a in (x.to(memory_format=torch.channels_last), x.mT.contiguous().mT, x.flip(-1),
                  x[:1].expand(3, -1, -1, -1), x[1]):  # fmt: skip
            for v in (w, w.mT.contiguous().mT, w[:, :1].expand(-1, 2, -1, -1)):
                (g,) = draw(5, conv2d(a, v, b).shape)
                both = []
                for f in (book["fast_conv2d"], conv2d):
                    tensors = [t.detach().requires_grad_() for t in (a, v, b)]
                    y = f(*tensors)
                    both.append([y, *grad(y, tensors, g)])
                compare(*both, scale=w[0].numel())
                assert both[0][0].is_contiguous()
        with torch.autocast("cpu", torch.bfloat16):
            short = book["fast_conv2d"](x.bfloat16(), w.bfloat16(), b.bfloat16())
        assert short.dtype == torch.float32


def check_accuracy(book):
    """In float32 each engine is as exact as a direct sum in float32 could be."""
    for name, size in product(OWN, (3, 31)):
        if (name, size) == ("Patch", 3):
            continue
        x, w = draw(6, (2, 3, 34, 34), (2, 3, size, size), dtype=torch.float32)
        g = draw(7, conv2d(x, w).shape, dtype=torch.float32)[0]
        layer = engine_layer(book, name, 0)
        ours, right = [], []
        for found, f, two in ((ours, layer, leaves(x, w)),
                              (right, conv2d, leaves(x.double(), w.double()))):  # fmt: skip
            y = f(*two)
            found += [y, *grad(y, two, g.to(y.dtype))]
        for a, b in zip(ours, right, strict=True):
            assert a.dtype == torch.float32
            assert (a - b).abs().max() <= 2e-6 * b.abs().max(), f"{name} {size}"


def check_grad_of_func(book):
    """torch.func.grad works; vmap says what is missing instead of a wrong number."""
    x, w = draw(8, (1, 1, 20, 20), (1, 1, 11, 11))
    found = torch.func.grad(lambda w: book["fast_conv2d"](x, w).square().sum())(w)
    right = torch.func.grad(lambda w: conv2d(x, w).square().sum())(w)
    compare([found], [right], scale=121)
    twice = torch.func.grad(lambda w: torch.func.grad(
        lambda v: book["fast_conv2d"](x, v).pow(3).sum())(w).square().sum())(w)  # fmt: skip
    right = torch.func.grad(lambda w: torch.func.grad(
        lambda v: conv2d(x, v).pow(3).sum())(w).square().sum())(w)  # fmt: skip
    compare([twice / right.abs().max()], [right / right.abs().max()], scale=121)


def check_engine_jacobians(book, name):
    """First and second derivatives of each Function, by finite differences."""
    image, filters, padding, scratch, count = SMALL[0]
    x, w, g = leaves(*draw(9, image, filters, (1, 1, 2, 2)))
    options = book["check_conv2d"](x, w, None, 1, padding, 1, 1)

    def function(face):  # a new engine for each call: the numbers change
        return lambda *two: book[face].apply(*two, book[name](image, filters, options))

    with patch.dict(book, SCRATCH=scratch, parts=lambda *_: count):
        check_jacobians(function("Correlate"), (x, w))
        check_jacobians(function("InputGradient"), (g, w))
        check_jacobians(function("WeightGradient"), (x, g))


CHECKS = {
    "general": check_general, "transforms": check_transforms, "fresh": check_fresh,
    "layouts": check_layouts, "accuracy": check_accuracy, "func": check_grad_of_func,
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


@pytest.mark.parametrize("name", OWN)
@given(plain_cases(), st.sampled_from(DTYPES), st.integers(0, 2**32 - 2))
def test_an_engine_equals_torch(name, case, dtype, seed):
    check_engine(BOOK, name, case, dtype, seed)


@pytest.mark.parametrize("name", OWN)
@FEW
@given(plain_cases(), st.integers(0, 2**32 - 2))
def test_an_engine_equals_chapter_07(name, case, seed):
    check_faces(BOOK, name, case, seed)


@FEW
@given(cases(), st.integers(0, 2**32 - 2))
def test_fast_conv2d_equals_torch(case, seed):
    check_options(BOOK, case, seed)


@pytest.mark.parametrize("case", LARGE, ids=[f"{c[3]}-{c[0]}-{c[1]}" for c in LARGE])
def test_the_choice(case):
    check_choice(BOOK, case)


@pytest.mark.parametrize("name", ENGINES)
def test_jacobians(name):
    check_engine_jacobians(BOOK, name)


def lines_of_code(source):
    """How many lines hold code: no blank lines, comments, docstrings."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
               tokenize.ENDMARKER}  # fmt: skip
    return len({
        line
        for token in tokens
        if token.type not in nothing and not token.string.startswith('"""')
        for line in range(token.start[0], token.end[0] + 1)
    })  # fmt: skip


def test_the_numerics_are_short():
    assert lines_of_code('"""Words."""\n\n# more\nx = [\n    1,\n]\n') == 3
    names = [f"engine-{name}" for name in ("frame", "rows", "fourier", "patch", "choose")]
    cells = read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]
    found = [cell["source"] for cell in cells if cell["id"] in names]
    assert len(found) == len(names)
    count = sum(map(lines_of_code, found))
    assert count <= 200, count


# every check can fail: broken copies of the chapter's cells


def small(name, *numbers):
    return [lambda book, n=n: check_engine(book, name, SMALL[n]) for n in numbers]


def faces(name, *numbers):
    return [lambda book, n=n: check_faces(book, name, SMALL[n]) for n in numbers]


def choice(*numbers):
    return [lambda book, n=n: check_choice(book, LARGE[n]) for n in numbers]


FORWARD = "torch.from_numpy(engine.correlate(to_array(x), to_array(w)))"
BROKEN = {
    "cut too little": ([("left : left + self.image[3]]", ": self.image[3]]")],
                       [*small("Fourier", 1), *faces("Patch", 1)]),
    "a view is returned": (
        [("left : left + self.image[3]].copy()", "left : left + self.image[3]]")],
        faces("Fourier", 1, 2)),
    "frame without a cut": ([("max(-top, 0) : height", "0 : height")], faces("Rows", 2)),
    "frame in the corner": ([("top, left = max(top, 0), max(left, 0)", "top = left = 0")],
                            [*faces("Rows", 1), *small("Fourier", 1)]),
    "neighbors too far": ([("taps.strides[::2]", "(2 * taps.strides[0], *taps.strides[2::2])")],
                          small("Rows", 0)),
    "the taps of another axis": ([("(i, c, j, n, j)", "(i, c, i, n, j)")], small("Rows", 0)),
    "rows without their neighbors": ([("i : i + rows + kh - 1", "i : i + rows")],
                                     small("Rows", 0, 1)),
    "columns without their neighbors": ([("j : j + columns + kw - 1", "j : j + columns")],
                                        faces("Rows", 4)),
    "images not merged back": ([("target[:] = np.matmul(matrix, seen).reshape(target.shape)",
                                 "target[:] = np.matmul(matrix, seen).reshape("
                                 "len(target), -1, *target.shape[1::2]).swapaxes(1, 2)")],
                               faces("Rows", 1)),
    "not flipped": ([("w[:, :, ::-1, ::-1].swapaxes", "w[:, :, ::1, ::-1].swapaxes")],
                    small("Rows", 0)),
    "only the last block": ([("total += np.matmul(part", "total = np.matmul(part")],
                            faces("Rows", 4)),
    "taps in another order": ([("w.transpose(0, 2, 1, 3).reshape(filters, -1)",
                                "w.reshape(filters, -1)")], faces("Rows", 1)),
    "wrapped around": ([("-(-out // count) + size - 1, real", "-(-out // count), real")],
                       small("Fourier", 1)),
    "windows without the overlap": ([("[b + k - 1 for b, k", "[b for b, k")],
                                    small("Fourier", 0)),
    "no conjugate forward": ([('self.spectrum("w", w).conj()', 'self.spectrum("w", w)')],
                             small("Fourier", 0)),
    "the other conjugate": ([("multiply(g.conj(), x.swapaxes(1, 2))",
                              "multiply(g, x.conj().swapaxes(1, 2))")], faces("Fourier", 0)),
    "no overlap added": ([("np.ndindex(down, right)", "np.ndindex(1, 1)")],
                         faces("Fourier", 1)),
    "rows and columns exchanged": ([("slice(piece.shape[0]), slice(piece.shape[1])",
                                     "slice(piece.shape[1]), slice(piece.shape[0])")],
                                   faces("Fourier", 1)),
    "spectra forgotten": ([("if face not in self.known:", "if True:")], [check_transforms]),
    "spectra never forgotten": ([("for face in faces if face in self.known}",
                                  "for face in 'gwx' if face in self.known}")],
                                [check_transforms]),
    "one memory of spectra": ([("        other = copy(self)\n", "        other = self\n"),
                               ("for face in faces if face in self.known}",
                                "for face in self.known}")], [check_fresh]),
    "patch of the first image": (
        [("reshape(len(x), -1) @ matrix", "reshape(len(x), -1)[:1] @ matrix")],
        faces("Patch", 1)),
    "patch overwritten": (
        [("total[:, :, rows, columns] += part", "total[:, :, rows, columns] = part")],
        small("Patch", 0)),
    "patch of the last pixel": ([("total += g[:, :, i, j].T", "total = g[:, :, i, j].T")],
                                small("Patch", 0)),
    "any stride": ([("options.stride == options.dilation", "options.dilation")], [check_general]),
    "any dilation": ([("options.stride == options.dilation", "options.stride")], [check_general]),
    "any group": ([(" and options.groups == 1", "")], [check_general]),
    "an empty batch": ([("not plain or image[0] == 0", "not plain")], [check_general]),
    "never Fourier": ([("if large and min(out) >= 8:", "if False:")], choice(0, 1)),
    "never Patch": ([("if large and out[0] * out[1] <= 16:", "if False:")], choice(2, 3)),
    "always large": ([("filters[2] * filters[3] >= 11 * 11", "True")], choice(4)),
    "input gradient of G twice": (
        [("grad_x = InputGradient.apply(grad_output, w, engine)",
          "grad_x = InputGradient.apply(2 * grad_output, w, engine)")],
        [*small("Rows", 0), *small("Fourier", 0)]),
    "detached": ([("grad_g = Correlate.apply(grad_output, w, engine)",
                   "grad_g = Correlate.apply(grad_output.detach(), w.detach(), engine)")],
                 [lambda book: check_engine_jacobians(book, "Rows")]),
    "stale spectra": (
        [('engine = ctx.engine.keep("g", "w")', "engine = ctx.engine")],
        [lambda book: check_engine_jacobians(book, "Fourier")]),
    "both saved": ([("needs = ctx.needs_input_grad[1], ctx.needs_input_grad[0]",
                     "needs = True, True")], [check_transforms]),
    "rounded": ([(FORWARD, f"{FORWARD}.half().to(x)")], [check_accuracy]),
    "in double": ([(FORWARD, f"{FORWARD}.double()")], [check_accuracy]),
    "no bias": ([("result + bias[:, None, None]", "result")], [check_layouts]),
    "no batch": ([("return result if input.ndim == 4 else result[0]", "return result")],
                 [check_layouts]),
    "no autocast": ([('if torch.is_autocast_enabled("cpu"):', "if False:")], [check_layouts]),
    "a loose engine": ([("ctx.engine = engine.keep(*(face",
                         "ctx.engine = (lambda *_: engine)(*(face")], [check_transforms]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    changes, checks = BROKEN[name]
    book = broken_layers(NAME, *changes)
    for check in checks:
        with pytest.raises(COMPLAINTS):
            check(book)


def test_an_unbroken_copy_passes():
    book = broken_layers(NAME)
    numbers = range(len(SMALL))
    checks = [check for name in OWN for check in (*small(name, *numbers), *faces(name, *numbers))]
    for check in (*checks, *choice(*range(len(LARGE))), *CHECKS.values()):
        check(book)
