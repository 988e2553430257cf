"""Promise: what README and CONTRIBUTING point to is there, and each command they name exists."""

import re

import pytest

import run
from notebooks import FENCE, ROOT

PAGES = ["README.md", "CONTRIBUTING.md", "deploy/README.md"]


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def check(text, folder):
    """List the links and commands of a page that lead nowhere."""
    said = []
    for address in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
        if re.match(r"https?:", address):
            continue
        path, _, anchor = address.partition("#")
        page = folder / path if path else None
        if page and not page.exists():
            said.append(f"{address} does not exist")
        elif anchor:
            target = page.read_text(encoding="utf8") if page else text
            if slug(anchor) not in map(slug, re.findall(r"^#+ (.*)$", target, re.MULTILINE)):
                said.append(f"{address} has no such heading")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    said += [
        f"make {name}" for name in re.findall(r"\bmake ([\w-]+)`", text) if name not in targets
    ]
    named = re.findall(r"run\.py ([\w-]+)", text)
    said += [f"run.py {name}" for name in named if name not in run.COMMANDS]
    tools = re.findall(r"python ((?:tools|deploy)/\w+\.py)", text)
    return said + [f"{name} does not exist" for name in tools if not (ROOT / name).exists()]


@pytest.mark.parametrize("name", PAGES)
def test_page(name):
    page = ROOT / name
    assert check(page.read_text(encoding="utf8"), page.parent) == []


@pytest.mark.parametrize(
    "broken",
    [
        "[a](missing.md)", "![a](missing.png)", "[a](#nothing-of-the-kind)",
        "[a](README.md#nothing)", "run `make bock`", "`python tools/run.py bock`",
        "`python tools/none.py`", "run `make hub-tess`", "`python deploy/none.py`",
    ],
)  # fmt: skip
def test_a_broken_page_is_found(broken):
    assert len(check(f"# Title\n\n{broken}\n", ROOT)) == 1


def test_a_good_page_passes():
    assert check("# The title\n\n[a](#the-title) `make book`\n", ROOT) == []
