"""Say in the head of a page what it is, for search engines and for who shares a link to it."""

import re
import unicodedata

from docutils import nodes

CARD = "card.png"  # what is shown where a link is shared
LIMIT = 160  # columns: a Chinese character takes two


def width(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def first_paragraph(document):
    """The text of the first paragraph without a formula."""
    for paragraph in document.findall(nodes.paragraph):
        if not any(paragraph.findall(lambda node: isinstance(node, nodes.math))):
            return " ".join(paragraph.astext().split())
    return ""


def shorten(text):
    """As many whole sentences as there is room for; if they are short, words and an ellipsis."""
    if width(text) <= LIMIT:
        return text
    room = text[:LIMIT]  # no character is narrower than a column
    while width(room) > LIMIT - 2:
        room = room[:-1]
    sentences = re.match(r".*([.?!](?=\s)|[。？！])", room)
    if sentences and width(sentences[0]) >= LIMIT / 2:
        return sentences[0]
    words = re.match(r".*(?=[\s，、；：])", room)
    return (words[0] if words and words[0] else room).rstrip(",;: ") + "…"


def page_context(app, pagename, templatename, context, doctree):
    """What _templates/layout.html puts into the head."""
    if doctree is None:  # a page of the builder, such as the search
        return
    about = [("og:title", app.env.titles[pagename].astext())]
    about.append(("og:site_name", app.config.html_title))
    about.append(("og:type", "website" if pagename == app.config.root_doc else "article"))
    if description := shorten(first_paragraph(doctree)):
        context["description"] = description
        about.append(("og:description", description))
    if address := context.get("pageurl"):
        about.append(("og:url", address))
        if code := app.config.language_code:  # book/build.py puts the picture beside the languages
            about.append(("og:image", app.config.html_baseurl.removesuffix(f"{code}/") + CARD))
    for code, language in app.config.languages.items():
        here = code == (app.config.language_code or "en")
        about.append(("og:locale" if here else "og:locale:alternate", language["locale"]))
    context["about"] = about


def setup(app):
    app.connect("html-page-context", page_context)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
