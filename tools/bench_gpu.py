"""Measure chapter 16's round trip on a GPU and write its table.

    python tools/bench_gpu.py             a minute; then run tools/execute.py on the chapter
    python tools/bench_gpu.py --print     the table only

For square images: copies to the GPU and back, with pinned memory and without, the chapter's layer
on the CPU with its trip, and PyTorch's operator on the GPU. Wall time, the GPU synchronized before
the clock is read; the middle of several rounds, in which the columns take turns. The table goes
into the cell `gpu-measured` of both languages.
"""

import argparse
import statistics
import sys
from pathlib import Path
from time import perf_counter

from bench import machine
from execute import load, save

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = "16-gpu.ipynb"
CELL = "gpu-measured"
COLUMNS = ("over", "back", "over-pinned", "back-pinned", "trip", "gpu")  # copies first
SIDES = (16, 64, 256, 1024, 4096)
ROUNDS = 9
HEAD = f"{'bytes':>10}" + "".join(f"{name:>13}" for name in COLUMNS)


def definitions():
    """What the chapter's setup, recap and layer cells define."""
    namespace = {"__name__": CHAPTER}
    for cell in load(ROOT / "notebooks" / "en" / CHAPTER).cells:
        if {"setup", "recap", "layer"} & set(cell.metadata.get("tags", [])):
            exec(compile(cell.source, f"{CHAPTER}#{cell.id}", "exec"), namespace)
    return namespace


def jobs(book, device, side):
    """A call for each column, on one image of this side, float32."""
    torch = book["torch"]
    pinned = torch.device(device).type == "cuda"
    near = torch.randn(side, side)
    far = near.to(device)
    sends = torch.randn(side, side, pin_memory=pinned)
    landing = torch.empty(side, side, pin_memory=pinned)
    weights = torch.randn(3, 3), torch.zeros(1, 1)
    filters = weights[0].to(device)[None, None]

    def trip():
        with torch.no_grad():
            book["on_cpu"](book["ScipyConv2dFunction"].apply, far, *weights)

    return {
        "over": lambda: near.to(device, copy=True),
        "back": lambda: far.to("cpu", copy=True),
        "over-pinned": lambda: sends.to(device, non_blocking=True, copy=True),
        "back-pinned": lambda: landing.copy_(far, non_blocking=True),
        "trip": trip,
        "gpu": lambda: torch.nn.functional.conv2d(far[None, None], filters),
    }


def seconds(call, synchronize, count=1):
    """Seconds of one call, the work that it has queued included."""
    synchronize()
    start = perf_counter()
    for _ in range(count):
        call()
    synchronize()
    return (perf_counter() - start) / count


def measure(book, device, side, synchronize, rounds=ROUNDS):
    """Seconds for each column."""
    todo = {}
    for name, call in jobs(book, device, side).items():
        seconds(call, synchronize)  # warms up
        once = seconds(call, synchronize)
        # a copy is timed one by one: a queue of them would hide what each waits
        todo[name] = call, 1 if name in COLUMNS[:4] else max(1, int(0.01 / max(once, 1e-6))), []
    for _ in range(rounds):
        for call, count, times in todo.values():
            times.append(seconds(call, synchronize, count))
    return {name: statistics.median(times) for name, (*_, times) in todo.items()}


def line(side, found):
    """A line of the table: bytes of the image, then milliseconds."""
    return f"{4 * side**2:>10}" + "".join(f"{1000 * found[name]:>13.4g}" for name in COLUMNS)


def source(said, lines):
    """The source of the measured cell."""
    rows = "\n".join([said, HEAD, *lines])
    return f"MEASURED = '''\\\n{rows}\n'''"


def write(text):
    """Put the table into the chapter, in every language."""
    for path in sorted((ROOT / "notebooks").glob(f"*/{CHAPTER}")):
        notebook = load(path)
        (cell,) = (cell for cell in notebook.cells if cell.id == CELL)
        cell.source = text
        save(notebook, path)
        print(f"written: {path.relative_to(ROOT)}")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="bench_gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES)
    parser.add_argument("--print", action="store_true", help="print the table only")
    options = parser.parse_args(arguments)
    book = definitions()
    cuda = book["torch"].cuda
    if not cuda.is_available():
        sys.exit("bench_gpu: torch finds no GPU, so there is nothing to measure")
    said = f"{machine(book)}, {cuda.get_device_name()}"
    lines = [line(s, measure(book, "cuda", s, cuda.synchronize)) for s in options.sides]
    print(said, HEAD, *lines, sep="\n")
    if not options.print:
        write(source(said, lines))


if __name__ == "__main__":
    main()
