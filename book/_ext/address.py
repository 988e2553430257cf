"""Leave out of the pages what needs the book's public address until `_config.yml` has one."""


def config_inited(app, config):
    options = config.html_theme_options
    if options.get("repository_url"):
        options.update(
            use_edit_page_button=True, use_issues_button=True, use_repository_button=True
        )
    else:
        options.pop("repository_url", None)
        options["launch_buttons"] = {}


def page_context(app, pagename, templatename, context, doctree):
    """The addresses of this page in every language, for search engines."""
    base = app.config.html_baseurl.removesuffix(f"{app.config.language_code}/")
    if base and app.config.language_code:
        context["alternates"] = {
            language["tag"]: f"{base}{code}/{pagename}.html"
            for code, language in app.config.languages.items()
        }


def setup(app):
    app.connect("config-inited", config_inited)
    app.connect("html-page-context", page_context)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
