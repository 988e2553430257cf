"""Compute the tables of the teaching page: the chapters' minutes, and schedules made of them.

A paragraph that links to schedules.yml with the name of a schedule (`schedules.yml#half-day`) gives
way to its table, `schedules.yml#chapters` to the table of the chapters. The minutes come from the
chapters' first cells. A part of a chapter gets its share of them, by the number of its cells (which
is the same in every language), rounded up to 5 minutes; an exercise gets its share of the
exercises' minutes.
A schedule that does not fit, or that has no break in time, is an error of the build.
"""

import math
import re
from pathlib import Path

import yaml
from sphinx.locale import _
from sphinx.util import logging

from .lessons import lesson

logger = logging.getLogger(__name__)
SCHEDULES = Path(__file__).resolve().parents[1] / "schedules.yml"
LINK = re.compile(r"^\[[^\]]*\]\([\w./]*schedules\.yml#([\w-]+)\)$", re.MULTILINE)
LONGEST = 100  # minutes without a break
STEP = 5
REST = {"break", "lunch", "night"}
SAID = {"welcome", "close"}


def schedules(text):
    """The schedules by their id; one that begins with another has its sessions."""
    found = {schedule["id"]: schedule for schedule in yaml.safe_load(text)}
    for schedule in found.values():
        sessions = [found[i["schedule"]]["sessions"] if "schedule" in i else [i]
                    for i in schedule["sessions"]]  # fmt: skip
        schedule["sessions"] = [item for items in sessions for item in items]
    return found


def lessons(folder):
    """The chapters of a language by their name."""
    return {path.stem: lesson(path) for path in sorted(Path(folder).glob("[0-9]*-*.ipynb"))}


def up(minutes):
    """Rounded up to a step; what is more by a rounding error is not more."""
    return STEP * math.ceil(round(minutes / STEP, 6))


def kind(item):
    """What an item is: chapter, or one of the words with their minutes."""
    found = [name for name in item if name in {"chapter", *REST, *SAID}]
    return found[0] if len(found) == 1 else ""


def minutes(item, chapters):
    """The minutes of one item of a schedule."""
    if kind(item) != "chapter":
        return item[kind(item)]
    chapter = chapters[item["chapter"]]
    if "exercises" in item:
        share = len(item["exercises"]) / len(chapter.exercises)
        return up(chapter.minutes_of_exercises * share)
    if "sections" in item:
        cells = sum(chapter.sections[name] for name in item["sections"])
        return up(chapter.teaching * cells / sum(chapter.sections.values()))
    return chapter.teaching


def problems(schedule, chapters):
    """List what is wrong with a schedule."""
    said = []
    for item in schedule["sessions"]:
        if not kind(item) or item.keys() - {kind(item), "sections", "exercises"}:
            said.append(f"not a session: {item}")
        elif kind(item) == "chapter" and item["chapter"] not in chapters:
            said.append(f"no chapter {item['chapter']}")
        elif kind(item) == "chapter":
            chapter = chapters[item["chapter"]]
            for what in ("sections", "exercises"):
                unknown = [n for n in item.get(what, []) if n not in getattr(chapter, what)]
                said += [f"{chapter.name} has no {name} among its {what}" for name in unknown]
    if said:
        return said
    stretch = day = 0
    for item in [*schedule["sessions"], {"night": 0}]:
        if kind(item) in REST:
            if stretch > LONGEST:
                said.append(f"{stretch} minutes without a break, {LONGEST} at most")
            stretch = 0
        else:
            stretch += minutes(item, chapters)
        if kind(item) != "night":
            day += minutes(item, chapters)
        else:
            if day > schedule["fits"]:
                said.append(f"{day} minutes do not fit into {schedule['fits']}")
            day = 0
    return said


def clock(time):
    """0:05 for 5 minutes."""
    return f"{time // 60}:{time % 60:02}"


def link(chapter, name=""):
    """A link to a chapter or to a cell of it."""
    title = chapter.titles[name] if name else f"{chapter.number}. {chapter.title}"
    return f"[{title}]({chapter.name}.ipynb{'#' if name else ''}{name})"


def what(item, chapters):
    """An item in words."""
    words = {
        "welcome": _("Welcome: what to say first"),
        "close": _("Look back; what worked, what did not"),
        "break": _("**Break**"),
        "lunch": _("**Lunch**"),
    }
    if kind(item) != "chapter":
        return words[kind(item)]
    chapter = chapters[item["chapter"]]
    if "exercises" not in item and "sections" not in item:
        return _("%s: the text") % link(chapter)
    named = item.get("exercises") or item["sections"]
    if set(named) == set(chapter.exercises):
        return _("%s: all exercises") % link(chapter)
    return _("%s: %s") % (chapter.number, " · ".join(link(chapter, name) for name in named))


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def timetable(schedule, chapters):
    """The tables of a schedule, one for each day, as Markdown."""
    days, time, rows = [], 0, []
    for item in [*schedule["sessions"], {"night": 0}]:
        if kind(item) == "night":
            rows.append([clock(time), "", _("End")])
            days.append(table([_("At"), _("Minutes"), _("What")], rows))
            time, rows = 0, []
        else:
            takes = minutes(item, chapters)
            rows.append([clock(time), takes, what(item, chapters)])
            time += takes
    if len(days) == 1:
        return days[0]
    return "\n\n".join(f"{_('**Day %s**') % number}\n\n{day}" for number, day in enumerate(days, 1))


def overview(chapters):
    """The table of the chapters, as Markdown."""
    head = [_("Chapter"), _("Text, minutes"), _("Exercises, minutes"), _("After")]
    rows = []
    for c in chapters.values():
        after = ", ".join(chapters[name].number for name in c.requires)
        rows.append([link(c), c.teaching, c.minutes_of_exercises, after])
    return table(head, rows)


def fill(app, docname, source):
    """Put the tables in the place of the links."""
    if docname.split("/")[-1] != "teaching":
        return
    known = schedules(SCHEDULES.read_text(encoding="utf8"))
    folder = Path(app.env.doc2path(docname)).parent
    chapters = lessons(folder)
    for path in [SCHEDULES, *(folder / f"{name}.ipynb" for name in chapters)]:
        app.env.note_dependency(str(path))

    def compute(found):
        name = found[1]
        if name == "chapters":
            return overview(chapters)
        if name not in known:
            logger.warning("schedules.yml has no %s", name, location=docname)
            return ""
        if said := problems(known[name], chapters):
            logger.warning("schedule %s: %s", name, "; ".join(said), location=docname)
            return ""
        return timetable(known[name], chapters)

    source[0] = LINK.sub(compute, source[0])


def setup(app):
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
