"""Promise: chapter 05's own gradcheck judges as torch's does, and its module check moves all.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import re

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
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def module_verdict(book, module, *inputs, **options):
    """What module_gradcheck answers, or the first line of its error."""
    try:
        return book["module_gradcheck"](module, *inputs, **options)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


def refused(said, wanted="off by"):
    """A complaint of own_gradcheck itself: a ValueError that says what is wrong."""
    return said is not True and said.startswith("ValueError") and wanted in said


# what must hold


def check_jacobians(book, rows, columns, seed=0):
    """Both Jacobians of a linear map are its matrix, of either argument and in any shape."""
    matrix, x, other = draw(seed, rows, columns), leaf(seed + 1, columns, 1), leaf(seed + 2, rows)

    def function(other, x):
        return (matrix @ x[:, 0] + 2 * other).reshape(-1, 1)

    for number, wanted in ((1, matrix), (0, 2 * torch.eye(rows, dtype=torch.float64))):
        for name in ("numeric_jacobian", "analytic_jacobian"):
            found = book[name](function, [other, x], number)
            assert found.shape == wanted.shape, f"{name} has another shape"
            assert torch.allclose(found, wanted, atol=1e-7), f"{name} has other numbers"


def check_two_by_three(book):
    check_jacobians(book, 2, 3)


def check_point(book):
    """The derivative is taken at the argument that is asked for."""
    x, y = leaf(0, 3), leaf(1, 3)
    for name in ("numeric_jacobian", "analytic_jacobian"):
        found = book[name](lambda x, y: x * y**2, [x, y], 1)
        assert torch.allclose(found, torch.diag(2 * x * y), atol=1e-7), f"{name} at another point"


def check_curved(book):
    """The difference has a step on both sides: its error falls with the square of the step."""
    x = leaf(0, 3)
    found = book["numeric_jacobian"](torch.exp, [x], eps=1e-3)
    error = ((found - torch.diag(x.exp())).abs().max() / x.exp().max()).item()
    assert 1e-8 < error < 1e-6, f"not a two-sided difference: {error}"


def check_verdicts(book):
    """The verdict is torch's, and the complaint names the input."""
    inputs = [leaf(1, 2, 3), leaf(2, 2, 3)]
    for of_x, of_y in ((1, 1), (0, 1), (1, 0), (1, 1.01), (-1, 1), (1.0002, 1)):
        function = product(of_x, of_y)
        said = verdict(book, function, inputs)
        expected = gradcheck(function, inputs, raise_exception=False)
        assert (said is True) == expected, f"torch says {expected}, the book {said}"
        wrong = "input 0" if abs(of_x - 1) > 1e-3 else "input 1"
        assert said is True or refused(said, wrong), f"does not name {wrong}: {said}"
        assert said is True or "torch.float64" in said, f"does not name the dtype: {said}"


def check_only_what_is_asked(book):
    """An input that requires no gradient is left alone."""
    for asked, other in ((0, 1), (1, 0)):
        inputs = [draw(1, 2, 3), draw(2, 2, 3)]
        inputs[asked].requires_grad_()
        right, wrong = [1, 1], [1, 1]
        right[other], wrong[asked] = 0, 0
        said = verdict(book, product(*right), inputs)
        assert said is True, f"input {other} is not left alone: {said}"
        assert refused(verdict(book, product(*wrong), inputs)), f"input {asked} is not checked"


def check_something_is_asked(book):
    """Nothing to check is not a pass, and one tensor is not a list of tensors."""
    for inputs in ([draw(1, 3), draw(2, 3)], [], leaf(1, 2, 3)):
        said = verdict(book, product(0, 0), inputs)
        assert refused(said, "requires_grad"), f"nothing was checked: {said}"


def check_nan(book):
    """A gradient that is not a number is refused."""
    said = verdict(book, product(float("nan"), 1), [leaf(1, 3), leaf(2, 3)])
    assert refused(said, "nan"), f"NaN passes: {said}"


def check_tolerances(book):
    """An entry may be off by atol + rtol * its size, and by no more."""
    x, one = leaf(1, 3), torch.ones(3, dtype=torch.float64)
    small, large = 1e-3 * one, 1e3 * one
    for factor, other, options, passes in (
        (1 + 0.9e-2, small, {"rtol": 0}, True),
        (1 + 1.2e-2, small, {"rtol": 0}, False),
        (1 + 0.9e-3, large, {"atol": 0}, True),
        (1 + 1.2e-3, large, {"atol": 0}, False),
        (1 + 0.9e-2, small, {}, True),
        (1 + 1.2e-3, large, {}, False),
    ):
        said = verdict(book, product(factor), [x, other], **options)
        if passes:
            assert said is True, f"too strict: {factor} {options} {said}"
        else:
            assert refused(said), f"too lax: {factor} {options} {said}"


def check_every_entry(book):
    """One wrong entry among right ones is enough."""
    off = torch.tensor([1.0, 1.0, 1.5], dtype=torch.float64)
    said = verdict(book, product(off), [leaf(1, 3), draw(2, 3)])
    assert refused(said), f"one wrong entry passes: {said}"


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
    loose = module_verdict(book, Scale(1.01), *inputs, rtol=0.1)
    assert loose is True, f"options are not handed on: {loose}"
    for factor, right in ((1.0, True), (0.0, False)):
        module = Scale(factor)
        module.inner.bias.requires_grad_(False)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        assert gradcheck(module, inputs)
        said = module_verdict(book, module, *inputs, raise_exception=False)
        assert said is right, f"a factor of {factor} is answered by {said}"
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]), f"{name} was changed"
        assert not module.inner.bias.requires_grad, "a frozen parameter was thawed"
        assert all(value.grad is None for value in module.parameters()), "a gradient is left"


CHECKS = [
    check_two_by_three,
    check_point,
    check_curved,
    check_verdicts,
    check_only_what_is_asked,
    check_something_is_asked,
    check_nan,
    check_tolerances,
    check_every_entry,
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


# every check can fail, for the reason that it gives: the chapter's code, broken in one place


MISMATCH = "not (off <= atol + rtol * numeric.abs()).all()"
BROKEN = [  # check, what is replaced, by what, the complaint
    (check_two_by_three, "columns, dim=1)", "columns, dim=0)",
     "numeric_jacobian has another shape"),
    (check_two_by_three, "/ (2 * eps)", "/ eps", "numeric_jacobian has other numbers"),
    (check_two_by_three, "up - down", "down - up", "numeric_jacobian has other numbers"),
    (check_two_by_three, "unit.reshape(x.shape)", "unit", "numeric_jacobian has other numbers"),
    (check_two_by_three, "grad(y, inputs[number],", "grad(y, inputs[0],",
     "analytic_jacobian has another shape"),
    (check_point, "x = inputs[number].detach()", "x = inputs[0].detach()",
     "numeric_jacobian at another point"),
    (check_curved, "(x + step, x - step)", "(x + 2 * step, x)", "not a two-sided difference"),
    (check_verdicts, "numeric = numeric_jacobian(function, inputs, number, eps)",
     "numeric = analytic_jacobian(function, inputs, number)", "torch says False, the book True"),
    (check_verdicts, 'f"input {number}, {x', 'f"{x', "does not name input 0"),
    (check_verdicts, "{x.dtype}: {worst}", "{worst}", "does not name the dtype"),
    (check_verdicts, MISMATCH, "False", "torch says False, the book True"),
    (check_only_what_is_asked, "        if x.requires_grad:", "        if number == 0:",
     "does not require grad"),
    (check_only_what_is_asked, "        if x.requires_grad:",
     "        if number and x.requires_grad:", "input 0 is not checked"),
    (check_something_is_asked, "torch.is_tensor(inputs) or not any(",
     "torch.is_tensor(inputs) and not any(", "nothing was checked: True"),
    (check_something_is_asked, "torch.is_tensor(inputs) or not any(", "not any(",
     "nothing was checked: ValueError: input 0"),
    (check_nan, MISMATCH, "(off > atol + rtol * numeric.abs()).any()", "NaN passes: True"),
    (check_tolerances, "atol=1e-5, rtol", "atol=1e-6, rtol", "too strict: 1.009 {'rtol': 0}"),
    (check_tolerances, "rtol=1e-3)", "rtol=1e-2)", "too lax: 1.0012 {'atol': 0}"),
    (check_tolerances, "atol + rtol * numeric.abs()", "atol + rtol",
     "too strict: 1.0009 {'atol': 0}"),
    (check_every_entry, "(off <= atol + rtol * numeric.abs()).all()",
     "(off <= atol + rtol * numeric.abs()).any()", "one wrong entry passes: True"),
    (check_module, "zip(names, arguments[len(inputs) :], strict=True)", "[]",
     "a factor of 0.0 is answered by True"),
    (check_module, "(*inputs, *values), **options)", "(*inputs, *values))",
     "options are not handed on: GradcheckError"),
    (check_module, "arguments[: len(inputs)])", "arguments[:1])",
     "missing 1 required positional argument: 'shift'"),
    (check_module, "value.detach().clone().requires_grad_() for", "value.detach().clone() for",
     "a factor of 0.0 is answered by True"),
    (check_module, "value.detach().clone().requires_grad_() for", "value.requires_grad_() for",
     "a frozen parameter was thawed"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "complaint"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_check_is_found(check, old, new, complaint):
    book = broken_layers(NAME, (old, new))
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        check(book)
