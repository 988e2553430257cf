"""Let a script of book/_static/touch take the place of a figure's picture.

The picture stays in the page for readers without scripts and for print. A photograph that it has
embedded is handed to the script, so that script and chapter show the same one. Only the pages that
have such a figure load its script.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.transforms import SphinxTransform

from .cells import cells

FIGURES = {  # the cell that draws the picture, and the script
    "fft-slice-figure": "spectrum",
    "conv-window-figure": "slide",
    "conv-photo-step-figure": "filter",
    "check-eps-figure": "epsilon",
}
PHOTOGRAPH = re.compile(r"data:image/png;base64,[\w+/=\s]+")


class touch(nodes.General, nodes.Element):  # noqa: N801, as docutils names its nodes
    """A figure one can touch: <figure> with the name of its script."""


def visit_touch(self, node):
    data = {f"data-{name}": node[name] for name in ("touch", "photograph") if node.get(name)}
    self.body.append(self.starttag(node, "figure", **data))


def depart_touch(self, node):
    self.body.append("</figure>\n")


class WrapPictures(SphinxTransform):
    default_priority = 30  # after the pictures have their alternative texts

    def apply(self):
        for node in cells(self.document):
            id = node["cell"]["id"]
            if id in FIGURES:
                image = node.next_node(nodes.image)
                figure = touch("", touch=FIGURES[id], photograph=self.photograph(id))
                image.replace_self(figure)
                figure += image

    def photograph(self, id):
        """The first picture inside the stored drawing of a cell, as a data: address."""
        notebook = json.loads(Path(self.env.doc2path(self.env.docname)).read_text(encoding="utf8"))
        [outputs] = [cell["outputs"] for cell in notebook["cells"] if cell["id"] == id]
        drawings = ["".join(o.get("data", {}).get("image/svg+xml", "")) for o in outputs]
        found = PHOTOGRAPH.search("".join(drawings))
        return re.sub(r"\s", "", found[0]) if found else ""


def page_context(app, pagename, templatename, context, doctree):
    names = sorted({node["touch"] for node in doctree.findall(touch)}) if doctree else []
    if names:
        app.add_css_file("touch/touch.css", priority=910)  # after book.css
        for name in ["touch", *names]:
            app.add_js_file(f"touch/{name}.js", defer="defer")


def setup(app):
    app.add_node(touch, html=(visit_touch, depart_touch))
    app.add_transform(WrapPictures)
    app.connect("html-page-context", page_context)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
