"""Leave out of the pages what needs the book's public address until `_config.yml` has one.

With an address, a page names itself in every language to search engines, a sitemap names all pages,
and a page's issue button opens the form .github/ISSUE_TEMPLATE/mistake.yml, with page and language
filled in.
"""

from html import escape
from pathlib import Path
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
    if doctree is not None and app.config.language_code and app.config.html_baseurl:
        context["alternates"] = app.alternates[pagename] = alternates(app, pagename)
    for group in context["header_buttons"]:
        for button in group.get("buttons", []):
            if button.get("label") == "source-issues-button":
                button["url"] = issue(app, pagename, button["url"])
            if "url" in button:
                button["url"] = escape(button["url"])  # the theme writes it as it is


def base(app):
    """The address of the site, above those of the languages."""
    return app.config.html_baseurl.removesuffix(f"{app.config.language_code}/")


def alternates(app, pagename):
    """The addresses of a page by language, and the one for readers of all other languages."""
    found = {
        language["tag"]: f"{base(app)}{code}/{pagename}.html"
        for code, language in app.config.languages.items()
    }
    start = pagename == app.config.root_doc
    return {**found, "x-default": base(app) if start else found["en"]}


def builder_inited(app):
    app.alternates = {}


def build_finished(app, exception):
    """Write the sitemap of all languages; book/build.py puts it where it belongs."""
    if exception or not app.alternates:
        return
    lines = []
    for addresses in app.alternates.values():
        links = [
            f'<xhtml:link rel="alternate" hreflang="{tag}" href="{escape(address)}"/>'
            for tag, address in addresses.items()
        ]
        for tag, address in addresses.items():
            if tag != "x-default":
                lines.append(f"<url><loc>{escape(address)}</loc>{''.join(links)}</url>")
    spaces = (
        'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
        ' xmlns:xhtml="http://www.w3.org/1999/xhtml"'
    )
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {spaces}>'
    text = "\n".join([head, *lines, "</urlset>", ""])
    Path(app.outdir, "sitemap.xml").write_text(text, encoding="utf8")
    robots = f"User-agent: *\nAllow: /\nSitemap: {base(app)}sitemap.xml\n"
    Path(app.outdir, "robots.txt").write_text(robots, encoding="utf8")


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
    app.connect("builder-inited", builder_inited)
    app.connect("html-page-context", page_context, priority=600)  # after the theme's buttons
    app.connect("build-finished", build_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
