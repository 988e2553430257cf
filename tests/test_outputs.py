"""Promise: outputs are compared by what they say; round-off passes, a change does not."""

import base64
import io
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from nbval import plugin
from PIL import Image


def same(stored, new, kind="text/plain"):
    """Ask nbval itself, through the hooks of conftest.py."""
    cell = object.__new__(plugin.IPyNbCell)
    cell.parent = SimpleNamespace(skip_compare=("metadata", "output_type"), sanitize_patterns={})
    cell.colors, cell.format_output_compare = plugin.nocolors, lambda *_: None

    def output(value):
        node = {"output_type": "display_data", "metadata": {}, "data": {kind: value}}
        return [plugin.NotebookNode(node)]

    return cell.compare_outputs(output(new), output(stored))


@pytest.mark.parametrize(
    ("stored", "new", "expected"),
    [
        ("tensor([[ 0.1234, -0.0000]])", "tensor([[0.1235, 0.0000]])", True),
        ("max error 1.3e-16", "max error 2.2e-16", True),
        ("max error 1.3e-16", "max error 3.1e-05", False),
        ("tensor(0.1234)", "tensor(0.1244)", False),
        ("1.5", "-1.5", False),
        ("torch.Size([3, 3])", "torch.Size([3, 4])", False),
        ("error 1.0", "Error 1.0", False),
        ("nan", "0.0", False),
        ("1.0 2.0", "1.0", False),
    ],
)
def test_text(stored, new, expected):
    assert same(stored, new) is expected


def drawing(scale=1.0, shift=0, label="x", line=True, salt="book"):
    """An SVG as the notebooks store it, with a curve, a picture and a label."""
    style = {**matplotlib.rcParamsDefault, "svg.fonttype": "none", "svg.hashsalt": salt}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4, 2))
        FigureCanvasSVG(figure)
        left, right = figure.subplots(1, 2)
        t = np.linspace(0, 6, 50)
        if line:
            left.plot(t, scale * np.sin(t))
        left.set(xlabel=label, ylim=(-2, 2))
        right.imshow(np.roll(np.arange(64.0).reshape(8, 8), shift, 1), interpolation="none")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"salt": "another"}, True),  # other ids, the same drawing
        ({"scale": 1 + 1e-6}, True),
        ({"scale": 1.05}, False),
        ({"shift": 1}, False),
        ({"label": "y"}, False),
        ({"line": False}, False),
    ],
)
def test_drawing(change, expected):
    assert same(drawing(), drawing(**change), "image/svg+xml") is expected


def test_a_changed_color_is_seen():
    svg = drawing()
    assert "#1f77b4" in svg
    assert not same(svg, svg.replace("#1f77b4", "#1f77b5"), "image/svg+xml")


def picture(values):
    stream = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(stream, format="png")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda a: a, True),
        (lambda a: a + (np.arange(a.size).reshape(a.shape) % 7 == 0), True),  # round-off
        (np.fliplr, False),
        (lambda a: a[:, :-1], False),
        (lambda a: a + 9, False),
    ],
)
def test_picture(change, expected):
    values = np.add.outer(np.arange(64), np.arange(64))
    assert same(picture(values), picture(change(values)), "image/png") is expected


def test_kinds_do_not_mix():
    assert not same(drawing(), "text", "image/svg+xml")
