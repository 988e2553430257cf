"""Say on the first page how to cite the book, from CITATION.cff, once it has an address to cite.

The year is that of CITATION.cff's date-released, or else of the newest commit, or is left out.
"""

import re
from pathlib import Path

import yaml

CITATION = Path(__file__).resolve().parents[2] / "CITATION.cff"


def config_inited(app, config):
    cited = yaml.safe_load(CITATION.read_text(encoding="utf8"))
    names = ", ".join(map(author, cited["authors"]))
    config.citation = {**cited, "people": cited["authors"], "authors": names}


def author(person):
    """A name as it is written in running text; the authors together may have one name."""
    return person.get("name") or f"{person['given-names']} {person['family-names']}"


def year(app):
    released = str(app.config.citation.get("date-released", ""))
    return (released or max(app.last_changes.values(), default=""))[:4]


def in_words(app):
    """The citation as a sentence, in the manner of the page's language."""
    cited, address = app.config.citation, app.config.html_baseurl
    if app.config.language_code == "zh":  # GB/T 7714
        parts = [cited["authors"], f"{app.config.html_title}[EB/OL]", year(app), address]
    else:
        parts = [cited["authors"], app.config.html_title, year(app), address]
    return ". ".join(filter(None, parts))


def as_bibtex(app):
    """The citation for BibTeX: braces keep the capitals, and the authors' one name together."""
    title = re.sub(r"(\w*[a-z]\w*[A-Z]\w*)", r"{\1}", app.config.html_title)
    people = app.config.citation["people"]
    authors = " and ".join(f"{{{author(p)}}}" if "name" in p else author(p) for p in people)
    fields = {"author": authors, "title": title, "year": year(app), "url": app.config.html_baseurl}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join(["@book{extending-pytorch,", *lines, "}"])


def page_context(app, pagename, templatename, context, doctree):
    if pagename == app.config.root_doc and app.config.html_baseurl:
        context["citation"] = {"words": in_words(app), "bibtex": as_bibtex(app)}


def setup(app):
    app.add_config_value("citation", {}, "html")
    app.connect("config-inited", config_inited)
    app.connect("html-page-context", page_context)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
