"""Promise: the page of error messages quotes what a cell prints, and leads to cells that exist.

A quotation is whole: apart from white space, each line of an entry's block is a line that the first
cell named in the entry's last paragraph prints. A message that the cell prints in several lines
counts as one. Where the heading is a message, the line begins with its type (``TypeError: ...``),
and what the cell prints before the type is left out.
"""

import re
from types import SimpleNamespace

import pytest

from notebooks import LANGUAGES, NOTEBOOKS, paths, read

FEWEST = 18
HEADING = re.compile(r"^(?:\(([\w-]+)\)=\n)?(##+) (.+)\n", re.MULTILINE)
BLOCK = re.compile(r"^```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([\w-]+\.ipynb)#?([\w-]*)\)")
MESSAGE = re.compile(r"\b(?:\w+(?:Error|Warning)|Unsupported): ")
WRAPS = re.compile(r"\b(?:tell|ask|both|complain)\(")  # helpers that print a message in lines
WIDTH = 76  # of such a line


def page_of(language):
    return (NOTEBOOKS / language / "faq.md").read_text(encoding="utf8")


def plain(text):
    return " ".join(text.split())


def joined(lines):
    """The lines, with a message that stands in several of them in one."""
    found, last = [], ""
    for line in lines:
        full = len(last) <= 80 and len(f"{last} {line.split(' ')[0]}") > WIDTH
        full = full and last.startswith(" ") == line.startswith(" ")
        goes_on = line.startswith("    ") or (full and not MESSAGE.search(line))
        if found and goes_on and MESSAGE.search(found[-1]):
            found[-1] += " " + line.strip()
        else:
            found.append(line)
        last = line
    return found


def printed(language):
    """The lines that each cell prints: {(notebook, id): lines}."""
    cells = {}
    for path in paths(f"{language}/*.ipynb"):
        for cell in read(path)["cells"]:
            lines = [
                line
                for output in cell.get("outputs", [])
                for line in (
                    output.get("text") or output.get("data", {}).get("text/plain", "")
                ).splitlines()
            ]
            wraps = WRAPS.search(cell["source"])
            cells[path.name, cell["id"]] = list(map(plain, joined(lines) if wraps else lines))
    return cells


def parts(page):
    """The groups (##) and entries (###) of a page, in order."""
    found = list(HEADING.finditer(page))
    ends = [*(heading.start() for heading in found[1:]), len(page)]
    return [
        SimpleNamespace(
            label=heading[1], entry=heading[2] == "###", heading=heading[3],
            text=page[heading.end() : end].strip(),
        )
        for heading, end in zip(found, ends, strict=True)
    ]  # fmt: skip


def entries(page):
    return [part for part in parts(page) if part.entry]


def message_of(entry):
    """What one would paste: the words of a heading that is code and nothing else."""
    found = re.fullmatch(r"`([^`]+)`", entry.heading)
    return found and found[1]


def pins():
    """The versions whose words the page quotes: torch 2.13, ..."""
    text = (NOTEBOOKS / "requirements.txt").read_text(encoding="utf8")
    return [" ".join(pin) for pin in re.findall(r"^(torch|numpy|scipy)==(\d+\.\d+)", text, re.M)]


def check(page, cells):
    """List what is wrong with a page of messages."""
    said = [f"the words of {pin}" for pin in pins() if pin not in page.lower()]
    labels = [part.label for part in parts(page)]
    if len(entries(page)) < FEWEST:
        said.append(f"{len(entries(page))} entries, not {FEWEST}")
    said += [f"{label} stands twice" for label in set(labels) if labels.count(label) > 1 and label]
    for part in parts(page):
        if not (part.label or "").startswith("faq-"):
            said.append(f"{part.heading} has no label that begins with faq-")
        if part.entry:
            said += [f"{part.heading}: {text}" for text in check_entry(part, cells)]
    for name, cell in LINK.findall(page):
        if (name, cell) not in cells:
            said.append(f"no cell is {name}#{cell}")
    return said


def check_entry(entry, cells):
    """Yield what is wrong with an entry."""
    blocks = BLOCK.findall(entry.text)
    sources = LINK.findall(entry.text.split("\n\n")[-1])
    if len(blocks) != 1 or not sources:
        yield "one block, and at the end a link to the cell that prints it"
        return
    message = message_of(entry)
    lines = [plain(line) for line in blocks[0].splitlines()]
    if message and message not in lines[0]:
        yield "the heading is not part of the message"
    for line in lines:
        if message and not MESSAGE.match(line):
            yield f"a message begins with its type: {line}"
        there = [out for out in cells.get(sources[0], []) if out.endswith(line)]
        before = [out.removesuffix(line) for out in there]
        if not line or not any(rest == "" or (message and rest.endswith(" ")) for rest in before):
            yield f"{'#'.join(sources[0])} does not print {line}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_page(language):
    assert check(page_of(language), printed(language)) == []


def test_the_same_entries_in_both_languages():
    labels = [[part.label for part in parts(page_of(language))] for language in LANGUAGES]
    assert labels[0] == labels[1]
    messages = [list(map(message_of, entries(page_of(language)))) for language in LANGUAGES]
    assert messages[0] == messages[1]


# Every complaint is heard: the same page, broken in one place

ONE = "TypeError: Got unsupported ScalarType BFloat16"
BROKEN = [
    ("the words of", "torch 2.", "torch 1."),
    ("has no label", "(faq-bfloat16)=\n", ""),
    ("has no label", "(faq-bfloat16)=", "(bfloat16)="),
    ("has no label", "(faq-old)=\n", ""),
    ("stands twice", "(faq-bfloat16)=", "(faq-step)="),
    ("not part of the message", "### `Got unsupported", "### `Got an unsupported"),
    ("one block", f"```text\n{ONE}\n```", ONE),
    ("one block", f"```text\n{ONE}\n```", f"```text\n{ONE}\n```\n\n```text\n{ONE}\n```"),
    ("one block", "](01-tensors-and-arrays.ipynb#border-bfloat16)", "]"),
    ("begins with its type", ONE, "Got unsupported ScalarType BFloat16"),
    ("does not print", ONE, ONE.replace("Type ", "type ")),
    ("does not print", ONE, f"{ONE}\nTypeError: and another"),
    ("does not print", " Use tensor.detach().numpy() instead.\n", "\n"),
    ("does not print", "\nNone for the tensor: no error\n", "\nfor the tensor: no error\n"),
    ("does not print", "#border-bfloat16", "#border-flip"),
    ("does not print", "\nzeros  naive:", "\nnaive:"),
    ("no cell is", "#border-bfloat16", "#border-bfloat"),
    ("no cell is", "#border-bfloat16", ""),
    ("does not print", "```text\nNone for the tensor: no error\n", "```text\n\n"),
    ("no cell is", "#old-power", "#old-powers"),
    ("entries, not", "### ", "## "),
    # messages that the cell prints in several lines, with and without an indent
    ("does not print", "; put the channels first with input.movedim(-1, -3)\n", "\n"),
    ("does not print", " vmap support. Please override", " vmap support: override"),
    ("does not print", " doesn't work on out= or view ops.\n", "\n"),
    ("does not print", " Please use register_autograd to add one.\n", "\n"),
    ("does not print", " to an operator.\n", "\n"),
]


@pytest.mark.parametrize(("complaint", "old", "new"), BROKEN)
def test_a_broken_page_is_found(complaint, old, new):
    page = page_of("en")
    assert old in page
    assert any(complaint in said for said in check(page.replace(old, new), printed("en")))


# Search: whoever pastes a message comes to its entry

PASTED = {  # with names and numbers of one's own, or in part
    "RuntimeError: Function MyLayerBackward returned an invalid gradient at index 2 - got [1] but "
    "expected shape compatible with [2, 2]": "faq-invalid-gradient",
    "AttributeError: 'MyLayerBackward' object has no attribute 'scale'": "faq-no-attribute",
    "one of the variables needed for gradient\ncomputation has been modified by an inplace "
    "operation: [torch.cuda.HalfTensor [9, 9]]": "faq-inplace",
    "RuntimeError: You tried to vmap over MyLayer, but it does not have vmap support.": (
        "faq-vmap-support"
    ),
    "RuntimeError: Trying to backward through mine.blur.default but no autograd formula was "
    "registered. Please use register_autograd to add one.": "faq-operator-formula",
    "We failed to resolve torch.ops.mine.blur.default to an operator": "faq-operator-resolve",
    "groups must divide the number of filters, got groups 7 and 16 filters": "faq-groups",
    "one of the variables needed for gradient computation has been modified by": None,
    "requires grad": None,
    "negative": None,
}
FIND = """(query) => {
  const found = Search._performSearch(...Search._parseQuery(query)).reverse();
  return found.map(([page, , anchor]) => page + anchor);
}"""


def astray(page, site, language):
    """The messages whose search does not show their entry first, or (if None) the page at all."""
    pasted = {BLOCK.search(e.text)[1]: e.label for e in entries(page_of(language)) if message_of(e)}
    page.goto((site / language / "search.html").as_uri())
    page.wait_for_function("Search.hasIndex()")
    said = []
    for text, label in [*pasted.items(), *PASTED.items()]:
        found = page.evaluate(FIND, text)
        if found[:1] != [f"faq#{label}"] if label else "faq" not in found:
            said.append(text)
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_pasted_message_is_found(language, page, site):
    assert astray(page, site, language) == []


def test_messages_that_go_astray_are_seen(page, site):
    page.route("**/book.js*", lambda route: route.fulfill(body=""))
    missed = astray(page, site, "en")
    assert set(PASTED) - set(missed) == {"requires grad", "negative"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_search_as_you_type_leads_to_the_entry(language, page, site):
    page.goto((site / language / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").fill(next(iter(PASTED)))
    page.keyboard.press("Shift")
    page.locator("#pst-search-dialog li a").first.click()
    page.wait_for_url(f"**/{language}/faq.html*#faq-invalid-gradient")
