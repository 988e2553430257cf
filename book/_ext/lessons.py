"""Read what a chapter says of itself, in the fixed form of its first cell.

The metadata hold the minutes and what must be read before. The text holds the title, the questions
and the objectives, each list under its bold word, the prerequisites and the time.
"""

import json
import re
from pathlib import Path
from types import SimpleNamespace

WORDS = {  # the bold words, in the languages of the book
    "questions": "Questions|问题",
    "objectives": "Objectives|目标",
    "prerequisites": "Prerequisites|预备知识",
    "time": "Time|时间",
}
UNSEEN = {"setup", "recap", "hide-input", "remove-cell", "solution"}  # nobody reads them in class
HEADING = re.compile(r"(#+) +(.*)")


def lesson(path):
    """A chapter: name, number, title, minutes, questions, ..., sections and exercises by cell."""
    cells = json.loads(Path(path).read_text(encoding="utf8"))["cells"]
    about, text = cells[0]["metadata"], "".join(cells[0]["source"])
    name = Path(path).stem
    return SimpleNamespace(
        name=name,
        number=name.partition("-")[0],
        title=HEADING.match(text)[2],
        teaching=about["teaching"],
        minutes_of_exercises=about["exercises"],
        requires=about["requires"],
        questions=items(paragraphs(text, "questions")),
        objectives=items(paragraphs(text, "objectives")),
        prerequisites=paragraphs(text, "prerequisites"),
        time=paragraphs(text, "time"),
        **parts(cells),
    )


def paragraphs(text, word):
    """What stands after one of the bold words, up to the next one."""
    found = re.search(
        rf"^\*\*(?:{WORDS[word]})[.：]?\*\*[.：]?(.*?)(?=^\*\*|\Z)", text, re.M | re.S
    )
    return found[1].strip() if found else ""


def items(text):
    """The items of a list."""
    return re.findall(r"^- (.+?)[;；.。]?$", text, re.MULTILINE)


def parts(cells):
    """The sections of a chapter with how many cells they show, its exercises, and all titles."""
    sections, exercises, titles, current = {}, [], {}, None
    for cell in cells[1:]:
        source, tags = "".join(cell["source"]), set(cell["metadata"].get("tags", []))
        if cell["cell_type"] == "markdown" and (found := HEADING.match(source)):
            titles[cell["id"]] = found[2]
            if "exercise" in tags:
                exercises.append(cell["id"])
                sections.pop(current, None)  # it holds the exercises, and is no section to teach
                current = None
            elif found[1] == "##":
                current = cell["id"]
                sections[current] = 0
        if current and not tags & UNSEEN:
            sections[current] += 1
    return {"sections": sections, "exercises": exercises, "titles": titles}
