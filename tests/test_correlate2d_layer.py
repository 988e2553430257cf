"""Promise: chapter 04's layer is right in value and all gradients, and refuses what it cannot do.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import copy
import re
import warnings
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck

from notebooks import broken_layers, layers

NAME = "04-correlate2d-layer"
BOOK = layers(NAME)
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
SETTINGS = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def draw(seed, *shapes, dtype=torch.float64):
    """Random tensors of these shapes, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.standard_normal(shape)).to(dtype) for shape in shapes]


def leaves(*tensors, needs=(True, True, True)):
    return [t.detach().clone().requires_grad_(n) for t, n in zip(tensors, needs, strict=True)]


def reference(input, filter, bias=None):
    bias = None if bias is None else bias[0]
    return torch.nn.functional.conv2d(input[None, None], filter[None, None], bias)[0, 0]


def close(ours, theirs, scale=None):
    """Equal up to rounding, measured against the size of the numbers that were summed."""
    scale = theirs.abs().max() if scale is None else scale
    return bool((ours - theirs).abs().max() <= TOLERANCE[theirs.dtype] * (scale + 1))


# what must hold


def check_against_torch(book, image, filter, dtype=torch.float64, seed=0):
    """Value and the three gradients equal those of F.conv2d, in shape, dtype and numbers."""
    out = (image[0] - filter[0] + 1, image[1] - filter[1] + 1)
    x, w, b, g = draw(seed, image, filter, (1, 1), out, dtype=dtype)
    ours_in, theirs_in = leaves(x, w, b), leaves(x, w, b)
    ours = book["ScipyConv2dFunction"].apply(*ours_in)
    theirs = reference(*theirs_in)
    assert ours.shape == theirs.shape == out and ours.dtype == dtype
    assert close(ours, theirs, scale=w.numel())
    ours.backward(g.clone())
    theirs.backward(g)
    for name, a, c in zip(("input", "filter", "bias"), ours_in, theirs_in, strict=True):
        assert a.grad is not None, f"no gradient of the {name}"
        assert a.grad.dtype == dtype and a.grad.shape == a.shape
        assert close(a.grad, c.grad, scale=g.numel()), f"gradient of the {name}"


def check_jacobians(book, image, filter):
    """All three gradients agree with finite differences."""
    x, w, b = leaves(*draw(1, image, filter, (1, 1)))
    assert gradcheck(book["ScipyConv2dFunction"].apply, (x, w, b))


def check_dot_product(book, image, filter, seed=0):
    """<g, corr(x, w)> = <x, grad_input> = <w, grad_filter>, with bias 0."""
    out = (image[0] - filter[0] + 1, image[1] - filter[1] + 1)
    x, w, g = draw(seed, image, filter, out)
    x, w, b = leaves(x, w, torch.zeros(1, 1, dtype=x.dtype))
    y = book["ScipyConv2dFunction"].apply(x, w, b)
    grad_x, grad_w, grad_b = grad(y, (x, w, b), g)
    total = (y * g).sum()
    assert torch.allclose(total, (x * grad_x).sum()) and torch.allclose(total, (w * grad_w).sum())
    assert torch.allclose(g.sum(), grad_b.sum())


NEEDS = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]


def check_only_what_is_needed(book):
    """No gradient that was not asked for is computed or returned."""
    tensors = draw(2, (5, 6), (2, 3), (1, 1))
    for needs in NEEDS[:-1]:
        x, w, b = leaves(*tensors, needs=needs)
        y = book["ScipyConv2dFunction"].apply(x, w, b)
        calls = []

        def counted(name, calls=calls):
            function = BOOK[name]
            return lambda *args, **kwargs: calls.append(name) or function(*args, **kwargs)

        class Numpy:
            """NumPy, with a counted sum."""

            def __getattr__(self, name, calls=calls):
                if name == "sum":
                    calls.append("sum")
                return getattr(np, name)

        replaced = {name: counted(name) for name in ("convolve2d", "correlate2d")}
        with patch.dict(book, **replaced, np=Numpy()):
            y.backward(torch.ones_like(y))
        wanted = [
            n for n, need in zip(("convolve2d", "correlate2d", "sum"), needs, strict=True) if need
        ]
        assert sorted(calls) == sorted(wanted), f"{needs}: {calls}"
        assert [t.grad is not None for t in (x, w, b)] == list(needs)


IMAGE, FILTER, BIAS = torch.ones(4, 5), torch.ones(2, 3), torch.zeros(1, 1)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nested tensors are a prototype
    NESTED = torch.nested.nested_tensor([torch.ones(4, 4), torch.ones(3, 4)])
REFUSED = {
    "array input": (IMAGE.numpy(), FILTER, BIAS, TypeError, "input must be a torch.Tensor"),
    "list filter": (IMAGE, [[1.0]], BIAS, TypeError, "filter must be a torch.Tensor"),
    "no bias": (IMAGE, FILTER, None, TypeError, "bias must be a torch.Tensor"),
    "number as bias": (IMAGE, FILTER, 0.0, TypeError, "bias must be a torch.Tensor"),
    "sparse input": (IMAGE.to_sparse(), FILTER, BIAS, ValueError, "input must be dense"),
    "nested input": (NESTED, FILTER, BIAS, ValueError, "input must be dense"),
    "sparse filter": (IMAGE, FILTER.to_sparse(), BIAS, ValueError, "filter must be dense"),
    "input elsewhere": (IMAGE.to("meta"), FILTER, BIAS, ValueError, "input must be on the CPU"),
    "filter elsewhere": (IMAGE, FILTER.to("meta"), BIAS, ValueError, "filter must be on the CPU"),
    "bias elsewhere": (IMAGE, FILTER, BIAS.to("meta"), ValueError, "bias must be on the CPU"),
    "double input": (IMAGE.double(), FILTER, BIAS, TypeError, "one dtype"),
    "double filter": (IMAGE, FILTER.double(), BIAS, TypeError, "one dtype"),
    "double bias": (IMAGE, FILTER, BIAS.double(), TypeError, "one dtype"),
    "1-D input": (IMAGE[0], FILTER, BIAS, ValueError, "input must have the two axes"),
    "3-D input": (IMAGE[None], FILTER, BIAS, ValueError, "input must have the two axes"),
    "4-D both": (IMAGE[None, None], FILTER[None, None], BIAS, ValueError, "two axes"),
    "1-D filter": (IMAGE, FILTER[0], BIAS, ValueError, "filter must have the two axes"),
    "0-D filter": (IMAGE, FILTER[0, 0], BIAS, ValueError, "filter must have the two axes"),
    "empty input": (IMAGE[:0], FILTER, BIAS, ValueError, "input must not be empty"),
    "empty columns": (IMAGE[:, :0], FILTER, BIAS, ValueError, "input must not be empty"),
    "empty filter": (IMAGE, FILTER[:0, :0], BIAS, ValueError, "filter must not be empty"),
    "empty filter rows": (IMAGE, FILTER[:0], BIAS, ValueError, "filter must not be empty"),
    "all larger": (FILTER, IMAGE, BIAS, ValueError, r"\(4, 5\) must not be larger"),
    "taller": (IMAGE, torch.ones(5, 2), BIAS, ValueError, r"\(5, 2\) .* input \(4, 5\)"),
    "wider": (IMAGE, torch.ones(2, 6), BIAS, ValueError, r"\(2, 6\) .* input \(4, 5\)"),
    "bias ()": (IMAGE, FILTER, BIAS[0, 0], ValueError, r"bias must have shape \(1, 1\)"),
    "bias (1,)": (IMAGE, FILTER, BIAS[0], ValueError, r"bias must have shape \(1, 1\)"),
    "bias (3,)": (IMAGE, FILTER, torch.ones(3), ValueError, r"bias must have shape \(1, 1\)"),
    "bias (1, 3)": (IMAGE, FILTER, torch.ones(1, 3), ValueError, r"bias must have shape"),
    "bias (3, 3)": (IMAGE, FILTER, torch.ones(3, 3), ValueError, r"bias must have shape"),
    "bias empty": (IMAGE, FILTER, torch.ones(0, 1), ValueError, r"bias must have shape"),
} | {
    f"{str(kind)[6:]} {name}": (
        *(t.to(kind) if place == number else t for place, t in enumerate((IMAGE, FILTER, BIAS))),
        TypeError,
        rf"{name} must be float32 or float64, got {kind}",
    )
    for kind in (torch.uint8, torch.int64, torch.bool, torch.float16, torch.bfloat16,
                 torch.complex64)
    for number, name in enumerate(("input", "filter", "bias"))
}  # fmt: skip


def check_refusal(book, case):
    """A bad input is named before any arithmetic."""
    *arguments, kind, words = REFUSED[case]

    def never(*args, **kwargs):
        raise AssertionError("SciPy was called")

    said = None
    with patch.dict(book, correlate2d=never, convolve2d=never):
        try:
            book["ScipyConv2dFunction"].apply(*arguments)
        except Exception as error:
            said = error
    assert type(said) is kind and re.search(words, str(said)), repr(said)
    assert "\n" not in str(said), "a message of one line"


def check_layouts(book):
    """Strided, lazily negated and expanded tensors give what their plain copies give."""
    apply = book["ScipyConv2dFunction"].apply
    (wide, kernel, b) = draw(3, (9, 10), (3, 4), (1, 1))
    plain = torch.full((5, 6), 1.0, dtype=torch.float64)
    imaginary = torch.complex(plain, draw(4, (5, 6))[0]).conj().imag
    assert imaginary.is_neg()
    unusual = [
        (wide.t(), kernel.t()),
        (wide[::2, 1::3], kernel[:2, ::2]),
        (imaginary, kernel[:2, :2]),
        (torch.ones(1, 1, dtype=torch.float64).expand(5, 6), kernel[:2, :2]),
        (wide, imaginary[:2, :3]),
    ]
    for x, w in unusual:
        rows, columns = (size - k + 1 for size, k in zip(x.shape, w.shape, strict=True))
        (full,) = draw(5, (2 * rows, columns))
        gradients = [
            full[::2],
            full[:rows].t().contiguous().t(),
            torch.ones((), dtype=torch.float64).expand(rows, columns),
            torch.complex(full[::2], full[::2]).conj().imag,
        ]
        for g in gradients:
            x1, w1, b1 = (t.detach().requires_grad_() for t in (x, w, b))
            x2, w2, b2 = leaves(x.resolve_neg().contiguous(), w.resolve_neg().contiguous(), b)
            y1, y2 = apply(x1, w1, b1), apply(x2, w2, b2)
            assert torch.equal(y1, y2)
            ours = grad(y1, (x1, w1, b1), g)
            theirs = grad(y2, (x2, w2, b2), g.resolve_neg().contiguous())
            assert all(close(one, two) for one, two in zip(ours, theirs, strict=True))


def check_memory(book):
    """Nothing that comes out shares memory with anything else, and no input is changed."""
    for image, filter in (((4, 5), (2, 3)), ((4, 5), (1, 1)), ((1, 1), (1, 1)), ((3, 2), (3, 2))):
        x, w, b = leaves(*draw(6, image, filter, (1, 1)))
        before = [t.detach().clone() for t in (x, w, b)]
        y = book["ScipyConv2dFunction"].apply(x, w, b)
        g = torch.ones_like(y)
        out = grad(y, (x, w, b), g)
        tensors = [x, w, b, y, g, *out]
        assert len({t.untyped_storage().data_ptr() for t in tensors}) == len(tensors)
        assert all(torch.equal(t, old) for t, old in zip((x, w, b), before, strict=True))
        assert torch.equal(g, torch.ones_like(g))


def check_saved(book):
    """A saved tensor that is changed in place before backward is noticed."""
    for number in (0, 1):
        x, w, b = leaves(*draw(7, (4, 5), (2, 3), (1, 1)))
        y = book["ScipyConv2dFunction"].apply(x, w, b)
        with torch.no_grad():
            (x, w)[number].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def check_once(book):
    """A second derivative raises instead of being dropped."""
    x, w, b = leaves(*draw(8, (5, 5), (2, 3), (1, 1)))
    loss = book["ScipyConv2dFunction"].apply(x, w, b).square().sum()
    (slope,) = grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        (loss + slope.square().sum()).backward()


def check_module(book):
    """Parameters, their shapes and names, conversion, saving, copying, and one step of learning."""
    torch.manual_seed(0)
    module = book["ScipyConv2d"](2, 3)
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {
        "filter": (2, 3),
        "bias": (1, 1),
    }
    assert module.filter.dtype == torch.get_default_dtype()
    assert "filter_height=2, filter_width=3" in repr(module)
    (x,) = draw(9, (6, 8), dtype=torch.float32)
    y = module(x)
    assert y.shape == (5, 6) and y.dtype == torch.float32
    assert close(y, reference(x, module.filter, module.bias), scale=6)

    other = book["ScipyConv2d"](2, 3)
    assert not torch.equal(other(x), y)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(x), y) and torch.equal(copy.deepcopy(module)(x), y)
    with pytest.raises(TypeError, match="one dtype"):
        module(x.double())
    assert copy.deepcopy(module).double()(x.double()).dtype == torch.float64

    before = [p.detach().clone() for p in module.parameters()]
    loss = module(x).square().mean()
    loss.backward()
    assert all(p.grad is not None for p in module.parameters())
    with torch.no_grad():
        for p in module.parameters():
            p -= 0.01 * p.grad
    assert not any(torch.equal(p, old) for p, old in zip(module.parameters(), before, strict=True))
    assert module(x).square().mean() < loss


# the chapter's layer keeps it


@st.composite
def geometry(draw_from, side=5):
    """An image and a filter that fits it: square or not, odd or even, down to 1x1 and equal."""
    size = st.integers(1, side)
    more = st.integers(0, side)
    filter = (draw_from(size), draw_from(size))
    return (filter[0] + draw_from(more), filter[1] + draw_from(more)), filter


@SETTINGS
@given(geometry(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 1))
def test_equals_torch(sizes, dtype, seed):
    check_against_torch(BOOK, *sizes, dtype=dtype, seed=seed)


@settings(SETTINGS, max_examples=15)
@given(geometry(side=3))
def test_jacobians(sizes):
    check_jacobians(BOOK, *sizes)


@SETTINGS
@given(geometry(), st.integers(0, 2**32 - 1))
def test_dot_product(sizes, seed):
    check_dot_product(BOOK, *sizes, seed=seed)


@pytest.mark.parametrize("sizes", [((1, 1), (1, 1)), ((7, 4), (7, 4)), ((9, 8), (1, 1)),
                                   ((30, 41), (4, 11))], ids=str)  # fmt: skip
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_corners_equal_torch(sizes, dtype):
    check_against_torch(BOOK, *sizes, dtype=dtype)


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    check_refusal(BOOK, case)


CHECKS = {
    "only what is needed": check_only_what_is_needed,
    "layouts": check_layouts,
    "memory": check_memory,
    "saved": check_saved,
    "once": check_once,
    "module": check_module,
}


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


# every check can fail: broken copies of the chapter's cells


def square(book):
    check_against_torch(book, (7, 7), (3, 3))


def oblong(book):
    check_against_torch(book, (7, 8), (2, 3))


def jacobians(book):
    check_jacobians(book, (4, 5), (2, 3))


def dots(book):
    check_dot_product(book, (7, 7), (3, 3))


def refuses(*cases):
    return lambda book: [check_refusal(book, case) for case in cases]


INPUT = 'convolve2d(g, to_array(filter), mode="full")'
OF_FILTER = 'correlate2d(to_array(input), g, mode="valid")'
OF_BIAS = "np.sum(g, keepdims=True)"
BROKEN = {
    "input x 2": ([(INPUT, f"2 * {INPUT}")], [square, oblong, jacobians, dots]),
    "filter x 2": ([(OF_FILTER, f"2 * {OF_FILTER}")], [square, oblong, jacobians, dots]),
    "bias x 2": ([(OF_BIAS, f"2 * {OF_BIAS}")], [square, oblong, jacobians, dots]),
    "filter x 0": ([(OF_FILTER, f"0 * {OF_FILTER}")], [square, oblong, jacobians, dots]),
    "filter.t()": ([(INPUT, INPUT.replace("filter)", "filter).T"))], [square, oblong, jacobians]),
    "not flipped": ([(INPUT, INPUT.replace("convolve", "correlate"))], [square, jacobians, dots]),
    "convolve for filter": (
        [(OF_FILTER, OF_FILTER.replace("correlate", "convolve"))],
        [square, oblong, jacobians, dots],
    ),
    "convolve forward": (
        [("result = correlate2d", "result = convolve2d")], [square, oblong, jacobians]),
    "no bias": ([("result += to_array(bias)", "pass")], [oblong, jacobians]),
    "mean for bias": ([(OF_BIAS, "np.mean(g, keepdims=True)")], [square, jacobians, dots]),
    "rounded input": ([(INPUT, f"{INPUT}.astype('f4')")], [square, oblong]),
    "rounded filter": ([(OF_FILTER, f"{OF_FILTER}.astype('f4')")], [square, oblong]),
    "rounded bias": ([(OF_BIAS, f"{OF_BIAS}.astype('f4')")], [square, oblong]),
    "rounded result": (
        [("return torch.from_numpy(result)", "return torch.from_numpy(result).float()")], [oblong]),
    "always input": (
        [("needs_input_grad[0]", "needs_input_grad[:1]")], [check_only_what_is_needed]),
    "always filter": (
        [("needs_input_grad[1]", "needs_input_grad[:1]")], [check_only_what_is_needed]),
    "always bias": (
        [("needs_input_grad[2]", "needs_input_grad[:1]")], [check_only_what_is_needed]),
    "never bias": ([("needs_input_grad[2]", "needs_input_grad[3:]")], [oblong, jacobians]),
    "no checks": ([("        check_correlate2d(input, filter, bias)\n", "")],
                  [refuses(case) for case in REFUSED]),
    "any type": ([("if not isinstance(tensor, torch.Tensor):", "if False:")],
                 [refuses("array input"), refuses("list filter"), refuses("no bias")]),
    "any layout": ([("if tensor.layout != torch.strided or tensor.is_nested:", "if False:")],
                   [refuses("sparse input"), refuses("sparse filter"),
                    refuses("nested input")]),
    "any dtype": ([("if tensor.dtype not in (torch.float32, torch.float64):", "if False:")],
                  [refuses(case) for case in REFUSED if REFUSED[case][4].endswith(
                      ("uint8", "int64", "bool", "float16", "complex64"))]),
    "any device": ([('if tensor.device.type != "cpu":', "if False:")],
                   [refuses("input elsewhere"), refuses("bias elsewhere")]),
    "mixed dtypes": ([("if len(set(dtypes)) > 1:", "if False:")],
                     [refuses("double input"), refuses("double filter"), refuses("double bias")]),
    "any axes": ([("if len(shape) != 2:", "if False:")],
                 [refuses("3-D input"), refuses("1-D input"), refuses("0-D filter")]),
    "empty": ([("if 0 in shape:", "if False:")],
              [refuses("empty input"), refuses("empty filter"), refuses("empty filter rows")]),
    "taller": ([("filter.shape[0] > input.shape[0] or ", "")], [refuses("taller")]),
    "wider": ([(" or filter.shape[1] > input.shape[1]", "")], [refuses("wider")]),
    "larger in both only": ([("input.shape[0] or", "input.shape[0] and")],
                            [refuses("taller"), refuses("wider")]),
    "any bias": ([("if tuple(bias.shape) != (1, 1):", "if False:")],
                 [refuses("bias ()"), refuses("bias (1, 3)"), refuses("bias (3, 3)")]),
    "one number as bias": ([("if tuple(bias.shape) != (1, 1):", "if bias.numel() != 1:")],
                           [refuses("bias ()"), refuses("bias (1,)")]),
    "late checks": ([
        ("        check_correlate2d(input, filter, bias)\n", ""),
        ("        ctx.save_for_backward(input, filter)\n",
         "        ctx.save_for_backward(input, filter)\n"
         "        check_correlate2d(input, filter, bias)\n"),
    ], [refuses("bias (1, 3)"), refuses("all larger")]),
    "no resolve_neg": ([(".resolve_neg()", "")], [check_layouts]),
    "forgets strides": ([("return tensor.detach().resolve_neg().numpy()",
                          "tensor = tensor.detach().resolve_neg()\n"
                          "    return tensor.as_strided(tensor.shape, (tensor.shape[-1], 1), 0)"
                          ".numpy()")], [check_layouts]),
    "changes the input": ([("result += to_array(bias)",
                            "result += to_array(bias)\n        to_array(input)[0, 0] += 1")],
                          [check_memory]),
    "changes the gradient": ([("grad_input = grad_filter = grad_bias = None",
                               "grad_input = grad_filter = grad_bias = None\n        g *= 2")],
                             [check_memory, oblong]),
    "aliases the input": ([("return torch.from_numpy(result)",
                            "return torch.from_numpy(result) if filter.numel() > 1 else "
                            "torch.from_numpy(to_array(input))")], [check_memory]),
    "aliases the gradient": ([(f"torch.from_numpy({OF_BIAS})",
                               f"grad_output if g.size == 1 else torch.from_numpy({OF_BIAS})")],
                             [check_memory]),
    "saved by hand": ([("ctx.save_for_backward(input, filter)", "ctx.kept = input, filter"),
                       ("ctx.saved_tensors", "ctx.kept")], [check_saved]),
    "twice": ([("    @once_differentiable\n", "")], [check_once]),
    "width first": ([("torch.randn(filter_height, filter_width)",
                      "torch.randn(filter_width, filter_height)")], [check_module]),
    "bias not registered": ([("self.bias = nn.Parameter(torch.randn(1, 1))",
                              "self.bias = torch.randn(1, 1)")], [check_module]),
    "filter detached": ([("apply(input, self.filter,", "apply(input, self.filter.detach(),")],
                        [check_module]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    changes, checks = BROKEN[name]
    book = broken_layers(NAME, *changes, ids="conv-scipy-")
    for check in checks:
        with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)):
            check(book)


def test_an_unbroken_copy_passes():
    book = broken_layers(NAME, ids="conv-scipy-")
    for check in (square, oblong, jacobians, dots, *CHECKS.values(), refuses(*REFUSED)):
        check(book)


# the published layer is wrong where the chapter says so, and right where it says so


def old_and_right(x, w, g):
    x, w = leaves(x, w, needs=(True, True))
    ours = grad(BOOK["OldScipyConv2dFunction"].apply(x, w), (x, w), g)
    theirs = grad(reference(x, w), (x, w), g)
    return [((a - b).norm() / b.norm()).item() for a, b in zip(ours, theirs, strict=True)], ours


def test_the_published_value_is_right():
    x, w = draw(20, (7, 8), (2, 3))
    assert close(BOOK["OldScipyConv2dFunction"].apply(x, w), reference(x, w), scale=6)


def test_the_published_gradients_are_wrong():
    errors = np.array([old_and_right(*draw(seed, (10, 10), (3, 3), (8, 8)))[0]
                       for seed in range(100)])  # fmt: skip
    assert (errors.mean(axis=0) > 1).all() and errors.min() > 0.05


def test_the_published_gradients_are_right_by_luck():
    x, w, g = draw(21, (10, 10), (3, 3), (8, 8))
    symmetric, constant = w + w.t(), torch.ones_like(g)
    errors, _ = old_and_right(x, symmetric, g)
    assert errors[0] < 1e-12 < 0.05 < errors[1]
    errors, (grad_x, _) = old_and_right(x, w, constant)
    assert errors[1] < 1e-12 < 0.05 < errors[0]
    assert torch.allclose(grad_x[2:-2, 2:-2], w.sum())  # and the interior of the image is right
    errors, _ = old_and_right(x, w, g + g.flip(0, 1))  # unchanged by half a turn
    assert errors[1] < 1e-12 < 0.05 < errors[0]
    x, w, g = draw(22, (3, 3), (3, 3), (1, 1))  # a single output pixel
    errors, _ = old_and_right(x, w, g)
    assert errors[1] < 1e-12 < 0.05 < errors[0]


def test_the_published_layer_stops_at_a_filter_that_is_not_square():
    x, w, g = draw(23, (10, 10), (2, 3), (9, 8))
    with pytest.raises(RuntimeError, match=r"invalid gradient at index 0 - got \[11, 9\]"):
        old_and_right(x, w, g)


def test_torch_sees_a_wrong_answer_in_this_file_too():
    """The reference itself: a value worked out by hand."""
    small = torch.tensor([[1.0, 0, 2, 1], [0, 1, 0, 0], [3, 0, 1, 2], [0, 2, 0, 1]])
    letter = torch.tensor([[1.0, 2, 3], [4, 5, 0], [6, 0, 0]])
    assert reference(small, letter).tolist() == [[30, 11], [14, 18]]
    assert BOOK["ScipyConv2dFunction"].apply(small, letter, BIAS).tolist() == [[30, 11], [14, 18]]
