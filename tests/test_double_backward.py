"""Promise: chapter 08's layers are right in value, first and second derivative; others refuse.

`make test` draws a sample of the configurations (conftest.py). Two thousand, in one command:

    BOOK_EXAMPLES=2000 python tools/run.py test -n 0 tests/test_double_backward.py -k equals_torch

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import re
import warnings
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import grad, gradcheck, gradgradcheck

from notebooks import broken_layers, layers

NAME = "08-double-backward"
BOOK = layers(NAME)
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}
FEW = settings(max_examples=8)


def draw(seed, *shapes, dtype=torch.float64):
    """Random tensors of these shapes, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.standard_normal(shape)).to(dtype) for shape in shapes]


def leaves(*tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def one(input, filter, bias):
    """F.conv2d on one image, one filter, one bias."""
    return torch.nn.functional.conv2d(input[None, None], filter[None, None], bias[0])[0, 0]


def derivatives(layer, tensors, g, directions, needs=None):
    """Value, first and second derivatives: of the sum of g * y**2, then of <first, directions>.

    The second ones are with respect to the tensors that need one, and to g.
    """
    needs = needs or [True] * len(tensors)
    tensors = [t.detach().clone().requires_grad_(n) for t, n in zip(tensors, needs, strict=True)]
    g = g.detach().clone().requires_grad_()
    y = layer(*tensors)
    asked = [tensor for tensor in tensors if tensor.requires_grad]
    first = grad((g * y.square()).sum(), asked, create_graph=True)
    mixed = sum((a * d).sum() for a, d in zip(first, directions, strict=False))
    return [y, *first, *grad(mixed, [*asked, g], materialize_grads=True, allow_unused=True)]


def compare(ours, theirs, scale=1.0):
    """Equal up to rounding, measured against the largest number that the others hold."""
    assert len(ours) == len(theirs)
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype, f"number {number}"
        if a.numel():
            largest = scale * (1 + b.abs().max())
            off = (a - b).abs().max()
            assert off <= TOLERANCE[b.dtype] * largest, f"number {number}: {off:.1e}"


def check_jacobians(function, tensors):
    """First and second derivatives agree with finite differences; every gradient has a graph.

    gradgradcheck alone passes over a gradient without a graph if another one has one.
    """
    assert gradcheck(function, tensors)
    y = function(*tensors)
    g = torch.ones_like(y).requires_grad_()
    gradients = grad(y, [t for t in tensors if t.requires_grad], g, create_graph=True)
    assert all(gradient.requires_grad for gradient in gradients)
    assert gradgradcheck(function, tensors)


# conv2d and its three Functions


@st.composite
def cases(draw_from):
    """Shapes, arguments and needs of a call of conv2d."""
    few = st.integers(1, 3)
    pair = st.one_of(few, st.tuples(few, few))
    groups, size = draw_from(few), (draw_from(few), draw_from(few))
    channels, filters = draw_from(st.integers(1, 2)), draw_from(st.integers(1, 2))
    options = {"stride": draw_from(pair), "dilation": draw_from(pair), "groups": groups}
    side = st.integers(0, 2)
    paddings = [side, st.tuples(side, side), st.just("valid")]
    if options["stride"] in (1, (1, 1)):
        paddings.append(st.just("same"))
    options["padding"] = draw_from(st.one_of(paddings))
    dilation = options["dilation"]
    dilation = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    image = [d * (k - 1) + 1 + draw_from(st.integers(0, 4))
             for d, k in zip(dilation, size, strict=True)]  # fmt: skip
    batch = draw_from(st.sampled_from([(), (0,), (1,), (2,), (3,)]))
    bias = draw_from(st.booleans())
    needs = draw_from(st.sampled_from(list(product([True, False], repeat=2 + bias))[:-1]))
    shapes = [(*batch, channels * groups, *image), (filters * groups, channels, *size)]
    return shapes + [(filters * groups,)] * bias, options, needs


def check_derivatives(book, case, dtype=torch.float64, seed=0):
    """Values, first and second derivatives equal those of F.conv2d."""
    shapes, options, needs = case
    tensors = draw(seed, *shapes, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of padding that costs a copy
        g, *directions = draw(
            seed + 1, torch.nn.functional.conv2d(*tensors, **options).shape,
            *(shape for shape, need in zip(shapes, needs, strict=True) if need), dtype=dtype,
        )  # fmt: skip
        ours, theirs = (
            derivatives(lambda *t, f=f: f(*t, **options), tensors, g, directions, needs)
            for f in (book["conv2d"], torch.nn.functional.conv2d)
        )
    compare(ours, theirs, scale=max(tensors[1][0].numel(), 1))


def check_trilinear(book, case, seed=0):
    """<g, dT/dg> = <x, dT/dx> = <w, dT/dw>: the three Functions belong to one form."""
    (image, filters, *_), options, _ = case
    image = image if len(image) == 4 else (1, *image)
    x, w = draw(seed, image, filters)
    options = book["check_conv2d"](x, w, None, **{"stride": 1, "padding": 0, **options})
    y = book["Correlate"].apply(x, w, options)
    (g,) = draw(seed + 1, y.shape)
    products = [
        (g * y).sum(),
        (x * book["InputGradient"].apply(g, w, x.shape[2:], options)).sum(),
        (w * book["WeightGradient"].apply(x, g, w.shape[2:], options)).sum(),
    ]
    size = 1 + y.norm() * g.norm()
    assert max(products) - min(products) <= 1e-12 * size, products


def check_conv_jacobians(book, case):
    """Finite differences of conv2d, and of each of the three Functions."""
    shapes, options, _ = case
    tensors = leaves(*draw(3, *shapes))
    check_jacobians(lambda *t: book["conv2d"](*t, **options), tensors)
    x, w = tensors[:2]
    (x,) = leaves(x if x.ndim == 4 else x[None])
    options = book["check_conv2d"](x, w, None, **options)
    (g,) = leaves(book["Correlate"].apply(x, w, options))
    for name, arguments, more in (  # gradcheck would take a named tuple apart
        ("Correlate", (x, w), (options,)),
        ("InputGradient", (g, w), (x.shape[2:], options)),
        ("WeightGradient", (x, g), (w.shape[2:], options)),
    ):
        function = book[name].apply
        check_jacobians(lambda *t, f=function, m=more: f(*t, *m), arguments)


SMALL = [
    ([(1, 2, 3, 4), (2, 1, 2, 2), (2,)],
     {"stride": 1, "padding": 0, "dilation": 1, "groups": 2}, [True] * 3),
    ([(2, 1, 4, 3), (2, 1, 2, 2)],
     {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2), "groups": 1}, [True] * 2),
    ([(1, 3, 5), (1, 1, 3, 2), (1,)],
     {"stride": 1, "padding": "same", "dilation": 1, "groups": 1}, [True] * 3),
]  # fmt: skip


def check_third(book):
    """A third derivative equals torch's, with everything switched on."""
    shapes, options, _ = SMALL[1]
    found = []
    for function in (book["conv2d"], torch.nn.functional.conv2d):
        value = function(*(tensors := leaves(*draw(4, *shapes))), **options).pow(4).sum()
        for _ in range(3):
            gradients = grad(value, tensors, create_graph=True)
            value = sum(gradient.square().sum() for gradient in gradients)
        found.append([gradient.detach() for gradient in gradients])
    compare([a / b.abs().max() for a, b in zip(*found, strict=True)],
            [b / b.abs().max() for b in found[1]])  # fmt: skip


def check_needs(book):
    """Only the kernels that are needed run, and only the tensors that are needed are saved."""
    names = "correlate", "input_gradient", "weight_gradient"
    calls = []
    for needs, kernels, saved in (
        ((True, True), ["input_gradient", "weight_gradient"], 2),
        ((True, False), ["input_gradient"], 1),
        ((False, True), ["weight_gradient"], 1),
    ):
        x, w = (t.requires_grad_(n) for t, n in zip(draw(5, (1, 2, 4, 5), (3, 2, 2, 2)), needs,
                                                    strict=True))  # fmt: skip
        y = book["conv2d"](x, w)
        assert sum(t is not None for t in y.grad_fn.saved_tensors) == saved
        calls.clear()
        counted = {n: lambda *a, n=n, f=book[n]: calls.append(n) or f(*a) for n in names}
        with patch.dict(book, **counted):
            gradients = grad(y.sum(), [t for t in (x, w) if t.requires_grad], create_graph=True)
            assert sorted(calls) == kernels, f"{needs}: {calls}"
            calls.clear()
            if needs == (True, False):  # d slope / d w of a fixed w: nothing to compute
                assert not gradients[0].requires_grad and calls == []


def check_autocast(book):
    """Under autocast, short floats are computed as float32, twice."""
    x, w = leaves(*draw(6, (1, 1, 4, 4), (1, 1, 2, 2), dtype=torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        y = book["conv2d"](x, w)
    (slope,) = grad(y.square().sum(), x, create_graph=True)
    (second,) = grad(slope.float().square().sum(), w)
    assert y.dtype == torch.float32 and second.dtype == w.dtype == torch.bfloat16
    assert torch.isfinite(second).all() and second.any()


@given(cases(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 2))
def test_conv2d_equals_torch(case, dtype, seed):
    check_derivatives(BOOK, case, dtype, seed)


@given(cases(), st.integers(0, 2**32 - 2))
def test_the_three_functions_are_one_form(case, seed):
    check_trilinear(BOOK, case, seed)


@pytest.mark.parametrize("case", SMALL, ids=["groups", "stride", "same"])
def test_conv_jacobians(case):
    check_conv_jacobians(BOOK, case)


# the Fourier pair


@st.composite
def images(draw_from):
    """Shapes with zero to two leading axes, even and odd, down to a single row or column."""
    lead = draw_from(st.lists(st.integers(1, 3), max_size=2))
    return (*lead, draw_from(st.integers(1, 6)), draw_from(st.integers(1, 7)))


def half(shape):
    return (*shape[:-1], shape[-1] // 2 + 1)


def reference(input):
    return torch.fft.rfft2(input).abs()


def check_fourier(book, shape, dtype=torch.float64, seed=0):
    """Values, first and second derivatives equal torch's; unclear bins get no upstream gradient."""
    x, g, direction = draw(seed, shape, half(shape), shape, dtype=dtype)
    magnitude = reference(x)
    clear = magnitude > 0.05 * magnitude.amax(dim=(-2, -1), keepdim=True)
    g = g * clear
    ours, theirs = (derivatives(lambda x, f=f: (1 + f(x)).sqrt(), [x], g, [direction])
                    for f in (book["fft_magnitude"], reference))  # fmt: skip
    compare(ours[:2], theirs[:2], scale=20 * (1 + g.abs().max()))
    # a second derivative divides by the magnitude, and the others are of no use at a small bin
    curvature = 20 / magnitude[clear].min() if clear.any() else 1
    compare(ours[2:3], theirs[2:3], scale=float(curvature) * 20 * (1 + magnitude.max()))
    compare([ours[3] * clear], [theirs[3] * clear], scale=20 * (1 + magnitude.max()))


def check_fourier_dots(book, shape, seed=0):
    """<A v, z> = <v, A^T z>, and each backward is the other Function."""
    v, re, im = draw(seed, shape, half(shape), half(shape))
    v, z = leaves(v, torch.complex(re, im))
    forward, back = book["RealFFT2"].apply(v), book["RealFFT2Adjoint"].apply(z, shape[-1])
    left, right = (forward.conj() * z).real.sum(), (v * back).sum()
    assert abs(left - right) <= 1e-12 * (1 + forward.norm() * z.norm())
    assert torch.equal(grad(forward, v, z.detach())[0], back)
    assert torch.equal(grad(back, z, v.detach())[0], forward)


def check_fourier_jacobians(book, shape):
    x, re, im = draw(7, shape, half(shape), half(shape))
    x, z = leaves(x, torch.complex(re, im))
    check_jacobians(book["RealFFT2"].apply, (x,))
    check_jacobians(lambda z: book["RealFFT2Adjoint"].apply(z, shape[-1]), (z,))
    check_jacobians(book["fft_magnitude"], (x,))


def check_zeros(book):
    """At a bin that is zero, first and second derivative are 0, as torch's are; never NaN."""
    for image in (torch.zeros(4, 6), torch.zeros(3, 5), torch.ones(4, 8), torch.ones(2, 1, 2)):
        x, g = image.double(), torch.ones(half(image.shape)).double()
        direction = torch.arange(x.numel()).double().reshape(x.shape)
        ours, theirs = (derivatives(f, [x], g, [direction])
                        for f in (book["fft_magnitude"], reference))  # fmt: skip
        compare(ours, theirs, scale=10)
        assert not any(tensor.isnan().any() for tensor in ours)


def check_lazy(book):
    """A conjugate or a minus sign that is still due is carried out, on the way back too."""
    x, re, im = draw(8, (4, 5), (4, 3), (4, 3))
    z = torch.complex(re, im)
    assert z.conj().is_conj() and z.conj().imag.is_neg()
    function = book["RealFFT2Adjoint"].apply
    assert torch.equal(function(z.conj(), 5), function(z.conj().resolve_conj(), 5))
    (x,) = leaves(x)
    y = book["RealFFT2"].apply(x)
    assert torch.equal(grad(y, x, z.conj(), retain_graph=True)[0],
                       grad(y, x, z.conj().resolve_conj())[0])  # fmt: skip
    negated = torch.complex(x.detach(), x.detach()).conj().imag
    assert torch.equal(book["fft_magnitude"](negated), book["fft_magnitude"](x))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nested tensors are a prototype
    NESTED = torch.nested.nested_tensor([torch.ones(4, 4), torch.ones(3, 4)])
IMAGE = torch.ones(4, 5)
REFUSED = {
    "array": (IMAGE.numpy(), TypeError, "expected a torch.Tensor, got ndarray"),
    "integers": (IMAGE.long(), TypeError, "got torch.int64; pass input.float()"),
    "half": (IMAGE.half(), TypeError, "got torch.float16"),
    "complex": (torch.complex(IMAGE, IMAGE), TypeError, "pass input.real or input.imag"),
    "sparse": (IMAGE.to_sparse(), ValueError, "expected a dense tensor"),
    "nested": (NESTED, ValueError, "expected a dense tensor"),
    "meta": (IMAGE.to("meta"), ValueError, "expected a tensor on the CPU, got one on meta"),
    "one axis": (IMAGE[0], ValueError, r"without an empty axis, got \(5,\)"),
    "empty": (IMAGE[:0], ValueError, r"without an empty axis, got \(0, 5\)"),
}


def check_refusal(book, case):
    bad, error, message = REFUSED[case]
    with pytest.raises(error, match=message) as found:
        book["fft_magnitude"](bad)
    assert str(found.value).startswith("fft_magnitude: ")
    assert re.search(r"[a-z]  |  [a-z]", str(found.value)) is None


@given(images(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 1))
def test_fft_equals_torch(shape, dtype, seed):
    check_fourier(BOOK, shape, dtype, seed)


@given(images(), st.integers(0, 2**32 - 1))
def test_the_fourier_pair_is_adjoint(shape, seed):
    check_fourier_dots(BOOK, shape, seed)


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 5), (5, 1), (1, 1), (2, 2, 3)], ids=str)
def test_fourier_jacobians(shape):
    check_fourier_jacobians(BOOK, shape)


@pytest.mark.parametrize("case", REFUSED)
def test_fft_refuses(case):
    check_refusal(BOOK, case)


# the pair for one image


@st.composite
def geometry(draw_from):
    """An image and a filter that fits it."""
    filter = (draw_from(st.integers(1, 4)), draw_from(st.integers(1, 4)))
    more = st.integers(0, 4)
    return (filter[0] + draw_from(more), filter[1] + draw_from(more)), filter


def output(image, filter):
    return (image[0] - filter[0] + 1, image[1] - filter[1] + 1)


def check_pair(book, sizes, dtype=torch.float64, seed=0):
    """Values, first and second derivatives of scipy_conv2d equal those of F.conv2d."""
    shapes = (*sizes, (1, 1))
    tensors, directions = draw(seed, *shapes, dtype=dtype), draw(seed + 1, *shapes, dtype=dtype)
    (g,) = draw(seed + 2, output(*sizes), dtype=dtype)
    ours, theirs = (derivatives(f, tensors, g, directions) for f in (book["scipy_conv2d"], one))
    compare(ours, theirs, scale=tensors[1].numel())


def check_pair_dots(book, sizes, seed=0):
    """<g, corr(x, w)> = <x, conv_full(g, w)> = <w, corr(x, g)>."""
    x, w, g = draw(seed, *sizes, output(*sizes))
    correlate, convolve = book["Correlate2d"].apply, book["ConvolveFull"].apply
    products = [(g * correlate(x, w)).sum(), (x * convolve(g, w)).sum(),
                (w * correlate(x, g)).sum()]  # fmt: skip
    assert max(products) - min(products) <= 1e-12 * (1 + x.norm() * g.norm() * w.norm())


def check_pair_jacobians(book, sizes):
    x, w, b, g = leaves(*draw(9, *sizes, (1, 1), output(*sizes)))
    for function, tensors in {
        book["scipy_conv2d"]: (x, w, b), book["Correlate2d"].apply: (x, w),
        book["ConvolveFull"].apply: (g, w),
    }.items():  # fmt: skip
        check_jacobians(function, tensors)


def check_pair_refuses(book):
    with pytest.raises(ValueError, match=r"filter \(5, 5\) must not be larger than input \(3, 3\)"):
        book["scipy_conv2d"](torch.ones(3, 3), torch.ones(5, 5), torch.zeros(1, 1))


@given(geometry(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 3))
def test_the_pair_equals_torch(sizes, dtype, seed):
    check_pair(BOOK, sizes, dtype, seed)


@given(geometry(), st.integers(0, 2**32 - 1))
def test_the_pair_is_one_form(sizes, seed):
    check_pair_dots(BOOK, sizes, seed)


@FEW
@given(geometry())
def test_pair_jacobians(sizes):
    check_pair_jacobians(BOOK, sizes)


# refusing, losing, and keeping a second derivative


def penalty_ways(layer, shape_loss):
    """The filter gradient of a loss and its penalty, asked for in four ways."""

    def total():
        x, w, b = leaves(*draw(10, (4, 5), (2, 3), (1, 1)))
        loss = shape_loss(layer(x, w, b))
        (slope,) = grad(loss, x, create_graph=True)
        return loss + 1000 * slope.square().sum(), w, slope

    def backward(**options):
        value, w, _ = total()
        value.backward(**{k: [w] for k in options})
        return w.grad

    def by_penalty():
        _, w, slope = total()
        return grad(slope.square().sum(), w)[0]

    def by_grad():
        value, w, _ = total()
        return grad(value, w)[0]

    return [backward, lambda: backward(inputs=True), by_grad, by_penalty]


LOSSES = {"square": lambda y: y.square().sum(), "sum": torch.sum}


def check_refusing(book):
    """Every way to a second derivative raises; the first ones are right."""
    layer = book["RefusingFunction"].apply
    for shape_loss in LOSSES.values():
        for ask in penalty_ways(layer, shape_loss):
            with pytest.raises(RuntimeError, match="can be differentiated only once: NumPy"):
                ask()
    assert gradcheck(layer, leaves(*draw(11, (4, 5), (2, 3), (1, 1))))


def check_kept(book):
    """No way to a second derivative loses anything."""
    for name in ("square", "sum"):
        theirs = [ask() for ask in penalty_ways(one, LOSSES[name])]
        for ours, right in zip(penalty_ways(book["scipy_conv2d"], LOSSES[name]), theirs,
                               strict=True):  # fmt: skip
            assert torch.allclose(ours(), right, rtol=1e-12)


def check_recomputes(book):
    (x,) = leaves(*draw(12, (3, 4)))
    assert gradgradcheck(book["Recomputes"].apply, x)


def check_check(book):
    """check_twice passes the pair, and refuses one that keeps only a part of the record."""
    x, w, b = leaves(*draw(15, (3, 4), (2, 3), (1, 1)))
    assert book["check_twice"](book["scipy_conv2d"], (x, w, b))
    assert book["check_twice"](book["Correlate2d"].apply, (x.detach(), w))
    for lost in (0, 1):

        class Half(book["Correlate2d"]):
            @staticmethod
            def backward(ctx, grad_output, lost=lost):
                gradients = list(book["Correlate2d"].backward(ctx, grad_output))
                gradients[lost] = gradients[lost].detach()
                return tuple(gradients)

        assert gradgradcheck(Half.apply, (x, w))  # the blind spot that the chapter shows
        with pytest.raises(ValueError, match=f"gradient {lost} has no graph"):
            book["check_twice"](Half.apply, (x, w))
    with pytest.raises(RuntimeError, match="mismatch|expected to be zero"):
        book["check_twice"](book["SavesSpectrum"].apply, (x,))


CHECKS = {
    "third": check_third, "needs": check_needs, "autocast": check_autocast, "zeros": check_zeros,
    "lazy": check_lazy, "pair refuses": check_pair_refuses, "refusing": check_refusing,
    "kept": check_kept, "recomputes": check_recomputes, "check": check_check,
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


def test_the_published_layer_loses_the_penalty():
    """What the chapter shows: not one bit of the filter gradient comes from the penalty."""
    layer = BOOK["PublishedFunction"].apply
    assert gradcheck(layer, leaves(*draw(13, (4, 5), (2, 3), (1, 1))))
    for name, shape_loss in LOSSES.items():
        x, w, b = leaves(*draw(10, (4, 5), (2, 3), (1, 1)))
        (alone,) = grad(shape_loss(layer(x, w, b)), w)
        for ask in penalty_ways(layer, shape_loss)[:3]:
            assert torch.equal(ask(), alone), name
        (right,) = grad(shape_loss(one(x, w, b)), w)
        assert torch.allclose(alone, right)


def test_the_decorator_has_its_hole():
    """Of the six calls of the chapter one raises."""
    raised = 0
    for shape_loss in LOSSES.values():
        for ask in penalty_ways(BOOK["ScipyConv2dFunction"].apply, shape_loss)[:3]:
            try:
                ask()
            except RuntimeError as error:
                assert "once_differentiable" in str(error)
                raised += 1
    assert raised == 1


def test_a_saved_intermediate_is_a_constant():
    (x,) = leaves(*draw(14, (3, 4)))
    assert gradcheck(BOOK["SavesSpectrum"].apply, x)
    assert not gradgradcheck(BOOK["SavesSpectrum"].apply, x, raise_exception=False)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_languages_define_the_same(language):
    assert layers(NAME, language).keys() == BOOK.keys()


# every check can fail: broken copies of the chapter's cells


def conv(*numbers):
    return [lambda book, n=n: check_derivatives(book, SMALL[n]) for n in numbers]


def second(*numbers):
    return [lambda book, n=n: check_conv_jacobians(book, SMALL[n]) for n in numbers]


def trilinear(book):
    for case in SMALL:
        check_trilinear(book, case)


def odd(book):
    check_fourier(book, (4, 5))


def even(book):
    check_fourier(book, (4, 6))


def odd_dots(book):
    check_fourier_dots(book, (4, 5))


def even_dots(book):
    check_fourier_dots(book, (4, 6))


def odd_jacobians(book):
    check_fourier_jacobians(book, (4, 3))


def oblong(book):
    check_pair(book, ((5, 6), (2, 3)))


def square(book):
    check_pair(book, ((3, 3), (2, 2)))


def square_jacobians(book):
    check_pair_jacobians(book, ((3, 3), (2, 2)))


def refuses(*some):
    return [lambda book, case=case: check_refusal(book, case) for case in some]


ADJOINT = "rfft2_adjoint(array, width)"
FULL = "fft.irfft2(array, s=(array.shape[-2], width), norm='forward')"
NYQUIST = FULL.replace("(array,", "(array / ([1] + [2] * (array.shape[-1] - 2) + [1]),")
LAST = "return RealFFT2.apply(input).abs()"
GRAD_X = "ConvolveFull.apply(grad_output, w)"
FULL_W = "Correlate2d.apply(grad_output, g)"
BROKEN = {
    "irfft2 for the adjoint": ([(ADJOINT, FULL)], [odd, even, odd_dots, even_dots]),
    "last column always Nyquist": ([(ADJOINT, NYQUIST)], [odd, odd_dots, odd_jacobians]),
    "adjoint detached": (
        [("RealFFT2Adjoint.apply(grad_output, ctx.width)",
          "RealFFT2Adjoint.apply(grad_output.detach(), ctx.width)")], [odd, even, odd_jacobians]),
    "pair by the inverse": (
        [("return RealFFT2.apply(grad_output), None",
          "return RealFFT2.apply(grad_output) / grad_output[0].numel(), None")],
        [odd, odd_dots, odd_jacobians]),
    "pair detached": (
        [("return RealFFT2.apply(grad_output), None",
          "return RealFFT2.apply(grad_output.detach()), None")], [odd_jacobians]),
    "no resolve_conj": ([(".resolve_conj()", "")], [check_lazy]),
    "naive magnitude": (
        [(LAST, "X = torch.view_as_real(RealFFT2.apply(input))\n"
          "    return X.square().sum(-1).sqrt()")], [check_zeros]),
    "magnitude detached": (
        [(LAST, "X = RealFFT2.apply(input)\n    return (X * torch.sgn(X).conj().detach()).real")],
        [odd, even]),
    "any fft type": ([("if not isinstance(input, torch.Tensor):", "if False:")],
                     refuses("array")),
    "any fft dtype": ([("if input.dtype not in (torch.float32, torch.float64):", "if False:")],
                      refuses("integers", "half", "complex")),
    "any fft layout": ([("if input.layout != torch.strided or input.is_nested:", "if False:")],
                       refuses("sparse", "nested")),
    "any fft device": ([('if input.device.type != "cpu":', "if False:")], refuses("meta")),
    "any fft shape": ([("if input.ndim < 2 or 0 in input.shape:", "if False:")],
                      refuses("one axis", "empty")),
    "image gradient detached": ([(GRAD_X, GRAD_X.replace("output", "output.detach()"))],
                                [oblong, square, check_kept, square_jacobians]),
    "filter detached": ([(GRAD_X, GRAD_X.replace("w)", "w.detach())"))],
                        [oblong, square, check_kept, square_jacobians]),
    "pair swapped": ([("return grad_g, grad_w\n", "return grad_w, grad_g\n")],
                     [oblong, square, check_kept, square_jacobians]),
    "full with the image for the filter": (
        [(FULL_W, "Correlate2d.apply(grad_output, w)")], [oblong, square, square_jacobians]),
    "full flipped": ([(FULL_W, f"{FULL_W}.flip(0, 1)")],
                     [oblong, square, check_kept, square_jacobians]),
    "full by numpy": (
        [(FULL_W, 'torch.from_numpy(correlate2d(to_array(grad_output), to_array(g), "valid"))')],
        [square_jacobians]),
    "correlate full": ([('correlate2d(to_array(x), to_array(w), mode="valid")',
                         'convolve2d(to_array(x), to_array(w), mode="valid")')],
                       [oblong, lambda book: check_pair_dots(book, ((5, 6), (2, 3)))]),
    "pair unchecked": ([("    check_correlate2d(input, filter, bias)\n    return Correlate2d",
                         "    return Correlate2d")], [check_pair_refuses]),
    "correlate detached": (
        [("InputGradient.apply(grad_output, w, ctx.sizes[0]",
          "InputGradient.apply(grad_output.detach(), w, ctx.sizes[0]")],
        [*conv(0, 1, 2), *second(0, 1), check_third]),
    "input gradient detached": (
        [("Correlate.apply(grad_output, w, ctx.options)",
          "Correlate.apply(grad_output, w.detach(), ctx.options)")],
        [*second(0, 1), check_third]),
    "weight gradient detached": (
        [("InputGradient.apply(g, grad_output, ctx.size",
          "InputGradient.apply(g.detach(), grad_output, ctx.size")], [*second(0), check_third]),
    "weight gradient swapped": (
        [("return grad_x, grad_g, None, None", "return grad_g, grad_x, None, None")],
        [*conv(0, 1), *second(0, 1)]),
    "input gradient swapped": (
        [("return grad_g, grad_w, None, None", "return grad_w, grad_g, None, None")],
        [*conv(0, 1), *second(0, 1)]),
    "weight gradient of the weight": (
        [("WeightGradient.apply(grad_output, g, ctx.size",
          "WeightGradient.apply(grad_output, 2 * g, ctx.size")], [*conv(0, 1), *second(0, 1)]),
    "correlate twice": ([("Correlate.apply(x, grad_output, ctx.options)",
                          "2 * Correlate.apply(x, grad_output, ctx.options)")],
                        [*conv(0, 1), *second(0, 1)]),
    "forward twice": ([("torch.from_numpy(correlate(to_array(x), to_array(w), options))",
                        "2 * torch.from_numpy(correlate(to_array(x), to_array(w), options))")],
                      [*conv(0), trilinear]),
    "other sizes": ([("ctx.size, ctx.options = x.shape[2:], options",
                      "ctx.size, ctx.options = x.shape[:1:-1], options")], conv(0, 1)),
    "saves both": ([("first if needs_second else None", "first")], [check_needs]),
    "saves the wrong one": ([("first if needs_second else None", "first if needs_first else None"),
                             ("second if needs_first else None",
                              "second if needs_second else None")], [check_needs]),
    "bias detached": ([("result + bias[:, None, None]", "result + bias.detach()[:, None, None]")],
                      conv(0, 2)),
    "no batch": ([("return result if input.ndim == 4 else result[0]", "return result")], conv(2)),
    "no autocast": ([('if torch.is_autocast_enabled("cpu"):', "if False:")], [check_autocast]),
    "rounded": ([("weight_gradient(to_array(x), to_array(g), size, options)",
                  "weight_gradient(to_array(x), to_array(g), size, options).astype('f4')")],
                conv(0, 1, 2)),
    "refusing by a copy": (
        [("OnceOnly.apply(correlate2d_gradients, input, filter,",
          "OnceOnly.apply(correlate2d_gradients, input.detach(), filter.detach(),")],
        [check_refusing]),
    "refusing by the decorator": (
        [("    def backward(ctx, grad_output):\n        input, filter = ctx.saved_tensors\n"
          "        return OnceOnly",
          "    @once_differentiable\n    def backward(ctx, grad_output):\n"
          "        input, filter = ctx.saved_tensors\n        return OnceOnly")],
        [check_refusing]),
    "check without a look": (
        [("        if not gradient.requires_grad:\n", "        if False:\n")], [check_check]),
    "check with a constant": (
        [("g = torch.randn_like(y).requires_grad_()", "g = torch.randn_like(y)")], [check_check]),
    "check by the look alone": (
        [("return gradgradcheck(function, inputs)\n", "return True\n")], [check_check]),
    "recomputed without a record": (
        [("torch.sgn(RealFFT2.apply(input))", "torch.sgn(RealFFT2.apply(input.detach()))")],
        [check_recomputes]),
}  # fmt: skip


COMPLAINTS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError,
              pytest.fail.Exception)  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    changes, checks = BROKEN[name]
    book = broken_layers(NAME, *changes)
    for check in checks:
        with pytest.raises(COMPLAINTS):
            check(book)


def test_an_unbroken_copy_passes():
    book = broken_layers(NAME)
    pairs = [odd, even, odd_dots, even_dots, odd_jacobians, oblong, square, square_jacobians]
    three = [trilinear, *conv(0, 1, 2), *second(0, 1)]
    for check in (*pairs, *three, *CHECKS.values(), *refuses(*REFUSED)):
        check(book)
