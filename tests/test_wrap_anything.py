"""Promise: chapter 17's lfilter is SciPy's, with all derivatives; its checks say what is wrong.

Each check takes the chapter's definitions, so that a broken copy can be given to it. Torch knows an
operator by its name: every copy gets names of its own. How many cases are generated: BOOK_EXAMPLES,
see conftest.py.
"""

import functools
import itertools
from unittest.mock import Mock, patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from torch.autograd import Function, gradcheck, gradgradcheck
from torch.autograd.function import once_differentiable
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.library import opcheck

from conftest import EXAMPLES
from notebooks import LANGUAGES, NOTEBOOKS, layers, read, renamed_layers

NAME = "17-wrap-anything"
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}
few = settings(max_examples=max(1, EXAMPLES // 16))


copy = functools.partial(renamed_layers, NAME)
BOOK = copy()


def loop(b, a, x):
    """The equation of the filter, solved step by step with torch's operations."""
    y = []
    for n in range(x.shape[-1]):
        total = torch.zeros_like(x[..., 0])
        for k in range(min(n + 1, len(b))):
            total = total + b[k] * x[..., n - k]
        for k in range(1, min(n + 1, len(a))):
            total = total - a[k] * y[n - k]
        y.append(total / a[0])
    return torch.stack(y, -1)


def tensors(case, seed=0, dtype=torch.float64):
    """b, a and x of these sizes; a[0] is not 1, and the filter is stable."""
    b_size, a_size, shape = case
    random = np.random.default_rng(seed)
    a = random.uniform(-0.3, 0.3, a_size)
    a[0] = random.choice([-1, 1]) * random.uniform(1, 2)
    arrays = random.standard_normal(b_size), a, random.standard_normal(shape)
    return [torch.from_numpy(np.asarray(array)).to(dtype) for array in arrays]


def equal(found, wanted, dtype=torch.float64):
    for one, two in zip(found, wanted, strict=True):
        assert one.shape == two.shape and one.dtype == two.dtype
        assert (one - two).abs().max() <= TOLERANCE[dtype] * (1 + two.abs().max())


@st.composite
def cases(draw):
    rows = draw(st.sampled_from([(), (1,), (2,), (2, 3)]))
    sizes = [draw(st.integers(1, 4)) for _ in range(3)]
    return sizes[0], sizes[1], (*rows, 2 * sizes[2] - 1)


CASE = (3, 4, (2, 6))
seeds = st.integers(0, 2**32 - 1)


# what must hold


def check_values(book, case, seed=0, dtype=torch.float64):
    """Value and gradients equal SciPy's and those of the loop; no work that nobody wants."""
    given_ = tensors(case, seed, dtype)
    before = [t.clone() for t in given_]
    numpy_says = signal.lfilter(*(t.numpy() for t in given_))
    weights = tensors(case, seed + 1, dtype)[2]
    for needs in itertools.product((True, False), repeat=3):
        ours, theirs = ([t.clone().requires_grad_(n) for t, n in zip(given_, needs, strict=True)]
                        for _ in range(2))  # fmt: skip
        y = book["lfilter"](*ours)
        equal([y.detach()], [torch.from_numpy(numpy_says)], dtype)
        if any(needs):
            with patch.dict(book, filter_rows=Mock(wraps=book["filter_rows"])):
                y.backward(weights)
                assert book["filter_rows"].call_count == (needs[0] or needs[1]) + needs[2]
            loop(*theirs).backward(weights)
        found = [t.grad for t in ours]
        assert [t is not None for t in found] == list(needs)
        pairs = [(t.grad, u.grad) for t, u, n in zip(ours, theirs, needs, strict=True) if n]
        equal([one for one, _ in pairs], [two for _, two in pairs], dtype)
    arrays = [t.numpy() for t in (*given_, weights)]
    found = [torch.from_numpy(array) for array in book["lfilter_gradients"](*arrays)]
    leaves = [t.clone().requires_grad_() for t in given_]
    equal(found, torch.autograd.grad(loop(*leaves), leaves, weights), dtype)
    assert all(map(torch.equal, given_, before)), "an argument was changed"


def check_derivatives(book, case, seed=0):
    """Both Functions and the operator, against finite differences, up to the second derivative."""
    leaves = [t.requires_grad_() for t in tensors(case, seed)]
    assert gradcheck(book["LFilterOnce"].apply, leaves)
    assert gradcheck(book["lfilter"], leaves, check_forward_ad=True)
    assert gradgradcheck(book["lfilter"], leaves, check_fwd_over_rev=True)
    assert gradcheck(book["lfilter_op"], leaves) and gradgradcheck(book["lfilter_op"], leaves)


def check_transforms(book, seed=0):
    """vmap over each argument, per-sample gradients, and all four nested second derivatives."""
    given_ = tensors(CASE, seed)
    weights = tensors(CASE, seed + 1)[2]
    batch = [torch.stack([t, 1.1 * t, 0.8 * t]) for t in given_]

    def loss(filter):
        return lambda b, a, x: (filter(b, a, x) * weights).sum().sin()

    for which in itertools.product((True, False), repeat=3):
        if any(which):
            args = [many if w else one for many, one, w in zip(batch, given_, which, strict=True)]
            dims = tuple(0 if w else None for w in which)
            for turn in (lambda f: f, lambda f: grad(loss(f), (0, 1, 2))):
                found = vmap(turn(book["lfilter"]), dims)(*args)
                wanted = vmap(turn(loop), dims)(*args)
                equal(*((t,) if torch.is_tensor(t) else t for t in (found, wanted)))
    last = vmap(book["lfilter"], (None, None, -1))(*given_[:2], batch[2].movedim(0, -1))
    equal([last], [vmap(loop, (None, None, 0))(*given_[:2], batch[2])])
    tangents = tuple(tensors(CASE, seed + 2))
    equal(jvp(book["lfilter"], tuple(given_), tangents), jvp(loop, tuple(given_), tangents))
    every = (0, 1, 2)
    for second in (
        hessian,
        lambda f, n: jacrev(jacrev(f, n), n),
        lambda f, n: jacfwd(jacfwd(f, n), n),
        lambda f, n: jacrev(jacfwd(f, n), n),
    ):
        found, wanted = (second(loss(f), every)(*given_) for f in (book["lfilter"], loop))
        equal(itertools.chain(*found), itertools.chain(*wanted))


def check_compiled(book, case, seed=0, dtype=torch.float64):
    """opcheck of the operator, and the door in a compiled function, in one graph."""
    leaves = [t.requires_grad_() for t in tensors(case, seed, dtype)]
    for given_ in (leaves, [*leaves[:2], leaves[2].detach().flip(-1).mT.contiguous().mT
                            if leaves[2].ndim > 1 else leaves[2]]):  # fmt: skip
        said = opcheck(book["lfilter_op"], given_)
        assert len(said) == 4 and set(said.values()) == {"SUCCESS"}
    torch.compiler.reset()
    quick = torch.compile(
        lambda *args: book["lfilter"](*args).sin().sum(), backend="aot_eager", fullgraph=True
    )
    found = torch.autograd.grad(quick(*leaves), leaves)
    equal(found, torch.autograd.grad(loop(*leaves).sin().sum(), leaves), dtype)
    xs = torch.stack([leaves[2], 2 * leaves[2]]).detach()
    one, two, _ = (t.detach() for t in leaves)
    for dims, args in (((None, None, 0), (one, two, xs)), ((0, 0, 0), (
            torch.stack([one, -one]), torch.stack([two, 2 * two]), xs))):  # fmt: skip
        equal([vmap(book["lfilter_op"], dims)(*args)], [vmap(loop, dims)(*args)], dtype)


def check_refusals(book):
    """Each bad argument is named, and forward mode is refused inside of a compiled function."""
    b, a, x = tensors(CASE)
    bad = [
        (TypeError, "b must be a torch.Tensor", (b.numpy(), a, x)),
        (TypeError, "x must be float32 or float64", (b, a, x.half())),
        (TypeError, "must have one dtype", (b, a, x.float())),
        (ValueError, "x must be dense", (b, a, x.to_sparse())),
        (ValueError, "x must be on the CPU", (b, a, x.to("meta"))),
        (ValueError, "b must be one row", (b[None], a, x)),
        (ValueError, "a must be one row", (b, a[:0], x)),
        (ValueError, "x must have an axis", (b, a, x[0, 0])),
        (ValueError, r"a\[0\] must not be 0", (b, 0 * a, x)),
        (ValueError, r"a\[0\] must not be 0", (b, 0 * a[:1], x)),
    ]
    for kind, message, arguments in bad:
        with pytest.raises(kind, match=message):
            book["lfilter"](*arguments)

    def inside(x):
        return jvp(lambda x: book["lfilter"](b, a, x), (x,), (x,))[1]

    torch.compiler.reset()
    with pytest.raises(Exception, match="forward mode .* does not work inside"):
        torch.compile(inside, backend="aot_eager", fullgraph=True)(x)
    for empty in (x[:0], x[:, :0]):
        for short in (a, a[:1]):
            assert book["lfilter"](b, short, empty).shape == empty.shape


@given(cases(), st.sampled_from(list(TOLERANCE)), seeds)
def test_values_and_gradients(case, dtype, seed):
    check_values(BOOK, case, seed, dtype)


@few
@given(cases(), seeds)
def test_derivatives_equal_differences(case, seed):
    check_derivatives(BOOK, case, seed)


@few
@given(seeds)
def test_transforms(seed):
    check_transforms(BOOK, seed)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("case", [CASE, (2, 1, (2, 5)), (4, 3, (2,))])
def test_compiled(case, dtype):
    check_compiled(BOOK, case, dtype=dtype)


def test_refusals():
    check_refusals(BOOK)


def test_resonator_is_stable_for_any_parameters():
    check_stable(BOOK)


def check_stable(book):
    module = book["Resonator"]()
    for p, q in itertools.product((-5.0, -1.0, 0.0, 2.0, 5.0), repeat=2):
        with torch.no_grad():
            module.free.copy_(torch.tensor([p, q]))
        _, a = module.coefficients()
        assert np.abs(np.roots(a.detach().numpy())).max() < 1


# the checks that the reader gets: what they say to a wrong answer


def taps(x, s, count):
    n = x.shape[-1]
    return np.array([np.sum(s[..., k:] * x[..., : max(n - k, 0)]) for k in range(count)])


def change(**wrong):
    """Gradients in which some are replaced by functions of (b, a, x, g, y, s)."""

    def gradients(b, a, x, g):
        right = dict(zip("bax", BOOK["lfilter_gradients"](b, a, x, g), strict=True))
        y, s = signal.lfilter(b, a, x), signal.lfilter([1], a, g[..., ::-1])[..., ::-1]
        right |= {name: function(b, a, x, g, y, s) for name, function in wrong.items()}
        return tuple(right.values())

    return gradients


def scaled(name, factor):
    def function(b, a, x, g, y, s):
        right = dict(zip("bax", BOOK["lfilter_gradients"](b, a, x, g), strict=True))
        return right[name] * factor(a)

    return change(**{name: function})


def right_of(name):
    return lambda b, a, x, g: dict(zip("bax", BOOK["lfilter_gradients"](b, a, x, g), strict=True))[
        name
    ]


WRONG = {
    "not reversed": (
        change(x=lambda b, a, x, g, y, s: signal.lfilter(b, a, g)),
        "x: this is the filter itself",
    ),
    "result not reversed": (
        change(x=lambda b, a, x, g, y, s: signal.lfilter(b, a, g[..., ::-1])),
        "x: the numbers are right, in reverse order",
    ),
    "only result reversed": (
        change(x=lambda b, a, x, g, y, s: signal.lfilter(b, a, g)[..., ::-1]),
        "x: only the result is reversed",
    ),
    "axis 0": (
        change(x=lambda b, a, x, g, y, s: signal.lfilter(b, a, g[::-1], axis=0)[::-1]),
        "x: it runs along axis 0",
    ),
    "b missing": (change(x=lambda b, a, x, g, y, s: s), "x: this is s: b is missing"),
    "inverse": (
        change(x=lambda b, a, x, g, y, s: signal.lfilter(a, b, g)),
        "x: a and b have changed places",
    ),
    "g itself": (change(x=lambda b, a, x, g, y, s: g), "x: this is g itself"),
    "sign": (scaled("x", lambda a: -1), "x: the sign is wrong"),
    "sign and reversal": (
        change(x=lambda b, a, x, g, y, s: -signal.lfilter(b, a, g)),
        "not reversed, and the sign is wrong",
    ),
    "divided by a0": (scaled("x", lambda a: 1 / a[0]), "x: it is a[0] times too small"),
    "times a0": (scaled("b", lambda a: a[0]), "b: it is a[0] times too large"),
    "factor": (scaled("a", lambda a: 3), "a: right up to the factor 3"),
    "mean": (scaled("b", lambda a: 0.5), "b: a mean over the rows"),
    "zeros": (scaled("b", lambda a: 0), "b: all zeros"),
    "nan": (scaled("b", lambda a: np.nan), "b: it contains inf or nan"),
    "g for s in b": (change(b=lambda b, a, x, g, y, s: taps(x, g, len(b))), "b: g must first pass"),
    "s forwards in b": (
        change(b=lambda b, a, x, g, y, s: taps(x, signal.lfilter([1], a, g), len(b))),
        "b: g passes through the filter 1/A forwards",
    ),
    "s not turned back": (
        change(b=lambda b, a, x, g, y, s: taps(x, s[..., ::-1], len(b))),
        "b: s stands in reverse order",
    ),
    "y for x": (change(b=lambda b, a, x, g, y, s: taps(y, s, len(b))), "b: s is paired with y"),
    "taps reversed": (
        change(b=lambda b, a, x, g, y, s: taps(x, s, len(b))[::-1]),
        "b: the numbers are right, in reverse order",
    ),
    "first row of b": (
        change(b=lambda b, a, x, g, y, s: taps(x[0], s[0], len(b))),
        "b: only the first row",
    ),
    "one for each row": (
        change(
            b=lambda b, a, x, g, y, s: np.stack(
                [taps(u, v, len(b)) for u, v in zip(x, s, strict=True)]
            )
        ),
        "b: shape (2, 3), but b has shape (3,); one for each row: add them up",
    ),
    "g for s in a": (
        change(a=lambda b, a, x, g, y, s: -taps(y, g, len(a))),
        "a: g must first pass",
    ),
    "sign of a": (change(a=lambda b, a, x, g, y, s: taps(y, s, len(a))), "a: the sign is wrong"),
    "x for y": (change(a=lambda b, a, x, g, y, s: -taps(x, s, len(a))), "a: s is paired with x"),
    "a0 forgotten": (
        change(a=lambda b, a, x, g, y, s: -taps(y, s, len(a)) * (np.arange(len(a)) > 0)),
        "a: a[0] is forgotten",
    ),
    "a0 left out": (
        change(a=lambda b, a, x, g, y, s: -taps(y, s, len(a))[1:]),
        "a: shape (3,), but a has shape (4,); a[0] is forgotten",
    ),
    "a0 left out, and times a0": (
        change(a=lambda b, a, x, g, y, s: -taps(y, s, len(a)) * a[0] * (np.arange(len(a)) > 0)),
        "a: a[0] is forgotten, and the rest is a[0] times too large",
    ),
    "b in s": (
        change(b=lambda b, a, x, g, y, s: taps(x, BOOK["lfilter_gradients"](b, a, x, g)[2], 3)),
        "b: g has passed through b as well",
    ),
    "wrong way": (
        change(a=lambda b, a, x, g, y, s: -taps(s, y, len(a))),
        "a: s[n] is paired with y[n + k]",
    ),
    "rolled": (
        change(b=lambda b, a, x, g, y, s: [np.sum(s * np.roll(x, k, -1)) for k in range(len(b))]),
        "b: np.roll brings the end to the beginning",
    ),
    "first row of a": (
        change(a=lambda b, a, x, g, y, s: -taps(y[0], s[0], len(a))),
        "a: only the first row",
    ),
    "float32": (
        change(x=lambda b, a, x, g, y, s: signal.lfilter(b, a, g).astype("float32")),
        "x: dtype float32",
    ),
    "noise": (
        change(x=lambda b, a, x, g, y, s: np.cos(g)),
        "x: 18 of 18 entries are wrong, most of all entry",
    ),
    "other order": (
        lambda *args: BOOK["lfilter_gradients"](*args)[::-1],
        "that is the shape of x: the order is b, a, x",
    ),
    "two": (lambda *args: BOOK["lfilter_gradients"](*args)[:2], "it must return three arrays"),
    "nothing": (lambda *args: None, "not filled yet: it returns nothing"),
    "ellipses": (lambda *args: (..., ..., ...), "x: not filled yet"),
    "not implemented": (lambda *args: (_ for _ in ()).throw(NotImplementedError), "not filled yet"),
    "an error": (lambda *args: 1 / 0, "an error: ZeroDivisionError: division by zero"),
}


def writes(b, a, x, g):
    found = BOOK["lfilter_gradients"](b, a, x, g)
    x *= 2
    return found


def float64_always(*args):
    return BOOK["lfilter_gradients"](*(array.astype("float64") for array in args))


WRONG["float64 always"] = float64_always, "a: right, but float64 if the arguments are float32"
WRONG["writes"] = writes, "it writes into its arguments"


def check_diagnoses(book, names=WRONG):
    """Each wrong answer is told what is wrong with it, and only what is wrong is called wrong."""
    for name in names:
        gradients, words = WRONG[name]
        said = book["diagnose"](gradients)
        assert any(words in line for line in said), (name, said)
        if words[1] == ":":
            others = [line for line in said if not line.startswith(words[:2])]
            untouched = name not in ("ellipses", "float64 always")
            assert not untouched or all(line.endswith(": right") for line in others), (name, said)
    assert book["diagnose"](book["lfilter_gradients"]) == ["b: right", "a: right", "x: right"]


def test_wrong_answers_are_named():
    assert len(WRONG) >= 8 and len({words for _, words in WRONG.values()}) >= len(WRONG) - 1
    check_diagnoses(BOOK)


class Once(Function):
    """A layer of the reader's, right; the copies below break it."""

    @staticmethod
    def forward(ctx, b, a, x):
        ctx.save_for_backward(b, a, x)
        return torch.from_numpy(signal.lfilter(*(t.numpy() for t in (b, a, x))))

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        arrays = (t.numpy() for t in (*ctx.saved_tensors, g))
        return tuple(map(torch.from_numpy, BOOK["lfilter_gradients"](*arrays)))


def variant(base, **methods):
    return type("Variant", (base,), {n: staticmethod(f) for n, f in methods.items()})


LAYERS = {
    "empty": (
        variant(Once, forward=lambda ctx, b, a, x: None),
        ["not filled yet: forward returns nothing"],
    ),
    "an array": (
        variant(Once, forward=lambda ctx, b, a, x: signal.lfilter(b, a, x)),
        ["forward returns ndarray, not a tensor"],
    ),
    "no backward yet": (
        variant(Once, backward=lambda ctx, g: None),
        ["backward must return three gradients"],
    ),
    "one gradient": (
        variant(Once, backward=lambda ctx, g: g),
        ["backward must return three gradients"],
    ),
    "no gradient of a": (
        variant(
            Once, backward=lambda ctx, g: (Once.backward(ctx, g)[0], None, Once.backward(ctx, g)[2])
        ),
        ["a: no gradient, backward returns None for it", "b: right"],
    ),
    "arrays": (
        variant(Once, backward=lambda ctx, g: tuple(t.numpy() for t in Once.backward(ctx, g))),
        ["backward must return tensors"],
    ),
    "reversed tensor": (
        variant(Once, backward=lambda ctx, g: (None, None, g[..., ::-1])),
        ["a tensor cannot be reversed by [::-1]"],
    ),
    "other values": (
        variant(Once, forward=lambda ctx, b, a, x: 2 * Once.forward(ctx, b, a, x)),
        ["its values are not those"],
    ),
    "float64 always": (
        variant(Once, forward=lambda ctx, b, a, x: Once.forward(ctx, b, a, x).double()),
        ["must keep the dtype"],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_layers_are_named(name):
    layer, words = LAYERS[name]
    said = BOOK["diagnose_layer"](layer)
    for text in words:
        assert any(text in line for line in said), said


def test_right_layers_are_right():
    right = ["forward: right", "b: right", "a: right", "x: right"]
    assert BOOK["diagnose_layer"](Once) == BOOK["diagnose_layer"](BOOK["LFilterOnce"]) == right
    said = BOOK["diagnose_family"](BOOK["LFilter"].apply)
    assert len(said) == 5 and all(line.endswith(": right") for line in said)
    said = BOOK["diagnose_operator"](BOOK["lfilter_op"])
    assert len(said) == 5 and all(line.endswith(": right") for line in said)


FAMILIES = {
    "once": (
        lambda: BOOK["LFilterOnce"],
        [
            "twice: the second derivative is wrong or lost",
            "mapped: forward must not take ctx",
            "forward: there is no jvp rule yet",
        ],
    ),
    "empty": (lambda: variant(BOOK["LFilter"], forward=lambda b, a, x: None), ["not filled yet"]),
    "plus signs": (
        lambda: variant(BOOK["LFilter"], jvp=plus_signs),
        ["nested: wrong numbers: is jvp made of Functions", "once: right", "forward: right"],
    ),
    "wrong tangent": (
        lambda: variant(
            BOOK["LFilter"],
            jvp=lambda ctx, b, a, x: BOOK["LFilter"].apply(*ctx.saved_tensors[:2], x),
        ),
        ["forward: jvp returns a wrong tangent", "once: right"],
    ),
    "no tangent": (
        lambda: variant(BOOK["LFilter"], jvp=lambda ctx, *tangents: None),
        ["forward: jvp must return a tangent"],
    ),
    "no batch": (
        lambda: variant(BOOK["LFilter"], vmap=lambda *args: None),
        ["mapped: vmap must return the result and the axis"],
    ),
    "batch in one call": (
        lambda: variant(
            BOOK["LFilter"], vmap=lambda info, dims, b, a, x: (BOOK["LFilter"].apply(b, a, x), 0)
        ),
        ["mapped: SciPy takes one filter at a time"],
    ),
    "apply to the loop": (
        lambda: variant(
            BOOK["LFilter"], vmap=lambda *args: BOOK["loop_rule"](BOOK["LFilter"].apply, *args)
        ),
        ["mapped: loop_rule takes the class"],
    ),
    "nothing for jvp": (
        lambda: variant(
            BOOK["LFilter"],
            setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs, output),
        ),
        ["forward: fewer tensors were saved", "twice: right"],
    ),
    "other gradient": (
        lambda: variant(BOOK["LFilter"], backward=lambda ctx, g: (None, None, g)),
        ["once: backward returns a wrong gradient"],
    ),
}


def plus_signs(ctx, b_tangent, a_tangent, x_tangent):
    (b, a, x, y), run = ctx.saved_tensors, BOOK["LFilter"].apply
    return run(b, a, x_tangent) + run(b_tangent, a, x) - run(a_tangent, a, y)


@pytest.mark.parametrize("name", FAMILIES)
def test_wrong_families_are_named(name):
    make, words = FAMILIES[name]
    said = BOOK["diagnose_family"](make().apply)
    for text in words:
        assert any(text in line for line in said), said


def test_a_wrong_operator_is_named():
    assert BOOK["diagnose_operator"](None) == BOOK["diagnose_operator"](...) == ["not filled yet"]
    loose = copy(("np.ascontiguousarray(signal.lfilter(b, a, x))", "signal.lfilter(b, a, x)"))
    said = loose["diagnose_operator"](loose["lfilter_op"])
    assert said[0] == "opcheck, float64: right" and "Stride" in said[3]
    wrong = copy(("return x.new_empty(x.shape)", "return torch.empty(x.shape)"))
    said = wrong["diagnose_operator"](wrong["lfilter_op"])
    assert "Dtypes" in said[0] and said[1] == "opcheck, float32: right"
    said = BOOK["diagnose_operator"](BOOK["LFilter"].apply)
    assert said[0] == "opcheck, float64: this is no operator: make one with custom_op"
    bare = copy(("lfilter_op.register_autograd(lfilter_backward, setup_context=lfilter_setup)", ""))
    said = bare["diagnose_operator"](bare["lfilter_op"])
    assert said[-1] == "compiled: register_autograd is missing"


@pytest.mark.parametrize("language", LANGUAGES)
def test_empty_cells_are_empty_and_say_so(language):
    cells = {c["id"]: c for c in read(NOTEBOOKS / language / f"{NAME}.ipynb")["cells"]}
    for step in "gradients", "layer", "family", "operator":
        assert "..." in cells[f"wrap-fill-{step}"]["source"]
        printed = cells[f"wrap-run-{step}"]["outputs"][0]["text"].splitlines()
        assert all("not filled yet" in line for line in printed)
        following = list(cells)[list(cells).index(f"wrap-run-{step}") + 1]
        assert following == f"wrap-solution-{step}-text"


# the ten lines


def recipes():
    """The names of the cell with the ten lines, run with the chapter's definitions."""
    cells = {c["id"]: c["source"] for c in read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]}
    names = dict(layers(NAME), rng=np.random.default_rng(5), print=lambda *args: None)
    exec(cells["wrap-ten-shown"], names)
    return names


def test_ten_lines_are_right_and_a_small_change_is_refused():
    names = recipes()
    assert len(names["RECIPES"]) == 10
    for kind, forward, backward in names["RECIPES"]:
        at = names["matrix"] if "expm" in forward else names["x"]
        found = names["try_recipe"](forward, backward, at)
        curved = kind.startswith(("element", "implicit", "curved"))
        assert found == ("curved" if curved else "linear")
        with pytest.raises(AssertionError):
            names["try_recipe"](forward, f"1.01 * np.asarray({backward})", at)


# every check complains about a broken copy

BROKEN = {
    "sum over the wrong signal": (
        check_values,
        [("grad_b = delayed_sums(x, s, len(b)) if", "grad_b = delayed_sums(y, s, len(b)) if")],
    ),
    "no minus": (check_values, [("grad_a = -delayed_sums", "grad_a = delayed_sums")]),
    "a[0] left out": (
        check_values,
        [
            (
                "filter(torch.ones_like(a[:1]), a, g.flip(-1))",
                "filter(torch.ones_like(a[:1]), a / a[0], g.flip(-1))",
            )
        ],
    ),
    "not reversed": (
        check_values,
        [("grad_x = filter(b, a, g.flip(-1)).flip(-1)", "grad_x = filter(b, a, g)")],
    ),
    "in NumPy, not reversed": (
        check_values,
        [
            (
                "grad_x = signal.lfilter(b, a, g[..., ::-1])[..., ::-1]",
                "grad_x = signal.lfilter(b, a, g)",
            )
        ],
    ),
    "axis": (
        check_values,
        [
            (
                "np.ascontiguousarray(signal.lfilter(b, a, x))",
                "np.ascontiguousarray(signal.lfilter(b, a, x, axis=0))",
            )
        ],
    ),
    "more than needed": (check_values, [("if needs[2]:", "if True:")]),
    "lost second derivative": (
        check_derivatives,
        [("(b, a, x, y), grad_b", "y = tensors[3].detach()\n    (b, a, x, _), grad_b")],
    ),
    "wrong tangent": (
        check_derivatives,
        [("LFilter.apply(a_tangent, a, y)", "LFilter.apply(a_tangent, a, x)")],
    ),
    "a sum in jvp": (
        check_transforms,
        [
            (
                "return Combine.apply(LFilter.apply(b, a, x_tangent),",
                "return (lambda p, q, r: p + q - r)(LFilter.apply(b, a, x_tangent),",
            )
        ],
    ),
    "batch axis": (
        check_transforms,
        [("filter(b, a, x.movedim(in_dims[2], 0)), 0", "filter(b, a, x), 0")],
    ),
    "strides": (
        check_compiled,
        [("np.ascontiguousarray(signal.lfilter(b, a, x))", "signal.lfilter(b, a, x)")],
    ),
    "shape": (
        check_compiled,
        [("return x.new_empty(x.shape)", "return x.new_empty(x.shape[:-1])")],
    ),
    "dtype": (check_compiled, [("return x.new_empty(x.shape)", "return torch.empty(x.shape)")]),
    "no door": (check_refusals, [("if not torch.compiler.is_compiling():", "if True:")]),
    "zero a[0]": (check_refusals, [("if a[0] == 0:", "if False:")]),
    "empty": (check_refusals, [(" if x.size else np.zeros_like(x)", "")]),
    "unstable": (check_stable, [("(1 + q) * p, q", "(1 + q) * p, 1.1 * q")]),
    "says nothing of rows": (
        lambda book: check_diagnoses(book, ["first row of a"]),
        [('(first["a"], rows),', "")],
    ),
    "says nothing of a[0]": (
        lambda book: check_diagnoses(book, ["a0 forgotten"]),
        [('(right["a"] * (np.arange(4) > 0), "a[0] is forgotten: it has a gradient too"),', "")],
    ),
    "near is far": (
        check_diagnoses,
        [("<= 1e-6 * (1 + np.abs(wanted).max())", "<= 10 * (1 + np.abs(wanted).max())")],
    ),
}
ARGUMENTS = {check_values: (CASE,), check_derivatives: (CASE,), check_compiled: ((2, 1, (2, 5)),)}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_refused(name):
    check, changes = BROKEN[name]
    book = copy(*changes)
    with pytest.raises((Exception, pytest.fail.Exception)) as caught:  # whatever it runs into
        check(book, *ARGUMENTS.get(check, ()))
    assert not isinstance(caught.value, (NameError, SyntaxError))
