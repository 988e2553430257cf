"""Say on each page which versions a chapter was run with, and when the page was last changed.

The dates are those of the commits: read with one call of git for all pages, which needs no further
package. Without them (no git, or a clone that has not all commits) they are left out.
"""

import subprocess
from pathlib import Path

from .versions import PINS, pins

ROOT = PINS.parents[1]


def git(*command):
    """What a git command prints; nothing if it fails or there is no git."""
    try:
        result = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, encoding="utf8")
    except OSError:
        return ""
    return result.stdout if result.returncode == 0 else ""


def last_changes():
    """The date of the last commit that changed a file, by the file's path from ROOT."""
    if git("rev-parse", "--is-shallow-repository").strip() != "false":
        return {}
    found, date = {}, ""
    log = git("log", "--format=@%as", "--name-only", "--relative", "-z", "--", "notebooks", "book")
    for line in log.replace("\0", "\n").splitlines():
        if line.startswith("@"):
            date = line[1:]
        elif line:
            found[line] = max(date, found.get(line, ""))
    return found


def builder_inited(app):
    app.last_changes = last_changes()


def page_context(app, pagename, templatename, context, doctree):
    """The dates of a page, and the versions of a chapter, for _templates/about-page.html."""
    if doctree is None:
        return
    sources = {app.env.doc2path(pagename), *app.env.dependencies.get(pagename, ())}
    changed = [changed_on(app, source) for source in sources]
    context["changed"] = max(changed)
    if context["page_source_suffix"] == ".ipynb":
        context["versions"] = pins()
        notebook = changed_on(app, app.env.doc2path(pagename))
        context["run"] = notebook and max(notebook, changed_on(app, PINS))


def changed_on(app, source):
    path = Path(app.srcdir, source).resolve()
    inside = path.is_relative_to(ROOT)
    return app.last_changes.get(path.relative_to(ROOT).as_posix(), "") if inside else ""


def setup(app):
    app.connect("builder-inited", builder_inited)
    app.connect("html-page-context", page_context)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
