"""Run notebooks in place, so that `git diff` shows what changed and nothing else.

    python tools/execute.py [notebooks/en/03-fft-layer.ipynb ...]      (all, if none is named)

A cell whose new outputs say the same as the stored ones (see outputs.py) keeps the stored ones.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from outputs import difference

ROOT = Path(__file__).resolve().parents[1]
CELL_METADATA = {  # what is ours; all else is noise of an editor
    "alt",
    "exercises",
    "reason",
    "requires",
    "tags",
    "teaching",
    "translated-from",
}
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def load(path):
    return nbformat.read(path, as_version=4)


def save(notebook, path):
    """Write the notebook without what an editor or a kernel left in it."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat_minor = 5
    for cell in notebook.cells:
        kept = {k: v for k, v in sorted(cell.metadata.items()) if k in CELL_METADATA}
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
    nbformat.write(notebook, path)


def said(output):
    """What an output says, by name: its text, or each form of its data."""
    names = ("name", "text", "ename", "evalue")
    fields = {name: output[name] for name in names if name in output}
    return {"type": output.output_type, **fields, **output.get("data", {})}


def unchanged(old, new):
    """Whether two lists of outputs say the same."""
    if len(old) != len(new):
        return False
    for a, b in zip(map(said, old), map(said, new), strict=True):
        if a.keys() != b.keys() or any(difference(str(a[k]), str(b[k])) for k in a):
            return False
    return True


def execute(path):
    """Run one notebook from its own folder, in a fresh kernel of this environment."""
    notebook = load(path)
    stored = {cell.id: cell.get("outputs") for cell in notebook.cells}
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=300,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code" and unchanged(stored[cell.id], cell.outputs):
            cell.outputs = stored[cell.id]
    save(notebook, path)


if __name__ == "__main__":
    os.environ["PYTHONHASHSEED"] = "0"
    for name in sys.argv[1:] or sorted((ROOT / "notebooks").glob("*/*.ipynb")):
        print(f"running {name}", flush=True)
        execute(Path(name))
