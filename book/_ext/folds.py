"""Fold runs of `solution` cells, each `hint`, and code: of `setup`, `recap`, `hide-input` cells."""

from docutils import nodes
from sphinx.locale import _
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from .cells import cells

logger = logging.getLogger(__name__)


class fold(nodes.General, nodes.Element):  # noqa: N801, as docutils names its nodes
    """Something that opens: <details> with a summary."""


def visit_fold(self, node):
    self.body.append(self.starttag(node, "details", CLASS="fold"))
    self.body.append(f"<summary>{self.encode(node['summary'])}</summary>\n")


def depart_fold(self, node):
    self.body.append("</details>\n")


def wrap(first, count, **attributes):
    """Put the node and the ones after it, so many in all, into a fold."""
    parent, start = first.parent, first.parent.index(first)
    folded = parent.children[start : start + count]
    parent[start : start + count] = [fold("", *folded, **attributes)]


class FoldCells(SphinxTransform):
    default_priority = 400

    def apply(self):
        run = []  # the first nodes of a hint, or of consecutive solution cells
        for node in [*cells(self.document), None]:
            tags = set(node["cell"].get("tags", [])) if node is not None else set()
            if run and not ("solution" in tags and "solution" in run[0]["cell"]["tags"]):
                self.fold_run(run, node)
                run = []
            if tags & {"solution", "hint"}:
                run.append(node)
            if node is not None and tags & {"setup", "recap", "hide-input"}:
                node.attributes.pop("hide_mode", None)  # MyST-NB's own fold
                if node.children and node[0].get("nb_element") == "cell_code_source":
                    wrap(node[0], 1, summary=_("Show the code"), classes=["code"])

    def fold_run(self, run, after):
        parent, first = run[0].parent, run[0]
        kind = "hint" if "hint" in first["cell"]["tags"] else "solution"
        if any(node.parent is not parent or isinstance(node, nodes.section) for node in run):
            logger.warning("a %s has a heading in it, so it cannot be folded", kind, location=first)
            return
        summary = _("Solution") if kind == "solution" else take_title(first)
        if not summary:
            logger.warning("a hint does not begin with its title in bold", location=first)
            return
        end = parent.index(after) if after is not None and after.parent is parent else len(parent)
        sections = [
            i for i, child in enumerate(parent.children) if isinstance(child, nodes.section)
        ]
        end = min([end, *(i for i in sections if i > parent.index(first))])
        wrap(first, end - parent.index(first), summary=summary, classes=[kind])


def take_title(paragraph):
    """Cut the bold title off the beginning of a paragraph, with its stop, and return it."""
    while paragraph.children and isinstance(paragraph[0], nodes.Text) and not paragraph[0].strip():
        paragraph.pop(0)  # MyST may put nothing in front of what is bold
    if not isinstance(paragraph, nodes.paragraph) or not isinstance(paragraph[0], nodes.strong):
        return ""
    title = paragraph.pop(0).astext().rstrip(".")
    if paragraph.children and isinstance(paragraph[0], nodes.Text):
        text = paragraph[0].astext().lstrip()
        if text[:1] in ("。", "？"):  # in Chinese they stand behind the bold words
            title, text = title + text[0].strip("。"), text[1:]
        paragraph[0] = nodes.Text(text)
    return title


def setup(app):
    app.add_node(fold, html=(visit_fold, depart_fold))
    app.add_transform(FoldCells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
