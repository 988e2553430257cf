"""Measure the tables of chapter 12, what a call and a copy cost, and of chapter 13, fast_conv2d.

    python tools/run.py bench                       both, an hour or so; then write them
    python tools/run.py bench --chapter 12          the comparisons of chapter 12, two minutes or so
    python tools/run.py bench --chapter 13 --images 64 --filters 3 --channels 1 --batches 1 --print

One process, one thread, CPU time, and the contestants take turns, so that what else happens on
the machine touches all alike. Only the steps on several threads, in chapter 12, have processes of
their own and the wall clock. Chapter 12 brings its contestants and its instrument, take_turns,
along. In chapter 13 a case that would take more than ten seconds is left out, and so is one that
would not fit into memory. The tables go into the cells `speed-measured` and `engine-measured` of
both languages, with the date and the machine; run tools/execute.py on the chapters afterwards.
"""

import argparse
import os
import platform
import sys
from datetime import date
from itertools import product
from pathlib import Path
from statistics import median
from time import process_time

from execute import load, save

ROOT = Path(__file__).resolve().parents[1]
TABLES = {  # chapter: its notebook, and the cell of its table
    12: ("12-performance.ipynb", "speed-measured"),
    13: ("13-engines.ipynb", "engine-measured"),
}
METHODS = ("fast", "loop", "torch")
WAYS = ("forward", "both")  # without a gradient; forward and backward
LIMIT = 10  # seconds that one call may take
ROUNDS = 7
GRID = {
    "images": (28, 64, 256, 512, 1024),
    "filters": (3, 5, 11, 31, 63),
    "channels": (1, 16),
    "batches": (1, 32),
}
HEAD = f"{'dtype':8}{'N':>3}{'C':>3}{'H':>6}{'k':>4}" + "".join(
    f"{method:>12}{'+grad':>10}" for method in METHODS
)
CONTEST_HEAD = f"{'contest':16}{'contestant':18}{'microseconds':>12}{'times the first':>17}"
THREADS = ((1, 1), (2, 1), (1, 2), (2, 2))  # of torch and of BLAS


def definitions(chapter):
    """What the chapter's setup, recap and layer cells define."""
    name, _ = TABLES[chapter]
    namespace = {"__name__": name}
    for cell in load(ROOT / "notebooks" / "en" / name).cells:
        if {"setup", "recap", "layer"} & set(cell.metadata.get("tags", [])):
            exec(compile(cell.source, f"{name}#{cell.id}", "exec"), namespace)
    return namespace


def contest_lines(contest, times):
    """Lines of chapter 12's table, from the times of each contestant in each round."""
    first = next(iter(times))
    for name, found in times.items():
        ratio = median(a / b for a, b in zip(found, times[first], strict=True))
        yield f"{contest:16}{name:18}{1e6 * median(found):>12.4g}{ratio:>17.4g}"


def contests(book):
    """Yield the lines of chapter 12's table: what takes turns, then the steps on threads."""
    for contest, calls in book["contests"]():
        yield from contest_lines(contest, book["take_turns"](calls))
    rounds = [[book["step_time"](*threads) for threads in THREADS] for _ in range(3)]
    steps = {str(threads): found for threads, *found in zip(THREADS, *rounds, strict=True)}
    yield from contest_lines("threads", steps)


def engines(book, options):
    """Yield the lines of chapter 13's table, small cases first."""
    bench = Bench(book, options.limit, memory())
    for case in cases(vars(options)):
        yield line(case, bench.measure(case))


def looped(book):
    """The published correlation, called for each image and each pair of channels."""
    from scipy.signal import convolve2d, correlate2d  # after main has set the threads

    torch = book["torch"]

    class Published(torch.autograd.Function):
        @staticmethod
        def forward(ctx, input, filter):
            ctx.save_for_backward(input, filter)
            return torch.from_numpy(correlate2d(input.numpy(), filter.numpy(), mode="valid"))

        @staticmethod
        def backward(ctx, grad_output):
            input, filter = ctx.saved_tensors
            g = grad_output.numpy()
            grad_input = convolve2d(g, filter.numpy(), mode="full")
            grad_filter = correlate2d(input.numpy(), g, mode="valid")
            return torch.from_numpy(grad_input), torch.from_numpy(grad_filter)

    def one(image, filters):
        return sum(Published.apply(x, w) for x, w in zip(image, filters, strict=True))

    return lambda input, weight: torch.stack(
        [torch.stack([one(image, filters) for filters in weight]) for image in input]
    )


def memory():
    """The bytes that are free on this machine; None where Python cannot say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def bytes_needed(method, case):
    """About how much memory a forward and backward call takes, from above."""
    dtype, batch, channels, image, size = case
    item = 4 if dtype == "float32" else 8
    numbers = batch * channels * image**2
    if method == "torch" and dtype == "float64":  # its own copy of each window
        return item * (5 * numbers + numbers * size**2)
    if method == "torch":  # channels are filled up to 16
        return item * 5 * numbers * max(1, 16 // channels)
    return item * 16 * numbers


def work(method, case):
    """What the time of a call grows with, for filters of one size."""
    _, batch, channels, image, size = case
    side = image if method == "fast" else image - size + 1
    return batch * channels**2 * side**2


def cases(grid, dtypes=("float32", "float64")):
    """The grid's cases whose filters fit, small ones first."""
    found = [
        (dtype, batch, channels, image, size)
        for dtype, batch, channels, image, size in product(
            dtypes, grid["batches"], grid["channels"], grid["images"], grid["filters"]
        )
        if size <= image
    ]
    return sorted(found, key=lambda case: (work("fast", case), case))


class Bench:
    def __init__(self, book, limit=LIMIT, free=None):
        self.torch, self.limit, self.free = book["torch"], limit, free
        self.methods = {
            "fast": book["fast_conv2d"],
            "loop": looped(book),
            "torch": self.torch.nn.functional.conv2d,
        }
        self.rates = {}  # of a kind of call: seconds for a unit of work, from the last case

    def expected(self, method, way, case):
        """Seconds that a call should take, or None if there was no smaller case."""
        rate = self.rates.get((method, way, case[0], case[2], case[4]))
        return None if rate is None else rate * work(method, case)

    def fits(self, method, way, case):
        if self.free is not None and bytes_needed(method, case) > 0.7 * self.free:
            return False
        return (self.expected(method, way, case) or 0) <= self.limit

    def measure(self, case, rounds=ROUNDS):
        """Seconds of CPU for (method, way); what was left out is missing."""
        dtype, batch, channels, image, size = case
        dtype = getattr(self.torch, dtype)
        x = self.torch.randn(batch, channels, image, image, dtype=dtype)
        w = self.torch.randn(channels, channels, size, size, dtype=dtype)
        side = image - size + 1
        g = self.torch.randn(batch, channels, side, side, dtype=dtype)
        leaves = x.clone().requires_grad_(), w.clone().requires_grad_()

        def forward(layer):
            with self.torch.no_grad():
                layer(x, w)

        def both(layer):
            self.torch.autograd.grad(layer(*leaves), leaves, g)

        calls = {"forward": forward, "both": both}
        jobs = {}  # how often to call in a round, and the times
        for method, way in product(METHODS, WAYS):
            if way == "both" and (method, "forward") not in jobs:
                continue  # it takes longer still
            if self.fits(method, way, case):
                call, layer = calls[way], self.methods[method]
                once = seconds(call, layer)
                if once < 1:  # the first call warms up
                    once = seconds(call, layer)
                if once > 0.05:  # shorter ones say little of a long one
                    kind = method, way, case[0], case[2], case[4]
                    self.rates[kind] = once / work(method, case)
                if once > self.limit:
                    continue
                jobs[method, way] = call, layer, max(1, int(0.01 / max(once, 1e-6))), [once]
        for _ in range(rounds):
            for call, layer, count, times in jobs.values():
                if times[0] * len(times) < 2:  # the slow ones are not called so often
                    times.append(seconds(call, layer, count))
        return {job: sorted(times)[len(times) // 5] for job, (*_, times) in jobs.items()}


def seconds(call, layer, count=1):
    start = process_time()
    for _ in range(count):
        call(layer)
    return (process_time() - start) / count


def line(case, found):
    """A line of the table: the case, then milliseconds for each method and way."""
    dtype, *numbers = case
    text = f"{dtype:8}" + "".join(f"{n:>{w}}" for n, w in zip(numbers, (3, 3, 6, 4), strict=True))
    for method in METHODS:
        for way, width in zip(WAYS, (12, 10), strict=True):
            time = found.get((method, way))
            text += f"{'-' if time is None else f'{1000 * time:.4g}':>{width}}"
    return text


def machine(book):
    """One line: when, on what, with what."""
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf8")
        name = next(row.partition(": ")[2] for row in text.splitlines() if "model name" in row)
    except (OSError, StopIteration):
        pass
    versions = [f"{n} {sys.modules[n].__version__}" for n in ("torch", "numpy", "scipy")]
    return ", ".join([date.today().isoformat(), name, f"{os.cpu_count()} cores", *versions])


def source(said, head, lines):
    """The source of a measured cell."""
    rows = "\n".join([said, head, *lines])
    return f"MEASURED = '''\\\n{rows}\n'''"


def write(chapter, text):
    """Put the table into the chapter, in every language."""
    name, place = TABLES[chapter]
    for path in sorted((ROOT / "notebooks").glob(f"*/{name}")):
        notebook = load(path)
        (cell,) = (cell for cell in notebook.cells if cell.id == place)
        cell.source = text
        save(notebook, path)
        print(f"written: {path.relative_to(ROOT)}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.partition("\n")[0])
    for name, values in GRID.items():
        parser.add_argument(f"--{name}", nargs="+", type=int, default=values)
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that a call may take")
    parser.add_argument("--chapter", nargs="+", type=int, choices=TABLES, default=list(TABLES))
    parser.add_argument("--print", action="store_true", help="print the tables only")
    options = parser.parse_args(arguments)
    for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"):  # before NumPy is imported
        os.environ[f"{name}_NUM_THREADS"] = "1"
    for chapter in options.chapter:
        book = definitions(chapter)
        book["torch"].set_num_threads(1)
        said, lines = machine(book), []
        head = CONTEST_HEAD if chapter == 12 else HEAD
        print(f"{said}\n{head}", flush=True)
        for row in contests(book) if chapter == 12 else engines(book, options):
            lines.append(row)
            print(row, flush=True)
        if not options.print:
            write(chapter, source(said, head, lines if chapter == 12 else sorted(lines)))


if __name__ == "__main__":
    main()
