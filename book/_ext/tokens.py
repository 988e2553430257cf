"""Highlight only what has a colour of its own.

More than half of the elements of a chapter would be names, signs and spaces of code in the colour
of plain text: bytes for the line, and work for the phone that lays them out.
"""

import re

PLAIN = ("w", "n", "nn", "nx", "p", "pm")  # Pygments' classes that look like plain text
TOKEN = re.compile(rf'<span class="(?:{"|".join(PLAIN)})">([^<]*)</span>')


def builder_inited(app):
    if app.builder.format != "html":
        return
    highlighter = app.builder.highlighter
    whole = highlighter.highlight_block

    def highlight_block(*args, **kwargs):
        return TOKEN.sub(r"\1", whole(*args, **kwargs))

    highlighter.highlight_block = highlight_block


def setup(app):
    app.connect("builder-inited", builder_inited)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
