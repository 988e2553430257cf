"""Use the templates, style and scripts of book/, from wherever the book is built."""

from pathlib import Path

BOOK = Path(__file__).resolve().parents[1]


def config_inited(app, config):
    config.templates_path.insert(0, str(BOOK / "_templates"))
    config.html_static_path.append(str(BOOK / "_static"))


def page_context(app, pagename, templatename, context, doctree):
    if doctree is not None and app.env.doc2path(pagename).endswith(".ipynb"):  # a chapter
        app.add_js_file("present.js", defer="defer")


def setup(app):
    app.connect("config-inited", config_inited, priority=100)
    app.connect("html-page-context", page_context)
    app.add_css_file("book.css", priority=900)
    app.add_js_file("book.js", defer="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
