"""Promise: code has no elements that only repeat the colour of plain text, and loses no colour."""

import re
import sys

from notebooks import ROOT

sys.path.insert(0, str(ROOT / "book"))
from _ext import tokens


def colors(css):
    """The colour of plain code, and of each class of tokens, in both schemes."""
    rule = r'html\[data-theme="(\w+)"\] \.highlight (?:\.(\w+) )?\{([^}]*)\}'
    found = {}
    for scheme, kind, style in re.findall(rule, css):
        found.setdefault(kind, {})[scheme] = style.partition("color:")[2].strip().lower()
    return found


def check_plain(css, pages):
    """List classes left out that have a look of their own, and elements that need not be."""
    found = colors(css)
    said = [f"{kind} has a colour" for kind in tokens.PLAIN if found[kind] != found[""]]
    left = {kind for page in pages for kind in re.findall(r'<span class="(\w+)">', page)}
    same = {kind for kind, look in found.items() if kind and look == found[""]}
    return said + [f"{kind} looks like plain text" for kind in sorted(left & same)]


def read(site):
    css = (site / "en" / "_static" / "pygments.css").read_text(encoding="utf8")
    return css, [path.read_text(encoding="utf8") for path in site.glob("*/*.html")]


def test_site(site):
    css, pages = read(site)
    assert check_plain(css, pages) == []
    assert any('<span class="k">' in page for page in pages)


def test_check_complains(site):
    css, pages = read(site)
    assert check_plain(css, [*pages, '<span class="n">x</span>']) == ["n looks like plain text"]
    broken = css.replace(".highlight .p { color: #080808", ".highlight .p { color: #800000")
    assert broken != css
    assert check_plain(broken, pages) == ["p has a colour"]


def test_text_is_kept():
    code = '<span class="n">a</span> <span class="o">=</span> <span class="p">(</span>'
    assert tokens.TOKEN.sub(r"\1", code) == 'a <span class="o">=</span> ('
