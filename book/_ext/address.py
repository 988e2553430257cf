"""Leave out of the pages what needs the book's public address until `_config.yml` has one.

With an address, a page names itself in every language to search engines, and its issue button opens
the form of .github/ISSUE_TEMPLATE/mistake.yml with page and language filled in.
"""

from urllib.parse import urlencode

FORM = "mistake.yml"


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
    for group in context["header_buttons"]:
        for button in group.get("buttons", []):
            if button.get("label") == "source-issues-button":
                button["url"] = issue(app, pagename, button["url"])


def issue(app, pagename, url):
    """The address of a new issue that says which page it is about, in which language."""
    page = app.config.html_baseurl + pagename + ".html"
    if not app.config.html_baseurl:
        page = f"{app.config.language_code}/{page}".lstrip("/")
    title = f"[{app.config.language_code or app.config.language}] {pagename}: "
    address = url.partition("?")[0]
    if "/-/" in address:  # GitLab
        return f"{address}?{urlencode({'issue[title]': title, 'issue[description]': page})}"
    return f"{address}?{urlencode({'template': FORM, 'title': title, 'where': page})}"


def setup(app):
    app.connect("config-inited", config_inited)
    app.connect("html-page-context", page_context, priority=600)  # after the theme's buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
