"""Let the other extensions see which cell a part of a page comes from.

Every code cell, and the first node of every Markdown cell, gets an attribute `cell`: the cell's
metadata, with its id.
"""

import json

from docutils import nodes
from sphinx.transforms import SphinxTransform

MARK = "notebook cell: "


def mark_cells(app, docname, source):
    """Write down what parsing would lose: about a Markdown cell all, about a code cell its id."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["metadata"]["id"] = cell["id"]
        elif cell["cell_type"] == "markdown":
            about = json.dumps({**cell["metadata"], "id": cell["id"]})
            cell["source"] = f"% {MARK}{about}\n\n{''.join(cell['source'])}"
    source[0] = json.dumps(notebook)


class FindCells(SphinxTransform):
    default_priority = 10

    def apply(self):
        for comment in list(self.document.findall(nodes.comment)):
            if comment.astext().startswith(MARK):
                node = comment.next_node(
                    descend=False, ascend=True
                )  # a heading ends the section the comment is in
                if node is not None:
                    node["cell"] = json.loads(comment.astext().removeprefix(MARK))
                comment.parent.remove(comment)
        for node in self.document.findall(nodes.container):
            if node.get("nb_element") == "cell_code":
                node["cell"] = node["cell_metadata"]


def cells(document):
    """The first nodes of the page's cells, in order."""
    return [node for node in document.findall(nodes.Element) if "cell" in node]


def setup(app):
    app.connect("source-read", mark_cells)
    app.add_transform(FindCells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
