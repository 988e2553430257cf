"""When two outputs say the same: numbers within a tolerance, pictures by what they show."""

import base64
import io
import math
import re
import xml.etree.ElementTree as ET

RTOL, ATOL = (
    1e-4,
    2e-4,
)  # printed numbers: two units of the fourth decimal, torch's default precision
TINY = 1e-12  # numbers printed with an exponent are round-off below this, and differ above it
COORDINATE = 0.01  # points of a drawing, 1/72 inch each
PIXEL = 2.0  # root mean square of a picture's differences, of 255

NUMBER = re.compile(r"(?<![\w#.])([-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?)")
COORDINATES = re.compile(r"(?<![\w#.])([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w#])")
DATA_URL = re.compile(r"data:image/\w+;base64,")


def difference(old, new):
    """Say how ``new`` differs from ``old``, in a line; None where both say the same.

    Both are strings as a notebook stores them: text, SVG, or base64 of a PNG.
    """
    if old == new:
        return None
    kinds = [_kind(old), _kind(new)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} became {kinds[1]}"
    return {"picture": _pixels, "drawing": _drawing, "text": _text}[kinds[0]](old, new)


def _kind(value):
    if value.startswith("iVBORw0KGgo"):
        return "picture"
    return "drawing" if "<svg" in value[:400] else "text"


def _text(old, new):
    a, b = NUMBER.split(old), NUMBER.split(new)
    words = [[" ".join(part.split()) for part in parts[::2]] for parts in (a, b)]
    if words[0] != words[1]:
        lines = [text.splitlines() + [""] for text in (old, new)]
        left, right = next(pair for pair in zip(*lines, strict=False) if pair[0] != pair[1])
        return f"{left[:70]!r} became {right[:70]!r}"
    for x, y in zip(a[1::2], b[1::2], strict=True):
        tolerance = TINY if "e" in (x + y).lower() else ATOL
        if not math.isclose(float(x), float(y), rel_tol=RTOL, abs_tol=tolerance):
            return f"number {x} became {y}"
    return None


def _pixels(old, new):
    import numpy as np
    from PIL import Image

    a, b = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"), dtype=float)
        for data in (old, new)
    )
    if a.shape != b.shape:
        return f"picture of {a.shape[1]}x{a.shape[0]} became {b.shape[1]}x{b.shape[0]} pixels"
    rms = float(np.sqrt(np.mean((a - b) ** 2)))
    return f"pixels differ by {rms:.1f} of 255 (root mean square)" if rms > PIXEL else None


def _drawing(old, new):
    a, b = (list(ET.fromstring(svg.encode()).iter()) for svg in (old, new))
    if [x.tag for x in a] != [y.tag for y in b]:
        return f"drawing of {len(a)} elements became one of {len(b)}, or their kinds changed"
    names = [_names(elements) for elements in (a, b)]
    for x, y in zip(a, b, strict=True):
        tag = x.tag.rpartition("}")[2]
        if x.keys() != y.keys():
            return f"<{tag}>: attributes changed"
        pairs = [("text", x.text or "", y.text or "")]
        pairs += [(key, x.get(key), y.get(key)) for key in x.attrib]
        for key, left, right in pairs:
            if DATA_URL.match(left) and DATA_URL.match(right):
                said = _pixels(DATA_URL.sub("", left), DATA_URL.sub("", right))
            else:
                said = _coordinates(_rename(left, names[0]), _rename(right, names[1]))
            if said:
                return f"<{tag}> {key.rpartition('}')[2]}: {said}"
    return None


def _names(elements):
    """Ids are hashes of what they name: count them in their order instead."""
    ids = [e.get("id") for e in elements if e.get("id")]
    return {name: f"id{n}" for n, name in enumerate(ids)}


def _rename(value, names):
    if value in names:
        return names[value]
    return re.sub(r"#([\w.-]+)", lambda m: "#" + names.get(m[1], m[1]), value)


def _coordinates(old, new):
    a, b = COORDINATES.split(old), COORDINATES.split(new)
    words = [[part.split() for part in parts[::2]] for parts in (a, b)]
    if words[0] != words[1]:
        return f"{old[:40]!r} became {new[:40]!r}"
    for x, y in zip(a[1::2], b[1::2], strict=True):
        if not math.isclose(float(x), float(y), abs_tol=COORDINATE):
            return f"{x} became {y}"
    return None
