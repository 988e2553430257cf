"""Promise: chapter 14's layers are right, and what it says of training holds for other seeds too.

Each check takes the chapter's definitions, so that a broken copy can be given to it. The accuracies
of the five seeds are printed: pytest -s shows them.
"""

import io
import math
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from torch.autograd import gradcheck

from notebooks import LANGUAGES, broken_layers, layers

NAME = "14-training"
BOOK = layers(NAME)
SEEDS = range(5)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the chapter: many threads on small products are many times slower."""
    with threadpool_limits(1, user_api="blas"):
        yield


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.standard_normal(shape)) for shape in shapes]


# the layer computed by FFT


def gradients(layer, leaves, g):
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    y = layer.apply(*leaves)
    return y, *torch.autograd.grad(y, leaves, g)


def check_fft(book, size, filter_size, seed=0):
    """Values and gradients of the FFT layer are those of chapter 04's layer."""
    out = tuple(n - k + 1 for n, k in zip(size, filter_size, strict=True))
    *leaves, g = draw(seed, size, filter_size, (1, 1), out)
    ours, theirs = (gradients(book[name], leaves, g)
                    for name in ("FFTConv2dFunction", "ScipyConv2dFunction"))  # fmt: skip
    for name, a, b in zip(("output", "input", "filter", "bias"), ours, theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, name
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10), f"{name} differs from chapter 04's"


@st.composite
def sizes(draw_from):
    size = draw_from(st.integers(1, 17)), draw_from(st.integers(1, 17))
    return size, tuple(draw_from(st.integers(1, n)) for n in size)


@given(sizes(), st.integers(0, 99))
def test_the_fft_layer_is_chapter_04s(case, seed):
    check_fft(BOOK, *case, seed)


def test_the_fft_layer_passes_gradcheck():
    leaves = [t.requires_grad_() for t in draw(1, (6, 7), (3, 2), (1, 1))]
    assert gradcheck(BOOK["FFTConv2dFunction"].apply, leaves)


def check_kept(book):
    """float32 stays float32, only the needed gradients are computed, bad sizes are refused."""
    layer = book["FFTConv2dFunction"].apply
    x, w, b = (t.float() for t in draw(2, (6, 7), (3, 2), (1, 1)))
    for needed in range(3):
        leaves = [t.clone().requires_grad_(n == needed) for n, t in enumerate((x, w, b))]
        layer(*leaves).sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [n == needed for n in range(3)]
        assert leaves[needed].grad.dtype == torch.float32
    with pytest.raises(ValueError, match="must not be larger"):
        layer(w, x, b)
    with pytest.raises(TypeError, match="one dtype"):
        layer(x, w.double(), b)
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(layer(x, w, b).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_the_fft_layer_keeps_the_contract():
    check_kept(BOOK)


FFT = "grad_filter = torch.from_numpy(valid)"
BROKEN_FFT = {
    "image: correlated": ("full = signal.convolve(", "full = signal.correlate("),
    "filter: convolved": ("valid = signal.correlate(", "valid = signal.convolve("),
    "filter: half": (FFT, "grad_filter = torch.from_numpy(valid / 2)"),
    "filter: 2 % off": (FFT, "grad_filter = torch.from_numpy(1.02 * valid)"),
    "bias: mean": ("torch.from_numpy(np.sum(g, keepdims=True))",
                   "torch.from_numpy(np.mean(g, keepdims=True))"),
    "forward: no bias": (' method="fft") + to_array(bias)', ' method="fft")'),
    "forward: convolved": ('result = signal.correlate(', 'result = signal.convolve('),
}  # fmt: skip


@pytest.mark.parametrize("change", BROKEN_FFT.values(), ids=BROKEN_FFT)
def test_a_broken_fft_layer_is_refused(change):
    book = broken_layers(NAME, change, ids="train-fft")
    with pytest.raises(AssertionError):
        check_fft(book, (8, 9), (3, 4))


def check_needed(book):
    """A gradient that nobody needs is not computed."""
    backward = book["FFTConv2dFunction"].backward
    backward = getattr(backward, "__wrapped__", backward)  # without @once_differentiable

    class Context:
        needs_input_grad = (True, False, False)
        saved_tensors = draw(3, (5, 5), (2, 2))

    found = backward(Context(), draw(4, (4, 4))[0])
    assert [part is None for part in found] == [False, True, True]


UNCHECKED = {
    "no check": (check_kept, "        check_correlate2d(input, filter, bias)\n        x, w",
                 "        x, w"),
    "differentiable twice, wrongly": (check_kept, "    @once_differentiable\n", ""),
    "always a filter gradient": (check_needed, "if ctx.needs_input_grad[1]:", "if True:"),
}  # fmt: skip


@pytest.mark.parametrize(("check", "old", "new"), UNCHECKED.values(), ids=UNCHECKED)
def test_a_careless_fft_layer_is_refused(check, old, new):
    book = broken_layers(NAME, (old, new), ids="train-fft")
    with pytest.raises((AssertionError, pytest.fail.Exception, RuntimeError)):
        check(book)


def test_a_gradient_that_nobody_needs_is_not_computed():
    check_needed(BOOK)


# the published backward


def test_the_published_backward_is_wrong_in_its_direction_and_right_in_its_forward():
    x, w, b, g = draw(5, (2, 2, 6, 6), (3, 2, 3, 3), (3,), (2, 3, 4, 4))
    leaves = [t.requires_grad_() for t in (x, w, b)]
    found = []
    for name in ("Conv2dFunction", "PublishedConv2dFunction"):
        y = BOOK[name].apply(*leaves, BOOK["Options"]())
        found.append((y, *torch.autograd.grad(y, leaves, g)))
    (y, *right), (also, *published) = found
    assert torch.equal(y, also)
    cosines = [torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)
               for a, b in zip(right, published, strict=True)]  # fmt: skip
    assert cosines[0] < 0.8 and cosines[1] < 0.5 and torch.allclose(cosines[2], y.new_ones(()))


def test_the_published_backward_is_chapter_04s():
    """One image, one channel, one filter: the published lines, as chapter 04 quotes them."""
    old = layers("04-correlate2d-layer")["OldScipyConv2dFunction"]
    x, w, g = draw(6, (6, 7), (3, 3), (4, 5))
    x, w = x.requires_grad_(), w.requires_grad_()
    theirs = torch.autograd.grad(old.apply(x, w), (x, w), g)
    arguments = x[None, None], w[None, None], x.new_zeros(1), BOOK["Options"]()
    y = BOOK["PublishedConv2dFunction"].apply(*arguments)
    ours = torch.autograd.grad(y[0, 0], (x, w), g)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b)


# training


@pytest.fixture(scope="module")
def digits():
    """The chapter's digits: images and labels to learn from, and to test."""
    found = load_digits()
    images = torch.from_numpy(found.images[:, None] / 16)
    labels = torch.from_numpy(found.target)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    learn, test = order[:1347], order[1347:]
    return images[learn], labels[learn], images[test], labels[test]


def trained(book, layer, digits, **options):
    images, labels, *test = digits
    model, losses, kept = book["train"](layer, images, labels, **options)
    return book["accuracy"](model, *test), losses, kept


def check_training(book, digits, seeds):
    """Each seed reads 97 % of the test images, on the curve of nn.Conv2d."""
    found = []
    for seed in seeds:
        share, losses, _ = trained(book, book["NumpyConv2d"], digits, seed=seed)
        theirs, their_losses, _ = trained(book, torch.nn.Conv2d, digits, seed=seed)
        difference = np.abs(losses - their_losses).max()
        found.append((share, difference))
        assert difference < 1e-9, f"seed {seed}: the losses differ by {difference:.1e}"
        assert share == theirs, f"seed {seed}: {share:.1%}, and {theirs:.1%} with nn.Conv2d"
        assert share >= 0.97, f"seed {seed}: only {share:.1%}"
    return found


def test_five_seeds_read_the_digits_on_the_curve_of_torch(digits):
    for seed, (share, difference) in zip(SEEDS, check_training(BOOK, digits, SEEDS), strict=True):
        print(f"seed {seed}: test accuracy {share:.1%}, losses differ by {difference:.1e}")


class Slightly(torch.autograd.Function):
    """The identity, with a gradient that is off by the factor that is given."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return ctx.factor * g, None


@pytest.mark.parametrize("kind", ["published", "fixed", "2 % off in one place"])
def test_a_training_with_another_gradient_is_refused(kind, digits):
    class Slanted(BOOK["NumpyConv2d"]):
        def forward(self, input):
            y = super().forward(input)
            factor = torch.ones(y.shape[1:], dtype=y.dtype)
            factor[0, 0] = 1.02
            return Slightly.apply(y, factor)

    kinds = {"published": BOOK["PublishedConv2d"], "fixed": BOOK["FixedConv2d"],
             "2 % off in one place": Slanted}  # fmt: skip
    with pytest.raises(AssertionError, match="the losses differ"):
        check_training({**BOOK, "NumpyConv2d": kinds[kind]}, digits, [0])


def check_story(book, digits, seed):
    """The loss falls with the published backward too, and it reads clearly fewer digits."""
    right, _, _ = trained(book, book["NumpyConv2d"], digits, seed=seed)
    published, losses, _ = trained(book, book["PublishedConv2d"], digits, seed=seed)
    assert losses[-22:].mean() < losses[0] / 3, "the loss does not fall"
    assert published < right - 0.03, f"no worse: {published:.1%} and {right:.1%}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_gradient_lowers_the_loss_and_reads_fewer_digits(seed, digits):
    check_story(BOOK, digits, seed)


def test_a_right_gradient_in_the_place_of_the_wrong_one_is_noticed(digits):
    with pytest.raises(AssertionError, match="no worse"):
        check_story({**BOOK, "PublishedConv2d": BOOK["NumpyConv2d"]}, digits, 0)


def test_train_keeps_the_weights_that_are_asked_for(digits):
    small = [part[:128] for part in digits]
    _, losses, kept = trained(BOOK, BOOK["NumpyConv2d"], small, epochs=2, keep=(1,))
    assert list(kept) == [0, 1] and len(losses) == 4
    first, later = (kept[epoch]["0.weight"] for epoch in (0, 1))
    assert not torch.equal(first, later)  # copies, not the weights that go on learning


# progress


def check_progress(book):
    """Ten dots, whatever the number of steps; each step is yielded once."""
    for steps in (1, 3, 10, 12, 150):
        told = io.StringIO()
        with redirect_stdout(told):
            assert list(book["progress"](steps, "name")) == list(range(steps))
        assert told.getvalue() == "name       " + "." * 10 + " done\n", steps


def test_progress_prints_the_same_in_each_run():
    check_progress(BOOK)


@pytest.mark.parametrize("change", [("10 * step // steps", "9 * step // steps"),
                                    ('print("." * done', 'print("." * bool(done)'),
                                    ("yield step\n", "yield step + 1\n")])  # fmt: skip
def test_a_broken_progress_is_refused(change):
    with pytest.raises(AssertionError):
        check_progress(broken_layers(NAME, change, ids="train-functions"))


# both languages


def test_the_chinese_layers_compute_the_same():
    x, w = draw(7, (9, 8), (3, 4))
    english, chinese = (layers(NAME, language)["filtered"](x, w) for language in LANGUAGES)
    assert torch.equal(english, chinese) and math.isfinite(english.sum())
