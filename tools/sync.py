"""Bring the Chinese notebooks into step with the English ones, and stamp what was translated anew.

    python tools/sync.py                              code, tags and outputs from en/ to zh/
    python tools/sync.py --stamp 03-fft-layer.ipynb fft-ladder [...]     these cells are up to date
    python tools/sync.py --stamp setup.md                                this page is up to date

A Chinese code cell whose comments are Chinese keeps its text; where the code itself differs, carry
the change over by hand. A new English cell is copied, to be translated.
"""

import ast
import copy
import hashlib
import re
import sys

import nbformat

from execute import ROOT, load, save

EN, ZH = ROOT / "notebooks" / "en", ROOT / "notebooks" / "zh"
CHINESE = re.compile(r"[\u3400-\u9fff]")
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def stamp(source):
    """The first ten hex digits of the SHA-256 of an English source."""
    return hashlib.sha256(source.encode()).hexdigest()[:10]


def program(source):
    """What a code cell does: its syntax tree, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def sync(english, chinese):
    """Change the Chinese notebook in place; return what is left to do by hand."""
    known = {cell.id: cell for cell in chinese.cells}
    cells, left = [], []
    for source in english.cells:
        cell = known.get(source.id)
        if cell is None or cell.cell_type != source.cell_type:
            cell = copy.deepcopy(source)
            if cell.cell_type == "markdown":
                left.append(f"[{cell.id}] is new: translate it")
        for key in ("tags", "teaching", "exercises", "requires", "reason"):
            cell.metadata.pop(key, None)
            if key in source.metadata:
                cell.metadata[key] = source.metadata[key]
        if cell.cell_type == "code":
            if not CHINESE.search(cell.source):
                cell.source = source.source
            if program(cell.source) == program(source.source):
                cell.outputs, cell.execution_count = source.outputs, source.execution_count
            else:
                left.append(f"[{cell.id}] has other code: carry the change over by hand")
        elif cell.metadata.get("translated-from") != stamp(source.source):
            left.append(f"[{cell.id}] changed in English: translate it, then --stamp")
        cells.append(cell)
    left += [f"[{name}] is gone" for name in known.keys() - {cell.id for cell in cells}]
    chinese.cells = cells
    return left


def stamp_cells(name, ids):
    """Record that these Chinese cells say what the English ones say today."""
    chinese = load(ZH / name)
    sources = {cell.id: cell.source for cell in load(EN / name).cells}
    unknown = set(ids) - sources.keys()
    if unknown or not ids:
        sys.exit(f"{name}: name the cells to stamp" + (f"; no cell {unknown}" if unknown else ""))
    for cell in chinese.cells:
        if cell.id in ids:
            cell.metadata["translated-from"] = stamp(sources[cell.id])
    save(chinese, ZH / name)


def stamp_page(name):
    """Record in a Chinese page's front matter which English page it says."""
    page = ZH / name
    line = f"translated-from: {stamp((EN / name).read_text(encoding='utf8'))}"
    text = page.read_text(encoding="utf8")
    front = FRONT_MATTER.match(text)
    lines = [] if front is None else front[1].splitlines()
    lines = [x for x in lines if not x.startswith("translated-from:")] + [line]
    body = text if front is None else text[front.end() :]
    page.write_text("---\n" + "\n".join(lines) + "\n---\n" + body, encoding="utf8")


def main(arguments):
    if arguments[:1] == ["--stamp"] and len(arguments) > 1:
        name = arguments[1]
        return stamp_page(name) if name.endswith(".md") else stamp_cells(name, arguments[2:])
    if arguments:
        sys.exit(__doc__)
    for path in sorted(EN.glob("*.ipynb")):
        target = ZH / path.name
        chinese = load(target) if target.exists() else nbformat.v4.new_notebook()
        for line in sync(load(path), chinese):
            print(f"{path.name} {line}")
        save(chinese, target)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
