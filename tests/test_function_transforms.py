"""Promise: under torch.func, chapter 09's layers give what torch's own operators give.

Each check takes the chapter's definitions, so that a broken copy can be given to it. What chapter
08 promises of the same layers, their new Functions must keep. How many cases are generated:
BOOK_EXAMPLES, see conftest.py.
"""

import math
import warnings
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import test_double_backward as twice
from notebooks import broken_layers, layers
from test_double_backward import TOLERANCE, cases, draw, images, leaves, reference

NAME = "09-function-transforms"
BOOK = layers(NAME)
torch_conv2d = torch.nn.functional.conv2d
RULES = ("vmap", "jvp", "backward", "jvp and backward", "jvp of jvp")


def equal(ours, theirs, scale=1.0):
    """Equal up to rounding, measured against the largest number that the others hold."""
    ours, theirs = (t if isinstance(t, tuple) else (t,) for t in (ours, theirs))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        if a.numel():
            off = (a - b).abs().max()
            assert off <= TOLERANCE[b.real.dtype] * scale * (1 + b.abs().max()), f"off by {off:.1e}"


def stacks(seed, tensors, dims, size):
    """Each tensor as a batch of so many along its dimension, or alone if that is None."""
    found = []
    for number, (tensor, dim) in enumerate(zip(tensors, dims, strict=True)):
        shape = tensor.shape if dim is None else (size, *tensor.shape)
        (drawn,) = draw(seed + number, shape, dtype=tensor.dtype)
        found.append(drawn if dim is None else drawn.movedim(0, dim))
    return found


# conv2d


@st.composite
def batches(draw_from):
    """A call of conv2d with a batch: shapes, options, in_dims, the size of the batch."""
    shapes, options, _ = draw_from(cases())
    dims = [draw_from(st.one_of(st.none(), st.integers(0, len(s)))) for s in shapes]
    if all(dim is None for dim in dims):
        dims[draw_from(st.integers(0, len(dims) - 1))] = 0
    return shapes, options, tuple(dims), draw_from(st.integers(1, 3))


def both(book, options):
    """Our conv2d and torch's, with these options."""
    return [lambda *tensors, f=f: f(*tensors, **options) for f in (book["conv2d"], torch_conv2d)]


def check_batch(book, case, dtype=torch.float64, seed=0):
    """vmap, vmap in vmap, and the gradients of each entry equal those of F.conv2d."""
    shapes, options, dims, size = case
    tensors = draw(seed, *shapes, dtype=dtype)
    batch = stacks(seed, tensors, dims, size)
    ours, theirs = both(book, options)
    scale = math.prod(shapes[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of padding that costs a copy
        equal(vmap(ours, dims)(*batch), vmap(theirs, dims)(*batch), scale)
        outer = stacks(seed + 5, batch, [0] * len(batch), 2)
        equal(vmap(vmap(ours, dims))(*outer), vmap(vmap(theirs, dims))(*outer), scale)
        inner = (0, *[None] * (len(batch) - 1))  # another batch, of the image alone
        outer = stacks(seed + 9, batch, inner, 2)
        equal(vmap(vmap(ours, dims), inner)(*outer), vmap(vmap(theirs, dims), inner)(*outer), scale)
        every = tuple(range(len(batch)))
        each = [vmap(grad(lambda *t, f=f: f(*t).square().sum(), every), dims)(*batch)
                for f in (ours, theirs)]  # fmt: skip
        entry_outputs = max(1, math.prod(theirs(*tensors).shape))
        equal(*each, scale=scale * entry_outputs)


def check_forward(book, case, seed=0):
    """jvp of each choice of arguments equals torch's, and agrees with backward."""
    shapes, options, _, _ = case
    tensors, tangents = draw(seed, *shapes), draw(seed + 3, *shapes)
    scale = math.prod(shapes[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for moved in product((False, True), repeat=len(shapes)):
            if not any(moved):
                continue
            places = [place for place, moves in enumerate(moved) if moves]
            point, v = (tuple(t[place] for place in places) for t in (tensors, tangents))

            def some(*given, f, places=places):
                known = dict(zip(places, given, strict=True))
                return f(*(known.get(place, tensor) for place, tensor in enumerate(tensors)))

            ours, theirs = (lambda *p, f=f, some=some: some(*p, f=f) for f in both(book, options))
            equal(jvp(ours, point, v), jvp(theirs, point, v), scale)
            y, pull = vjp(ours, *point)
            (u,) = draw(seed + 7, y.shape)
            forward, back = (u * jvp(ours, point, v)[1]).sum(), pull(u)
            backward = sum((a * b).sum() for a, b in zip(back, v, strict=True))
            assert abs(forward - backward) <= 1e-11 * scale * (1 + y.numel()), "dot-product test"


SMALL = [  # the last numbers: in_dims, and the size of the batch
    ([(3, 4, 4, 3), (2, 2, 2, 2), (2,)], {"groups": 2, "padding": (1, 0)}, (0, None, None), 2),
    ([(2, 4, 4, 3), (4, 2, 2, 1)], {"groups": 2, "stride": (2, 1)}, (None, 3), 3),
    ([(1, 2, 4, 3), (4, 1, 2, 2), (4,)], {"groups": 2, "dilation": (2, 1)}, (4, 1, 0), 3),
    ([(2, 4, 3), (3, 2, 2, 2)], {"padding": "same"}, (1, None), 2),
]
TINY = ([(1, 2, 2, 3), (2, 1, 2, 1)], {"groups": 2, "padding": (1, 0)})


def check_orders(book, shapes=TINY[0], options=TINY[1]):
    """Jacobians, and second derivatives in each order of the modes, equal torch's."""
    tensors = draw(1, *shapes)
    ours, theirs = both(book, options)
    for argnums, transform in product((0, 1, (0, 1)), (jacrev, jacfwd)):
        wanted = jacrev(theirs, argnums)(*tensors)
        equal(transform(ours, argnums)(*tensors), wanted, scale=10)
    ours, theirs = ((lambda *t, f=f: f(*t).pow(3).sum()) for f in both(book, options))
    wanted = jacrev(jacrev(theirs, (0, 1)), (0, 1))(*tensors)
    for outer, inner in product((jacfwd, jacrev), repeat=2):
        found = outer(inner(ours, (0, 1)), (0, 1))(*tensors)
        for row, wanted_row in zip(found, wanted, strict=True):
            equal(row, wanted_row, scale=100)
    v = draw(2, *shapes)
    product_with_v = jvp(grad(ours, (0, 1)), tuple(tensors), tuple(v))[1]
    for number, part in enumerate(product_with_v):
        flat = sum(block.reshape(part.numel(), -1) @ direction.flatten()
                   for block, direction in zip(wanted[number], v, strict=True))  # fmt: skip
        equal(part, flat.reshape(part.shape), scale=100)


def check_third(book):
    """Third derivatives in each of the eight orders of the modes."""
    (variables,) = draw(3, (7,))

    def cube(variables, conv2d):
        x, w = variables[:4].reshape(1, 1, 2, 2), variables[4:6].reshape(1, 1, 1, 2)
        return conv2d(x, w, variables[6:]).pow(3).sum()

    wanted = jacrev(jacrev(jacrev(lambda v: cube(v, torch_conv2d))))(variables)
    for transforms in product((jacfwd, jacrev), repeat=3):
        found = lambda v: cube(v, book["conv2d"])  # noqa: E731
        for transform in transforms:
            found = transform(found)
        equal(found(variables), wanted, scale=100)


def check_zeros(book):
    """Second derivatives where a factor that does not move sends a zero without memory back."""
    (variables, u) = draw(15, (5,), (2,))

    def weighted(variables, conv2d):
        x, w = variables[:3].reshape(1, 1, 1, 3), variables[3:].reshape(1, 1, 1, 2)
        return (conv2d(x, w).flatten() * u).sum()

    wanted = hessian(lambda v: weighted(v, torch_conv2d))(variables)
    for outer, inner in product((jacfwd, jacrev), repeat=2):
        equal(outer(inner(lambda v: weighted(v, book["conv2d"])))(variables), wanted)
    with pytest.raises(RuntimeError, match="requires grad"):
        book["to_array"](torch.ones(1, requires_grad=True))
    with torch.no_grad():
        assert book["to_array"](torch.ones(1, requires_grad=True)).tolist() == [1]


def check_calls(book):
    """One call of a kernel for a batch; none for what nobody needs; nothing saved in vain."""
    x, w = draw(4, (5, 2, 2, 4, 3), (5, 4, 1, 2, 2))
    names = "correlate", "input_gradient", "weight_gradient"
    calls = []
    counted = {n: lambda *a, n=n, f=BOOK[n]: calls.append(n) or f(*a) for n in names}

    def layer(x, w):
        return book["conv2d"](x, w, groups=2)

    def call(function, *tensors):
        calls.clear()
        function(*tensors)
        return sorted(calls)

    first, second = "correlate", "input_gradient"
    with patch.dict(book, **counted):
        for dims in ((0, None), (None, 0), (0, 0)):
            given = [t if d == 0 else t[0] for t, d in zip((x, w), dims, strict=True)]
            assert call(vmap(layer, dims), *given) == [first]
            each = vmap(grad(lambda x, w: layer(x, w).square().sum()), dims)
            assert call(each, *given) == [first, second]
        assert call(jacrev(layer), x[0], w[0]) == [first, second]
        assert call(jacfwd(layer), x[0], w[0]) == [first, first]  # the value, all tangents
        assert call(lambda x, w: jvp(layer, (x, w), (x, w)), x[0], w[0]) == [first] * 3
        (leaf,) = leaves(x[0])
        y = layer(leaf, w[0])
        assert [t is not None for t in y.grad_fn.saved_tensors] == [False, True]


def check_none(book):
    """A backward that gets no gradient returns none."""

    class Stops(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, grad_output):
            return None

    options = book["Options"]()
    x, w, g = leaves(*draw(5, (1, 1, 3, 3), (1, 1, 2, 2), (1, 1, 2, 2)))
    for name, arguments in {
        "Correlate": (x, w, options),
        "InputGradient": (g, w, x.shape[2:], options),
        "WeightGradient": (x, g, w.shape[2:], options),
    }.items():
        Stops.apply(book[name].apply(*arguments)).sum().backward()
        assert all(t.grad is None for t in (x, w, g)), name


def check_autograd(book):
    """The new Functions keep what chapter 08 promises of the old ones."""
    for case in twice.SMALL:
        twice.check_derivatives(book, case)
        twice.check_trilinear(book, case)
    for check in (twice.check_third, twice.check_needs, twice.check_autocast, twice.check_zeros,
                  twice.check_lazy):  # fmt: skip
        check(book)
    for shape in ((4, 5), (4, 6)):
        twice.check_fourier(book, shape)
        twice.check_fourier_dots(book, shape)


@given(batches(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 99))
def test_a_batch_equals_torch(case, dtype, seed):
    check_batch(BOOK, case, dtype, seed)


@given(batches(), st.integers(0, 2**32 - 99))
def test_forward_mode_equals_torch(case, seed):
    check_forward(BOOK, case, seed)


@settings(max_examples=8)
@given(cases(), st.integers(0, 2**32 - 99))
def test_autograd_is_as_before(case, seed):
    twice.check_derivatives(BOOK, case, seed=seed)
    twice.check_trilinear(BOOK, case, seed)


# the Fourier pair


@st.composite
def moved_images(draw_from):
    """A shape, in_dims, the size of the batch."""
    shape = draw_from(images())
    return shape, draw_from(st.integers(0, len(shape))), draw_from(st.integers(1, 3))


def check_fourier_batch(book, case, dtype=torch.float64, seed=0):
    """vmap and vmap in vmap of the pair and of the magnitude equal torch's."""
    shape, dim, size = case
    (image,) = draw(seed, shape, dtype=dtype)
    (batch,) = stacks(seed, [image], [dim], size)
    nested = torch.stack([batch, batch.flip(0)], -1)
    scale = math.prod(shape)
    for ours, theirs in ((book["RealFFT2"].apply, torch.fft.rfft2),
                         (book["fft_magnitude"], reference)):  # fmt: skip
        equal(vmap(ours, dim)(batch), vmap(theirs, dim)(batch), scale)
        equal(vmap(vmap(ours, dim), -1)(nested), vmap(vmap(theirs, dim), -1)(nested), scale)
    wide = vmap(torch.fft.rfft2, dim, dim)(batch)
    width = shape[-1]
    adjoint = book["RealFFT2Adjoint"].apply
    loop = torch.stack([adjoint(entry, width) for entry in wide.unbind(dim)])
    equal(vmap(lambda z: adjoint(z, width), dim)(wide), loop, scale)
    loop = torch.stack([adjoint(entry.conj(), width) for entry in wide.unbind(dim)])
    equal(vmap(lambda z: adjoint(z.conj(), width), dim)(wide), loop, scale)


def check_fourier_forward(book, shape, seed=0):
    """jvp of the pair is the pair; jvp of the magnitude is Re(conj(P) dX), and torch's."""
    x, v = draw(seed, shape, shape)
    fft = torch.fft.rfft2(x)
    scale = math.prod(shape)
    equal(jvp(book["RealFFT2"].apply, (x,), (v,)), (fft, torch.fft.rfft2(v)), scale)
    adjoint = lambda z: book["RealFFT2Adjoint"].apply(z, shape[-1])  # noqa: E731
    z = torch.fft.rfft2(v)
    equal(jvp(adjoint, (fft,), (z,)), (adjoint(fft), adjoint(z)), scale)
    found = jvp(book["fft_magnitude"], (x,), (v,))[1]
    clear = fft.abs() > 0.01 * fft.abs().max()
    by_hand = (fft.conj() * z).real / fft.abs()
    equal(found[clear], by_hand[clear], 100 * scale)


def check_fourier_orders(book, shape):
    """Second derivatives of the magnitude, in each order of the modes; third ones forward."""
    (x,) = draw(6, shape)
    ours, theirs = ((lambda x, f=f: (1 + f(x * x)).pow(1.5).sum())
                    for f in (book["fft_magnitude"], reference))  # fmt: skip
    wanted = jacrev(jacrev(theirs))(x)
    for outer, inner in product((jacfwd, jacrev), repeat=2):
        equal(outer(inner(ours))(x), wanted, scale=1e4)
    v = draw(7, shape)[0]

    def push(f):
        return lambda x: jvp(f, (x,), (v,))[1]

    wanted = grad(lambda x: (grad(lambda x: (grad(theirs)(x) * v).sum())(x) * v).sum())(x)
    equal(push(push(push(ours)))(x), (wanted * v).sum(), scale=1e6)


@given(moved_images(), st.sampled_from(list(TOLERANCE)), st.integers(0, 2**32 - 99))
def test_a_batch_of_spectra_equals_torch(case, dtype, seed):
    check_fourier_batch(BOOK, case, dtype, seed)


@given(images(), st.integers(0, 2**32 - 99))
def test_forward_mode_of_spectra_equals_torch(shape, seed):
    check_fourier_forward(BOOK, shape, seed)


@pytest.mark.parametrize("shape", [(2, 4), (2, 3), (1, 5)], ids=str)
def test_orders_of_spectra(shape):
    check_fourier_orders(BOOK, shape)


# the tools


def check_fold(book):
    """fold and unfold are inverse, and the batch stands after the groups, before the rest."""
    for axis, parts in ((0, 1), (0, 2), (1, 1), (1, 3)):
        (tensor,) = draw(8, (2, 4, 6, 5))
        folded = book["fold"](tensor, axis, parts)
        assert torch.equal(book["unfold"](folded, axis, parts, 2), tensor)
        size = tensor.shape[axis + 1] // parts
        for part, entry in product(range(parts), range(2)):
            start = (2 * part + entry) * size
            assert torch.equal(folded.narrow(axis, start, size),
                               tensor[entry].narrow(axis, part * size, size))  # fmt: skip
    empty = torch.zeros(3, 0, 2)
    assert torch.equal(book["unfold"](book["fold"](empty, 0, 1), 0, 1, 3), empty)


def check_loop(book):
    """The loop is right for each Function and each in_dims, with one call for each entry."""
    x, w = draw(9, (3, 2, 2, 4, 3), (4, 1, 2, 2))
    options = book["Options"](groups=2)

    class Looped(book["Correlate"]):
        @staticmethod
        def vmap(info, in_dims, *args):
            return book["loop_rule"](book["Correlate"], info, in_dims, *args)

    calls, kernel = [], book["correlate"]
    wanted = torch.stack([torch_conv2d(entry, w, groups=2) for entry in x])
    with patch.dict(book, correlate=lambda *a: calls.append(len(a[0])) or kernel(*a)):
        for dim in range(5):
            layer = vmap(lambda x, w: Looped.apply(x, w, options), (dim, None))
            equal(layer(x.movedim(0, dim), w), wanted, scale=10)
    assert calls == 5 * [2, 2, 2]


def family(book):
    """The Functions of the chapter with arguments to check them on."""
    x, w = draw(10, (2, 2, 4, 3), (4, 1, 2, 2))
    options = book["Options"]((2, 1), (1, 0, 0, 1), (1, 1), 2)
    g = draw(11, book["Correlate"].apply(x, w, options).shape)[0]
    size, filters = x.shape[2:], w.shape[2:]
    return {
        "Correlate": (lambda x, w: book["Correlate"].apply(x, w, options), x, w),
        "InputGradient": (lambda g, w: book["InputGradient"].apply(g, w, size, options), g, w),
        "WeightGradient": (lambda x, g: book["WeightGradient"].apply(x, g, filters, options), x, g),
        "RealFFT2": (book["RealFFT2"].apply, x[0, 0]),
        "RealFFT2Adjoint": (
            lambda z: book["RealFFT2Adjoint"].apply(z, 3), torch.fft.rfft2(x[0, 0])),
        "Add": (book["Add"].apply, x, x + 1),
    }  # fmt: skip


def check_by_tool(*names):
    """The book's own tool passes each Function, after as many comparisons as there must be."""

    def check(book):
        for name, (function, *tensors) in family(book).items():
            if name in names:
                dims = math.prod(t.ndim + 2 for t in tensors) - 1
                derivatives = 4 * (len(tensors) + (len(tensors) > 1))
                count = BOOK["check_transforms"](function, *tensors)
                assert count == dims + derivatives, name

    return check


class Rules(torch.autograd.Function):
    """a * b for two tensors, with one of its rules made wrong."""

    wrong = ""

    @staticmethod
    def forward(a, b):
        return torch.from_numpy(np.asarray(a.numpy() * b.numpy()))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        grad_a, grad_b = Rules.apply(g, b), Rules.apply(a, g)
        return {
            "backward of input 0": (1.001 * grad_a, grad_b),
            "backward of input 1": (grad_a, -grad_b),
            "backward by a little": (grad_a * (1 + 1e-8), grad_b),
            "backward is NaN": (grad_a * math.nan, grad_b),
        }.get(Rules.wrong, (grad_a, grad_b))

    @staticmethod
    def jvp(ctx, s, t):
        a, b = ctx.saved_tensors
        first, second = Rules.apply(s, b), Rules.apply(a, t)
        if Rules.wrong == "plus":
            return first + second
        if Rules.wrong == "jvp of input 1":
            second = Rules.apply(second, torch.full_like(second, 1.001))
        both = bool(s.any()) and bool(t.any())
        return first if Rules.wrong == "jvp of both" and both else BOOK["Add"].apply(first, second)

    @staticmethod
    def vmap(info, in_dims, *tensors):
        dims = [0 if Rules.wrong == "vmap" and d is not None else d for d in in_dims]
        size = info.batch_size
        moved = [t.expand(size, *t.shape) if d is None else t.movedim(d, 0)
                 for t, d in zip(tensors, dims, strict=True)]  # fmt: skip
        if Rules.wrong == "vmap of the shared" and dims[1] is None:
            moved[1] = moved[1] + 1e-6
        return Rules.apply(*moved), 0


FAULTS = {  # how the tool's complaint begins
    "backward of input 0": "backward, input 0",
    "backward of input 1": "backward, input 1",
    "backward by a little": "jvp and backward, input 0",
    "backward is NaN": "backward, input 0",
    "jvp of input 1": "jvp, input 1",
    "jvp of both": "jvp, all inputs",
    "plus": "jvp of jvp, all inputs",
    "vmap of the shared": "vmap, in_dims",
}


def check_tool(book):
    """check_transforms passes right rules, and names the one that is wrong."""
    a, b = draw(12, (2, 3), (2, 3))
    cubes = lambda x: x**3  # noqa: E731
    assert book["check_transforms"](cubes, a) == 3 + 4
    assert book["check_transforms"](lambda a, b: a * b, a, b) == 15 + 12
    for coarse in (a.float(), a.to(torch.complex64), a.long()):
        with pytest.raises(TypeError, match="expected float64 or complex128, got"):
            book["check_transforms"](cubes, coarse)
    for wrong, rule in FAULTS.items():
        with patch.object(Rules, "wrong", wrong), pytest.raises(AssertionError) as found:
            book["check_transforms"](Rules.apply, a, b)
        assert str(found.value).startswith(rule), f"{wrong}: {found.value}"
    with patch.object(Rules, "wrong", "vmap"), pytest.raises((AssertionError, ValueError)):
        book["check_transforms"](Rules.apply, a, b)  # NumPy may be the first to complain


CHECKS = {
    "orders": check_orders, "third": check_third, "calls": check_calls, "none": check_none,
    "zeros": check_zeros, "autograd": check_autograd, "fold": check_fold, "loop": check_loop,
    "tool": check_tool,
    "by the tool": check_by_tool(*family(BOOK)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


def test_gradcheck_of_both_modes():
    for function, *tensors in family(BOOK).values():
        given = leaves(*tensors)
        assert gradcheck(function, given, check_forward_ad=True)
        assert gradgradcheck(function, given, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_languages_define_the_same(language):
    assert layers(NAME, language).keys() == BOOK.keys()


def test_the_layers_of_chapter_08_are_refused():
    """What the chapter opens with."""
    old = layers("08-double-backward")
    (x,) = draw(13, (4, 5))
    for call in (lambda: grad(lambda x: old["fft_magnitude"](x).sum())(x),
                 lambda: vmap(old["fft_magnitude"])(x[None]),
                 lambda: jvp(old["fft_magnitude"], (x,), (x,))):  # fmt: skip
        with pytest.raises(RuntimeError, match="must override the setup_context staticmethod"):
            call()


def test_a_generated_rule_cannot_work():
    class Generated(torch.autograd.Function):
        generate_vmap_rule = True
        forward = BOOK["RealFFT2"].forward
        setup_context = BOOK["RealFFT2"].setup_context
        backward = BOOK["RealFFT2"].backward

    with pytest.raises(RuntimeError, match="Cannot access data pointer"):
        vmap(Generated.apply)(torch.ones(2, 3, 4))


@pytest.mark.skipif(not torch.__version__.startswith("2.13."), reason="a fault of torch 2.13")
def test_nested_forward_mode_loses_what_torch_does_in_a_rule():
    """pytorch/pytorch#197867; a rule made of Functions is right all the same."""
    add = "else Add.apply(*terms)"
    plus = broken_layers(NAME, (add, "else terms[0] + terms[1]"))
    (variables,) = draw(14, (5,))
    for book, right in ((BOOK, True), (plus, False)):

        def f(v, conv2d=book["conv2d"]):
            x, w = v[:3].reshape(1, 1, 1, 3), v[3:].reshape(1, 1, 1, 2)
            return conv2d(x, w).square().sum()

        wanted = hessian(f)(variables)
        assert torch.allclose(jacfwd(jacfwd(f))(variables), wanted) is right
        assert torch.allclose(jacrev(jacfwd(f))(variables), wanted)
        assert torch.allclose(jacrev(jacrev(f))(variables), wanted)


# every check can fail: broken copies of the chapter's cells


def batch(*numbers):
    return [lambda book, n=n: check_batch(book, SMALL[n]) for n in numbers]


def forward(*numbers):
    return [lambda book, n=n: check_forward(book, SMALL[n]) for n in numbers]


def fourier_batch(book):
    check_fourier_batch(book, ((3, 4), 1, 2))


def fourier_forward(book):
    check_fourier_forward(book, (3, 4))


def fourier_orders(book):
    check_fourier_orders(book, (2, 3))


def by_tool(*names):
    return [check_by_tool(*names)]


MAGNITUDE = "RealFFT2Adjoint.apply(spectrum_tangent, ctx.width)"
FORCED = "tensor.numpy(force=not recording)"
BROKEN = {
    "batch of the image from the front": (
        [("RealFFT2.apply(input.movedim(in_dims[0], 0))", "RealFFT2.apply(input)")],
        [fourier_batch, *by_tool("RealFFT2")]),
    "batch of the spectrum from the front": (
        [("spectrum.movedim(in_dims[0], 0)", "spectrum")],
        [fourier_batch, *by_tool("RealFFT2Adjoint")]),
    "tangent of the transform by half": (
        [("return RealFFT2.apply(input_tangent)", "return RealFFT2.apply(input_tangent) / 2")],
        [fourier_forward, *by_tool("RealFFT2")]),
    "tangent of the adjoint conjugated": (
        [(MAGNITUDE, MAGNITUDE.replace("tangent,", "tangent.conj(),"))],
        [fourier_forward, *by_tool("RealFFT2Adjoint")]),
    "tangent of the transform through torch": (
        [("return RealFFT2.apply(input_tangent)", "return 1 * RealFFT2.apply(input_tangent)")],
        [fourier_orders]),
    "width of the spectrum": (
        [("ctx.width = inputs[0].shape[-1]", "ctx.width = output.shape[-1]")],
        [check_autograd, *by_tool("RealFFT2")]),
    "conjugate left over": (
        [(".resolve_conj()", ""), (FORCED, "tensor.resolve_neg().numpy()")],
        [fourier_batch, check_autograd]),
    "zeros without memory": ([(FORCED, "tensor.resolve_neg().numpy()")], [check_zeros]),
    "an array that cuts the graph": ([(FORCED, "tensor.numpy(force=True)")], [check_zeros]),
    "in_dims swapped": (
        [("dims = dict(zip(names, in_dims", "dims = dict(zip(names, in_dims[1::-1]")],
        [*batch(0, 1), *by_tool("Correlate")]),
    "batch always first": (
        [("tensors[name].movedim(dims[name], 0)", "tensors[name]")],
        [*batch(1, 2), *by_tool("WeightGradient")]),
    "outside of the groups": (
        [('return axis, options.groups if axis == AXES["q"][name] else 1', "return axis, 1")],
        [*batch(1), *by_tool("Correlate", "InputGradient"), *by_tool("WeightGradient")]),
    "n made of groups": (
        [('options.groups if axis == AXES["q"][name] else 1', "options.groups")], batch(0)),
    "as many groups as before": (
        [('(info.batch_size if letter == "q" else 1)', "1")], [*batch(2), *by_tool("Correlate")]),
    "c in the wrong axis": (
        [('"c": {"x": 1, "w": 1}', '"c": {"x": 1, "w": 0}')], by_tool("WeightGradient")),
    "n and c exchanged": (
        [('"n": {"x": 0, "g": 0}', '"n": {"x": 1, "g": 1}')], batch(0)),
    "batch not taken out": (
        [("return unfold(result, *place(names[2]), info.batch_size), 0",
          "return result.unflatten(0, (info.batch_size, -1)), 0")], batch(1)),
    "batch reported at another axis": (
        [("*place(names[2]), info.batch_size), 0", "*place(names[2]), info.batch_size), 1")],
        batch(0, 1)),
    "names of another Function": (
        [('fold_rule(InputGradient, "gwx"', 'fold_rule(InputGradient, "xwg"')],
        by_tool("InputGradient")),
    "batch outer in fold alone": (
        [("split.movedim(0, axis + 1).flatten", "split.movedim(0, axis).flatten")],
        [check_fold, *batch(1)]),
    "batch inner in unfold alone": (
        [("(parts, batch_size, size)", "(parts, size, batch_size)")], [check_fold, *batch(1)]),
    "a loop that forgets the axis": (
        [("arg.select(dim, i)", "arg.select(0, i)")], [check_loop]),
    "a loop over the first entry": (
        [("arg.select(dim, i)", "arg.select(dim, 0)")], [check_loop]),
    "first term alone": (
        [("    if second_tangent is not None:\n", "    if not terms:\n")],
        [*forward(0), *by_tool("Correlate"), check_orders]),
    "second term alone": (
        [("    if first_tangent is not None:\n", "    if second_tangent is None:\n")],
        [*forward(0), *by_tool("WeightGradient")]),
    "tangents swapped": (
        [("function.apply(first, second_tangent", "function.apply(second_tangent, first")],
        forward(0)),
    "a plain plus": (
        [("else Add.apply(*terms)", "else terms[0] + terms[1]")],
        [check_orders, check_third, *by_tool("InputGradient")]),
    "a difference": (
        [("return one + other", "return one - other")], [*forward(0), *by_tool("Correlate")]),
    "Add forgets one gradient": (
        [("return grad_output, grad_output\n", "return grad_output, None\n")], by_tool("Add")),
    "Add pushes one tangent": (
        [("return Add.apply(one_tangent, other_tangent)",
          "return Add.apply(one_tangent, one_tangent)")], [check_third, *by_tool("Add")]),
    "Add takes the batch from the front": (
        [("(t if dim is None else t.movedim(dim, 0)", "(t if dim is None else t.movedim(0, 0)")],
        by_tool("Add")),
    "zeros for missing tangents": (
        [("    ctx.set_materialize_grads(False)\n", "")], [check_calls]),
    "no None expected": (
        [("if ctx.needs_input_grad[0] and grad_output is not None:\n"
          "            grad_x = InputGradient.apply(grad_output,",
          "if ctx.needs_input_grad[0]:\n            grad_x = InputGradient.apply(grad_output,")],
        [check_none]),
    "factors saved the wrong way round": (
        [("first if for_second else None", "first if for_first else None"),
         ("second if for_first else None", "second if for_second else None")],
        [check_autograd, check_calls]),
    "everything saved": (
        [("first if for_second else None", "first"), ("second if for_first else None", "second")],
        [check_autograd, check_calls]),
    "nothing saved for jvp": ([("    ctx.save_for_forward(first, second)\n", "")], forward(0)),
    "image gradient for the filter's": (
        [("return grad_g, grad_w, None, None", "return grad_w, grad_g, None, None")],
        [check_autograd, check_orders, *by_tool("InputGradient")]),
    "layer without its options": (
        [("product_rule(ctx, Correlate, x_tangent, w_tangent, ctx.options)",
          "product_rule(ctx, Correlate, x_tangent, w_tangent, Options())")],
        [*forward(0), *by_tool("Correlate")]),
    "another size in a tangent": (
        [("g_tangent, w_tangent, *ctx.more)", "g_tangent, w_tangent, ctx.size, ctx.more[1])")],
        by_tool("InputGradient")),
    "tool without the loop": (
        [("found, loop, 1e-10)", "loop, loop, 1e-10)")], [check_tool]),
    "tool without the difference": (
        [('compare(f"jvp, {where}", forward, numeric, 1e-6)',
          'compare(f"jvp, {where}", forward, forward, 1e-6)')], [check_tool]),
    "tool without backward": (
        [("backward, inner([u], [numeric]), 1e-6)", "backward, backward, 1e-6)")], [check_tool]),
    "tool without the dot-product test": (
        [("inner([u], [forward]), backward, 1e-10)", "backward, backward, 1e-10)")], [check_tool]),
    "tool without the second derivative": (
        [("second, difference(slope), 1e-6)", "second, second, 1e-6)")], [check_tool]),
    "tool that accepts NaN": (
        [("if not off <= tolerance:", "if off > tolerance:")], [check_tool]),
    "tool that takes one input at a time": (
        [("    if len(inputs) > 1:\n", "    if False:\n")], [check_tool]),
    "tool for any dtype": (
        [("if x.dtype not in (torch.float64, torch.complex128):", "if False:")], [check_tool]),
    "tool with one input": (
        [("for i in range(len(inputs)):\n        check", "for i in range(1):\n        check")],
        [check_tool]),
}  # fmt: skip
COMPLAINTS = (AssertionError, AttributeError, IndexError, NotImplementedError, RuntimeError,
              TypeError, ValueError, StopIteration, pytest.fail.Exception)  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    changes, checks = BROKEN[name]
    book = broken_layers(NAME, *changes)
    for check in checks:
        with pytest.raises(COMPLAINTS):
            check(book)


def test_an_unbroken_copy_passes():
    book = broken_layers(NAME)
    checks = [fourier_batch, fourier_forward, fourier_orders, *batch(*range(len(SMALL))),
              *forward(*range(len(SMALL))), *CHECKS.values()]  # fmt: skip
    for check in checks:
        check(book)
