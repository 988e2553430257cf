"""Number the chapters by their file names: the title of `03-fft-layer.ipynb` begins with "03."."""

import re

from docutils import nodes
from sphinx.transforms import SphinxTransform


class NumberChapters(SphinxTransform):
    default_priority = 20

    def apply(self):
        number = re.match(r"(\d+)-", self.env.docname.split("/")[-1])
        title = self.document.next_node(nodes.title)
        if number and title is not None:
            title.insert(0, nodes.Text(f"{number[1]}. "))


def setup(app):
    app.add_transform(NumberChapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
