"""Know what the book is called and who wrote it: CITATION.cff."""

from pathlib import Path

import yaml

CITATION = Path(__file__).resolve().parents[2] / "CITATION.cff"


def config_inited(app, config):
    cited = yaml.safe_load(CITATION.read_text(encoding="utf8"))
    config.citation = {**cited, "authors": ", ".join(map(author, cited["authors"]))}


def author(person):
    """A name as it is written in running text; the authors together may have one name."""
    return person.get("name") or f"{person['given-names']} {person['family-names']}"


def setup(app):
    app.add_config_value("citation", {}, "html")
    app.connect("config-inited", config_inited)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
