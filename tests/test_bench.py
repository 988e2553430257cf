"""Promise: the bench measures what it says, leaves out what cannot run, and writes its tables."""

import re
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
    text = bench.source("2026-01-01, a machine", bench.HEAD, [row])
    namespace = {}
    exec(text, namespace)
    assert namespace["MEASURED"].splitlines() == ["2026-01-01, a machine", bench.HEAD, row]
    for chapter in bench.TABLES:
        paths = tables(tmp_path, chapter)
        with patch.object(bench, "ROOT", tmp_path):
            bench.write(chapter, text)
        for path in paths:
            assert [cell.source for cell in load(path).cells] == [text, "other"]
        assert capsys.readouterr().out.count("written") == 2


def tables(folder, chapter):
    """Notebooks of a chapter, in both languages, with an empty table."""
    name, place = bench.TABLES[chapter]
    found = [folder / "notebooks" / language / name for language in ("en", "zh")]
    for path in found:
        cells = [nbformat.v4.new_code_cell("MEASURED = ''"), nbformat.v4.new_code_cell("other")]
        cells[0].id, cells[1].id = place, "other"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(nbformat.v4.new_notebook(cells=cells), path)
    return found


def test_the_cells_of_the_tables_are_in_both_languages():
    for name, place in bench.TABLES.values():
        for language in ("en", "zh"):
            cells = load(bench.ROOT / "notebooks" / language / name).cells
            (cell,) = (cell for cell in cells if cell.id == place)
            assert "measured" in cell.metadata.tags


def test_a_contest_is_told_by_medians_of_rounds():
    rounds = {"A": [1.0, 2.0, 50.0], "B": [1.5, 3.0, 1.0]}  # B / A: 1.5, 1.5, 0.02
    first, second = (re.split("  +", row) for row in bench.contest_lines("race 1", rounds))
    assert first == ["race 1", "A", "2e+06", "1"]
    assert second == ["race 1", "B", "1.5e+06", "1.5"]


def test_chapter_12_is_measured_with_its_own_instrument(tmp_path, capsys):
    steps = {(1, 1): iter([1.0, 1.0, 9.0]), (2, 1): iter([2.0, 4.0, 2.0])}
    book = {
        "torch": torch,
        "contests": lambda: [("race 1", "AB"), ("call", "AB")],
        "take_turns": lambda names: dict(zip(names, ([1.0] * 3, [4.0] * 3), strict=True)),
        "step_time": lambda *threads: next(steps[threads]),
    }
    paths = tables(tmp_path, 12)
    with (
        patch.object(bench, "definitions", lambda chapter: book if chapter == 12 else None),
        patch.object(bench, "THREADS", tuple(steps)),
        patch.object(bench, "ROOT", tmp_path),
        patch.dict(bench.os.environ),
    ):
        bench.main(["--chapter", "12"])
    namespace = {}
    exec(load(paths[1]).cells[0].source, namespace)
    said, head, *rows = namespace["MEASURED"].splitlines()
    assert head == bench.CONTEST_HEAD and said == bench.machine(BOOK)
    assert [re.split("  +", row)[::3] for row in rows] == [  # in this order
        ["race 1", "1"], ["race 1", "4"], ["call", "1"], ["call", "4"],
        ["threads", "1"], ["threads", "2"],
    ]  # fmt: skip
    assert re.split("  +", rows[-1])[1:3] == ["(2, 1)", "2e+06"]
    assert set(load(paths[0]).cells[0].source.splitlines()) <= {
        *capsys.readouterr().out.splitlines(), "MEASURED = '''\\", "'''"}  # fmt: skip


def test_one_command_runs_a_small_grid(capsys):
    small = ["--images", "12", "--filters", "3", "--channels", "1", "--batches", "1", "--print"]
    with (
        patch.object(bench, "definitions", {13: dict(BOOK)}.get),
        patch.dict(bench.os.environ),
    ):
        bench.main([*small, "--chapter", "13"])
    said, head, *rows = capsys.readouterr().out.splitlines()
    assert head == bench.HEAD and [row.split()[:5] for row in rows] == [
        ["float32", "1", "1", "12", "3"], ["float64", "1", "1", "12", "3"]]  # fmt: skip
