"""Promise: a name of torch, NumPy or SciPy in the code leads to its documentation."""

import ast
import importlib
import io
import re
import shutil
import tokenize
from collections import Counter

import pytest
import yaml

import test_book
from notebooks import FENCE, LANGUAGES, ROOT, paths, read, tags
from test_book import by_id, cells, pages, soup
from test_pages import press_tab_until

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(ROOT / "book"))
    api = importlib.import_module("_ext.api")

change = test_book.change
TABLE = yaml.safe_load((ROOT / "book" / "api.yml").read_text(encoding="utf8"))
LIBRARIES = {"torch": "torch", "np": "numpy", "scipy": "scipy"}  # as the code calls them
ADDRESS = re.compile(
    r"https://(docs\.pytorch\.org/docs/\d+\.\d+|numpy\.org/doc/\d+\.\d+/reference"
    r"|docs\.scipy\.org/doc/scipy-\d+\.\d+\.\d+/reference)(/[\w.-]+)+\.html(#[\w.-]+)?"
)


def lookup(name):
    """The object with this full name."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def programs():
    """For each page of the English book, the blocks of its Python code."""
    for path in paths("en/*.*"):
        if path.suffix == ".md":
            code = FENCE.finditer(path.read_text(encoding="utf8"))
            yield (
                path.name,
                [b[0].partition("\n")[2].rstrip("`") for b in code if b[0][3:9] == "python"],
            )
        elif path.suffix == ".ipynb":
            code = (cell for cell in read(path)["cells"] if cell["cell_type"] == "code")
            yield path.name, [cell["source"] for cell in code]


# The checks: each lists what is wrong


def check_table(table):
    """Each name of the table is there, once; each method belongs to one library alone."""
    said = []
    for library, entry in table.items():
        names = [n for part in entry["names"].values() for n in part.split()]
        names += entry.get("no link", "").split()
        said += [f"{library}.{n} stands twice" for n in set(names) if names.count(n) > 1]
        for name in names:
            try:
                lookup(f"{library}.{name}")
            except AttributeError:
                said.append(f"{library} has no {name}")
        types = [lookup(name) for name in ("torch.Tensor", "torch.autograd.function.FunctionCtx")]
        others = [lookup("numpy.ndarray"), str, dict, list]
        for name in " ".join(entry.get("methods", {}).values()).split():
            if not any(hasattr(kind, name) for kind in types):
                said.append(f"no tensor or context has .{name}")
            said += [f".{name} also belongs to {k}" for k in others if hasattr(k, name)]
    return said


def check_addresses(addresses):
    """An address has the form of its library's documentation, and names what it is for."""
    said = [f"{name}: {a}" for name, a in addresses.items() if not ADDRESS.fullmatch(a)]
    for name, address in addresses.items():
        if name == "numpy.abs":  # documented as absolute
            continue
        if "/generated/" in address and name.split(".")[-1] not in re.split(r"[./#]", address):
            said.append(f"{name} does not stand in {address}")
    return said


def check_coverage(pages_of_code, table, addresses):
    """Every name that the code uses leads somewhere, or is listed as one that does not."""
    left_out = {f"{lib}.{n}" for lib, e in table.items() for n in e.get("no link", "").split()}
    said = []
    for page, blocks in pages_of_code:
        for found in api.uses(blocks):
            for name, *_ in found:
                parts = name.split(".")
                heads = {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
                if parts[0] not in table or heads & (left_out | set(addresses)):
                    continue
                if not is_module(name):
                    said.append(f"{page}: book/api.yml does not say where {name} is documented")
    return said


def is_module(name):
    try:
        return isinstance(lookup(name), type(ast))
    except AttributeError:
        return False


def dotted(source):
    """The dotted names in a cell, read token by token: `torch.fft.rfft2`."""
    names, strings = [[]], 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        strings += {"FSTRING_START": 1, "FSTRING_END": -1}.get(kind, 0)  # from Python 3.12 on
        if strings:
            continue
        if token.string == ".":
            names[-1].append(".")
        elif token.type == tokenize.NAME and names[-1] and names[-1][-1] == ".":
            names[-1].append(token.string)
        else:
            names.append([token.string] if token.type == tokenize.NAME else [])
    return ["".join(name) for name in names]


def check_links(site, addresses):
    """In every cell, each name of the table is linked, and the code stays what it was."""
    said = []
    for language in LANGUAGES:
        for page, shown in cells(language):
            there = by_id(site / page)
            for cell in (cell for cell in shown if cell["cell_type"] == "code"):
                code = there[cell["id"]].select_one(".cell_input pre")
                if code.get_text().strip() != cell["source"].strip():
                    said.append(f"{page}: the code of {cell['id']} has changed")
                links = Counter((a.get_text(), a["href"]) for a in code.select("a"))
                expected = Counter()
                source = re.sub(r"^from \S+ ", "", cell["source"], flags=re.MULTILINE)  # a module
                for name in dotted(source):
                    head, _, rest = name.partition(".")
                    if address := addresses.get(f"{LIBRARIES.get(head)}.{rest}"):
                        expected[name, address] += 1
                for name, _ in expected - links:
                    said.append(f"{page}: {name} in {cell['id']} is not linked")
    return said


def check_same_links(site):
    """Both languages lead to the same places, in the same order."""
    en, zh = ({n.split("/")[1]: p for n, p in pages(site, lang).items()} for lang in LANGUAGES)
    hrefs = lambda path: [(a["href"], a.get_text()) for a in soup(path).select("a.api")]  # noqa: E731
    return [f"{name}: the links differ" for name in en if hrefs(en[name]) != hrefs(zh[name])]


def check_tab_order(site):
    """The Tab key stops once for each address, and never in a fold if it can stop elsewhere."""
    said = []
    for name, path in pages(site, *LANGUAGES).items():
        links = soup(path).select("a.api")
        stops = [link for link in links if link.get("tabindex") != "-1"]
        if sorted(stop["href"] for stop in stops) != sorted({link["href"] for link in links}):
            said.append(f"{name}: Tab does not stop once for each address")
        outside = {link["href"] for link in links if not link.find_parent("details")}
        said += [
            f"{name}: Tab stops in a fold for {stop['href']}"
            for stop in stops
            if stop.find_parent("details") and stop["href"] in outside
        ]
    return said


def test_table():
    assert check_table(TABLE) == []


def test_addresses():
    assert check_addresses(api.read_table()) == []


def test_every_name_leads_somewhere():
    assert check_coverage(programs(), TABLE, api.read_table()) == []


@pytest.mark.parametrize("check", [check_same_links, check_tab_order], ids=lambda c: c.__name__)
def test_site(check, site):
    assert check(site) == []


def test_links(site):
    assert check_links(site, api.read_table()) == []


# Where names are found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.fft.rfft2(x).abs()", ["torch.fft.rfft2", ".abs=abs"]),
        ("import numpy as np\nnp.ones(3)", ["numpy.ones=np.ones"]),
        ("from scipy.signal import lfilter as f\nf(x)", ["scipy.signal.lfilter=f"]),
        ("import torch.nn.functional as F\nF.pad", ["torch.nn.functional.pad=F.pad"]),
        ("import scipy.signal\nscipy.signal.lfilter", ["scipy.signal.lfilter"]),
        ("from torch.autograd import Function", ["torch.autograd.Function=Function"]),
        ("import torch\nx = 1  # 一个数\n是 = torch.ones  # 全一", ["torch.ones"]),
        ("import torch\ny = '数' + torch.pi", ["torch.pi"]),
        ("import torch\n@torch.no_grad()\ndef f(): pass", ["torch.no_grad"]),
        ("import torch\ntorch.fft\\\n.rfft2", ["torch.fft.rfft2=torch.fft\\\n.rfft2"]),
        ("from torch import ones\ndef f(ones):\n    return ones", []),
        ("from torch import ones\nones = 3\nones", []),
        ("from torch import sum\nclass A:\n    def sum(self): pass\nsum", ["torch.sum=sum"]),
        ("ctx.save_for_backward(x)", [".save_for_backward=save_for_backward"]),
        ("import torch\nf'{torch.pi}'", []),
        ("this is not Python", []),
    ],
)
def test_uses(source, found):
    hits = [(n, source[i:j]) for n, i, j in [*api.uses([source])][0]]
    written = [name if name == text else f"{name}={text}" for name, text in hits]
    for expected in found:
        assert expected in written
    if not found:
        assert [name for name, text in hits if not source.startswith("from")] == []
        assert len(hits) <= 1  # the import itself


def test_a_later_import_counts_from_there_on():
    blocks = ["from numpy.fft import rfft", "rfft", "from scipy.fft import rfft", "rfft"]
    found = [name for block in api.uses(blocks) for name, *_ in block]
    assert found == ["numpy.fft.rfft"] * 2 + ["scipy.fft.rfft"] * 2


# With the mouse, the keyboard and the clipboard


def check_look(page, path):
    """A link looks like the code around it until it is pointed at, or reached with Tab."""
    line = "(a) => getComputedStyle(a).textDecorationLine"
    page.goto(path.as_uri())
    link = page.locator("a.api:not([tabindex])").first
    said = ["underlined before" for _ in range(link.evaluate(line) != "none")]
    if link.evaluate("(a) => getComputedStyle(a).color !== getComputedStyle(a.parentNode).color"):
        said.append("another color")
    link.hover()
    if link.evaluate(line) != "underline":
        said.append("does not show under the mouse")
    page.mouse.move(2, 2)
    press_tab_until(page, "a.api", limit=80)
    if page.evaluate(f"({line})(document.activeElement)") != "underline":
        said.append("does not show at the focus")
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_look(language, page, site):
    assert check_look(page, site / language / "index.html") == []


def check_copy(page, path, source):
    """The copy button copies the code alone."""
    page.goto(path.as_uri())
    page.evaluate("addEventListener('copy', ({ target }) => { window.copied = target.value; })")
    page.hover(f"#{source['id']} .cell_input pre")
    page.click(f"#{source['id']} button.copybtn")
    text = page.evaluate("window.copied")
    return [] if text.strip() == source["source"].strip() else [f"copies {text!r}"]


def a_layer(language):
    """The first cell with a layer, and its page."""
    found = ((n, c) for n, shown in cells(language) for c in shown if "layer" in tags(c))
    return next(found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_copy(language, page, site):
    name, cell = a_layer(language)
    assert check_copy(page, site / name, cell) == []


# Each check complains about a broken copy


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"names": {"a.html": "ones no_such"}}, "torch has no no_such"),
        ({"names": {"a.html": "ones", "b.html": "ones"}}, "torch.ones stands twice"),
        ({"names": {}, "no link": "no_such"}, "torch has no no_such"),
        ({"names": {}, "methods": {"a.html": "no_such"}}, "no tensor or context has .no_such"),
        ({"names": {}, "methods": {"a.html": "reshape"}}, ".reshape also belongs to"),
    ],
)
def test_table_check_complains(entry, complaint):
    assert any(complaint in said for said in check_table({"torch": entry}))


@pytest.mark.parametrize(
    ("address", "complains"),
    [
        ("https://docs.pytorch.org/docs/2.13/generated/torch.ones.html", False),
        ("https://docs.pytorch.org/docs/generated/torch.ones.html", True),
        ("http://docs.pytorch.org/docs/2.13/generated/torch.ones.html", True),
        ("https://docs.pytorch.org/docs/2.13/generated/torch.zeros.html", True),
        ("https://docs.pytorch.org/docs/2.13/generated/{name}.html", True),
        ("https://numpy.org/doc/2.4/generated/torch.ones.html", True),
    ],
)
def test_address_check_complains(address, complains):
    assert bool(check_addresses({"torch.ones": address})) == complains


def test_coverage_check_complains():
    code = [("a", ["import torch, numpy\ntorch.ones, torch.nn, torch.hann_window, numpy.nothing"])]
    assert [said.split()[-3] for said in check_coverage(code, TABLE, api.read_table())] == [
        "torch.hann_window",
        "numpy.nothing",
    ]


LINK = r'<a class="api"[^>]*>(torch\b.*?)</a>'


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_links, LINK, r"\1", "zh/01*.html", "is not linked"),
        (check_links, LINK, r'<a href="x">\1</a>', "zh/01*.html", "is not linked"),
        (check_links, LINK, "x", "zh/01*.html", "has changed"),
        (check_same_links, LINK, r"\1", "zh/01*.html", "the links differ"),
        (check_tab_order, 'class="api" tabindex="-1"', 'class="api"', "zh/01*.html", "stop once"),
        (check_tab_order, 'class="api" href', 'class="api" tabindex="-1" href', "zh/01*", "once"),
    ],
)
def test_check_complains(check, pattern, replacement, where, complaint, change):
    copy = change(pattern, replacement, where)
    said = check(copy, api.read_table()) if check is check_links else check(copy)
    assert any(complaint in finding for finding in said), said


def test_tab_order_check_complains_about_a_fold(change):
    fold = '<details><a class="api" href="x"></a></details><a class="api" tabindex="-1" href="x">'
    said = check_tab_order(change("</article>", f"{fold}</a></article>", "en/setup.html"))
    assert said == ["en/setup.html: Tab stops in a fold for x"]


@pytest.mark.parametrize(
    ("style", "complaint"),
    [
        ("a.api { text-decoration: underline !important }", "underlined before"),
        ("a.api { color: red !important }", "another color"),
        ("a.api:hover { text-decoration: none !important }", "under the mouse"),
        ("a.api:focus { text-decoration: none !important }", "at the focus"),
    ],
)
def test_look_check_complains(style, complaint, page, site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    sheet = copy / "en" / "_static" / "book.css"
    sheet.write_text(sheet.read_text(encoding="utf8") + style, encoding="utf8")
    assert any(complaint in said for said in check_look(page, copy / "en" / "index.html"))


def test_copy_check_complains(page, site):
    name, cell = a_layer("en")
    assert check_copy(page, site / name, {**cell, "source": "x = 1"}) != []
