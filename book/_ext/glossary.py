"""Fill the glossary from book/terms.yml, and link each chapter's first use of a term to it.

On the page `glossary`, the paragraph that links terms.yml gives way to the terms. In a chapter, a
link carries what its preview (book/_static/book.js) shows, so that nothing has to be fetched.
"""

import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

from .folds import fold
from .questions import choice

logger = logging.getLogger(__name__)
TERMS = Path(__file__).resolve().parents[1] / "terms.yml"
NOT_PROSE = (
    nodes.FixedTextElement, nodes.caption, nodes.image, nodes.literal, nodes.math, nodes.math_block,
    nodes.reference, nodes.table, nodes.title, addnodes.download_reference, addnodes.pending_xref,
    fold, choice,
)  # fmt: skip


class word(nodes.Inline, nodes.TextElement):  # noqa: N801, as docutils names its nodes
    """A word in the other language: <span> with its language."""


class term_link(nodes.Inline, nodes.TextElement):  # noqa: N801
    """A link to an entry of the glossary: <a> with what its preview shows."""


def visit_word(self, node):
    self.body.append(self.starttag(node, "span", "", lang=node["lang"]))


def depart_word(self, node):
    self.body.append("</span>")


def visit_term_link(self, node):
    data = {f"data-{name}": node[name] for name in ("name", "other", "means")}
    self.body.append(self.starttag(node, "a", "", CLASS="term", href=node["refuri"], **data))


def depart_term_link(self, node):
    self.body.append("</a>")


def anchor(term):
    """The anchor of a term's entry, in every language: vector-jacobian-product."""
    return nodes.make_id(term["en"].replace("'", ""))


def languages(app):
    """The language of the pages, and the other one."""
    return ("zh", "en") if app.config.language_code == "zh" else ("en", "zh")


def pattern(terms, language):
    """What finds the terms, the longest first: group names are their places in the list."""
    found = []
    for i, term in enumerate(terms):
        for name in [term["en"], *term.get("also", [])] if language == "en" else [term[language]]:
            found.append((len(name), name, i))
    choices = []
    for n, (_, name, i) in enumerate(sorted(found, reverse=True)):
        name = re.escape(name)
        if language == "en":
            name = name.replace(r"\ ", r"[\s-]+").replace("'", "['’]") + "s?"
        choices.append(f"(?P<t{i}_{n}>{name})")
    choices = "|".join(choices)
    return re.compile(rf"(?<![\w-])(?:{choices})(?![\w-])" if language == "en" else choices, re.I)


def in_code(text):
    """A definition's nodes: `...` is code."""
    parts = enumerate(text.split("`"))
    return [nodes.literal("", part) if i % 2 else nodes.Text(part) for i, part in parts if part]


class FillGlossary(SphinxTransform):
    default_priority = 15

    def apply(self):
        if self.env.docname.split("/")[-1] != "glossary":
            return
        self.env.note_dependency(str(TERMS))
        for link in list(self.document.findall(addnodes.download_reference)):
            if link["reftarget"].endswith(TERMS.name):
                link.parent.replace_self(self.entries())

    def entries(self):
        own, other = languages(self.app)
        entries = nodes.definition_list(classes=["terms"])
        defined = [term for term in self.config.terms if "means" in term]
        for term in sorted(defined, key=lambda term: term["en"].lower()):
            name = nodes.term("", term[own], nodes.Text(" "), ids=[anchor(term)])
            name += word("", term[other], lang=self.config.languages[other]["tag"])
            means = nodes.paragraph("", "", *in_code(term["means"][own]))
            entries += nodes.definition_list_item("", name, nodes.definition("", means))
            self.env.get_domain("std").note_object("term", term["en"], anchor(term))
        return entries


class LinkTerms(SphinxPostTransform):
    default_priority = 500  # after the links that stand in the text are known
    formats = ("html",)

    def run(self):
        if not re.match(r"\d+-", self.env.docname.split("/")[-1]):
            return
        own, _ = languages(self.app)
        terms, seen = self.config.terms, set()
        search = pattern(terms, own)
        for text in list(self.prose(self.document)):
            parts, end = [], 0
            for found in search.finditer(text):
                term = terms[int(found.lastgroup[1:].split("_")[0])]
                if "means" in term and term["en"] not in seen:
                    seen.add(term["en"])
                    parts += [nodes.Text(text[end : found.start()]), self.link(term, found[0])]
                    end = found.end()
            if parts:
                siblings = text.parent.children
                place = next(i for i, child in enumerate(siblings) if child is text)
                text.parent[place : place + 1] = [*parts, nodes.Text(text[end:])]

    def prose(self, node):
        """The texts of the running prose, in order; lines of a paragraph become one text."""
        for place in range(len(node) - 1, 0, -1):
            if isinstance(node[place - 1], nodes.Text) and isinstance(node[place], nodes.Text):
                node[place - 1 : place + 1] = [nodes.Text(node[place - 1] + node[place])]
        for child in node.children:
            if isinstance(child, nodes.Text):
                yield child
            elif not isinstance(child, NOT_PROSE) and not self.is_apart(child):
                yield from self.prose(child)

    def is_apart(self, node):
        return "caption" in node.get("classes", []) or node.get("nb_element") == "cell_code"

    def link(self, term, text):
        own, other = languages(self.app)
        entry = self.env.get_domain("std").objects.get(("term", term["en"]))
        if entry is None:
            logger.warning("no glossary has the term %r", term["en"], location=self.env.docname)
            return nodes.Text(text)
        page = self.app.builder.get_relative_uri(self.env.docname, entry[0])
        data = {"name": term[own], "other": term[other], "means": term["means"][own]}
        return term_link("", text, refuri=f"{page}#{entry[1]}", **data)


def config_inited(app, config):
    config.terms = yaml.safe_load(TERMS.read_text(encoding="utf8"))["terms"]


def setup(app):
    app.add_config_value("terms", [], "env")
    app.connect("config-inited", config_inited)
    app.add_node(word, html=(visit_word, depart_word))
    app.add_node(term_link, html=(visit_term_link, depart_term_link))
    app.add_transform(FillGlossary)
    app.add_post_transform(LinkTerms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
