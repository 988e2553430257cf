"""Say on every page which language it is in, link the others, and use the words of book/locale.

`language_code` is set by book/build.py; without it (plain `jupyter-book build .`) the book has one
language.
"""

from sphinx import locale


def use_own_words(app, config):
    """Look the book theme's words up in book/locale as well, where that has a word of its own."""
    if config.language != "en":
        words, theme = (
            locale.translators["general", catalog] for catalog in ("sphinx", "booktheme")
        )
        words.add_fallback(theme)
        locale.translators["general", "booktheme"] = words


def page_context(app, pagename, templatename, context, doctree):
    here = app.config.language_code
    context["languages"] = app.config.languages if here else {}
    context["language_code"] = here
    context["language"] = app.config.languages[here or "en"]["tag"]  # <html lang>


def setup(app):
    app.add_config_value("languages", {}, "env")
    app.add_config_value("language_code", "", "env")
    app.connect("config-inited", use_own_words)
    app.connect(
        "html-page-context", page_context, priority=100
    )  # the theme then drops templates that come out empty
    return {"parallel_read_safe": True, "parallel_write_safe": True}
