"""Promise: chapter 16's layers find the right device, and touch no library but the right one.

No GPU is needed: stand-ins of the chapter take its place, and a made-up cupy. What only a GPU can
say is in the last tests, which are skipped without one. Each check takes the chapter's definitions,
so that a broken copy can be given to it.
"""

import contextlib
import importlib.util
import io
from types import SimpleNamespace
from unittest.mock import patch

import nbformat
import numpy as np
import pytest
import torch

import bench_gpu
from execute import load, save
from notebooks import NOTEBOOKS, broken_layers, layers, read

NAME = "16-gpu"
BOOK = layers(NAME)
SHAPES = (7, 9), (3, 2), (1, 1)


def draw(dtype=torch.float64, seed=0):
    make = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=make, dtype=dtype) for shape in SHAPES]


def derivatives(layer, leaves):
    """The value, and the gradients of a function of it that weighs each number differently."""
    y = layer(*leaves)
    weights = torch.linspace(1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    return [y, *torch.autograd.grad((y * weights.to(y.device)).sum(), leaves)]


def reference(image, filter, bias):
    return torch.nn.functional.conv2d(image[None, None], filter[None, None], bias[0])[0, 0]


# The checks: each raises if the definitions it is given are wrong


def check_border(book):
    """Far tensors compute as CPU tensors do, and each copy is counted once, with its bytes."""
    with book["Border"]() as border:
        x = torch.arange(6.0).reshape(2, 3).to("meta").requires_grad_()
        assert x.device.type == "meta" and border.copies == [("meta", 24)]
        y = (x.t() @ x + torch.ones(3, 3, device="meta")).cpu()
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert grad.device == x.device
        assert border.copies == [("meta", 24), ("cpu", 36), ("meta", 36)]
        assert (border.total("cpu"), border.total("meta")) == (36, 60)
        near = torch.arange(6.0).reshape(2, 3).requires_grad_()
        right = near.t() @ near + 1
        assert torch.equal(y, right)
        assert torch.equal(grad.cpu(), torch.autograd.grad(right.sum(), near)[0])
        with pytest.raises(RuntimeError, match="same device"):
            x + near
    with pytest.raises(RuntimeError, match="inside a Border"):
        x + 1


def check_trip(book):
    """on_cpu: values and gradients as on the CPU, each where its tensor is, no copy too many."""
    layer = book["ScipyConv2dFunction"].apply
    right = derivatives(layer, [t.requires_grad_() for t in draw()])
    for near in ((), (1, 2), (0, 1, 2)):
        with book["Border"]() as border:
            leaves = [t if i in near else t.to("meta") for i, t in enumerate(draw())]
            leaves = [t.requires_grad_() for t in leaves]
            border.copies.clear()
            y = book["on_cpu"](layer, *leaves)
            sizes = [8 * t.numel() for i, t in enumerate(leaves) if i not in near]
            back = [] if 0 in near else [("meta", 8 * y.numel())]
            assert border.copies == [("cpu", size) for size in sizes] + back
            found = derivatives(lambda *t: book["on_cpu"](layer, *t), leaves)
            assert [t.device for t in found] == [leaves[0].device, *(t.device for t in leaves)]
            assert all(torch.equal(a.cpu(), b) for a, b in zip(found, right, strict=True))
    (twice,) = {book["on_cpu"](lambda a, n, by: a * n * by, torch.ones(()), 3, by=2).item()}
    assert twice == 6


def check_model(book):
    """The model by hand, with numbers that no two terms share."""
    machine = book["Machine"](wait=3, link=10, memory=100, cpu=7, gpu=1000)
    assert book["round_trip"](70, 20, 30, machine) == (6, 5, 10)
    assert book["on_gpu"](70, 20, 30, machine) == 0.5  # the memory
    assert book["on_gpu"](7000, 20, 30, machine) == 7  # the arithmetic


def check_queue(book):
    """Nothing is done before synchronize, then everything, in order, once."""
    done, queue = [], book["Queue"]()
    for number in (1, 2, 3):
        queue.launch(done.append, number)
    assert done == []
    queue.synchronize()
    queue.synchronize()
    assert done == [1, 2, 3]


def check_layer(book):
    """array_conv2d is F.conv2d, computed by the library that array_modules names and no other."""
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        leaves = draw(dtype)
        leaves[0] = leaves[0].t().contiguous().t()  # another order in memory
        leaves = [t.requires_grad_() for t in leaves]
        right = derivatives(reference, leaves)
        for behind in (False, True):
            xp, signal, called = book["behind_glass"]()
            modules = {"array_modules": lambda tensor, two=(xp, signal): two} if behind else {}
            with patch.dict(book, modules):
                found = derivatives(book["array_conv2d"], leaves)
            for a, b in zip(found, right, strict=True):
                assert a.dtype == dtype and torch.allclose(a, b, rtol=tolerance, atol=tolerance)
            names = {name: called.count(name) for name in called}
            assert not behind or names == {
                "from_dlpack": 6, "ascontiguousarray": 4, "correlate2d": 2, "convolve2d": 1,
                "sum": 1,
            }  # fmt: skip
    assert torch.autograd.gradcheck(book["array_conv2d"], [t.requires_grad_() for t in draw()])
    with patch.dict(book, array_modules=lambda tensor: book["behind_glass"]()[:2]):
        _, needed, _ = leaves = draw()
        needed.requires_grad_()
        assert torch.autograd.grad(book["array_conv2d"](*leaves).sum(), needed)


def check_crossing(book):
    """A pending minus sign and a gradient survive DLPack; a flipped array crosses."""
    minus = torch.tensor([1 + 2j, 3 + 4j]).conj().imag
    assert minus.is_neg()
    assert book["to_library"](np, minus).tolist() == [-2, -4]
    assert book["to_library"](np, torch.ones(2, requires_grad=True)).tolist() == [1, 1]
    asked = []
    xp = SimpleNamespace(ascontiguousarray=lambda a: asked.append(a) or np.ascontiguousarray(a))
    assert book["from_library"](xp, np.arange(3.0)).tolist() == [0, 1, 2]
    assert len(asked) == 1  # a flipped array would end the process, so it is not tried
    array = np.arange(3.0)
    book["from_library"](np, array)[0] = 7
    assert array[0] == 7  # shared, not copied


def check_stream(book):
    """On CUDA the work is done inside torch's current stream of the tensor's device."""
    said = []

    class Entered:
        def __init__(self, *what):
            self.what = what

        def __enter__(self):
            said.append(("in", *self.what))

        def __exit__(self, *error):
            said.append(("out", *self.what))

    fakes = {
        "cupy": SimpleNamespace(
            cuda=SimpleNamespace(ExternalStream=lambda ptr, index: Entered("stream", ptr, index))
        ),
        "cupyx.scipy.signal": "signal",
    }
    tensor = SimpleNamespace(device=torch.device("cuda:1"))
    with (
        patch.dict(book, import_module=fakes.__getitem__),
        patch.object(torch.cuda, "device", lambda index: Entered("device", index)),
        patch.object(torch.cuda, "current_stream", lambda *_: SimpleNamespace(cuda_stream=123)),
    ):
        assert book["array_modules"](tensor) == (fakes["cupy"], "signal")
        with book["same_stream"](tensor):
            said.append("work")
    stream = "stream", 123, 1
    assert said == [
        ("in", "device", 1), ("in", *stream), "work", ("out", *stream), ("out", "device", 1),
    ]  # fmt: skip
    with patch.dict(book, import_module=None), book["same_stream"](torch.ones(1)):
        assert book["array_modules"](torch.ones(1))[0] is np  # the CPU imports nothing


def check_refusals(book):
    """A message for each wrong call; nothing that is right is refused."""
    x, w, b = draw()
    meta = [t.to("meta") for t in (x, w, b)]
    for arguments, error, words in (
        ((x, meta[1], b), ValueError, r"one device, got cpu, meta, cpu"),
        (meta, ValueError, r"no array library for device meta"),
        ((x.numpy(), w, b), TypeError, r"input must be a torch.Tensor"),
        ((x, w.float(), b), TypeError, r"one dtype"),
        ((x.to_sparse(), w, b), ValueError, r"input must be dense"),
        ((x[None], w, b), ValueError, r"input must have the two axes"),
        ((w, x, b), ValueError, r"must not be larger"),
        ((x, w, b[0]), ValueError, r"bias must have shape"),
    ):
        with pytest.raises(error, match=words):
            book["array_conv2d"](*arguments)
    book["check_arrays"](*meta)  # any device, if it is one
    with (
        patch.dict("sys.modules", cupy=None),
        pytest.raises(ImportError, match="install cupy-cuda"),
    ):
        book["array_modules"](SimpleNamespace(device=torch.device("cuda:0")))


def check_glass(book):
    """The stand-in lets nothing through but its own module's allowed names."""
    xp, signal, called = book["behind_glass"]()
    one, other = xp.from_dlpack(torch.eye(3)), np.eye(3)
    assert torch.from_dlpack(one + one).tolist() == (2 * np.eye(3)).tolist()
    called.clear()
    for call in (
        lambda: np.add(one, one), lambda: np.sum(one), lambda: np.asarray(one),
        lambda: one + other, lambda: other + one, lambda: one + torch.eye(3),
        lambda: signal.correlate2d(one, other), lambda: xp.sum(torch.eye(3)),
        lambda: BOOK["scipy"].signal.correlate2d(one, one),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call()
    with pytest.raises(AttributeError, match="stand-in has no cumsum"):
        xp.cumsum(one)
    called.clear()
    assert isinstance(xp.sum(one, keepdims=True), type(one)) and called == ["sum"]


CHECKS = [
    check_border, check_trip, check_model, check_queue, check_layer, check_crossing, check_stream,
    check_refusals, check_glass,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__[6:])
def test_book(check):
    check(BOOK)


BROKEN = [
    (check_border, "self.copies.append((target.type, tensors[0].nbytes))", "pass"),
    (check_border, "if any(far) and not all(far):", "if False:"),
    (check_border, 'raise RuntimeError("a Far tensor computes', "return func  # ("),
    (check_border, "Far(tensors[0].clone())", "Far(torch.zeros_like(tensors[0]))"),
    (check_trip, ".to(arguments[0].device)", ""),
    (check_trip, "[a.cpu() if", "[a.detach().cpu() if"),
    (check_trip, "(*near, **options)", "(*near)"),
    (check_model, "2 * machine.wait", "machine.wait"),
    (check_model, "(over + back) / machine.link", "over / machine.link"),
    (check_model, "return max(", "return min("),
    (check_queue, "self.jobs.pop(0)", "self.jobs.pop()"),
    (check_queue, "self.jobs.append((job, arguments))", "job(*arguments)"),
    (check_layer, "xp.sum(g, keepdims=True)", "np.sum(g, keepdims=True)"),
    (check_layer, "signal.convolve2d(g, w", "convolve2d(g, w"),
    (check_layer, 'signal.convolve2d(g, w, mode="full")', 'signal.correlate2d(g, w, mode="full")'),
    (check_layer, "signal.correlate2d(x, g", "signal.correlate2d(g, x"),
    (check_layer, 'signal.correlate2d(x, w, mode="valid") + b', "np.add(1, b)"),
    (check_layer, "(to_library(xp, tensor) for tensor", "(tensor.detach().numpy() for tensor"),
    (check_crossing, "tensor.detach().resolve_neg()", "tensor.detach()"),
    (check_crossing, "tensor.detach().resolve_neg()", "tensor.resolve_neg()"),
    (check_crossing, "xp.ascontiguousarray(array)", "array"),
    (check_crossing, "xp.ascontiguousarray(array)", "xp.ascontiguousarray(array).copy()"),
    (check_stream, "cupy.cuda.ExternalStream(queue.cuda_stream, index)", "same_stream(queue)"),
    (check_stream, "ExternalStream(queue.cuda_stream, index)", "ExternalStream(0, index)"),
    (check_stream, "with torch.cuda.device(index):", "if True:"),
    (check_refusals, "if len(set(devices)) > 1:", "if False:"),
    (check_refusals, "    check_arrays(input, filter, bias)\n", ""),
    (check_refusals, "except ImportError as error:", "except ZeroDivisionError as error:"),
    (check_refusals, "torch.empty((), dtype=t.dtype)", "torch.empty(())"),
    (check_glass, 'raise TypeError("an implicit', 'return self._inner  # ("'),
    (check_glass, "if isinstance(value, (np.ndarray, torch.Tensor)):", "if False:"),
    (check_glass, "if name not in self._names:", "if False:"),
]


@pytest.mark.parametrize(("check", "old", "new"), BROKEN)
def test_a_broken_copy_is_refused(check, old, new):
    book = broken_layers(NAME, (old, new), ids="gpu")
    with pytest.raises((AssertionError, TypeError, ValueError, RuntimeError, AttributeError,
                        KeyError, ImportError, BufferError, pytest.fail.Exception)):  # fmt: skip
        check(book)


def said_about(table):
    """What the chapter prints about a table in the cell of the measurement."""
    cells = {
        cell["id"]: cell["source"] for cell in read(NOTEBOOKS / "en" / f"{NAME}.ipynb")["cells"]
    }
    machine = BOOK["Machine"](10e-6, 31.5e9, 500e9, 50e9, 10e12)
    space = dict(BOOK) | {"example": machine}
    exec(table, space)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(cells["gpu-measured-read"], space)
    return out.getvalue()


def test_the_chapter_reads_the_table_that_the_bench_writes():
    assert "not measured yet" in said_about('MEASURED = ""')
    lines = []
    for side in bench_gpu.SIDES:  # 20 µs and 8 GB/s over, another machine for the rest
        found = dict.fromkeys(bench_gpu.COLUMNS, 5e-6 + 4 * side**2 / 20e9)
        lines.append(bench_gpu.line(side, found | {"over": 20e-6 + 4 * side**2 / 8e9}))
    said = said_about(bench_gpu.source("2026-01-01, a machine", lines))
    assert said.startswith("2026-01-01, a machine\nover ") and "not measured" not in said
    assert "wait / µs: 20  GB/s: 8" in said and said.count("wait / µs: 5  GB/s: 20") == 3


def test_the_bench_measures_each_column():
    found = bench_gpu.measure(BOOK, "cpu", 8, lambda: None, rounds=2)
    assert set(found) == set(bench_gpu.COLUMNS) and all(0 < time < 1 for time in found.values())
    calls = bench_gpu.jobs(BOOK, "cpu", 8)
    for name in ("over", "back", "over-pinned"):  # on the CPU, too, they copy
        assert len({made.data_ptr() for made in [calls[name](), calls[name]()]}) == 2


def check_clock(seconds):
    """A call's time is that of the work it has queued, and of no other's."""
    clock, queue = [0.0], [100.0]  # another's work is waiting

    def synchronize():
        clock[0] += sum(queue)
        queue.clear()

    with patch.object(bench_gpu, "perf_counter", lambda: clock[0]):
        assert seconds(lambda: queue.append(2.0), synchronize, count=3) == 2.0


def test_the_clock_waits():
    check_clock(bench_gpu.seconds)
    source = (bench_gpu.ROOT / "tools" / "bench_gpu.py").read_text(encoding="utf8")
    function = source[source.index("def seconds") : source.index("def measure")]
    wait = "    synchronize()\n"
    head, body, end = function.split(wait)
    for broken in (head + body + wait + end, head + wait + body + end):
        space = {"perf_counter": lambda: bench_gpu.perf_counter()}
        exec(broken, space)
        with pytest.raises(AssertionError):
            check_clock(space["seconds"])


def test_the_table_is_written(tmp_path, capsys):
    for language in ("en", "zh"):
        cells = [nbformat.v4.new_code_cell('MEASURED = ""'), nbformat.v4.new_code_cell("other")]
        cells[0].id, cells[1].id = bench_gpu.CELL, "other"
        path = tmp_path / "notebooks" / language / bench_gpu.CHAPTER
        path.parent.mkdir(parents=True)
        save(nbformat.v4.new_notebook(cells=cells), path)
    with patch.object(bench_gpu, "ROOT", tmp_path):
        bench_gpu.write("MEASURED = 'new'")
    for language in ("en", "zh"):
        cells = load(tmp_path / "notebooks" / language / bench_gpu.CHAPTER).cells
        assert [cell.source for cell in cells] == ["MEASURED = 'new'", "other"]
    assert capsys.readouterr().out.count("written") == 2
    assert bench_gpu.CELL in {c.id for c in load(NOTEBOOKS / "en" / bench_gpu.CHAPTER).cells}


def test_without_a_gpu_the_bench_says_so():
    with (
        patch.object(bench_gpu, "definitions", lambda: dict(BOOK)),
        patch.object(torch.cuda, "is_available", lambda: False),
        pytest.raises(SystemExit, match="finds no GPU"),
    ):
        bench_gpu.main([])


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU and its torch")


@needs_gpu
def test_the_trip_on_a_gpu():
    leaves = [t.cuda().requires_grad_() for t in draw()]
    found = derivatives(lambda *t: BOOK["on_cpu"](BOOK["ScipyConv2dFunction"].apply, *t), leaves)
    assert all(t.is_cuda for t in found)
    right = derivatives(reference, leaves)
    assert all(torch.allclose(a, b) for a, b in zip(found, right, strict=True))


@needs_gpu
@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="needs CuPy")
def test_the_layer_on_a_gpu():
    leaves = [t.cuda().requires_grad_() for t in draw()]
    assert torch.autograd.gradcheck(BOOK["array_conv2d"], leaves)
    with torch.cuda.stream(torch.cuda.Stream()):
        found = derivatives(BOOK["array_conv2d"], leaves)
        right = derivatives(reference, leaves)
        assert all(torch.allclose(a, b) for a, b in zip(found, right, strict=True))
