"""Give pictures their cell's alternative text and their size; mark `*Figure: ...*` as a caption.

A picture is loaded when the reader comes near it; since its size is known, nothing moves then
(its ratio stands beside it, for sides in whole pixels would be a pixel off).
"""

import re
import struct
from pathlib import Path

from docutils import nodes
from sphinx.transforms import SphinxTransform

from .cells import cells

PICTURE = re.compile(r'<img (?P<rest>[^>]*?src="(?P<address>[^":]+\.(?:svg|png))"[^>]*?)\s*/?>')
UNITS = {"": 1, "px": 1, "pt": 4 / 3}  # in CSS pixels


class DescribeFigures(SphinxTransform):
    default_priority = 20

    def apply(self):
        for node in cells(self.document):
            if "alt" in node["cell"]:
                for image in node.findall(nodes.image):
                    image["alt"] = node["cell"]["alt"]
        for paragraph in self.document.findall(nodes.paragraph):
            emphasized = len(paragraph) == 1 and isinstance(paragraph[0], nodes.emphasis)
            if emphasized and paragraph.astext().startswith(("Figure:", "图：")):
                paragraph["classes"].append("caption")


def size(path):
    """The width and height of an SVG or PNG file, in CSS pixels."""
    if path.suffix == ".png":
        return struct.unpack(">II", path.read_bytes()[16:24])
    root = re.search(r"<svg\b[^>]*>", path.read_text(encoding="utf8"))[0]
    sides = re.findall(r'\s(?:width|height)="([\d.]+)(px|pt|)"', root)
    if len(sides) == 2:
        return [float(number) * UNITS[unit] for number, unit in sides]
    return [float(n) for n in re.search(r'viewBox="([^"]*)"', root)[1].split()[2:]]


def build_finished(app, exception):
    if exception or app.builder.format != "html":
        return

    def sized(found):
        if "width=" in found["rest"]:
            return found[0]
        width, height = size(path.parent / found["address"])
        shape = f'style="aspect-ratio: auto {width:g} / {height:g}"'
        sides = f'width="{width:.0f}" height="{height:.0f}"'
        return f'<img loading="lazy" {sides} {shape} {found["rest"]}>'

    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf8")
        path.write_text(PICTURE.sub(sized, text), encoding="utf8")


def setup(app):
    app.add_transform(DescribeFigures)
    app.connect("build-finished", build_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
