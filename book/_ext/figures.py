"""Give pictures their cell's alternative text; mark a paragraph `*Figure: ...*` as a caption."""

from docutils import nodes
from sphinx.transforms import SphinxTransform

from .cells import cells


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


def setup(app):
    app.add_transform(DescribeFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
