"""Promise: chapter 03's layer is right in value and gradient, and refuses what it cannot do.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

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

NAME = "03-fft-layer"
BOOK = layers(NAME)
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
ROUND_OFF = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the largest bin: no phase below
SETTINGS = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def draw(seed, *shapes, dtype=torch.float64):
    """Random tensors of these shapes, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.standard_normal(shape)).to(dtype) for shape in shapes]


def half(shape):
    return (*shape[:-1], shape[-1] // 2 + 1)


def reference(input):
    return torch.fft.rfft2(input).abs()


def gradient(layer, input, upstream):
    input = input.detach().requires_grad_()
    return grad(layer(input), input, upstream)[0]


def close(ours, theirs, scale=0):
    """Equal up to rounding, measured against the largest number, or the scale if that is more."""
    scale = max(float(theirs.abs().max()), scale)
    return bool((ours - theirs).abs().max() <= TOLERANCE[theirs.dtype] * scale)


# what must hold


def check_against_torch(book, shape, dtype=torch.float64, seed=0, image=None):
    """Value and gradient equal torch's; bins that are only round-off get no upstream gradient."""
    x, g = draw(seed, shape, half(shape), dtype=dtype)
    x = x if image is None else image.to(dtype)
    theirs = reference(x)
    ours = book["fft_magnitude"](x)
    assert ours.shape == theirs.shape and ours.dtype == dtype
    assert close(ours, theirs), "value"
    g = g * (theirs > ROUND_OFF[dtype] * theirs.amax(dim=(-2, -1), keepdim=True))
    ours, theirs = (gradient(layer, x, g) for layer in (book["fft_magnitude"], reference))
    assert ours.shape == x.shape and ours.dtype == dtype
    phases = 1 / ROUND_OFF[dtype] if image is not None else 100  # small bins: unsure phases
    assert close(ours, theirs, scale=phases * float(g.abs().max())), "gradient"


def check_jacobian(book, shape):
    """The gradient agrees with finite differences."""
    (x,) = draw(3, shape)
    assert gradcheck(book["fft_magnitude"], x.requires_grad_())


def check_dot_product(book, shape, dtype=np.float64, seed=0):
    """<A v, z> = <v, A^T z> for any z, which stays as it was; single precision stays single."""
    rng = np.random.default_rng(seed)
    v = rng.standard_normal(shape).astype(dtype)
    z = (rng.standard_normal((*half(shape), 2)).astype(dtype)).view(np.result_type(dtype, "c8"))
    z = z[..., 0]
    before = z.copy()
    back = book["rfft2_adjoint"](z, shape[-1])
    assert back.shape == v.shape and back.dtype == dtype
    assert np.array_equal(z, before), "the spectrum was changed"
    forward = np.fft.rfft2(v.astype(float))
    left, right = np.sum(forward.conj() * z).real, np.sum(v * back)
    size = np.linalg.norm(forward) * np.linalg.norm(z)
    assert abs(left - right) <= (1e-12 if dtype == np.float64 else 1e-5) * size


def check_zeros(book):
    """A bin that is zero has gradient 0; the tiniest has a phase; NaN is not hidden."""
    layer = book["fft_magnitude"]
    for dtype, tiny in {torch.float32: 1e-42, torch.float64: 1e-310}.items():
        for shape in [(4, 4), (3, 5), (1, 1), (2, 3, 4)]:
            (g,) = draw(4, half(shape), dtype=dtype)
            zeros = torch.zeros(shape, dtype=dtype)
            assert not layer(zeros).any() and not gradient(layer, zeros, g).any()
        ones, g = torch.ones(4, 4, dtype=dtype), torch.ones(4, 3, dtype=dtype)
        assert torch.equal(gradient(layer, ones, g), ones)  # only the mean has a gradient
        x, g = torch.full((1, 1), -tiny, dtype=dtype), torch.ones(1, 1, dtype=dtype)
        assert torch.equal(gradient(layer, x, g), -g)
        ones[1, 2] = torch.nan
        assert layer(ones).isnan().all()
        assert gradient(layer, ones, torch.ones(4, 3, dtype=dtype)).isnan().all()


def check_layouts(book):
    """What a tensor looks like in memory does not change the numbers: input and gradient."""
    layer = book["fft_magnitude"]
    x, g, other = draw(5, (6, 5), (6, 3), (6, 5))
    big = torch.zeros(12, 15).double()
    big[::2, 1::3] = x
    negated = torch.complex(other, -x).conj().imag  # x, by a minus sign not yet carried out
    assert negated.is_neg() and torch.equal(negated, x)
    inputs = [x.t().contiguous().t(), big[::2, 1::3], negated, torch.nn.Parameter(x)]
    for same in inputs:
        assert torch.equal(layer(same), layer(x))
        assert torch.equal(gradient(layer, same, g), gradient(layer, x, g))
    row = x[:1].expand(6, 5)
    assert close(layer(row), reference(row))
    (stack,) = draw(5, (5, 6, 2))
    (turned,) = draw(6, (2, 5, 4))
    assert torch.equal(layer(stack.movedim(-1, 0)), layer(stack.movedim(-1, 0).contiguous()))
    assert close(gradient(layer, stack.movedim(-1, 0), turned),
                 gradient(reference, stack.movedim(-1, 0), turned), scale=100)  # fmt: skip

    negated = torch.complex(torch.zeros_like(g), -g).conj().imag
    assert negated.is_neg() and torch.equal(negated, g)
    for same in [g.t().contiguous().t(), negated, g.repeat(1, 2)[:, :3]]:
        assert torch.equal(gradient(layer, x, same), gradient(layer, x, g))
    for upstream in [torch.ones(()).double(), g[:1], g[:, :1]]:  # strides of 0
        upstream = upstream.expand(6, 3)
        assert torch.equal(gradient(layer, x, upstream), gradient(layer, x, upstream.clone()))
    leaf = x.clone().requires_grad_()
    layer(leaf).sum().backward()
    assert torch.equal(leaf.grad, gradient(layer, x, torch.ones(6, 3).double()))
    y = layer(leaf)  # a minus sign made by the graph that follows
    assert torch.isfinite(grad(torch.complex(y, y).conj().imag.sum(), leaf)[0]).all()


def check_memory(book):
    """Nothing is written to or shared with the input, the output or the upstream gradient."""
    layer = book["fft_magnitude"]
    for shape in [(6, 5), (1, 1), (4, 4), (1, 2)]:
        x, g = draw(7, shape, half(shape))
        x, g = x.abs(), g.abs()
        copies = x.clone(), g.clone()
        leaf = x.detach().requires_grad_()
        y = layer(leaf)
        value = y.detach().clone()
        (back,) = grad(y, leaf, g)
        assert torch.equal(x, copies[0]), "the input was changed"
        assert torch.equal(g, copies[1]), "the upstream gradient was changed"
        assert torch.equal(y, value), "the output was changed"
        arrays = [t.detach().numpy() for t in (x, y, g, back)]
        for i, a in enumerate(arrays):
            assert not any(np.shares_memory(a, b) for b in arrays[:i]), "memory is shared"


def check_saved(book):
    """The gradient is that of the image that forward saw, each time it is asked for."""
    layer = book["fft_magnitude"]
    x, g = draw(8, (5, 6), (5, 4))
    expected = gradient(reference, x, g)
    seen = x.clone()
    leaf = seen.requires_grad_()
    y = layer(leaf)
    with torch.no_grad():
        y.zero_()
        seen.mul_(-1)
    first = grad(y, leaf, g, retain_graph=True)[0]
    first.zero_()
    for keep in (True, False):
        assert close(grad(y, leaf, g, retain_graph=keep)[0], expected, scale=100)
    with pytest.raises(RuntimeError, match="second time"):
        grad(y, leaf, g)
    assert not layer(x).requires_grad
    with torch.no_grad():
        assert not layer(leaf).requires_grad


def check_once(book):
    """A second derivative is refused, in words that name the reason."""
    (x,) = draw(9, (3, 4))
    x.requires_grad_()
    (slope,) = grad(book["fft_magnitude"](x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


IMAGE = torch.ones(4, 4)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nested tensors are a prototype
    NESTED = torch.nested.nested_tensor([torch.ones(4, 4), torch.ones(3, 4)])
REFUSED = {  # what: (argument, error, what the message says)
    "an array": (np.ones((4, 4)), TypeError, r"torch\.Tensor, got ndarray; .*as_tensor"),
    "a list": ([[1.0]], TypeError, r"torch\.Tensor, got list"),
    "nothing": (None, TypeError, r"torch\.Tensor, got NoneType"),
    **{
        str(dtype)[6:]: (IMAGE.to(dtype), TypeError, rf"got {dtype}; pass input\.float\(\)")
        for dtype in (torch.uint8, torch.int32, torch.int64, torch.bool)
        + (torch.float16, torch.bfloat16)
    },
    "complex64": (IMAGE.to(torch.complex64), TypeError, r"got torch\.complex64; pass input\.real"),
    "complex128": (IMAGE.to(torch.complex128), TypeError, r"complex128; pass input\.real"),
    "sparse": (IMAGE.to_sparse(), ValueError, r"dense.*to_dense\(\)"),
    "sparse rows": (torch.stack([IMAGE, IMAGE]).to_sparse(1), ValueError, "dense"),
    "nested": (NESTED, ValueError, "dense"),
    "meta": (IMAGE.to("meta"), ValueError, r"CPU, got one on meta; pass input\.cpu\(\)"),
    "a number": (torch.tensor(1.0), ValueError, r"\(\.\.\., H, W\).* got \(\)"),
    "one axis": (torch.ones(4), ValueError, r"got \(4,\)"),
    "no rows": (torch.ones(0, 4), ValueError, r"empty axis, got \(0, 4\)"),
    "no columns": (torch.ones(2, 4, 0), ValueError, r"empty axis, got \(2, 4, 0\)"),
    "no images": (torch.ones(0, 4, 4), ValueError, r"empty axis, got \(0, 4, 4\)"),
}


def check_refusal(book, case):
    """The error has its type and says what to do, and comes before any arithmetic."""
    argument, error, message = REFUSED[case]

    class NoArithmetic:
        def __getattr__(self, name):
            pytest.fail(f"fft.{name} was called")

    fft = book["fft"]
    try:
        book["fft"] = NoArithmetic()
        book["fft_magnitude"](argument)
    except Exception as raised:
        assert type(raised) is error
        assert re.search(rf"(?s)^fft_magnitude: expected .*{message}", str(raised))
    else:
        raise AssertionError("not refused")
    finally:
        book["fft"] = fft


# the chapter's layer keeps it

SIDE = st.integers(1, 9)
SHAPES = st.tuples(SIDE, SIDE) | st.tuples(st.integers(1, 3), SIDE, SIDE) | st.tuples(
    st.integers(1, 2), st.integers(1, 2), SIDE, SIDE
)  # fmt: skip
SEEDS = st.integers(0, 2**32 - 1)


@SETTINGS
@given(SHAPES, st.sampled_from(list(TOLERANCE)), SEEDS)
def test_equals_torch(shape, dtype, seed):
    check_against_torch(BOOK, shape, dtype, seed)


@SETTINGS
@given(st.data(), SHAPES, st.sampled_from(list(TOLERANCE)))
def test_equals_torch_on_few_whole_numbers(data, shape, dtype):
    """Such images have bins that are zero, and bins that are round-off."""
    count = int(np.prod(shape))
    numbers = data.draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count))
    image = torch.tensor(numbers, dtype=torch.float64).reshape(shape)
    check_against_torch(BOOK, shape, dtype, image=image)


@SETTINGS
@given(SHAPES, st.sampled_from([np.float32, np.float64]), SEEDS)
def test_dot_product(shape, dtype, seed):
    check_dot_product(BOOK, shape, dtype, seed)


JACOBIANS = [(4, 6), (4, 5), (5, 4), (3, 3), (1, 7), (1, 8), (6, 1), (1, 1), (2, 2), (2, 2, 3, 4)]


@pytest.mark.parametrize("shape", JACOBIANS, ids=str)
def test_jacobian(shape):
    check_jacobian(BOOK, shape)


@pytest.mark.parametrize("shape", [(32, 32), (33, 31), (97, 64), (2, 16, 127)], ids=str)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_larger_images_equal_torch(shape, dtype):
    check_against_torch(BOOK, shape, dtype)


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    check_refusal(BOOK, case)


CHECKS = {
    "zeros": check_zeros,
    "layouts": check_layouts,
    "memory": check_memory,
    "saved": check_saved,
    "once": check_once,
}


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


def test_the_example_worked_out_by_hand():
    x = torch.tensor([[3.0, 0.0, 0.0, 4.0]], requires_grad=True)
    y = BOOK["fft_magnitude"](x)
    y.backward(torch.tensor([[0.0, 5.0, 0.0]]))
    assert y.tolist() == [[7, 5, 1]] and x.grad.tolist() == [[3, -4, -3, 4]]


# every check can fail: broken copies of the chapter's cells


def even(book):
    check_against_torch(book, (6, 8))


def odd(book):
    check_against_torch(book, (6, 7))


def even_jacobian(book):
    check_jacobian(book, (3, 6))


def odd_jacobian(book):
    check_jacobian(book, (3, 5))


def even_dot(book):
    check_dot_product(book, (4, 6))


def odd_dot(book):
    check_dot_product(book, (4, 5))


def single(book):
    check_against_torch(book, (6, 7), torch.float32)


def refuses(*cases):
    return lambda book: [check_refusal(book, case) for case in cases]


EVERY_GRADIENT = [even, odd, even_jacobian, odd_jacobian]
EVERY_ADJOINT = [*EVERY_GRADIENT, even_dot, odd_dot]
LAST = "rfft2_adjoint(weighted, ctx.width)"
REAL, IMAGINARY = (
    f"np.divide(spectrum.{part}, magnitude, out=phase.{part}, where=magnitude != 0)"
    for part in ("real", "imag")
)
RESULT = "return torch.from_numpy(np.abs(spectrum))"
FORWARD = "fft.rfft2(input.resolve_neg().numpy())"
DTYPES = [k for k, v in REFUSED.items() if "torch\\.complex" in v[2] or "; pass" in v[2]]
DTYPES = [k for k in DTYPES if k != "meta"]
BROKEN = {
    "gradient x 2": ([(LAST, f"2 * {LAST}")], EVERY_GRADIENT),
    "gradient x 0": ([(LAST, f"0 * {LAST}")], EVERY_GRADIENT),
    "value x 2": ([(RESULT, "return torch.from_numpy(2 * np.abs(spectrum))")], [even, odd]),
    "power": ([("np.abs(spectrum))", "np.abs(spectrum) ** 2)")], EVERY_GRADIENT),
    "the inverse": (
        [(f"torch.from_numpy({LAST})", "torch.from_numpy(fft.irfft2(weighted))")], EVERY_GRADIENT),
    "no scale": ([(', norm="forward"', "")], EVERY_ADJOINT),
    "orthonormal scale": ([('norm="forward"', 'norm="ortho"')], EVERY_ADJOINT),
    "no size": ([("s=(spectrum.shape[-2], width), ", "")], [odd, odd_jacobian, odd_dot]),
    "no weights": ([("    spectrum[..., with_partner] /= 2\n", "")], EVERY_ADJOINT),
    "all columns halved": ([("[..., with_partner] /= 2", "[...] /= 2")], EVERY_ADJOINT),
    "first column halved": ([("slice(1, ", "slice(0, ")], EVERY_ADJOINT),
    "last always Nyquist": ([("(width + 1) // 2", "width // 2")], [odd, odd_jacobian, odd_dot]),
    "last never Nyquist": ([("(width + 1) // 2", "width")], [even, even_jacobian, even_dot]),
    "phase conjugated": ([(IMAGINARY, IMAGINARY.replace("(spec", "(-spec"))], EVERY_GRADIENT),
    "no phase": ([(".numpy() * phase", ".numpy() + 0j")], EVERY_GRADIENT),
    "no imaginary part": ([(IMAGINARY, "pass")], EVERY_GRADIENT),
    "0 / 0": ([(REAL, REAL.replace(", where=magnitude != 0", ""))], [check_zeros]),
    "phase 1 at 0": ([("np.zeros_like(spectrum)", "np.ones_like(spectrum)")], [check_zeros]),
    "NaN hidden": ([(REAL, REAL.replace("!= 0", "> 0")),
                    (IMAGINARY, IMAGINARY.replace("!= 0", "> 0"))], [check_zeros]),
    "complex division": ([(REAL, "np.divide(spectrum, magnitude, phase, where=magnitude != 0)"),
                          (IMAGINARY, "pass")], [check_zeros]),
    "threshold": ([("        phase = np.zeros_like(spectrum)",
                    "        magnitude[magnitude < 1e-300] = 0\n"
                    "        phase = np.zeros_like(spectrum)")], [check_zeros]),
    "rounded value": ([(RESULT, "return torch.from_numpy(np.abs(spectrum)).float()")], [even]),
    "rounded on the way": (
        [(RESULT, "return torch.from_numpy(np.abs(spectrum.astype('c8')).astype("
                  "input.numpy().dtype))")], [even, odd]),
    "rounded gradient": ([(LAST, f"{LAST}.astype('f4')")], [even, odd]),
    "always double": ([(FORWARD, "fft.rfft2(input.resolve_neg().numpy().astype(float))")],
                      [single]),
    "first axes": ([(FORWARD, "fft.rfft2(input.resolve_neg().numpy(), axes=(0, 1))")],
                   [lambda book: check_against_torch(book, (2, 4, 5))]),
    "spectrum not copied": ([("    spectrum = spectrum.copy()\n", "")], [even_dot, odd_dot]),
    "no resolve_neg forward": ([("input.resolve_neg()", "input")], [check_layouts]),
    "no resolve_neg backward": ([("grad_output.resolve_neg()", "grad_output")], [check_layouts]),
    "input of other strides": (
        [("input.resolve_neg().numpy()",
          "input.resolve_neg().as_strided(input.shape, (input.shape[-1], 1)).numpy()")],
        [check_layouts]),
    "gradient of other strides": (
        [("grad_output.resolve_neg().numpy()",
          "grad_output.resolve_neg().clone().as_strided("
          "grad_output.shape, (grad_output.shape[-1], 1)).numpy()")], [check_layouts]),
    "changes the input": ([(RESULT, f"input.resolve_neg().numpy()[0] = 0\n        {RESULT}")],
                          [check_memory]),
    "changes the gradient": ([("        weighted = ",
                               "        grad_output.numpy()[:] = 0\n        weighted = ")],
                             [check_memory]),
    "aliases the input": ([(RESULT, "return torch.from_numpy(input.numpy() if input.numel() == 1 "
                                    "else np.abs(spectrum))")], [check_memory]),
    "aliases the gradient": ([(f"return torch.from_numpy({LAST})",
                               f"return torch.from_numpy({LAST} if phase.size > 1 else "
                               "grad_output.numpy())")], [check_memory]),
    "saves the input by hand": (
        [("ctx.save_for_backward(torch.from_numpy(spectrum))", "ctx.kept = input"),
         ("(saved,) = ctx.saved_tensors", "saved = torch.from_numpy(fft.rfft2(ctx.kept.numpy()))")],
        [check_saved]),
    "uses up what it saved": ([("weighted = ", "weighted = spectrum[...] = ")], [check_saved]),
    "twice": ([("    @once_differentiable", "    #")], [check_once]),
    "detached": ([("FFTMagnitudeFunction.apply(input)",
                   "FFTMagnitudeFunction.apply(input.data)")], [even, odd]),
    "any type": ([("if not isinstance(input, torch.Tensor):", "if False:")],
                 [refuses("an array"), refuses("a list"), refuses("nothing")]),
    "any dtype": ([("if input.dtype not in (torch.float32, torch.float64):", "if False:")],
                  [refuses(case) for case in DTYPES]),
    "half too": ([("(torch.float32, torch.float64):", "(torch.float16, torch.float32, "
                   "torch.float64):")], [refuses("float16")]),
    "float() for complex": ([('"input.real or input.imag" if input.is_complex() else ', "")],
                            [refuses("complex64"), refuses("complex128")]),
    "any layout": ([("if input.layout != torch.strided or input.is_nested:", "if False:")],
                   [refuses("sparse"), refuses("sparse rows"), refuses("nested")]),
    "nested as dense": ([(" or input.is_nested", "")], [refuses("nested")]),
    "any device": ([('if input.device.type != "cpu":', "if False:")], [refuses("meta")]),
    "any shape": ([("if input.ndim < 2 or 0 in input.shape:", "if False:")],
                  [refuses(c) for c in ("a number", "one axis", "no rows", "no columns")]),
    "empty": ([(" or 0 in input.shape", "")],
              [refuses("no rows"), refuses("no columns"), refuses("no images")]),
    "empty image only": ([("0 in input.shape:", "0 in input.shape[-2:]:")], [refuses("no images")]),
    "one axis": ([("input.ndim < 2", "input.ndim < 1")], [refuses("one axis")]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    changes, checks = BROKEN[name]
    book = broken_layers(NAME, *changes)
    for check in checks:
        with (
            np.errstate(all="ignore"),
            pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)),
        ):
            check(book)


def test_an_unbroken_copy_passes():
    book = broken_layers(NAME)
    for check in (*EVERY_ADJOINT, single, *CHECKS.values(), refuses(*REFUSED)):
        check(book)


def test_a_broken_copy_may_pass_where_the_chapter_says_so():
    """At even width the last column is the Nyquist frequency; on zeros there is no gradient."""
    book = broken_layers(NAME, *BROKEN["last always Nyquist"][0])
    for check in (even, even_jacobian, even_dot):
        check(book)
    zeros = torch.zeros(3, 4).double().requires_grad_()
    assert gradcheck(broken_layers(NAME, *BROKEN["gradient x 2"][0])["fft_magnitude"], zeros)


# the published layer is wrong where the chapter says so


def test_the_published_value_is_right():
    x, y = draw(10, (8, 8), (8, 7))
    for image in (x, y):
        assert close(BOOK["incorrect_fft"](image), reference(image))


def test_the_published_gradient_says_nothing():
    cosines, ratios = [], []
    for seed in range(200):
        x, g = draw(seed, (8, 8), (8, 5))
        bad, true = (gradient(layer, x, g) for layer in (BOOK["incorrect_fft"], reference))
        assert torch.equal(bad, gradient(BOOK["incorrect_fft"], -x, g))  # and never looks at x
        assert torch.allclose(gradient(reference, -x, g), -true)
        cosines.append(float((bad * true).sum() / bad.norm() / true.norm()))
        ratios.append(float(bad.norm() / true.norm()))
    assert abs(np.mean(cosines)) < 0.06 and np.std(cosines) < 0.3 and max(cosines) < 0.8
    assert 0.02 < np.mean(ratios) < 0.03


def test_the_published_layer_stops_at_odd_widths_only():
    x, g = draw(11, (7, 8), (7, 5))
    gradient(BOOK["incorrect_fft"], x, g)
    x, g = draw(11, (8, 7), (8, 4))
    with pytest.raises(RuntimeError, match=r"invalid gradient at index 0 - got \[8, 6\]"):
        gradient(BOOK["incorrect_fft"], x, g)


@pytest.mark.parametrize("hole", ["constant upstream", "autograd.grad"])
def test_the_holes_in_once_differentiable_are_as_the_chapter_says(hole):
    """The second derivative is lost, without an error: what is left is the gradient of x.sum()."""
    for layer, lost in {BOOK["fft_magnitude"]: True, reference: False}.items():
        (x,) = draw(12, (3, 4))
        x.requires_grad_()
        if hole == "constant upstream":
            (slope,) = grad(layer(x).sum(), x, create_graph=True)
            (x.sum() + slope.square().sum()).backward()
            found = x.grad
        else:
            (slope,) = grad(layer(x).square().sum(), x, create_graph=True)
            (found,) = grad(x.sum() + slope.square().sum(), x)
        assert torch.equal(found, torch.ones(3, 4).double()) is lost


def test_no_warning_and_no_print(recwarn, capsys):
    x, g = draw(13, (4, 5), (4, 3))
    for image in (x, torch.zeros_like(x), torch.full_like(x, 1e-310)):
        gradient(BOOK["fft_magnitude"], image, g)
    assert not recwarn.list and capsys.readouterr().out == ""


def test_forward_alone_does_not_divide():
    with patch.dict(BOOK, np=type("NoDivision", (), {"abs": np.abs})):
        x = torch.ones(3, 4, requires_grad=True)
        y = BOOK["fft_magnitude"](x)
        with pytest.raises(AttributeError, match="zeros_like"):
            y.sum().backward()
