"""Make every cell's id its anchor, the same in every language, that `chapter.ipynb#id` leads to.

An anchor belongs to its page: the same id in two chapters does not collide. In .md pages anchors
come from `(label)=`, and `page.md#label` leads to them.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform

from .cells import cells


def title(node):
    return node.next_node(nodes.title).astext() if isinstance(node, nodes.section) else ""


class SetAnchors(SphinxTransform):
    default_priority = (
        300  # after (label)= has reached its heading (260), before links look for anchors (879)
    )

    def apply(self):
        anchors = {}
        for node in cells(self.document):
            self.set_id(node, node["cell"]["id"])
            anchors[node["cell"]["id"]] = node
        for name, explicit in self.document.nametypes.items():  # (label)= in .md pages
            label = self.document.nameids.get(name)
            node = self.document.ids.get(label)
            if explicit and isinstance(node, nodes.section):
                self.set_id(node, label)
                anchors[name] = node
        for node in self.document.findall(nodes.section):
            if isinstance(node.parent, nodes.document) and node not in anchors.values():
                self.set_id(node, "title")
        # where MyST looks links up: from this page, and from other pages
        slugs = {name: (0, node["ids"][0], title(node)) for name, node in anchors.items()}
        self.document.myst_slugs = slugs
        self.env.metadata[self.env.docname]["myst_slugs"] = slugs

    def set_id(self, node, id):
        node["ids"] = [id]
        self.document.ids[id] = node


def setup(app):
    app.add_transform(SetAnchors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
