"""The notebooks as the tests see them: paths, cells, and the layers that they define."""

import functools
import io
import itertools
import json
import re
import sys
import tokenize
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
LANGUAGES = ("en", "zh")
LAYER_TAGS = {"setup", "recap", "layer"}
FENCE = re.compile(r"^(```+)[^\n]*\n.*?^\1", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
FORMULA = re.compile(r"\$\$.+?\$\$|(?<!\\)\$[^$]+\$", re.DOTALL)


def paths(pattern="*/*.ipynb", root=NOTEBOOKS):
    """The files below ``root`` that fit the pattern, sorted; an empty list is an error."""
    found = sorted(path for path in Path(root).glob(pattern) if path.is_file())
    if not found:
        raise FileNotFoundError(f"no file fits {pattern} below {root}")
    return found


def read(path):
    """The notebook as nested dicts and lists, with every source and stream as one string."""
    notebook = json.loads(Path(path).read_text(encoding="utf8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = "".join(output["text"])
            for kind, value in output.get("data", {}).items():
                if isinstance(value, list):
                    output["data"][kind] = "".join(value)
    return notebook


def write(notebook, path):
    """Write a notebook that was read (or changed) by a test."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf8")


def tags(cell):
    """The set of a cell's tags."""
    return set(cell["metadata"].get("tags", []))


def comments(source):
    """The comments and docstrings of a code cell, in their order."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [
        token.string
        for token in tokens
        if token.type == tokenize.COMMENT
        or (token.type == tokenize.STRING and token.string.startswith('"""'))
    ]


@functools.cache
def layers(name, language="en"):
    """The names that a chapter's ``setup``, ``recap`` and ``layer`` cells define, run in order.

    ``name`` is the file name without its ending, such as ``"03-fft-layer"``.
    """
    namespace = {"__name__": name}
    for cell in read(NOTEBOOKS / language / f"{name}.ipynb")["cells"]:
        if cell["cell_type"] == "code" and tags(cell) & LAYER_TAGS:
            code = compile(cell["source"], f"{name}.ipynb#{cell['id']}", "exec")
            exec(code, namespace)
    return namespace


def broken_layers(name, *changes, ids=""):
    """A copy of what a chapter defines, with pieces of its layers' source replaced.

    Each change is a pair of texts, the first of which stands once in the chapter's layer cells
    whose id begins with ``ids``. What the chapter repeats of others calls the copy too.
    """
    parts = []  # of each cell: may it be changed, and its source
    for cell in read(NOTEBOOKS / "en" / f"{name}.ipynb")["cells"]:
        layer = "layer" in tags(cell) and cell["id"].startswith(ids)
        if layer or "recap" in tags(cell):
            parts.append([layer, cell["source"] + "\n"])
    for old, new in changes:
        found = [part for part in parts if part[0] and old in part[1]]
        count = sum(part[1].count(old) for part in found)
        assert count == 1, f"{old!r} stands {count} times in the chapter"
        found[0][1] = found[0][1].replace(old, new)
    namespace = dict(layers(name))
    source = "\n\n".join(source for _, source in parts)
    exec(compile(source, name, "exec"), namespace)
    return namespace


copies = itertools.count()


def renamed_layers(name, *changes):
    """As broken_layers, in a module of their own, and with operators that have names of their own.

    Torch knows an operator by its name, and Dynamo imports the module of what it reads.
    """
    from torch.library import custom_op

    module = ModuleType(f"copy{next(copies)}")

    def renamed(name, **settings):
        return custom_op(f"{module.__name__}::{name.partition('::')[2]}", **settings)

    with patch.dict(layers(name), custom_op=renamed, __name__=module.__name__):
        book = broken_layers(name, *changes)
    vars(module).update(book)
    sys.modules[module.__name__] = module
    return book
