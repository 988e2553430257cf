"""Typeset the mathematics of the pages while building, by MathJax, so that no page has to do it.

MathJax comes from the package sphinx-mathjax-offline and runs in the JavaScript engine of the
package mini-racer. The pages get its markup, one style sheet for all of them, and its fonts.
"""

import html
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from py_mini_racer import MiniRacer
from sphinx.errors import ExtensionError

PACKAGE = "sphinx-mathjax-offline"
PARTS = [  # each needs the ones before it
    "loader.js", "core.js", "adaptors/liteDOM.js", "input/tex.js",
    "input/tex/extensions/boldsymbol.js", "output/chtml.js", "output/chtml/fonts/tex.js",
    "a11y/assistive-mml.js",
]  # fmt: skip
FONTS = "output/chtml/fonts/woff-v2"
PROGRAM = """
const part = (...names) => names.reduce((all, name) => all[name], MathJax._);
const {liteAdaptor} = part("adaptors", "liteAdaptor");
const {TeXFont} = part("output", "chtml", "fonts", "tex_ts");
const {TeX} = part("input", "tex_ts");
const {CHTML} = part("output", "chtml_ts");
const adaptor = liteAdaptor();
part("a11y", "assistive-mml").AssistiveMmlHandler(
  part("handlers", "html_ts").RegisterHTMLHandler(adaptor));
const output = new CHTML({font: new TeXFont({fontURL: "mathjax"})});
const page = part("mathjax", "mathjax").document("", {
  InputJax: new TeX({packages: ["base", "ams", "newcommand", "boldsymbol"]}), OutputJax: output});
const typeset = (tex, display) =>
  adaptor.outerHTML(page.convert(tex, {display, em: 16, ex: 8.5, containerWidth: 1280}));
const style = () => adaptor.textContent(output.styleSheet(page));
"""
# what Sphinx and MyST write for a formula: its class, and TeX between delimiters
FORMULA = re.compile(
    r'<(span|div) class="(?:amsmath )?math notranslate nohighlight"[^>]*>(.*?)</\1>'
    r"(?P<after>[，。；：、？！）”,.;:?!)]*)",  # stays with the formula when a line breaks
    re.DOTALL,
)
TEX = re.compile(
    r"\\\((?P<inline>.*?)\\\)|\\\[(?P<display>.*?)\\\]|(?P<ams>\\begin\{.*)", re.DOTALL
)


class Typesetter:
    """MathJax, ready to turn TeX into markup."""

    def __init__(self):
        self.folder = Path(find_spec(PACKAGE).submodule_search_locations[0], "static", "mathjax")
        self.engine = MiniRacer()
        self.engine.eval('globalThis.MathJax = {config: {}, version: "3.2.2"}; 0')
        for part in PARTS:
            self.engine.eval(f"{(self.folder / part).read_text(encoding='utf8')}; 0")
        self.engine.eval(PROGRAM + "0")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.close()

    def typeset(self, tex, display):
        """The markup of a formula. ExtensionError: TeX that MathJax does not understand."""
        markup = self.engine.eval(f"typeset({json.dumps(tex)}, {json.dumps(display)})")
        if error := re.search(r'data-mjx-error="([^"]*)"', markup):
            raise ExtensionError(f"mathematics: {html.unescape(error[1])}: {tex.strip()}")
        return markup

    def page(self, text):
        """The page's HTML with its formulas typeset."""

        def formula(found):
            text = found[0].replace(found[2], TEX.sub(one, found[2].strip()))
            return f'<span class="together">{text}</span>' if found["after"] else text

        def one(found):
            display = found["inline"] is None
            tex = html.unescape(found["inline"] or found["display"] or found["ams"])
            return self.typeset(tex, display)

        return FORMULA.sub(formula, text)

    def style(self):
        """The style sheet of everything that was typeset."""
        return self.engine.eval("style()")


def page_context(app, pagename, templatename, context, doctree):
    """Load no MathJax, which Sphinx would add to every page with a formula."""
    scripts = context["script_files"]  # the themes hold on to this list, so change it in place
    scripts[:] = [script for script in scripts if not is_mathjax(script)]


def is_mathjax(script):
    return "mathjax" in f"{script.filename} {script.attributes.get('body', '')}".lower()


def build_finished(app, exception):
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    with Typesetter() as mathjax:
        for path in sorted(Path(app.outdir).rglob("*.html")):
            text = path.read_text(encoding="utf8")
            if FORMULA.search(text):
                depth = len(path.relative_to(app.outdir).parts) - 1
                link = f'<link rel="stylesheet" href="{"../" * depth}_static/mathematics.css">'
                text = mathjax.page(text).replace("</head>", f"{link}\n</head>", 1)
                path.write_text(text, encoding="utf8")
        style = mathjax.style()
        (static / "mathematics.css").write_text(style, encoding="utf8")
        (static / "mathjax").mkdir(exist_ok=True)
        for name in set(re.findall(r"mathjax/([\w-]+\.woff)", style)):
            shutil.copyfile(mathjax.folder / FONTS / name, static / "mathjax" / name)


def setup(app):
    app.connect("html-page-context", page_context, priority=900)  # after Sphinx has added MathJax
    app.connect("build-finished", build_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
