"""Promise: chapter 12's instrument measures what it says, and its contestants do the same work.

Each check takes the chapter's definitions, so that a broken copy can be given to it.
"""

import re

import pytest
import torch

from notebooks import LANGUAGES, NOTEBOOKS, broken_layers, layers, read

NAME = "12-performance"
BOOK = layers(NAME)


class Clock:
    """A clock that only work moves; what it does at a moment is written in ``cost``."""

    def __init__(self, cost):
        self.now, self.cost, self.order = 0.0, cost, []

    def call(self, name):
        def run():
            self.now += self.cost(name, len(self.order))
            self.order.append(name)

        return run


def turns(book, cost, names="AB", **options):
    clock = Clock(cost)
    calls = {name: clock.call(name) for name in names}
    times = book["take_turns"](calls, clock=lambda: clock.now, **options)
    return times, "".join(clock.order)


def check_turns(book):
    """Warmed up, in turns, as many rounds as asked for, and each call counted once."""
    times, order = turns(book, lambda name, _: {"A": 10, "B": 12}[name], rounds=4, least=0)
    assert times == {"A": [10] * 4, "B": [12] * 4}
    assert order == "AABB" + "AB" * 4, "not in turns, or not warmed up"


def check_first_call(book):
    """What the first call of each costs does not count."""
    seen = set()

    def cost(name, _):
        first = name not in seen
        seen.add(name)
        return 10 + 1000 * first

    times, order = turns(book, cost, rounds=3, least=1000)
    assert times == {"A": [10] * 3, "B": [10] * 3}, "the first call counts"
    assert len(order) == 2 * (2 + 3 * 100), "the first call says how often to repeat"


def check_short_calls(book):
    """Short calls are repeated until they last, and told for one call; never without end."""
    times, order = turns(book, lambda name, _: {"A": 1, "B": 64}[name], rounds=2, least=64)
    assert times == {"A": [1, 1], "B": [64, 64]}, "not the time of one call"
    assert order == "AABB" + 2 * ("A" * 64 + "B"), "not repeated until it lasts"
    _, order = turns(book, lambda *_: 0, names="A", rounds=1, least=1)
    assert len(order) <= 10_002


def check_busy(book):
    """A machine that slows down for good does not change the ratio."""
    times, _ = turns(book, lambda name, n: {"A": 10, "B": 15}[name] * (1 + (n > 20)), rounds=21,
                     least=0)  # fmt: skip
    assert book["times_as_long"](times, "B", "A") == 1.5, "the busy machine counts"
    times = {"A": [1, 1, 100], "B": [2, 2, 2]}
    assert book["times_as_long"](times, "B", "A") == 2, "an interruption counts"
    times = {"A": [1, 10, 100, 1, 1], "B": [3, 30, 300, 9, 9]}  # other than of the medians
    assert book["times_as_long"](times, "B", "A") == 3, "not the ratio of each round"


def check_wrapped_exp(book):
    """Four wrappings of exp, one value and one gradient; twice is refused by all of them."""
    x = torch.tensor([0.0, 1.0, -2.0], requires_grad=True)
    g = torch.tensor([1.0, 10.0, 100.0])
    (right,) = torch.autograd.grad(torch.exp(x), x, g)
    kinds = [book[name].apply for name in ("PlainExp", "SetupExp", "ReadyExp")]
    for layer in (*kinds, book["operator_exp"]):
        y = layer(x)
        assert torch.allclose(y, torch.exp(x)), layer
        assert torch.allclose(torch.autograd.grad(y, x, g)[0], right), layer
    for kind, ready in (("SetupExp", False), ("ReadyExp", True)):
        assert hasattr(book[kind].forward, "__signature__") == ready, "the signature"


def check_same_work(book, contests=None):
    """In a contest, all whose result is a tensor return the same numbers in the same dtype."""
    for contest, calls in contests or book["contests"]():
        if contest.startswith(("race", "grid", "call")):
            results = {
                name: out if isinstance(out, tuple) else (torch.as_tensor(out),)
                for name, out in ((name, call()) for name, call in calls.items())
                if name != "there and back"
            }
            first = next(iter(results.values()))
            for name, result in results.items():
                for a, b in zip(first, result, strict=True):
                    assert a.dtype == b.dtype, (contest, name)
                    assert (a - b).abs().max() <= 1e-4 * a.abs().max(), (contest, name)


def check_limit(book):
    """The limits do the work that the chapter counts for them."""
    calls = dict(book["contests"]())["limit"]
    for name in ("np.matmul", "torch.mm"):
        assert calls[name].args[0].shape == (book["PRODUCT"],) * 2, name
        assert str(calls[name].args[0].dtype).endswith("float32"), name
    back, there = calls["np.copyto"].args
    assert back.nbytes == there.nbytes == book["COPIED"] and back is not there


CHECKS = (check_turns, check_first_call, check_short_calls, check_busy, check_wrapped_exp)


@pytest.mark.parametrize("check", CHECKS)
def test_the_layers_keep_their_promises(check):
    check(BOOK)


def test_the_contestants_do_the_same_work():
    check_same_work(BOOK)
    check_limit(BOOK)


BROKEN = {
    "no warm-up": (check_first_call, "        call()  # the warm-up\n        start = clock()\n"
                   "        call()\n", "        start = clock()\n        call()\n"),
    "one after the other": (
        check_turns,
        """    for _ in range(rounds):
        for name, call in calls.items():
            start""",
        """    for name, call in calls.items():
        for _ in range(rounds):
            start""",
    ),
    "not of one call": (check_short_calls, "(clock() - start) / counts[name]", "clock() - start"),
    "not repeated": (check_short_calls, "min(int(least / once), 10_000)", "1"),
    "without end": (check_short_calls, "min(int(least / once), 10_000)", "int(least / once)"),
    "the ratio of the medians": (
        check_busy,
        "median(a / b for a, b in zip(times[name], times[other], strict=True))",
        "median(times[name]) / median(times[other])",
    ),
    "the ratio of the means": (
        check_busy,
        "median(a / b for a, b in zip(times[name], times[other], strict=True))",
        "mean(times[name]) / mean(times[other])",
    ),
    "a gradient forgotten": (check_wrapped_exp, "g.numpy() * y.numpy()", "g.numpy() * 1"),
    "no signature": (check_wrapped_exp, "ReadyExp.forward.__signature__", "ReadyExp.asked"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_copy_is_refused(name):
    check, before, after = BROKEN[name]
    broken = broken_layers(NAME, (before, after))
    with pytest.raises(AssertionError):
        check(broken)


def test_other_work_is_refused():
    x, w = torch.randn(8, 8), torch.randn(3, 3)
    right = BOOK["torch_conv2d"]
    contests = {"direct": BOOK["Direct"].apply, "fourier": BOOK["Fourier"].apply}
    for layer in contests.values():
        check_same_work(BOOK, [("race", {"a": lambda: right(x, w), "b": lambda f=layer: f(x, w)})])
    for other in (
        lambda: right(x, w.flip(0, 1)),  # a convolution
        lambda: right(x.double(), w.double()),  # another dtype
        lambda: right(x, w) * 1.001,
    ):
        with pytest.raises(AssertionError):
            check_same_work(BOOK, [("race", {"a": lambda: right(x, w), "b": other})])
    turned = broken_layers(NAME, ("w.numpy()[::-1, ::-1]", "w.numpy()"))
    with pytest.raises(AssertionError):
        check_same_work(turned, [("race", turned["correlations"](12, 3))])


# the measured table, and the prose that leans on it


def cells(language="en"):
    return read(NOTEBOOKS / language / f"{NAME}.ipynb")["cells"]


def leaning(measured, language="en"):
    """Run what reads the table, and its checks, with this table."""
    import matplotlib.pyplot as plt

    namespace = dict(layers(NAME, language))
    own = {"speed-answers-shown", "speed-answers-check", "speed-call-check", "speed-copies-check",
           "speed-threads-check", "speed-crossover-count", "speed-crossover-check",
           "speed-limit-intensity", "speed-limit-figure", "speed-limit-check"}  # fmt: skip
    for cell in cells(language):
        if cell["id"] == "speed-measured":
            exec(cell["source"], namespace)
            namespace["MEASURED"] = measured(namespace["MEASURED"])
        elif cell["id"] in own:
            exec(cell["source"], namespace)
            own.remove(cell["id"])
    plt.close("all")
    assert not own, f"no longer there: {own}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_prose_holds_for_the_table(language, capsys):
    leaning(lambda table: table, language)


def changed(contest, name, factor):
    """The table with another time and ratio in one line."""

    def change(table):
        rows = table.splitlines()
        for number, row in enumerate(rows):
            who = re.split("  +", row)
            if who[:2] == [contest, name]:
                time, ratio = (float(text) * factor for text in who[2:])
                rows[number] = f"{contest:16}{name:18}{time:>12.4g}{ratio:>17.4g}"
                return "\n".join(rows)
        raise LookupError(f"no line {contest}, {name}")

    return change


@pytest.mark.parametrize(
    ("contest", "name", "factor"),
    [
        ("race 1", "np.exp", 0.1),  # another winner
        ("race 6", "fftconvolve", 100),
        ("call", "setup_context", 0.2),  # no dearer than the plain one
        ("call", "np.exp alone", 100),
        ("copy", "shared", 1000),
        ("copy", "transposed", 0.05),
        ("threads", "(2, 2)", 0.01),  # the trap does not snap
        ("grid 128 9", "fftconvolve", 10),  # the crossover elsewhere
        ("grid 512 31", "correlate2d", 0.02),  # close to the limit
        ("grid 512 31", "fftconvolve", 5),  # below the roof
        ("limit", "np.copyto", 0.01),
    ],
)
def test_another_table_is_refused(contest, name, factor, capsys):
    with pytest.raises(AssertionError):
        leaning(changed(contest, name, factor))
