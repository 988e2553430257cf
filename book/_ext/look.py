"""Use the templates, style and script of book/, from wherever the book is built."""

from pathlib import Path

BOOK = Path(__file__).resolve().parents[1]


def config_inited(app, config):
    config.templates_path.insert(0, str(BOOK / "_templates"))
    config.html_static_path.append(str(BOOK / "_static"))


def setup(app):
    app.connect("config-inited", config_inited, priority=100)
    app.add_css_file("book.css", priority=900)
    app.add_js_file("book.js", defer="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
