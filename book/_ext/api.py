"""Link the names of torch, NumPy and SciPy in the code to their documentation, by book/api.yml.

A name leads where the imports of its page say. The first link to an address can be reached with the
Tab key, the others only with the pointer: a chapter has hundreds, and most lead to the same places.
"""

import ast
import html
import itertools
import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from .folds import fold
from .versions import pins

TABLE = Path(__file__).resolve().parents[1] / "api.yml"
PYTHON = {"python", "python3", "ipython", "ipython3"}
TOKEN = re.compile(r"(<span[^>]*>)?([^<]+)(</span>)?")


def read_table():
    """Addresses by full name, and those of methods by `.name`."""
    found = {}
    for library, entry in yaml.safe_load(TABLE.read_text(encoding="utf8")).items():
        version = pins()[library]
        minor = ".".join(version.split(".")[:2])
        for kind, prefix in ("names", f"{library}."), ("methods", "."):
            for page, names in entry.get(kind, {}).items():
                for name in names.split():
                    parts = {"name": prefix + name, "last": name.split(".")[-1]}
                    root = entry["root"].format(version=version, minor=minor)
                    found[prefix + name] = root + page.format(**parts)
    return found


def bound_otherwise(trees):
    """Names that anything but an import binds; a method's name is not one."""
    found = set()
    for tree in trees:
        methods = {
            child
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for child in node.body
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                found.add(node.id)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node not in methods:
                found.add(node.name)
    return found


def outside_strings(tree):
    """The nodes of a tree, but for what stands in f-strings: Python 3.11 misplaces that."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.JoinedStr):
            yield from outside_strings(node)


def full_name(node, imported):
    """The full name that an expression such as `np.fft.rfft2` stands for, or None."""
    if isinstance(node, ast.Name):
        return imported.get(node.id)
    if isinstance(node, ast.Attribute) and (value := full_name(node.value, imported)):
        return f"{value}.{node.attr}"
    return None


def uses(sources):
    """For each block of a page's code: the names used in it, with where each begins and ends.

    Attributes of what is not imported are named `.attribute`.
    """
    trees = []
    for source in sources:
        try:
            trees.append(ast.parse(source))
        except SyntaxError:  # shown to be wrong
            trees.append(ast.parse(""))
    imported, own = {}, bound_otherwise(trees)
    for source, tree in zip(sources, trees, strict=True):
        lines = source.splitlines(keepends=True)
        starts = [sum(map(len, lines[:i])) for i in range(len(lines))]

        def place(line, column, starts=starts, lines=lines):  # columns of ast count bytes
            return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

        found = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.name if alias.asname else alias.name.split(".")[0]
                    imported[alias.asname or name] = name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    imported[alias.asname or alias.name] = name
                    start = place(alias.lineno, alias.col_offset)
                    found.append((name, start, start + len(alias.name)))
        known = {name: full for name, full in imported.items() if name not in own}
        for node in outside_strings(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                end = place(node.end_lineno, node.end_col_offset)
                if name := full_name(node, known):
                    found.append((name, place(node.lineno, node.col_offset), end))
                elif isinstance(node, ast.Attribute):
                    found.append((f".{node.attr}", end - len(node.attr), end))
        yield found


class LinkNames(SphinxPostTransform):
    default_priority = 500
    formats = ("html",)

    def run(self):
        blocks = [
            block
            for block in self.document.findall(nodes.literal_block)
            if block.get("language") in PYTHON
        ]
        sources = [block.rawsource for block in blocks]
        for block, found in zip(blocks, uses(sources), strict=True):
            links, end = [], 0
            longest_first = sorted(found, key=lambda use: (use[1], -use[2]))
            for name, start, stop in longest_first:
                if start >= end and name in self.config.api:
                    links.append([start, stop, self.config.api[name], False])
                    end = stop
            block["api"] = links
        reached = set()
        for block in sorted(blocks, key=self.is_folded):
            for link in block["api"]:
                link[3] = link[2] not in reached
                reached.add(link[2])

    def is_folded(self, node):
        while node := node.parent:
            if isinstance(node, fold):
                return True
        return False


def add_links(highlighted, links):
    """Put links into highlighted code; they may begin and end inside its tokens."""
    before, body, after = re.fullmatch(
        r"(.*?<pre>(?:<span></span>)?)(.*)(</pre>.*)", highlighted, re.DOTALL
    ).groups()
    opens = {start: link for start, _, *link in links}
    closes = {stop for _, stop, *_ in links}
    parts, place = [], 0
    for opening, text, closing in TOKEN.findall(body):
        text = html.unescape(text)
        inside = (edge - place for edge in closes | set(opens) if 0 < edge - place < len(text))
        cuts = sorted({0, *inside, len(text)})
        for i, j in itertools.pairwise(cuts):
            if place + i in closes:
                parts.append("</a>")
            if place + i in opens:
                address, reached = opens[place + i]
                tab = "" if reached else ' tabindex="-1"'
                parts.append(f'<a class="api"{tab} href="{html.escape(address)}">')
            parts += [opening, html.escape(text[i:j]), closing]
        place += len(text)
    return "".join([before, *parts, after])


def visit_literal_block(self, node):
    try:
        type(self).visit_literal_block(self, node)
    except nodes.SkipNode:
        if node.get("api"):
            self.body[-1] = add_links(self.body[-1], node["api"])
        raise


def depart_literal_block(self, node):
    type(self).depart_literal_block(self, node)


def config_inited(app, config):
    config.api = read_table()


def setup(app):
    app.add_config_value("api", {}, "env")
    app.connect("config-inited", config_inited)
    app.add_post_transform(LinkNames)
    handlers = visit_literal_block, depart_literal_block
    app.add_node(nodes.literal_block, override=True, html=handlers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
