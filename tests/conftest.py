"""The built book, for the tests that look at it: built once, for all processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[1] / "book" / "build.py"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder with the start page and a folder for each language."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the processes share it
    folder = folder / "book"
    said = folder / "said.txt"
    try:
        folder.mkdir()
    except FileExistsError:  # another process is building
        while not said.exists():
            time.sleep(0.5)
    else:
        command = [sys.executable, str(BUILD), "--output", str(folder)]
        result = subprocess.run(command, capture_output=True, text=True, encoding="utf8")
        problem = result.stdout + result.stderr if result.returncode else ""
        (folder / "saying.txt").write_text(problem, encoding="utf8")
        (folder / "saying.txt").rename(said)
    assert not said.read_text(encoding="utf8"), said.read_text(encoding="utf8")
    return folder / "site"
