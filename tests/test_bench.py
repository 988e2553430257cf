"""Promise: the bench measures what it says, leaves out what cannot run, and writes its table."""

from unittest.mock import patch

import nbformat
import numpy as np
import pytest
import torch

import bench
from execute import load, save
from notebooks import layers

BOOK = layers("13-engines")
TINY = {"images": (12, 16), "filters": (3, 13), "channels": (1, 2), "batches": (1, 2)}


def test_the_grid_is_the_promised_one():
    assert bench.GRID == {
        "images": (28, 64, 256, 512, 1024), "filters": (3, 5, 11, 31, 63),
        "channels": (1, 16), "batches": (1, 32),
    }  # fmt: skip
    found = bench.cases(bench.GRID)
    assert len(found) == len(set(found)) == 2 * 2 * 2 * (5 * 5 - 2)  # two do not fit into 28


def test_filters_that_do_not_fit_are_no_cases():
    found = bench.cases(TINY)
    assert len(found) == 2 * 2 * 2 * 3
    assert not [case for case in found if case[3:] == (12, 13)]


def test_the_three_methods_are_one_layer():
    made = bench.Bench(BOOK)
    x, w = torch.randn(2, 3, 9, 8), torch.randn(4, 3, 3, 2)
    right = made.methods["torch"](x, w)
    for name, layer in made.methods.items():
        leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
        y = layer(*leaves)
        assert torch.allclose(y, right, atol=1e-5), name
        ours = torch.autograd.grad(y.square().sum(), leaves)
        theirs = torch.autograd.grad(made.methods["torch"](*leaves).square().sum(), leaves)
        assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(ours, theirs, strict=True)), name


def test_a_case_is_measured():
    found = bench.Bench(BOOK).measure(("float32", 1, 1, 12, 3), rounds=2)
    assert set(found) == {(m, w) for m in bench.METHODS for w in bench.WAYS}
    assert all(0 < seconds < 1 for seconds in found.values())


def test_what_does_not_fit_is_not_tried():
    windows = ("float64", 1, 1, 1024, 63)
    assert 28e9 < bench.bytes_needed("torch", windows) < 40e9
    assert bench.bytes_needed("fast", windows) < 1e9
    made = bench.Bench(BOOK, free=8e9)
    assert made.fits("fast", "forward", windows) and not made.fits("torch", "forward", windows)
    with patch.object(made, "methods", dict.fromkeys(bench.METHODS, pytest.fail)):
        made.free = 1
        assert made.measure(("float32", 1, 1, 12, 3)) == {}


def test_what_takes_too_long_is_left_out_beforehand():
    made, calls = bench.Bench(BOOK, limit=10), []
    slow = {"fast": 0.001, "loop": 0.2, "torch": 0.001}

    def seconds(call, layer, count=1):
        calls.append(layer)
        return slow[layer]

    with (
        patch.object(made, "methods", {m: m for m in slow}),
        patch.object(bench, "seconds", seconds),
    ):
        found = made.measure(("float32", 1, 1, 28, 3))
        assert ("loop", "both") in found
        calls.clear()
        found = made.measure(("float32", 1, 1, 512, 3))  # 380 times the work
        assert "loop" not in calls and ("loop", "forward") not in found and len(found) == 4
        slow["torch"] = 11
        found = made.measure(("float64", 1, 1, 28, 3))
        assert {method for method, _ in found} == {"fast", "loop"}


def test_the_table_is_written_and_can_be_read(tmp_path, capsys):
    found = {("fast", "forward"): 0.000125, ("torch", "both"): 2.0}
    row = bench.line(("float64", 32, 16, 256, 11), found)
    assert row.split() == ["float64", "32", "16", "256", "11", "0.125", "-", "-", "-", "-", "2000"]
    assert bench.machine(BOOK).endswith(f"torch {torch.__version__}, numpy {np.__version__}, scipy "
                                        f"{bench.sys.modules['scipy'].__version__}")  # fmt: skip
    text = bench.source("2026-01-01, a machine", [row])
    namespace = {}
    exec(text, namespace)
    assert namespace["MEASURED"].splitlines() == ["2026-01-01, a machine", bench.HEAD, row]
    for language in ("en", "zh"):
        cells = [nbformat.v4.new_code_cell("MEASURED = ''"), nbformat.v4.new_code_cell("other")]
        cells[0].id, cells[1].id = bench.CELL, "other"
        path = tmp_path / "notebooks" / language / bench.CHAPTER
        path.parent.mkdir(parents=True)
        save(nbformat.v4.new_notebook(cells=cells), path)
    with patch.object(bench, "ROOT", tmp_path):
        bench.write(text)
    for language in ("en", "zh"):
        cells = load(tmp_path / "notebooks" / language / bench.CHAPTER).cells
        assert [cell.source for cell in cells] == [text, "other"]
    assert capsys.readouterr().out.count("written") == 2


def test_one_command_runs_a_small_grid(capsys):
    small = ["--images", "12", "--filters", "3", "--channels", "1", "--batches", "1", "--print"]
    with patch.object(bench, "definitions", lambda: dict(BOOK)), patch.dict(bench.os.environ):
        bench.main(small)
    said, head, *rows = capsys.readouterr().out.splitlines()
    assert head == bench.HEAD and [row.split()[:5] for row in rows] == [
        ["float32", "1", "1", "12", "3"], ["float64", "1", "1", "12", "3"]]  # fmt: skip
