"""Promise: chapter 05's own gradcheck judges as torch's does, and its module check moves all.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import Function, gradcheck

from notebooks import broken_layers, layers

NAME = "05-gradcheck"
BOOK = layers(NAME)
SETTINGS = settings(derandomize=True, deadline=None, max_examples=40, database=None)


def draw(seed, *shape):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(shape))


def leaf(seed, *shape):
    return draw(seed, *shape).requires_grad_()


class Product(Function):
    """x * y with both gradients multiplied by a factor, to be right or wrong on purpose."""

    @staticmethod
    def forward(ctx, x, y, of_x=1.0, of_y=1.0):
        ctx.save_for_backward(x, y)
        ctx.factors = of_x, of_y
        return x * y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return ctx.factors[0] * g * y, ctx.factors[1] * g * x, None, None


def product(of_x=1.0, of_y=1.0):
    return lambda x, y: Product.apply(x, y, of_x, of_y)


def verdict(book, function, inputs, **options):
    """True, or the message of the complaint."""
    try:
        return book["own_gradcheck"](function, inputs, **options)
    except ValueError as error:
        return str(error)


# what must hold


def check_jacobians(book, rows, columns, seed=0):
    """Both Jacobians of a linear map are its matrix, of either argument and in any shape."""
    matrix, x, other = draw(seed, rows, columns), leaf(seed + 1, columns, 1), leaf(seed + 2, rows)

    def function(other, x):
        return (matrix @ x[:, 0] + 2 * other).reshape(-1, 1)

    for number, wanted in ((1, matrix), (0, 2 * torch.eye(rows, dtype=torch.float64))):
        for name in ("numeric_jacobian", "analytic_jacobian"):
            found = book[name](function, [other, x], number)
            assert found.shape == wanted.shape, name
            assert torch.allclose(found, wanted, atol=1e-7), name


def check_curved(book):
    """The difference has a step on both sides: its error falls with the square of the step."""
    x = leaf(0, 3)
    found = book["numeric_jacobian"](torch.exp, [x], eps=1e-3)
    error = ((found - torch.diag(x.exp())).abs().max() / x.exp().max()).item()
    assert 1e-8 < error < 1e-6


def check_verdicts(book):
    """The verdict is torch's, and the complaint names the input."""
    inputs = [leaf(1, 2, 3), leaf(2, 2, 3)]
    for of_x, of_y in ((1, 1), (0, 1), (1, 0), (1, 1.01), (-1, 1), (1.0002, 1)):
        function = product(of_x, of_y)
        said = verdict(book, function, inputs)
        assert (said is True) == gradcheck(function, inputs, raise_exception=False)
        wrong = "input 0" if abs(of_x - 1) > 1e-3 else "input 1"
        assert said is True or wrong in said, said


def check_only_what_is_asked(book):
    """An input that requires no gradient is left alone."""
    inputs = [leaf(1, 2, 3), draw(2, 2, 3)]
    assert verdict(book, product(1, 0), inputs) is True
    assert verdict(book, product(0, 1), inputs) is not True


def check_nan(book):
    """A gradient that is not a number is refused."""
    assert verdict(book, product(float("nan"), 1), [leaf(1, 3), leaf(2, 3)]) is not True


def check_tolerances(book):
    """An entry may be off by atol + rtol * its size, and by no more."""
    x, one = leaf(1, 3), torch.ones(3, dtype=torch.float64)
    small, large = 1e-3 * one, 1e3 * one
    assert verdict(book, product(1 + 0.9e-2), [x, small], rtol=0) is True
    assert verdict(book, product(1 + 1.2e-2), [x, small], rtol=0) is not True
    assert verdict(book, product(1 + 0.9e-3), [x, large], atol=0) is True
    assert verdict(book, product(1 + 1.2e-3), [x, large], atol=0) is not True
    assert verdict(book, product(1 + 0.9e-2), [x, small]) is True
    assert verdict(book, product(1 + 1.2e-3), [x, large]) is not True


class Scale(nn.Module):
    """Two parameters, one of them with a gradient that may be wrong."""

    def __init__(self, factor):
        super().__init__()
        self.weight = nn.Parameter(draw(3, 4))
        self.inner = nn.Linear(4, 2).double()
        self.factor = factor

    def forward(self, x, shift):
        return self.inner(Product.apply(x, self.weight, 1.0, self.factor)) + shift


def check_module(book):
    """Parameters are moved, nested ones too, by any number of inputs; the module is untouched."""
    inputs = leaf(1, 4), leaf(2, 2)
    for factor, right in ((1.0, True), (0.0, False)):
        module = Scale(factor)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        assert gradcheck(module, inputs)
        assert book["module_gradcheck"](module, *inputs, raise_exception=False) is right
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert all(value.grad is None for value in module.parameters())
    loose = book["module_gradcheck"](Scale(1.01), *inputs, rtol=0.1)
    assert loose is True, "options are handed on"


CHECKS = [
    check_curved,
    check_verdicts,
    check_only_what_is_asked,
    check_nan,
    check_tolerances,
    check_module,
]


@SETTINGS
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_both_jacobians_are_the_matrix(rows, columns, seed):
    check_jacobians(BOOK, rows, columns, seed)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_chapter(check):
    check(BOOK)


@SETTINGS
@given(st.floats(0.9, 1.1), st.integers(0, 99))
def test_the_verdict_is_that_of_torch(factor, seed):
    inputs = [leaf(seed, 2, 2), leaf(seed + 1, 2, 2)]
    if abs(abs(factor - 1) - 1e-3) > 2e-5:  # away from the edge, where rounding decides
        function = product(1, factor)
        said = verdict(BOOK, function, inputs)
        expected = gradcheck(function, inputs, raise_exception=False)
        assert (said is True) == expected


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_languages_define_the_same(language):
    assert layers(NAME, language).keys() == BOOK.keys()


def test_the_repeated_layers_are_right():
    """The recap cells run on their own and pass this chapter's own check."""
    x, w, b = leaf(0, 4, 5), leaf(1, 2, 3), leaf(2, 1, 1)
    assert verdict(BOOK, BOOK["ScipyConv2dFunction"].apply, [x, w, b]) is True
    assert verdict(BOOK, BOOK["fft_magnitude"], [x]) is True
    assert BOOK["module_gradcheck"](BOOK["ScipyConv2d"](2, 3).double(), x)


# every check can fail: the chapter's code, broken in one place


def check_all_jacobians(book):
    check_jacobians(book, 2, 3)


BROKEN = [
    (check_all_jacobians, "columns, dim=1)", "columns, dim=0)"),
    (check_all_jacobians, "/ (2 * eps)", "/ eps"),
    (check_all_jacobians, "up - down", "down - up"),
    (check_all_jacobians, "unit.reshape(x.shape)", "unit"),
    (check_all_jacobians, "grad(y, inputs[number],", "grad(y, inputs[0],"),
    (check_all_jacobians, "x = inputs[number].detach()", "x = inputs[0].detach()"),
    (check_curved, "(x + step, x - step)", "(x + 2 * step, x)"),
    (check_verdicts, "numeric = numeric_jacobian(function, inputs, number, eps)",
     "numeric = analytic_jacobian(function, inputs, number)"),
    (check_verdicts, 'f"input {number}: a', 'f"a'),
    (check_verdicts, "not (off <= atol + rtol * numeric.abs()).all()", "False"),
    (check_only_what_is_asked, "if x.requires_grad:", "if x.requires_grad_():"),
    (check_nan, "not (off <= atol + rtol * numeric.abs()).all()",
     "(off > atol + rtol * numeric.abs()).any()"),
    (check_tolerances, "atol=1e-5, rtol", "atol=1e-6, rtol"),
    (check_tolerances, "rtol=1e-3)", "rtol=1e-2)"),
    (check_tolerances, "atol + rtol * numeric.abs()", "atol + rtol"),
    (check_tolerances, "(off <= atol + rtol * numeric.abs()).all()",
     "(off <= atol + rtol * numeric.abs()).any()"),
    (check_module, "zip(names, arguments[len(inputs) :], strict=True)", "[]"),
    (check_module, "(*inputs, *values), **options)", "(*inputs, *values))"),
    (check_module, "arguments[: len(inputs)])", "arguments[:1])"),
    (check_module, "value.detach().clone().requires_grad_() for", "value.detach().clone() for"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_check_is_found(check, old, new):
    book = broken_layers(NAME, (old, new))
    with pytest.raises(Exception):  # noqa: B017  a complaint or a crash
        check(book)
