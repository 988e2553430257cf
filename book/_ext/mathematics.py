"""Ship the part of MathJax that the pages use, from the package sphinx-mathjax-offline."""

import shutil
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "sphinx-mathjax-offline"
# a command that needs another part fails to load it, and the tests of the pages say which
FILES = ["tex-chtml.js", "input/tex/extensions/boldsymbol.js", "output/chtml/fonts/woff-v2/*.woff"]


def config_inited(app, config):
    config.mathjax_path = "mathjax/tex-chtml.js"
    config.mathjax3_config = {**(config.mathjax3_config or {}), "options": {"enableMenu": False}}


def page_context(app, pagename, templatename, context, doctree):
    """Load MathJax for a page's own mathematics only; Sphinx counts the pages listed below it."""
    if not app.env.get_domain("math").data["has_equations"].get(pagename):
        scripts = context["script_files"]  # the themes hold on to this list, so change it in place
        scripts[:] = [script for script in scripts if not is_mathjax(script)]


def is_mathjax(script):
    return "MathJax" in script.attributes.get("body", "") or "mathjax/" in str(script.filename)


def build_finished(app, exception):
    if exception or app.builder.format != "html":
        return
    source = Path(find_spec(PACKAGE).submodule_search_locations[0], "static", "mathjax")
    for pattern in FILES:
        found = list(source.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{PACKAGE} has no {pattern}")
        for path in found:
            target = Path(app.outdir, "_static", "mathjax", path.relative_to(source))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def setup(app):
    app.connect("config-inited", config_inited, priority=100)  # before MyST adds to mathjax3_config
    app.connect("html-page-context", page_context, priority=900)  # after Sphinx has added MathJax
    app.connect("build-finished", build_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
