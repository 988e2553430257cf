"""Promise: chapter 07's conv2d is F.conv2d in value and gradients, and names every bad input.

`make test` draws a sample of the configurations (conftest.py). Two thousand, in one command:

    BOOK_EXAMPLES=2000 python tools/run.py test -n 0 tests/test_batches.py -k equals_torch

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import copy
import importlib
import io
import math
import pickle
import re
import subprocess
import sys
import warnings
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import grad, gradcheck

from notebooks import NOTEBOOKS, broken_layers, layers, read, tags

NAME = "07-batches-and-options"
BOOK = layers(NAME)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}
NUMERICS = ("correlate", "weight_gradient", "input_gradient")
FORMS = ("plain", "transposed", "strided", "expanded", "negated", "channels last")
F = nn.functional


def lay(tensor, form):
    """The tensor in another form of memory; only "expanded" changes its numbers."""
    if form == "transposed" and tensor.ndim > 1:
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
    if form == "strided" and tensor.ndim:
        wide = torch.zeros(*tensor.shape[:-1], 2 * tensor.shape[-1], dtype=tensor.dtype)
        wide[..., ::2] = tensor
        return wide[..., ::2]
    if form == "expanded":
        return tensor[..., :1].expand(tensor.shape)
    if form == "negated":
        return torch.complex(tensor, -tensor).conj().imag
    if form == "channels last" and tensor.ndim == 4:
        return tensor.to(memory_format=torch.channels_last)
    return tensor.contiguous()


def draw(seed, *shapes, dtype=torch.float64):
    """Random tensors of these shapes, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(np.asarray(rng.standard_normal(s))).to(dtype) for s in shapes]


@st.composite
def configurations(draw_from):
    """Arguments of conv2d that fit together: shapes, options, dtype, memory, what is needed."""

    def pick(low, high):
        return draw_from(st.integers(low, high))

    def pair(low, high):
        value = pick(low, high)
        return draw_from(st.sampled_from([value, (value, pick(low, high))]))

    def both(value):
        return value if isinstance(value, tuple) else (value, value)

    groups, size, dilation = pick(1, 3), (pick(1, 4), pick(1, 4)), pair(1, 3)
    padding = draw_from(st.sampled_from(["number", "number", "valid", "same"]))
    stride = 1 if padding == "same" else pair(1, 3)
    padding = pair(0, 3) if padding == "number" else padding
    span = [d * (k - 1) + 1 for d, k in zip(both(dilation), size, strict=True)]
    zeros = [s - 1 if padding == "same" else 0 if padding == "valid" else 2 * p
             for s, p in zip(span, both(padding), strict=True)]  # fmt: skip
    image = [max(1, s - z) + pick(0, 5) for s, z in zip(span, zeros, strict=True)]
    channels, outputs = groups * pick(1, 2), groups * pick(1, 2)
    batch = draw_from(st.sampled_from([(), (0,), (1,), (2,), (3,)]))
    return {
        "shapes": [(*batch, channels, *image), (outputs, channels // groups, *size), (outputs,)],
        "bias": draw_from(st.booleans()),
        "options": (stride, padding, dilation, groups),
        "dtype": draw_from(st.sampled_from(list(TOLERANCE))),
        "forms": [draw_from(st.sampled_from(FORMS)) for _ in range(4)],
        "needs": [draw_from(st.sampled_from([True, True, False])) for _ in range(3)],
        "seed": pick(0, 2**32 - 1),
    }


# what must hold


def check_against_torch(book, case):
    """Value and gradients of F.conv2d, of its shape and dtype, in new memory; no other gradient."""
    dtype, needs = case["dtype"], case["needs"]
    tensors = draw(case["seed"], *case["shapes"], dtype=dtype)
    tensors = [lay(t, form) for t, form in zip(tensors, case["forms"], strict=False)]
    if not case["bias"]:
        tensors[2], needs = None, [*needs[:2], False]
    before = [None if t is None else t.clone() for t in tensors]

    def call(function, copies):
        leaves = [t if t is None else t.detach().requires_grad_(n)
                  for t, n in zip(copies, needs, strict=True)]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's of even filters with "same"
            return leaves, function(*leaves, *case["options"])

    ours_in, ours = call(book["conv2d"], tensors)
    plain = [None if t is None else t.resolve_neg().contiguous() for t in tensors]
    theirs_in, theirs = call(F.conv2d, plain)
    assert ours.shape == theirs.shape and ours.dtype == dtype
    assert ours.is_contiguous() and not ours.is_neg()
    (g,) = draw(case["seed"] + 1, theirs.shape, dtype=dtype)
    g = lay(g, case["forms"][3])
    same = g.resolve_neg().contiguous().clone()
    gradients = [None] * 3
    if any(needs):
        ours.backward(g)
        theirs.backward(same)
        gradients = [t if t is None else t.grad for t in ours_in]
        assert [gradient is not None for gradient in gradients] == needs
    summed = {"output": math.prod(case["shapes"][1][1:]) + 1, "input": math.prod(theirs.shape),
              "weight": math.prod(theirs.shape), "bias": math.prod(theirs.shape)}  # fmt: skip
    expected = theirs, *(t if t is None else t.grad for t in theirs_in)
    for name, a, b in zip(summed, (ours, *gradients), expected, strict=True):
        if a is None:
            continue
        assert a.shape == b.shape and a.dtype == dtype, name
        scale = TOLERANCE[dtype] * math.sqrt(summed[name] + 1)
        assert a.numel() == 0 or (a - b).abs().max() <= scale * (1 + b.abs().max()), name
    given_or_made = [t for t in (*tensors, g, ours, *gradients) if t is not None and t.numel()]
    places = {t.untyped_storage().data_ptr() for t in given_or_made}
    assert len(places) == len(given_or_made), "shares memory"
    kept = zip((*tensors, g), (*before, same), strict=True)
    assert all(t is None or torch.equal(t, b) for t, b in kept), "an input was changed"


def case_of(image, weight, options=(1, 0, 1, 1), **changes):
    """A configuration written by hand."""
    case = {"shapes": [image, weight, weight[:1]], "bias": True, "options": options, "seed": 1,
            "dtype": torch.float64, "forms": ["plain"] * 4, "needs": [True] * 3}  # fmt: skip
    return case | changes


def check_jacobians(book):
    """All three gradients agree with finite differences, for options of every kind."""
    for options in ((1, 0, 1, 1), ((2, 1), (0, 1), 1, 2), (1, "same", (1, 2), 1), (2, 1, 2, 2)):
        tensors = draw(1, (2, 4, 5, 6), (4, 4 // options[3], 2, 3), (4,))
        leaves = [t.requires_grad_() for t in tensors]
        assert gradcheck(lambda *t, options=options: book["conv2d"](*t, *options), leaves)


NEEDS = [(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)]


def check_least(book):
    """What no gradient needs is neither saved nor computed; what is saved is no copy."""
    tensors = draw(2, (2, 3, 8, 9), (4, 3, 2, 3), (4,))
    x_size, w_size = tensors[0].nbytes, tensors[1].nbytes
    for needs in NEEDS:
        x, w, b = (t.clone().requires_grad_(n) for t, n in zip(tensors, needs, strict=True))
        saved, calls = [], []

        def pack(tensor, saved=saved):
            saved.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = book["conv2d"](x, w, b)
        assert sum(t.nbytes for t in saved) == x_size * needs[1] + w_size * needs[0], needs
        assert {t.data_ptr() for t in saved} <= {x.data_ptr(), w.data_ptr()}

        def counted(name, calls=calls):
            function = book[name]
            return lambda *args: calls.append(name) or function(*args)

        if any(needs):
            with patch.dict(book, {name: counted(name) for name in NUMERICS}):
                y.backward(torch.ones_like(y))
        wanted = ["input_gradient"] * needs[0] + ["weight_gradient"] * needs[1]
        assert sorted(calls) == wanted, needs
        assert tuple(t.grad is not None for t in (x, w, b)) == needs
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        saved.clear()
        book["conv2d"](x, w, b)
        assert not saved


def check_saved(book):
    """A saved tensor that is changed in place before backward is noticed."""
    for number in (0, 1):
        tensors = draw(7, (1, 2, 4, 5), (3, 2, 2, 3), (3,))
        leaves = [t.requires_grad_() for t in tensors]
        y = book["conv2d"](*leaves)
        with torch.no_grad():
            leaves[number].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def check_two_calls(book):
    """A first result and its gradients stay as they are when the second call comes."""
    x, w, b = (t.requires_grad_() for t in draw(8, (1, 2, 4, 5), (3, 2, 1, 1), (3,)))
    results = []
    for factor in (1, 2):
        y = book["conv2d"](factor * x, w, b)
        results += [y, *grad(y, (x, w, b), torch.ones_like(y))]
        if factor == 1:
            kept = [t.detach().clone() for t in results]
    assert all(torch.equal(t, old) for t, old in zip(results[:4], kept, strict=True))
    assert not torch.equal(results[0], results[4])


def check_once(book):
    """A second derivative raises instead of being dropped."""
    x, w, b = (t.requires_grad_() for t in draw(9, (1, 1, 5, 5), (1, 1, 2, 3), (1,)))
    loss = book["conv2d"](x, w, b).square().sum()
    (slope,) = grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        (loss + slope.square().sum()).backward()


def check_no_detach(book):
    """Outside of a Function the border refuses a tensor that requires a gradient."""
    with pytest.raises(RuntimeError, match="requires grad"):
        book["to_array"](torch.ones(2, requires_grad=True))


def check_autocast(book):
    """Under autocast 16 bits become float32, with gradients of each leaf's dtype; not outside."""
    exact = draw(10, (2, 3, 6, 5), (4, 3, 2, 2), (4,))
    for kinds in (
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.bfloat16, torch.bfloat16),
        (torch.float64, torch.float64, torch.float64),
    ):
        leaves = [t.to(k).requires_grad_() for t, k in zip(exact, kinds, strict=True)]
        wanted = torch.float64 if kinds[0] == torch.float64 else torch.float32
        with torch.autocast("cpu"):
            y = book["conv2d"](*leaves)
            unbatched = book["conv2d"](leaves[0][0], *leaves[1:])
        assert y.dtype == unbatched.dtype == wanted
        right = F.conv2d(*(t.detach().double() for t in leaves))
        assert (y - right).norm() < 1e-6 * right.norm()
        y.sum().backward()
        assert [t.grad.dtype for t in leaves] == list(kinds)
    with torch.autocast("cpu"), pytest.raises(TypeError, match="one dtype"):
        book["conv2d"](exact[0], exact[1].float())
    with pytest.raises(TypeError, match="must be float32 or float64, got torch.bfloat16"):
        book["conv2d"](exact[0].bfloat16(), exact[1].float())


X, W, B = torch.ones(2, 4, 6, 7), torch.ones(6, 2, 3, 2), torch.ones(6)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nested tensors are a prototype
    NESTED = torch.nested.nested_tensor([torch.ones(4, 4, 4), torch.ones(4, 3, 4)])
REFUSED = {  # (input, weight, bias), options (groups 2 if there are none), error, words
    "array": ((X.numpy(), W, B), {}, TypeError, "input must be a torch.Tensor, got ndarray"),
    "list": ((X, [[1.0]], B), {}, TypeError, "weight must be a torch.Tensor, got list"),
    "number as bias": ((X, W, 0.0), {}, TypeError, "bias must be a torch.Tensor, got float"),
    "sparse": ((X.to_sparse(), W, B), {}, ValueError, "input must be dense"),
    "sparse weight": ((X, W.to_sparse(), B), {}, ValueError, "weight must be dense"),
    "nested": ((NESTED, W, B), {}, ValueError, "input must be dense"),
    "input elsewhere": ((X.to("meta"), W, B), {}, ValueError, "input must be on the CPU.* meta"),
    "weight elsewhere": ((X, W.to("meta"), B), {}, ValueError, "weight must be on the CPU"),
    "bias elsewhere": ((X, W, B.to("meta")), {}, ValueError, "bias must be on the CPU"),
    "double input": ((X.double(), W, B), {}, TypeError, "one dtype, got torch.float64, torch.f"),
    "double weight": ((X, W.double(), None), {}, TypeError, "input, weight must have one dtype"),
    "double bias": ((X, W, B.double()), {}, TypeError, "input, weight, bias must have one"),
    "one image, gray": ((X[0, 0], W, B), {}, ValueError, r"shape \(N, C, H, W\) or .*input\[None"),
    "a number": ((X.sum(), W, B), {}, ValueError, r"\(C, H, W\), got \(\)"),
    "five axes": ((X[None], W, B), {}, ValueError, r"got \(1, 2, 4, 6, 7\)"),
    "one filter": ((X, W[0, 0], B), {}, ValueError, r"weight must have .*weight\[None, None\]"),
    "three axes": ((X, W[0], B), {}, ValueError, r"weight must have shape .* got \(2, 3, 2\)"),
    "no rows": ((X[:, :, :0], W, B), {}, ValueError, r"input must have no empty .* \(2, 4, 0, 7\)"),
    "no channels": ((X[:, :0], W[:, :0], B), {}, ValueError, "input must have no empty axis"),
    "no filters": ((X, W[:0], B[:0]), {}, ValueError, "weight must have no empty axis"),
    "no cells": ((X, W[:, :, :0], B), {}, ValueError, r"weight must have no empty .* \(6, 2, 0"),
    "channels": ((X, W, B), {"groups": 1}, ValueError, r"2 \* 1 = 2 channels .* got 4 .* C / gr"),
    "channels, groups": ((X, W, B), {"groups": 3}, ValueError, r"2 \* 3 = 6 channels .* got 4"),
    "channels last": ((X.movedim(1, -1), W, B), {"groups": 1}, ValueError, "2 channels .* got 6"),
    "channels last, one group": ((X.movedim(1, -1), torch.ones(6, 4, 3, 2), B), {"groups": 1},
                                 ValueError, r"4 channels .*movedim\(-1, -3\)"),
    "groups and filters": ((X, torch.ones(6, 1, 3, 2), B), {"groups": 4}, ValueError,
                           "groups must divide .* got groups 4 and 6 filters"),
    "bias (1,)": ((X, W, B[:1]), {}, ValueError, r"bias must have shape \(6,\).* got \(1,\)"),
    "bias (6, 1)": ((X, W, B[:, None]), {}, ValueError, r"got \(6, 1\); use bias.reshape\(-1\)"),
    "bias ()": ((X, W, B[0]), {}, ValueError, r"bias must have shape \(6,\)"),
    "too high": ((X, torch.ones(6, 2, 7, 2), B), {}, ValueError, r"\(6, 7\), got filters \(7, 2\)"),
    "too wide": ((X, torch.ones(6, 2, 3, 8), B), {}, ValueError, r"\(6, 7\), got filters \(3, 8\)"),
    "too high, padded": ((X, torch.ones(6, 2, 9, 2), B), {"padding": (1, 0), "groups": 2},
                         ValueError, r"padded input \(8, 7\), got filters \(9, 2\)"),
    "dilation": ((X, W, B), {"dilation": (3, 1), "groups": 2}, ValueError,
                 r"span \(7, 2\) with dilation \(3, 1\); use more padding"),
} | {
    f"{str(kind)[6:]} {name}": (
        tuple(t.to(kind) if place == number else t for place, t in enumerate((X, W, B))), {},
        TypeError, rf"{name} must be float32 or float64, got {kind}; convert it with \.",
    )
    for kind in (torch.uint8, torch.int64, torch.bool, torch.float16, torch.bfloat16,
                 torch.complex64)
    for number, name in enumerate(("input", "weight", "bias"))
} | {
    f"{key}={value!r:.20}": ((X, W, B), {"groups": 2} | {key: value}, kind, words)
    for key, value, kind, words in (
        ("stride", 0, ValueError, "stride must be at least 1, got 0"),
        ("stride", (1, -2), ValueError, "stride must be at least 1, got -2"),
        ("stride", True, TypeError, "stride must be made of integers, got bool True"),
        ("stride", 1.5, TypeError, "got float 1.5"),
        ("stride", np.float64(2), TypeError, "got float64"),
        ("stride", torch.tensor(2), TypeError, "got Tensor"),
        ("stride", "2", TypeError, "got str '2'"),
        ("stride", None, TypeError, "got NoneType"),
        ("stride", (1,), ValueError, r"a pair \(rows, columns\), got 1 values"),
        ("stride", [1, 2, 3], ValueError, r"a pair \(rows, columns\), got 3 values"),
        ("padding", -1, ValueError, "padding must be at least 0, got -1"),
        ("padding", 1.0, TypeError, "padding must be made of integers, got float 1.0"),
        ("padding", (True, 1), TypeError, "got bool True"),
        ("padding", (1, 1, 1, 1), ValueError, "got 4 values"),
        ("padding", "full", ValueError, "padding must be 'valid', 'same'.* got 'full'"),
        ("dilation", 0, ValueError, "dilation must be at least 1, got 0"),
        ("dilation", 2.0, TypeError, "dilation must be made of integers"),
        ("groups", 0, ValueError, "groups must be at least 1, got 0"),
        ("groups", True, TypeError, "groups must be made of integers, got bool"),
        ("groups", (2, 2), TypeError, "groups must be made of integers, got tuple"),
        ("groups", 2.0, TypeError, "groups must be made of integers, got float"),
    )
} | {
    "same, stride": ((X, W, B), {"padding": "same", "stride": (1, 2), "groups": 2}, ValueError,
                     r"padding 'same' needs stride 1, got stride \(1, 2\)"),
}  # fmt: skip


def check_refusal(book, case):
    """A bad input is named in one line, before any arithmetic."""
    tensors, options, kind, words = REFUSED[case]

    def never(*args, **kwargs):
        raise AssertionError("NumPy was called")

    said = None
    with patch.dict(book, {name: never for name in NUMERICS}):
        try:
            book["conv2d"](*tensors, **(options or {"groups": 2}))
        except Exception as error:
            said = error
    assert type(said) is kind and re.search(words, str(said)), repr(said)
    assert "\n" not in str(said), "a message of one line"


def check_good_options(book):
    """NumPy's integers, lists and tuples are as good as numbers; an empty batch is no error."""
    right = F.conv2d(X, W, B, (2, 1), (1, 0), (1, 2), 2)
    for options in (((2, 1), (1, 0), (1, 2), 2), ([2, 1], [1, 0], [1, 2], np.int64(2)),
                    ((np.int32(2), 1), (np.uint8(1), 0), (1, np.int64(2)), 2)):  # fmt: skip
        assert torch.equal(book["conv2d"](X, W, B, *options), right)
        x = X.clone().requires_grad_()
        book["conv2d"](x, W, B, *options).sum().backward()
        assert x.grad.shape == x.shape
    named = {"input": X, "weight": W, "bias": B, "stride": 1, "padding": "valid", "groups": 2}
    assert torch.equal(book["conv2d"](**named), F.conv2d(**named))
    assert book["conv2d"](X[:0], W, B, groups=2).shape == F.conv2d(X[:0], W, B, groups=2).shape
    assert book["conv2d"](X[:0, :2], W).shape == (0, 6, 4, 6)


# the module

MODULES = {
    "plain": ((4, 6, 3), {}),
    "not square": ((4, 6, (1, 5)), {"stride": 2, "padding": (0, 2)}),
    "groups": ((4, 6, (2, 3)), {"groups": 2, "bias": False}),
    "same": ((4, 6, (4, 3)), {"padding": "same", "dilation": (1, 2)}),
    "valid": ((1, 1, 1), {"padding": "valid", "dtype": torch.float64}),
}


def twins(book, name, seed=0):
    """An nn.Conv2d and the chapter's module, made after the same seed."""
    arguments, options = MODULES[name]
    made = []
    for kind in (nn.Conv2d, book["NumpyConv2d"]):
        torch.manual_seed(seed)
        made.append(kind(*arguments, **options))
    return made


def quietly(module, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of even filters with "same"
        return module(x)


def check_module(book):
    """The arguments, bits, names, output and gradients of nn.Conv2d; saved, copied, reset."""
    for name in MODULES:
        theirs, ours = twins(book, name)
        assert repr(ours) == repr(theirs).replace("Conv2d", "NumpyConv2d")
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b) and a.dtype == b.dtype
        torch.manual_seed(5)
        ours.reset_parameters()
        torch.manual_seed(5)
        theirs.reset_parameters()
        assert torch.equal(ours.weight, theirs.weight)
        for attribute in ("in_channels", "out_channels", "kernel_size", "stride", "padding",
                          "dilation", "groups", "padding_mode"):  # fmt: skip
            assert getattr(ours, attribute) == getattr(theirs, attribute), attribute

        (x,) = draw(3, (2, ours.in_channels, 9, 8), dtype=ours.weight.dtype)
        y = quietly(theirs, x)
        assert torch.allclose(ours(x), y, atol=1e-5) and torch.allclose(ours(x[0]), y[0], atol=1e-5)
        ours(x).square().sum().backward()
        y.square().sum().backward()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-3)
        fresh = twins(book, name, seed=1)
        assert not torch.equal(fresh[1].weight, ours.weight)
        file = io.BytesIO()
        torch.save(ours.state_dict(), file)
        file.seek(0)
        fresh[0].load_state_dict(torch.load(file, weights_only=True))
        fresh[1].load_state_dict(theirs.state_dict())
        assert torch.equal(fresh[1](x), ours(x))
        assert torch.allclose(quietly(fresh[0], x), y)
        twin = copy.deepcopy(ours)
        assert torch.equal(twin(x), ours(x))
        with torch.no_grad():
            ours.weight.zero_()
        assert torch.equal(twin.weight, theirs.weight)
        assert twin.double()(x.double()).dtype == torch.float64


REFUSED_MODULES = {
    "groups and inputs": ((3, 4, 3), {"groups": 2}, ValueError, "groups must divide"),
    "groups and outputs": ((4, 3, 3), {"groups": 2}, ValueError, "groups must divide"),
    "no cells": ((3, 4, 0), {}, ValueError, "kernel_size must be at least 1, got 0"),
    "kernel of three": ((3, 4, (3, 3, 3)), {}, ValueError, "kernel_size must be one integer or"),
    "no channels": ((0, 4, 3), {}, ValueError, "in_channels must be at least 1"),
    "no outputs": ((3, 0, 3), {}, ValueError, "out_channels must be at least 1"),
    "float channels": ((3.0, 4, 3), {}, TypeError, "in_channels must be made of integers"),
    "reflect": ((3, 4, 3), {"padding_mode": "reflect"}, ValueError, "padding_mode must be 'zeros'"),
    "stride": ((3, 4, 3), {"stride": 0}, ValueError, "stride must be at least 1"),
    "padding": ((3, 4, 3), {"padding": "full"}, ValueError, "padding must be 'valid', 'same'"),
    "same": ((3, 4, 3), {"padding": "same", "stride": 2}, ValueError, "'same' needs stride 1"),
    "bool": ((3, 4, 3), {"groups": True}, TypeError, "groups must be made of integers"),
}


def check_refused_module(book, case):
    arguments, options, kind, words = REFUSED_MODULES[case]
    with pytest.raises(kind, match=words):
        book["NumpyConv2d"](*arguments, **options)


def test_module_elsewhere_says_so():
    module = BOOK["NumpyConv2d"](4, 6, 3, device="meta")
    with pytest.raises(ValueError, match="weight must be on the CPU"):
        module(X)


def test_pickles_where_the_class_can_be_imported(tmp_path, monkeypatch):
    """A file made of the layer cells: pickled here, loaded in another process, or not."""
    cells = [c for c in read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]]
    imports = re.findall(r"^(?:import|from) .*", cells[1]["source"], re.MULTILINE)
    imports = [line for line in imports if not re.search("matplotlib|IPython", line)]
    layer = [cell["source"] for cell in cells if "layer" in tags(cell)]
    (tmp_path / "chapter_layers.py").write_text("\n".join([*imports, *layer]), encoding="utf8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("chapter_layers").NumpyConv2d(4, 6, 3, padding="same")
    blob = pickle.dumps(module)
    assert torch.equal(pickle.loads(blob)(X), module(X))
    code = (
        "import pickle, sys, torch; m = pickle.load(sys.stdin.buffer); "
        "sys.stdout.buffer.write(m(torch.ones(2, 4, 6, 7)).detach().numpy().tobytes())"
    )

    def load(folder):
        return subprocess.run([sys.executable, "-c", code], input=blob, cwd=folder,
                              capture_output=True)  # fmt: skip

    loaded = load(tmp_path)
    assert loaded.returncode == 0, loaded.stderr.decode()
    elsewhere = np.frombuffer(loaded.stdout, np.float32).reshape(2, 6, 6, 7)
    assert np.allclose(elsewhere, module(X).detach().numpy(), atol=1e-6)
    (tmp_path / "empty").mkdir()
    assert "No module named 'chapter_layers'" in load(tmp_path / "empty").stderr.decode()


# the chapter's layer keeps it


@given(configurations())
def test_equals_torch(case):
    check_against_torch(BOOK, case)


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    check_refusal(BOOK, case)


@pytest.mark.parametrize("case", REFUSED_MODULES)
def test_refuses_module(case):
    check_refused_module(BOOK, case)


CHECKS = {
    "jacobians": check_jacobians,
    "least": check_least,
    "saved": check_saved,
    "two calls": check_two_calls,
    "once": check_once,
    "no detach": check_no_detach,
    "autocast": check_autocast,
    "good options": check_good_options,
    "module": check_module,
}


@pytest.mark.parametrize("name", CHECKS)
def test_holds(name):
    CHECKS[name](BOOK)


# every check can fail: broken copies of the chapter's cells


def against(image, weight, options=(1, 0, 1, 1), **changes):
    case = case_of(image, weight, options, **changes)
    return lambda book: check_against_torch(book, case)


PLAIN = against((2, 3, 6, 7), (4, 3, 3, 2))
ONE = against((3, 6, 7), (4, 3, 3, 2))
ONES = against((1, 1, 4, 5), (1, 1, 1, 1))
STRIDE = against((2, 3, 9, 8), (4, 3, 3, 2), ((2, 3), 0, 1, 1))
PADDED = against((2, 3, 5, 4), (4, 3, 3, 2), (1, (1, 2), 1, 1))
SAME = against((2, 3, 5, 4), (4, 3, 4, 2), (1, "same", 1, 1))
DILATED = against((2, 3, 9, 8), (4, 3, 3, 2), (1, 0, (2, 3), 1))
GROUPS = against((2, 4, 6, 7), (6, 2, 3, 2), (1, 0, 1, 2))
ALL = against((2, 4, 9, 8), (6, 2, 3, 2), ((2, 1), (1, 2), (2, 3), 2))
SINGLE = against((2, 3, 6, 7), (4, 3, 3, 2), dtype=torch.float32)
NEGATED = against((2, 3, 6, 7), (4, 3, 3, 2), forms=["negated", "plain", "plain", "negated"])
NO_BIAS = against((2, 3, 6, 7), (4, 3, 3, 2), bias=False)


def refuses(*cases):
    return [lambda book, case=case: check_refusal(book, case) for case in cases]


def refuses_module(*cases):
    return [lambda book, case=case: check_refused_module(book, case) for case in cases]


def starting(*words):
    return refuses(*(case for case in REFUSED if case.startswith(words)))


BROKEN = {
    "wrong stride in weight_gradient": (
        [("np.split(windows(x, size, options),", "np.split(windows(x, size, options._replace("
          "stride=(1, 1)))[:, :, : g.shape[2], : g.shape[3]],")], [STRIDE, ALL, check_jacobians]),
    "strides swapped": ([("::sh, ::sw,", "::sw, ::sh,")], [STRIDE, ALL]),
    "stride forgotten on the way back": (
        [("sh * (rows - 1) + 1, sh)", "rows, 1)"),
         ("slice(a * dh, a * dh + rows, 1)", "slice(a * dh, a * dh + rows)")], [STRIDE, ALL]),
    "crop from the end": (
        [("top : top + height, left : left + width",
          "bottom : bottom + height, right : right + width")], [SAME]),
    "crop off by one": (
        [("top : top + height,", "max(top - 1, 0) : max(top - 1, 0) + height,")], [PADDED, ALL]),
    "padding on one side": (
        [("(top, bottom), (left, right)])", "(top + bottom, 0), (left, right)])")], [PADDED, ALL]),
    "same, symmetric": (
        [("edges = rows // 2, rows - rows // 2, columns // 2, columns - columns // 2",
          "edges = rows // 2, rows // 2, columns // 2, columns // 2")], [SAME]),
    "same, the other side": (
        [("edges = rows // 2, rows - rows // 2,", "edges = rows - rows // 2, rows // 2,")], [SAME]),
    "same without dilation": (
        [("rows, columns = dilation[0] * (size[0] - 1), dilation[1] * (size[1] - 1)",
          "rows, columns = size[0] - 1, size[1] - 1")],
        [against((2, 3, 9, 8), (4, 3, 3, 2), (1, "same", 2, 1))]),
    "no dilation on the way back": ([("slice(a * dh, a * dh + sh", "slice(a, a + sh")],
                                    [DILATED, ALL]),
    "dilations swapped": ([("::dh, ::dw]", "::dw, ::dh]")], [DILATED]),
    "groups mixed": (
        [("zip(seen, np.split(w, options.groups), strict=True)",
          "zip(seen, [w[q :: options.groups] for q in range(options.groups)], strict=True)")],
        [GROUPS, ALL]),
    "groups mixed on the way back": (
        [("zip(seen, np.split(g, options.groups, axis=1), strict=True)",
          "zip(seen, [g[:, q :: options.groups] for q in range(options.groups)], strict=True)")],
        [GROUPS, ALL, check_jacobians]),
    "one group sees all": ([("Options(stride, edges, dilation, to_int", "Options(stride, edges, "
                             "dilation, 0 * to_int")], [GROUPS, PLAIN]),
    "not in order": ([("np.concatenate(parts, axis=1).copy()  # contiguous",
                       "np.concatenate(parts, axis=1).swapaxes(2, 3).copy().swapaxes(2, 3)")],
                     [PLAIN]),
    "result aliases input": (
        [("return torch.from_numpy(result)", "return torch.from_numpy(result) if weight.numel() > 1"
          " else torch.from_numpy(to_array(input))")], [ONES]),
    "gradient aliases grad_output": (
        [("grad_bias = torch.from_numpy(g.sum(axis=(0, 2, 3)))",
          "grad_bias = torch.from_numpy(g.reshape(-1)[:1])")],
        [against((1, 1, 3, 2), (1, 1, 3, 2))]),
    "changes the input": (
        [("            result += to_array(bias)[:, None, None]",
          "            result += to_array(bias)[:, None, None]\n"
          "        np.multiply(to_array(input), 2, out=to_array(input))")], [PLAIN]),
    "changes the gradient": (
        [("grad_input = grad_weight = grad_bias = None",
          "grad_input = grad_weight = grad_bias = None\n        g += g")], [PLAIN]),
    "reuses its memory": (
        [("return torch.from_numpy(result)", "place = KEPT.setdefault(result.shape, result)\n"
          "        place[:] = result\n        return torch.from_numpy(place)"),
         ("class Conv2dFunction(Function):", "KEPT = {}\n\n\nclass Conv2dFunction(Function):")],
        [check_two_calls]),
    "half of the bias": ([("g.sum(axis=(0, 2, 3))", "g.sum(axis=(0, 2, 3)) / 2")],
                         [PLAIN, SINGLE, check_jacobians]),
    "bias of the first image": ([("g.sum(axis=(0, 2, 3))", "g[0].sum(axis=(1, 2))")], [PLAIN]),
    "bias not added": ([("result += to_array(bias)[:, None, None]", "pass")], [PLAIN]),
    "bias needed": ([("        if bias is not None:\n            result", "        if True:\n"
                      "            result")], [NO_BIAS]),
    "rounded result": ([("return torch.from_numpy(result)",
                         "return torch.from_numpy(result.astype('f4'))")], [PLAIN]),
    "rounded gradient": ([("torch.from_numpy(weight_gradient(x, g, size, ctx.options))",
                           "torch.from_numpy(weight_gradient(x, g, size, ctx.options)).float()")],
                         [PLAIN]),
    "doubled result": ([("return torch.from_numpy(result)",
                         "return torch.from_numpy(result.astype('f8'))")], [SINGLE]),
    "no resolve_neg": ([("tensor.resolve_neg().numpy()", "tensor.numpy()")], [NEGATED]),
    "detached": ([("tensor.resolve_neg().numpy()", "tensor.detach().resolve_neg().numpy()")],
                 [check_no_detach]),
    "forgets strides": (
        [("return tensor.resolve_neg().numpy()", "return tensor.resolve_neg().numpy()"
          ".ravel(order='K').reshape(tensor.shape)")],
        [against((2, 3, 6, 7), (4, 3, 3, 2), forms=["transposed"] + ["plain"] * 3),
         against((2, 3, 6, 7), (4, 3, 3, 2), forms=["plain"] * 3 + ["transposed"])]),
    "saves all": ([("input if for_weight else None", "input"),
                   ("weight if for_input else None", "weight")], [check_least]),
    "saves the wrong one": ([("for_input, for_weight = ctx", "for_weight, for_input = ctx")],
                            [check_least]),
    "saves a copy": ([("input if for_weight else None", "input.clone() if for_weight else None")],
                     [check_least, check_saved]),
    "always input": ([("needs_input_grad[0]", "needs_input_grad[:1]")], [check_least]),
    "always weight": ([("needs_input_grad[1]", "needs_input_grad[:1]")], [check_least]),
    "never bias": ([("needs_input_grad[2]", "needs_input_grad[4:]")], [PLAIN, check_least]),
    "kept by hand": (
        [("ctx.save_for_backward(input if for_weight else None,\n"
          "                              weight if for_input else None)",
          "ctx.kept = input, weight"), ("ctx.saved_tensors", "ctx.kept")],
        [check_saved, check_least]),
    "twice": ([("    @staticmethod\n    @once_differentiable\n", "    @staticmethod\n")],
              [check_once]),
    "no autocast": ([('if torch.is_autocast_enabled("cpu"):', "if False:")], [check_autocast]),
    "always autocast": ([('if torch.is_autocast_enabled("cpu"):', "if True:")], [check_autocast]),
    "half forgotten": ([("short = (torch.bfloat16, torch.float16)", "short = (torch.bfloat16,)")],
                       [check_autocast]),
    "no axis for one": ([("if input.ndim == 3:", "if False:")], [ONE]),
    "keeps the axis": ([("bias, options)[0]", "bias, options)")], [ONE]),
    "no checks": ([(CALL := "options = check_conv2d(input, weight, bias, stride, padding, "
                    "dilation, groups)", "options = read_options(weight.shape[2:], stride, "
                    "padding, dilation, groups)")],
                  starting("array", "double", "no ", "channels", "bias", "too", "uint8", "bool i")),
    "late checks": ([(f"    {CALL}\n    if", "    options = read_options(weight.shape[2:], stride, "
                      "padding, dilation, groups)\n    if"),
                     ("    return Conv2dFunction.apply(input, weight, bias, options)\n",
                      "    result = Conv2dFunction.apply(input, weight, bias, options)\n"
                      "    check_conv2d(input, weight, bias, stride, padding, dilation, groups)\n"
                      "    return result\n")], starting("double", "too", "bias (1,)", "uint8 i")),
    "any type": ([("if not isinstance(tensor, torch.Tensor):", "if False:")],
                 starting("array", "list", "number")),
    "any dtype": ([("if tensor.dtype not in (torch.float32, torch.float64):", "if False:")],
                  starting("uint8", "int64", "bool", "float16", "bfloat16", "complex64")),
    "any layout": ([("if tensor.layout != torch.strided or tensor.is_nested:", "if False:")],
                   starting("sparse", "nested")),
    "nested passes": ([(" or tensor.is_nested", "")], starting("nested")),
    "any device": ([('if tensor.device.type != "cpu":', "if False:")],
                   starting("input else", "weight else", "bias else")),
    "mixed dtypes": ([("if len(set(dtypes)) > 1:", "if False:")], starting("double")),
    "any axes of input": ([("if len(shape) not in (3, 4):", "if False:")],
                          starting("one image", "a number", "five axes")),
    "any axes of weight": ([("if len(filters) != 4:", "if False:")],
                           starting("one filter", "three axes")),
    "empty": ([("        if 0 in axes:", "        if False:")],
              starting("no rows", "no channels", "no filters", "no cells")),
    "no empty batch": ([('("input", shape[-3:])', '("input", shape)')], [check_good_options]),
    "any channels": ([("if shape[-3] != channels:", "if False:")], starting("channels")),
    "groups not in channels": ([("channels = filters[1] * options.groups",
                                 "channels = filters[1]")], [GROUPS, *starting("channels, gr")]),
    "no hint": ([("last = options.groups == 1 and shape[-1] == channels", "last = False")],
                starting("channels last, one")),
    "always the hint": ([("last = options.groups == 1 and shape[-1] == channels", "last = True")],
                        refuses("channels")),
    "any filters": ([("if filters[0] % options.groups:", "if False:")], starting("groups and fil")),
    "any bias": ([("if bias is not None and tuple(bias.shape) != filters[:1]:", "if False:")],
                 starting("bias (")),
    "bias that broadcasts": ([("tuple(bias.shape) != filters[:1]:",
                               "bias.numel() not in (1, filters[0]):")], starting("bias (")),
    "any size": ([("if span[0] > padded[0] or span[1] > padded[1]:", "if False:")],
                 [*starting("too"), *refuses("dilation")]),
    "too high passes": ([("if span[0] > padded[0] or", "if")],
                        [*starting("too high"), *refuses("dilation")]),
    "too wide passes": ([(" or span[1] > padded[1]:", ":")], refuses("too wide")),
    "size without padding": ([("padded = shape[-2] + top + bottom, shape[-1] + left + right",
                               "padded = shape[-2:]")], [against((1, 1, 2, 2), (1, 1, 3, 3),
                                                                 (1, 1, 1, 1))]),
    "size without dilation": ([("d * (k - 1) + 1 for d, k in sizes", "k for d, k in sizes")],
                              refuses("dilation")),
    "bool is a number": ([("isinstance(value, bool) or not isinstance", "not isinstance")],
                         starting("stride=True", "padding=(True", "groups=True")),
    "floats are numbers": ([("(int, np.integer)", "(int, float, np.integer)")],
                           starting("stride=1.5", "padding=1.0", "groups=2.0")),
    "no NumPy integers": ([("(int, np.integer)", "int")], [check_good_options]),
    "any number": ([("    if value < least:", "    if False:")],
                   starting("stride=0", "stride=(1, -2", "padding=-1", "dilation=0", "groups=0")),
    "any length": ([("    if len(pair) != 2:", "    if False:")],
                   starting("stride=[1, 2, 3", "padding=(1, 1, 1, 1")),
    "any word": ([('elif padding == "valid":', 'elif padding != "same":')],
                 [*starting("padding='full'"), *refuses_module("padding")]),
    "same with a stride": ([('elif padding == "same" and stride == (1, 1):',
                             'elif padding == "same":')],
                           [*starting("same"), *refuses_module("same")]),
    "module: bias first": ([(
        "        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))\n"
        "        if self.bias is not None:\n"
        "            bound = 1 / math.sqrt(self.weight[0].numel())\n"
        "            nn.init.uniform_(self.bias, -bound, bound)\n",
        "        if self.bias is not None:\n"
        "            bound = 1 / math.sqrt(self.weight[0].numel())\n"
        "            nn.init.uniform_(self.bias, -bound, bound)\n"
        "        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))\n")], [check_module]),
    "module: other bounds": ([("math.sqrt(self.weight[0].numel())",
                               "math.sqrt(self.weight.numel())")], [check_module]),
    "module: width first": ([("in_channels // groups, *self.kernel_size",
                              "in_channels // groups, *self.kernel_size[::-1]")], [check_module]),
    "module: forgets groups": ([("                      self.dilation, self.groups)",
                                 "                      self.dilation)")], [check_module]),
    "module: forgets the dtype": ([('kind = {"device": device, "dtype": dtype}',
                                    'kind = {"device": device}')], [check_module]),
    "module: other name": ([("self.weight = nn.Parameter(torch.empty(shape, **kind))",
                             "self.filter = self.weight = nn.Parameter("
                             "torch.empty(shape, **kind))")], [check_module]),
    "module: late options": ([("        read_options(self.kernel_size, stride, padding, dilation, "
                               "groups)\n", "")], refuses_module("padding", "same")),
    "module: any mode": ([('if padding_mode != "zeros":', "if False:")],
                         refuses_module("reflect")),
    "module: any groups": ([("if in_channels % groups or out_channels % groups:", "if False:")],
                           refuses_module("groups and inputs", "groups and outputs")),
    "module: no repr": ([("    def extra_repr(self):", "    def another(self):")], [check_module]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_found(name):
    changes, checks = BROKEN[name]
    book = broken_layers(NAME, *changes)
    assert checks
    for check in checks:
        with pytest.raises((Exception, pytest.fail.Exception)):
            check(book)


def test_an_unbroken_copy_passes():
    book = broken_layers(NAME)
    checks = [check for _, checks in BROKEN.values() for check in checks]
    for check in {*CHECKS.values(), *(c for c in checks if c.__name__ == "<lambda>")}:
        check(book)


def test_the_sample_finds_broken_copies():
    """The generated configurations see each slip of the numerics, too."""
    for name in (
        "wrong stride in weight_gradient",
        "crop from the end",
        "groups mixed",
        "same, the other side",
        "no dilation on the way back",
        "no resolve_neg",
    ):
        book = broken_layers(NAME, *BROKEN[name][0])

        @settings(max_examples=80)
        @given(configurations())
        def run(case, book=book):
            check_against_torch(book, case)

        with pytest.raises((Exception, pytest.fail.Exception)):
            run()


def test_torch_is_right_here():
    """The reference itself: a value and gradients worked out by hand."""
    row = torch.arange(1.0, 7.0).reshape(1, 1, 1, 6).requires_grad_()
    weight = torch.tensor([1.0, 10.0]).reshape(1, 1, 1, 2).requires_grad_()
    for layer in (F.conv2d, BOOK["conv2d"]):
        y = layer(row, weight, None, (1, 2), 0, (1, 2))
        of_row, of_weight = grad(y, (row, weight), torch.tensor([1.0, 100.0]).reshape(1, 1, 1, 2))
        assert y.flatten().tolist() == [31, 53]
        assert of_row.flatten().tolist() == [1, 0, 110, 0, 1000, 0]
        assert of_weight.flatten().tolist() == [301, 503]
