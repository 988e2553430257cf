"""Delete from the built book what no page needs, or not yet."""

import re
from pathlib import Path

# the icons come from a font, in the one format that every browser reads; source maps are for those
# who write the theme; the rest serves other builders and tools that read a site's inventory
UNUSED = [
    ".buildinfo",
    "objects.inv",
    "_static/*webpack-macros.html",
    "_static/**/*.map",
    "_static/**/*.LICENSE.txt",
    "_static/locales/**/*.[mp]o",
    "_static/scripts/fontawesome.js",
    "_static/vendor/fontawesome/**/*.ttf",
    "_static/copybutton_funcs.js",
    "_static/copy-button.svg",
    "_static/check-solid.svg",
    "_static/minus.png",
    "_static/plus.png",
    "_static/styles/bootstrap.css",
]
# the index of the search is the largest file; book.js loads it when somebody begins to search
INDEX = re.compile(r'<script src="[^"]*searchindex\.js"></script>\n?')
TTF = re.compile(r',\s*url\([^)]*\.ttf\)\s*format\("truetype"\)')


def build_finished(app, exception):
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for path in [path for pattern in UNUSED for path in out.glob(pattern)]:
        path.unlink()
    buttons = app.config.html_theme_options.get("launch_buttons", {})
    launchers = "".join(name for name, address in buttons.items() if address)
    for logo in out.glob("_static/images/logo_*"):
        if logo.stem.removeprefix("logo_") not in launchers:
            logo.unlink()
    for sheet in out.glob("_static/styles/*.css"):
        sheet.write_text(TTF.sub("", sheet.read_text(encoding="utf8")), encoding="utf8")
    for page in set(out.rglob("*.html")) - {out / "search.html"}:
        page.write_text(INDEX.sub("", page.read_text(encoding="utf8")), encoding="utf8")
    for folder in sorted(out.rglob("*"), reverse=True):  # the deepest first
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def setup(app):
    app.connect(
        "build-finished", build_finished, priority=900
    )  # after the others have copied their files
    return {"parallel_read_safe": True, "parallel_write_safe": True}
