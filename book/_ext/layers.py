"""Offer a chapter's layers as one Python file: layers/fft_layer.py, from 03-fft-layer.ipynb.

The file holds the `recap` and `layer` cells, in order, after those imports of the `setup` cell that
they use; its comments are in the language of the page.
"""

import ast
import json
import re
from pathlib import Path

from sphinx.locale import _

NUMBER = re.compile(r"^(\d+)-")


def file_name(docname):
    """An importable name: fft_layer.py."""
    return NUMBER.sub("", docname.split("/")[-1]).replace("-", "_") + ".py"


def needed_imports(setup, cells):
    """Those imports of the setup cell that the other cells use."""
    trees = [ast.parse(cell) for cell in cells]
    used = {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name)}
    for node in ast.parse(setup).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound = [(alias.asname or alias.name.split(".")[0], alias) for alias in node.names]
            node.names = [alias for name, alias in bound if name in used]
            if node.names:
                yield ast.unparse(node)


def layers(notebook):
    """The code of the file, or nothing if the chapter defines no layer."""
    setup, cells, found = "", [], False
    for cell in notebook["cells"]:
        tags, source = set(cell["metadata"].get("tags", [])), "".join(cell["source"])
        if "setup" in tags:
            setup = source
        elif tags & {"recap", "layer"} and cell["cell_type"] == "code":
            cells.append(source)
            found = found or "layer" in tags
    return "\n\n\n".join(["\n".join(needed_imports(setup, cells)), *cells]) if found else ""


def header(app, docname):
    """What stands above the code: where it is from, and under which license."""
    number, title = NUMBER.match(docname.split("/")[-1])[1], app.env.titles[docname].astext()
    title = title.removeprefix(f"{number}. ")
    lines = [
        _("The layers of chapter %(number)s, “%(title)s”.") % {"number": number, "title": title},
        _("From the book “%s”.") % app.config.html_title,
    ]
    if app.config.html_baseurl:
        lines.append(f"{app.config.html_baseurl}{docname}.html")
    lines.append(f"Copyright (c) {app.config.citation['authors']}")
    lines.append("SPDX-License-Identifier: BSD-3-Clause")
    return "\n".join(f"# {line}" for line in lines)


def page_context(app, pagename, templatename, context, doctree):
    """Write the file of a chapter; its page then offers it."""
    path = Path(app.env.doc2path(pagename))
    if path.suffix != ".ipynb":
        return
    if code := layers(json.loads(path.read_text(encoding="utf8"))):
        file = Path(app.outdir, "layers", file_name(pagename))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{header(app, pagename)}\n\n{code}\n", encoding="utf8")
        context["layers"] = f"layers/{file.name}"
        offer_in_header(context)


def offer_in_header(context):
    """Add the file to the theme's list of downloads, after the notebook."""
    for button in context["header_buttons"]:
        if button.get("label") == "download-buttons":
            text = {"text": ".py", "tooltip": _("Download the layers as one Python file")}
            look = {"type": "link", "icon": "fas fa-code", "label": "download-layers-button"}
            url = context["pathto"](context["layers"], 1)
            button["buttons"].insert(1, {**look, **text, "url": url})


def setup(app):
    app.connect("html-page-context", page_context, priority=600)  # after the theme's buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
