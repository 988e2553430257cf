"""Promise: chapter 06 finds old idioms and no others, and what it mended is right.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import functools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from notebooks import LAYER_TAGS, NOTEBOOKS, broken_layers, layers, read, tags

NAME = "06-then-and-now"
BOOK = layers(NAME)
SETTINGS = settings(derandomize=True, deadline=None, max_examples=60, database=None)
OLD = {  # a line of old code, and the idioms in it
    "x = Variable(torch.ones(2))": ["Variable"],
    "x = Variable(t, volatile=True)": ["Variable", "volatile"],
    "n = loss.data[0]": [".data[0]"],
    "print(result.data)": [".data"],
    "return BadFFTFunction()(input)": ["Function()()"],
    "return MyFunction(2, k)(input)": ["Function()()"],
    "return torch.FloatTensor(result)": ["FloatTensor"],
    "x = torch.cuda.DoubleTensor(3)": ["FloatTensor"],
    "return input.new(result)": [".new"],
    "t = torch.from_numpy(np.flip(a, 0))": ["flip"],
    "t = torch.from_numpy(a[::-1])": ["flip"],
}
OLD_IN_FUNCTION = {
    "    def forward(self, input):": ["method of self"],
    "    def backward( self, g):": ["method of self"],
    "    def __init__(self, k):": ["__init__"],
    "        self.save_for_backward(input)": ["self.save"],
    "        (input,) = self.saved_tensors": ["self.save"],
    "        return torch.from_numpy(g).to(torch.float)": [".to(float)"],
}
NEW = [
    "x = torch.ones(2, requires_grad=True)",
    "x.new_zeros(3); x.data_ptr(); x.new_tensor([1])",
    "isinstance(x, torch.Tensor)",
    "y = BadFFTFunction.apply(input)",
    "y = torch.as_tensor(result, dtype=input.dtype)",
    "t = torch.from_numpy(np.flip(a).copy())",
    "x.requires_grad_()  # was Variable(x, volatile=True).data[0]",
    "    @staticmethod\n    def forward(ctx, input):\n        ctx.save_for_backward(input)",
]


def draw(seed, *shape, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def idioms(book, source):
    return [idiom for _, idiom, _ in book["find_old"](source)]


def check_finds_old_lines(book):
    """Each old line is found, a line that only a Function may not have only there."""
    for line, expected in OLD.items():
        assert idioms(book, line) == expected, line
    for base in ("Function", "torch.autograd.Function", "autograd.InplaceFunction"):
        for line, expected in OLD_IN_FUNCTION.items():
            assert idioms(book, f"class Old({base}):\n{line}") == expected, line
    everything = {idiom for found in (*OLD.values(), *OLD_IN_FUNCTION.values()) for idiom in found}
    assert everything == {row[0] for row in BOOK["OLD_IDIOMS"]}


def check_numbers_lines(book):
    source = "# Variable(x)\n\nclass Old(Function):\n    def forward(self, x):\n        return x\n"
    found = [row[0] for row in book["find_old"](source)]
    assert found == [4], f"the old line is the fourth, not {found}"


def check_leaves_new_lines(book):
    """Nothing is said of today's code, of a Module, of what follows a Function."""
    for line in NEW:
        assert idioms(book, line) == [], line
        assert idioms(book, f"class New(Function):\n{line}") == [], line
    for line in OLD_IN_FUNCTION:
        assert idioms(book, f"class Layer(nn.Module):\n{line}") == [], line
        after = f"class New(Function):\n    pass\n\n\ndef other():\n{line}"
        assert idioms(book, after) == [], line


def check_power(book, exponent, dtype=torch.float64):
    x = draw(0, 3, 4, dtype=dtype).abs().add(0.5).requires_grad_()
    y = book["PowerFunction"].apply(x, exponent)
    assert torch.equal(y, x.detach() ** exponent) and y.dtype == dtype
    if dtype == torch.float64:
        assert gradcheck(book["PowerFunction"].apply, (x, exponent))


def check_swish(book, shape, beta, dtype):
    """Value and gradient equal torch's, in shape, dtype and numbers."""
    x = draw(1, *shape, dtype=dtype)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    y, z = book["swish"](ours, beta), theirs * torch.sigmoid(beta * theirs)
    g = draw(2, *shape, dtype=dtype)
    y.backward(g)
    z.backward(g)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for name, a, b in (("value", y, z), ("gradient", ours.grad, theirs.grad)):
        assert a.dtype == dtype and a.shape == b.shape, f"the {name} has another dtype or shape"
        assert torch.allclose(a, b, rtol=tolerance, atol=tolerance), f"the {name} is wrong"


def check_swish_jacobian(book):
    x = draw(3, 3, 4).requires_grad_()
    for beta in (-1.5, 0.0, 1.0, 2.5):
        assert gradcheck(book["swish"], (x, beta))


def check_swish_refuses(book):
    for data, wanted in (
        (torch.arange(3), "expected float32 or float64, got torch.int64"),
        (torch.ones(3, dtype=torch.cfloat), "expected float32 or float64, got torch.complex64"),
        (np.ones(3), "expected a torch.Tensor, got ndarray"),
        ([1.0], "expected a torch.Tensor, got list"),
    ):
        with pytest.raises(TypeError, match=wanted):
            book["swish"](data)
    with pytest.raises(TypeError, match="beta must be a number"):
        book["swish"](torch.ones(2), torch.ones(()))
    x = draw(4, 3).requires_grad_()
    (slope,) = torch.autograd.grad(book["swish"](x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_old_lines_are_found():
    check_finds_old_lines(BOOK)
    check_numbers_lines(BOOK)


def test_new_lines_are_left_alone():
    check_leaves_new_lines(BOOK)


@pytest.mark.parametrize("name", ["03-fft-layer", "04-correlate2d-layer", NAME])
def test_the_layers_of_the_book_are_of_today(name):
    for cell in read(NOTEBOOKS / "en" / f"{name}.ipynb")["cells"]:
        if tags(cell) & (LAYER_TAGS - {"setup"}) and cell["id"] != "old-finder":
            assert idioms(BOOK, cell["source"]) == [], cell["id"]


@SETTINGS
@given(st.text())
def test_any_text_can_be_searched(source):
    for number, _, _ in BOOK["find_old"](source):
        assert 1 <= number <= len(source.splitlines())


@pytest.mark.parametrize("exponent", [1, 2, 3, 2.5])
def test_power(exponent):
    for dtype in (torch.float32, torch.float64):
        check_power(BOOK, exponent, dtype)


@SETTINGS
@given(
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
    st.floats(-4, 4),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_swish(shape, beta, dtype):
    check_swish(BOOK, shape, beta, dtype)


def test_swish_jacobian_and_refusals():
    check_swish_jacobian(BOOK)
    check_swish_refuses(BOOK)


# every complaint is heard: the chapter's own code, broken in one place


SWISH = functools.partial(check_swish, shape=(2, 3), beta=2.0, dtype=torch.float64)
SCALAR = functools.partial(check_swish, shape=(), beta=2.0, dtype=torch.float64)
CUBE = functools.partial(check_power, exponent=3)
BROKEN = [  # check, what is replaced, by what, the complaint
    (check_finds_old_lines, r"\bVariable\(", r"\bVariable\(\)", "x = Variable(torch.ones(2))"),
    (check_finds_old_lines, "in_function = bool(", "in_function = not bool(",
     "def forward(self, input):"),
    (check_finds_old_lines, "flip\\w*\\(|::-1", "flip\\w*\\(", "t = torch.from_numpy(a[::-1])"),
    (check_numbers_lines, "start=1", "start=0", "the old line is the fourth, not [3]"),
    (check_leaves_new_lines, r"(?!.*\.copy\(\))", "", "t = torch.from_numpy(np.flip(a).copy())"),
    (check_leaves_new_lines, 'line.split("#")[0]', "line", "was Variable(x, volatile=True)"),
    (check_leaves_new_lines, "(in_function or not only_function)", "True",
     "def forward(self, input):"),
    (check_leaves_new_lines, "in_function = False  # a new", "in_function = in_function  # a new",
     "def forward(self, input):"),
    (CUBE, "(ctx.exponent - 1), None", "ctx.exponent, None", "Jacobian mismatch"),
    (CUBE, "grad_output * ctx.exponent", "grad_output", "Jacobian mismatch"),
    (check_swish_jacobian, "s + ctx.beta * x * s", "s + x * s", "Jacobian mismatch"),
    (SWISH, "x * expit(beta * x)", "x * expit(x)", "the value is wrong"),
    (SWISH, "s + ctx.beta * x * s", "s + x * s", "the gradient is wrong"),
    (SWISH, "np.asarray(x * expit", "np.float32(x * expit", "the value has another dtype"),
    (SCALAR, "np.asarray(x", "(x", "expected np.ndarray"),
    (check_swish_refuses, "    @once_differentiable\n", "", "Can't call numpy() on Tensor"),
    (check_swish_refuses, "(torch.float32, torch.float64)", "(torch.float64, torch.int64)",
     "DID NOT RAISE"),
    (check_swish_refuses, "not isinstance(input, torch.Tensor)", "False",
     "got float64; pass input.float()"),
    (check_swish_refuses, "isinstance(beta, torch.Tensor)", "False", "DID NOT RAISE"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new", "complaint"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_copy_is_found(check, old, new, complaint):
    book = broken_layers(NAME, (old, new))
    with pytest.raises((Exception, pytest.fail.Exception), match=re.escape(complaint)):
        check(book)
