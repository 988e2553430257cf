"""Promise: chapter 02's tools are right: the dot-product test, the engine, the two Functions.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck

from notebooks import NOTEBOOKS, layers, read, tags

NAME = "02-backward"
BOOK = layers(NAME)
SETTINGS = settings(derandomize=True, deadline=None, max_examples=40, database=None)
SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
DTYPES = st.sampled_from([np.float32, np.float64])


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def refused(kind, message, call, *args):
    """The call raises this error, and its message says so."""
    try:
        call(*args)
    except Exception as error:
        assert type(error) is kind and message in str(error), repr(error)
    else:
        raise AssertionError("not refused")


# what must hold: the dot-product test


def check_linear(book, seed=0, rows=4, columns=5, dtype=np.float64):
    """A matrix passes with its transpose, and with nothing else; a constant makes it affine."""
    A, b = draw(seed, rows, columns).astype(dtype), draw(seed + 1, rows).astype(dtype)
    x, test = draw(seed + 2, columns).astype(dtype), book["dot_product_test"]
    for constant, kind in (0 * b, "linear"), (b, "affine"):

        def forward(v, constant=constant):
            return A @ v + constant

        assert test(forward, lambda u: A.T @ u, x, seed=seed) == kind
        for wrong in (3.0 if dtype == np.float32 else 1.001, 0.0, -1.0, np.nan):
            refused(AssertionError, f"not the adjoint ({kind})", test, forward,
                    lambda u, wrong=wrong: wrong * (A.T @ u), x, seed)  # fmt: skip


CURVED = {  # map: (value, adjoint at x, where it is defined)
    "square": (lambda x: x**2, lambda x, u: 2 * x * u, lambda x: x),
    "cube": (lambda x: x**3, lambda x, u: 3 * x**2 * u, lambda x: x),
    "exp": (np.exp, lambda x, u: u * np.exp(x), lambda x: x),
    "log": (np.log, lambda x, u: u / x, lambda x: 1 + abs(x)),
    "abs": (np.abs, lambda x, u: u * np.sign(x), lambda x: x + np.sign(x)),
    "x|x|": (lambda x: x * abs(x), lambda x, u: 2 * abs(x) * u, lambda x: x),
    "a sum": (lambda x: np.sum(x**2), lambda x, u: 2 * x * u, lambda x: x),
}


def check_curved(book, dtype=np.float64):
    """A curved map passes with the adjoint of its linearization at the point."""
    wrong = 3 if dtype == np.float32 else 1.001
    for seed, (forward, adjoint, inside) in enumerate(CURVED.values()):
        x = inside(draw(seed, 3, 4)).astype(dtype)
        test = book["dot_product_test"]
        assert test(forward, lambda u, x=x, a=adjoint: a(x, u), x) == "curved"
        refused(AssertionError, "not the adjoint (curved)", test, forward,
                lambda u, x=x, a=adjoint: wrong * a(x, u), x)  # fmt: skip


def check_complex(book):
    """Complex numbers count as two real ones, in the input and in the output."""
    test = book["dot_product_test"]
    F = np.fft.fft(np.eye(4))
    z = draw(0, 4) + 1j * draw(1, 4)
    assert test(np.fft.fft, lambda u: F.conj().T @ u, z) == "linear"
    refused(AssertionError, "linear", test, np.fft.fft, lambda u: F.T @ u, z)
    assert test(np.fft.fft, lambda u: (F.conj().T @ u).real, z.real) == "linear"


def check_small(book):
    """A tiny map with an all-zero backward is refused: the test is relative."""
    test, x = book["dot_product_test"], draw(0, 3)
    assert test(lambda x: 1e-12 * x, lambda u: 1e-12 * u, x) == "linear"
    refused(AssertionError, "linear", test, lambda x: 1e-12 * x, lambda u: 0 * u, x)


def check_tensors(book):
    """The functions may return tensors."""
    test = book["dot_product_test"]

    def forward(v):
        return torch.from_numpy(v).cumsum(0)

    def adjoint(u):
        return torch.from_numpy(u).flip(0).cumsum(0).flip(0)

    assert test(forward, adjoint, draw(0, 4)) == "linear"


def check_refusals(book):
    test = book["dot_product_test"]
    refused(TypeError, "got int64", test, np.cumsum, np.cumsum, np.arange(3))
    refused(ValueError, "the input has (3,)", test, np.diff, np.diff, np.zeros(3))


# the engine


def check_engine(book, seed=0, n=3, width=4):
    """Every operation, shared nodes and broadcasting: torch's gradients."""

    def loss(x, w, b, c):
        hidden = (x @ w + b).tanh()
        y = hidden * c + hidden * hidden + c
        return (y.exp() * b + y).sum()

    shapes = (n, 2), (2, width), (width,), (n, 1)
    arrays = [draw(seed + i, *shape) for i, shape in enumerate(shapes)]
    ours = [book["Node"](array) for array in arrays]
    theirs = [torch.from_numpy(array).requires_grad_() for array in arrays]
    end = loss(*ours)
    for _ in range(2):  # grad starts from zero each time
        end.backward()
    expected = loss(*theirs)
    expected.backward()
    assert np.allclose(end.value, expected.item(), rtol=1e-12)
    for node, tensor in zip(ours, theirs, strict=True):
        assert node.grad.shape == node.value.shape
        assert np.allclose(node.grad, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)
    refused(ValueError, f"got shape ({n}, 2)", ours[0].backward)
    row = book["Node"](np.ones(2))
    refused(ValueError, "@ takes matrices", lambda: ours[0] @ row)
    refused(ValueError, "@ takes matrices", lambda: row @ ours[1])


# the Functions


def check_function(ours, theirs, seed, shape, dtype, *more):
    """Value, gradient and dtype are torch's, for transposed memory too."""
    for order in "C", "F":
        x = torch.from_numpy(np.asarray(draw(seed, *shape), dtype, order=order)).requires_grad_()
        g = torch.from_numpy(np.asarray(draw(seed + 1, *shape), dtype, order=order))
        before = x.detach().clone(), g.clone()
        y, z = ours(x, *more), theirs(x, *more)
        assert y.dtype == x.dtype and y.requires_grad
        assert torch.allclose(y, z, rtol=1e-5, atol=1e-5 if dtype == np.float32 else 1e-12)
        slopes = [grad(v, x, g)[0] for v in (y, z)]
        assert slopes[0].dtype == x.dtype
        assert torch.allclose(*slopes, rtol=1e-5, atol=1e-5 if dtype == np.float32 else 1e-12)
        assert torch.equal(x, before[0]) and torch.equal(g, before[1]), "an argument was changed"


def check_cumsum(book, seed=0, shape=(3, 4), dtype=np.float64):
    for axis in range(-len(shape), len(shape)):
        check_function(book["numpy_cumsum"], torch.cumsum, seed, shape, dtype, axis)
    x = torch.from_numpy(draw(seed, *shape)).requires_grad_()
    assert torch.equal(book["numpy_cumsum"](x), book["numpy_cumsum"](x, -1))
    assert gradcheck(book["numpy_cumsum"], x)


def check_exp(book, seed=0, shape=(3, 4), dtype=np.float64):
    check_function(book["numpy_exp"], torch.exp, seed, shape, dtype)
    check_function(book["numpy_exp"], torch.exp, seed, (), dtype)
    assert gradcheck(book["numpy_exp"], torch.from_numpy(draw(seed, *shape)).requires_grad_())


def check_exp_refuses(book):
    for dtype in torch.int64, torch.bool, torch.complex128:
        refused(TypeError, f"got {dtype}", book["numpy_exp"], torch.ones(2, dtype=dtype))


def check_saved(book):
    """The result is watched for changes, leaves no ring, and is freed after the backward."""
    x = torch.zeros(2, requires_grad=True)
    y = book["numpy_exp"](x)
    with torch.no_grad():
        y.mul_(0)
    refused(RuntimeError, "modified by an inplace operation", y.sum().backward)
    gc.disable()
    try:
        y = book["numpy_exp"](x)
        trace = weakref.ref(y)
        del y
        assert trace() is None, "the result is still in memory"
    finally:
        gc.enable()


def check_once(book):
    """A second derivative that would be wrong is refused, not lost."""
    for name in "numpy_cumsum", "numpy_exp":
        x = torch.ones(3, requires_grad=True)
        y = book[name](x).square().sum()
        refused(RuntimeError, "numpy()", lambda y=y, x=x: grad(y, x, create_graph=True))


# the chapter keeps it


@SETTINGS
@given(SEEDS, st.integers(1, 6), st.integers(1, 6), DTYPES)
def test_linear_and_affine_maps(seed, rows, columns, dtype):
    check_linear(BOOK, seed, rows, columns, dtype)


@SETTINGS
@given(SEEDS, st.integers(1, 4), st.integers(1, 4))
def test_the_engine_equals_torch(seed, n, width):
    check_engine(BOOK, seed, n, width)


@SETTINGS
@given(SEEDS, SHAPES, DTYPES)
def test_functions_equal_torch(seed, shape, dtype):
    check_cumsum(BOOK, seed, shape, dtype)
    check_exp(BOOK, seed, shape, dtype)


CHECKS = {
    check.__name__: check
    for check in (
        check_linear, check_curved, check_complex, check_small, check_tensors, check_refusals,
        check_engine, check_cumsum, check_exp, check_exp_refuses, check_saved, check_once,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


def test_curved_maps_in_single_precision():
    check_curved(BOOK, np.float32)


def test_the_engine_fits_one_screen():
    (source,) = (cell["source"] for cell in cells() if cell["id"] == "backward-node")
    assert len(source.splitlines()) <= 100


def test_the_example_worked_out_by_hand():
    x, y = BOOK["Node"](2), BOOK["Node"](3)
    q = x * y + x
    (q * q).backward()
    assert (q.grad, y.grad, x.grad) == (16, 32, 64)


# every check can fail: broken copies of the chapter's cells


def cells():
    return read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]


def broken_layers(old="", new=""):
    """What the chapter's layers define, with one text replaced, which must be there."""
    sources = [cell["source"] for cell in cells() if tags(cell) & {"setup", "layer"}]
    assert sum(old in source for source in sources) >= 1, f"{old!r} is in no layer"
    namespace = {"__name__": "broken"}
    for source in sources:
        exec(source.replace(old, new) if old else source, namespace)
    return namespace


ZEROS = "np.zeros_like(node.value)"
BROKEN = {
    "the test believes all": ("if not abs(left", "if False and not abs(left", check_linear),
    "the test believes NaN": ("not abs(left - right) <= tolerance", "abs(left - right) > tolerance",
                              check_linear),
    "affine as linear": ("change, tolerance = at_v,", "change, tolerance = at_v + zero,",
                         check_linear),
    "never linear": ("if bend <= ", "if bend < -", check_linear),
    "never curved": ("if bend <= ", "if bend >= 0 * ", check_curved),
    "an odd map taken for linear": ("value(v + w) - zero - at_v - at_w", "0 * at_v",
                                    check_curved),
    "one-sided difference": ("value(input - h * v)", "value(input)", check_curved),
    "linearized at zero": ("value(input + h * v) - value(input - h * v)",
                           "value(h * v) - value(-h * v)", check_curved),
    "no conjugate": ("np.sum(np.conj(a) * b).real", "np.sum(a * b).real", check_complex),
    "real draws only": ("1j * parts[1]", "0j * parts[1]", check_complex),
    "an absolute tolerance": ("<= tolerance * scale", "<= 1e-8", check_small),
    "tensors": ("return np.asarray(forward(x))", "return forward(x)", check_tensors),
    "integers": ("if not np.issubdtype(input.dtype, np.inexact):", "if False:", check_refusals),
    "any shape": ("if back.shape != input.shape:", "if False:", check_refusals),
    "sum not undone": ("return g.sum(axis=repeated, keepdims=True)", "return g", check_engine),
    "gradients not added": ("parent.grad += share", "parent.grad = share", check_engine),
    "gradients kept": (ZEROS, "np.zeros_like(node.value) if node.grad is None else node.grad",
                       check_engine),
    "parents too early": ("in reversed(order)", "in order", check_engine),
    "matmul the other way": ("g @ b.T", "g @ b.T * 2", check_engine),
    "product rule": ("unbroadcast(g * a, b.shape)", "unbroadcast(g * b, b.shape)", check_engine),
    "any shape times any": ("if a.ndim != 2 or b.ndim != 2:", "if False:", check_engine),
    "a row times a matrix": ("if a.ndim != 2 or b.ndim", "if b.ndim", check_engine),
    "a matrix times a row": ("if a.ndim != 2 or b.ndim != 2", "if a.ndim != 2", check_engine),
    "tanh": ("1 - result**2", "1 - result", check_engine),
    "exp": ("lambda g: g * result)], \"exp\"", "lambda g: g)], \"exp\"", check_engine),
    "backward from anywhere": ("if self.value.ndim:", "if False:", check_engine),
    "cumsum again": ("np.flip(grad_output.numpy(), ctx.axis)", "grad_output.numpy()",
                     check_cumsum),
    "negative strides": ("grad_input.copy()", "grad_input", check_cumsum),
    "last axis only": ("ctx.axis = axis", "ctx.axis = -1", check_cumsum),
    "first axis by default": ("axis=-1):", "axis=0):", check_cumsum),
    "one gradient": ("grad_input.copy()), None", "grad_input.copy())", check_cumsum),
    "exp without its slope": ("grad_output.numpy() * result.numpy()", "grad_output.numpy()",
                              check_exp),
    "exp always double": ("np.exp(input.numpy())", "np.exp(input.numpy().astype(float))",
                          lambda book: check_exp(book, dtype=np.float32)),
    "no array of a number": ("np.asarray(np.exp(input.numpy()))", "np.exp(input.numpy())",
                             check_exp),
    "in place": ("np.exp(input.numpy())", "np.exp(input.numpy(), out=input.numpy())", check_exp),
    "any dtype": ("if not input.is_floating_point():", "if False:", check_exp_refuses),
    "on ctx": ("ctx.save_for_backward(result)", "ctx.saved = result", check_saved),
    "detached g": ("grad_output.numpy()", "grad_output.detach().numpy()", check_once),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    old, new, check = BROKEN[name]
    with (
        np.errstate(all="ignore"),
        pytest.raises((AssertionError, RuntimeError, TypeError, ValueError, AttributeError)),
    ):
        check(broken_layers(old, new))


def test_an_unbroken_copy_passes():
    book = broken_layers()
    for check in CHECKS.values():
        check(book)
