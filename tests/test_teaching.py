"""Promise: the teaching guide has every chapter, its schedules fit, its links and code are right.

The minutes of a schedule are computed from the first cells of the chapters, whose fixed form is
checked here. The cheat sheet prints on one page, and what it says in code holds.
"""

import re
import shutil
import sys
from types import SimpleNamespace

import pypdfium2
import pytest
import yaml

from notebooks import LANGUAGES, NOTEBOOKS, ROOT, paths, read, write
from test_book import soup

sys.path.insert(0, str(ROOT / "book"))
from _ext import lessons, schedules

PAGES = ["teaching", "cheat-sheet"]
LABEL = re.compile(r"^\(([\w-]+)\)=\n(#+) (.+)$", re.MULTILINE)
CELL = re.compile(r"\]\(([\w-]+)\.ipynb#([\w-]+)\)")
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NUMBER = {"en": "Chapter {}: ", "zh": "第 {} 章："}
PARTS = {
    "en": ["**Stop and ask**", "**When late, cut**"],
    "zh": ["**停下来提问**", "**时间不够就删**"],
}


def text_of(name, language):
    return (NOTEBOOKS / language / f"{name}.md").read_text(encoding="utf8")


def chapters():
    """The chapters in the table of contents."""
    toc = (ROOT / "_toc.yml").read_text(encoding="utf8")
    return re.findall(r"notebooks/en/(\d\d-[\w-]+)$", toc, re.MULTILINE)


# What a chapter says of itself


def check_lesson(lesson):
    """List what is wrong with the first cell of a chapter."""
    said = []
    for name in ("questions", "objectives"):
        if len(getattr(lesson, name)) < 3:
            said.append(f"{len(getattr(lesson, name))} {name}")
    numbers = list(map(int, re.findall(r"\d+", lesson.time)))[:2]
    if numbers != [lesson.teaching, lesson.minutes_of_exercises]:
        said.append(f"the text says {numbers}, the metadata say otherwise")
    for name in lesson.requires:
        if f"({name}.ipynb)" not in lesson.prerequisites:
            said.append(f"requires {name}, which the prerequisites do not link")
    if not lesson.prerequisites:
        said.append("no prerequisites")
    if not lesson.sections or not all(lesson.sections.values()):
        said.append("no sections, or an empty one")
    if len(lesson.exercises) < 3:
        said.append(f"{len(lesson.exercises)} exercises")
    return said


@pytest.mark.parametrize("path", paths(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_first_cell(path):
    lesson = lessons.lesson(path)
    assert check_lesson(lesson) == []
    english = lessons.lesson(NOTEBOOKS / "en" / path.name)
    for name in ("questions", "objectives", "sections", "exercises"):
        assert len(getattr(lesson, name)) == len(getattr(english, name)), name


@pytest.mark.parametrize(
    ("language", "old", "new", "complaint"),
    [
        ("en", "**Questions**", "**Question**", "0 questions"),
        ("zh", "**目标**", "**任务**", "0 objectives"),
        ("en", "\n- Why does", "\nWhy does", "2 questions"),
        ("en", "**Time.** 45", "**Time.** 40", "the text says [40, 25]"),
        ("zh", "练习 25 分钟", "练习 30 分钟", "the text says [45, 30]"),
        ("en", "**Prerequisites.**", "**Needs.**", "no prerequisites"),
    ],
)
def test_a_broken_first_cell_is_found(language, old, new, complaint, tmp_path):
    path = NOTEBOOKS / language / "01-tensors-and-arrays.ipynb"
    notebook = read(path)
    source = notebook["cells"][0]["source"]
    assert old in source
    notebook["cells"][0]["source"] = source.replace(old, new)
    write(notebook, tmp_path / path.name)
    assert any(complaint in said for said in check_lesson(lessons.lesson(tmp_path / path.name)))


def test_other_broken_chapters_are_found(tmp_path):
    notebook = read(NOTEBOOKS / "en" / "05-gradcheck.ipynb")
    notebook["cells"][0]["metadata"]["requires"] = ["01-tensors-and-arrays"]
    for cell in notebook["cells"]:
        cell["metadata"].pop("tags", None)
    notebook["cells"] = [c for c in notebook["cells"] if not c["source"].startswith("## ")]
    write(notebook, tmp_path / "05-a.ipynb")
    said = check_lesson(lessons.lesson(tmp_path / "05-a.ipynb"))
    assert said == [
        "requires 01-tensors-and-arrays, which the prerequisites do not link",
        "no sections, or an empty one", "0 exercises",
    ]  # fmt: skip


# Schedules


def a_chapter(name="01-one", **changes):
    """A chapter whose minutes are computed by hand below."""
    chapter = {
        "name": name, "number": name[:2], "title": f"Title of {name}", "teaching": 60,
        "minutes_of_exercises": 30, "requires": [], "exercises": ["ex-a", "ex-b", "ex-c"],
        "sections": {"a": 3, "b": 5, "c": 2},
        "titles": {"a": "The A", "b": "The B", "c": "The C", "ex-a": "Exercise 1"},
    }  # fmt: skip
    return SimpleNamespace(**{**chapter, **changes})


BOOK = {"01-one": a_chapter(), "02-two": a_chapter("02-two", requires=["01-one"], teaching=45)}
SCHEDULE = """
- id: short
  fits: 90
  sessions:
    - welcome: 5
    - {chapter: 01-one, sections: [a, c]}
    - {chapter: 01-one, exercises: [ex-a]}
    - break: 10
    - chapter: 02-two
- id: long
  fits: 110
  sessions:
    - schedule: short
    - night: 0
    - chapter: 01-one
    - close: 10
"""


def test_minutes_by_hand():
    known = schedules.schedules(SCHEDULE)
    sessions = known["short"]["sessions"]
    # a and c have half of the cells: 30 of 60; one exercise of three: 10 of 30
    assert [schedules.minutes(item, BOOK) for item in sessions] == [5, 30, 10, 10, 45]
    assert sum(schedules.minutes(item, BOOK) for item in sessions) == 100
    assert schedules.minutes({"chapter": "01-one", "sections": ["a"]}, BOOK) == 20  # 18, rounded up
    assert schedules.minutes({"chapter": "01-one", "sections": ["c"]}, BOOK) == 15  # 12, rounded up
    assert schedules.minutes({"chapter": "01-one", "sections": ["a", "b", "c"]}, BOOK) == 60


def test_a_table_by_hand():
    known = schedules.schedules(SCHEDULE)
    assert schedules.timetable(known["short"], BOOK) == "\n".join([
        "| At | Minutes | What |",
        "| --- | --- | --- |",
        "| 0:00 | 5 | Welcome: what to say first |",
        "| 0:05 | 30 | 01: [The A](01-one.ipynb#a) · [The C](01-one.ipynb#c) |",
        "| 0:35 | 10 | 01: [Exercise 1](01-one.ipynb#ex-a) |",
        "| 0:45 | 10 | **Break** |",
        "| 0:55 | 45 | [02. Title of 02-two](02-two.ipynb): the text |",
        "| 1:40 |  | End |",
    ])  # fmt: skip
    assert schedules.overview(BOOK).splitlines()[-1] == (
        "| [02. Title of 02-two](02-two.ipynb) | 45 | 30 | 01 |"
    )
    days = schedules.timetable(known["long"], BOOK)
    assert days.count("| 0:00 |") == 2 and "**Day 2**" in days and "| 1:10 |  | End |" in days


def test_schedule_with_all_that_is_wrong():
    known = schedules.schedules(SCHEDULE)
    assert schedules.problems(known["short"], BOOK) == ["100 minutes do not fit into 90"]
    assert schedules.problems(known["long"], BOOK) == []


BROKEN = [
    ("110 minutes without a break", lambda s: s["sessions"].append({"chapter": "01-one"})),
    ("do not fit into 60", lambda s: s.update(fits=60)),
    ("no chapter 03-three", lambda s: s["sessions"][3].update(chapter="03-three")),
    ("has no d among its sections", lambda s: s["sessions"][0].update(sections=["d"])),
    ("has no ex-d among its exercises", lambda s: s["sessions"][1].update(exercises=["ex-d"])),
    ("not a session", lambda s: s["sessions"].append({"dance": 10})),
    ("not a session", lambda s: s["sessions"].append({"break": 10, "lunch": 60})),
    ("not a session", lambda s: s["sessions"].append({"break": 10, "section": ["a"]})),
]


@pytest.mark.parametrize(("complaint", "change"), BROKEN, ids=[b[0] for b in BROKEN])
def test_a_broken_schedule_is_found(complaint, change):
    schedule = {
        "id": "good", "fits": 220,
        "sessions": [
            {"chapter": "01-one", "sections": ["a"]}, {"chapter": "01-one", "exercises": ["ex-a"]},
            {"break": 10}, {"chapter": "02-two"}, {"close": 5},
        ],
    }  # fmt: skip
    assert schedules.problems(schedule, BOOK) == []
    change(schedule)
    assert any(complaint in said for said in schedules.problems(schedule, BOOK))


def real_schedules():
    return schedules.schedules(schedules.SCHEDULES.read_text(encoding="utf8"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_schedules_of_the_book(language):
    book = schedules.lessons(NOTEBOOKS / language)
    assert set(chapters()) == set(book)
    known = real_schedules()
    assert {"90-minutes", "half-day", "day", "two-days"} <= set(known)
    for schedule in known.values():
        assert schedules.problems(schedule, book) == []


def test_minutes_are_the_same_in_both_languages():
    one, two = (schedules.lessons(NOTEBOOKS / language) for language in LANGUAGES)
    assert [c.sections for c in one.values()] == [c.sections for c in two.values()]
    for schedule in real_schedules().values():
        for item in schedule["sessions"]:
            assert schedules.minutes(item, one) == schedules.minutes(item, two)


def fill(text, monkeypatch):
    """The text of a page as the extension leaves it, and its warnings."""
    said = []
    monkeypatch.setattr(
        schedules, "logger", SimpleNamespace(warning=lambda m, *a, **_: said.append(m % a))
    )
    page = NOTEBOOKS / "en" / "teaching.md"
    noted = []
    env = SimpleNamespace(doc2path=lambda name: str(page), note_dependency=noted.append)
    source = [text]
    schedules.fill(SimpleNamespace(env=env), "teaching", source)
    # a rebuild computes anew when one of these has changed
    assert noted == [str(path) for path in (schedules.SCHEDULES, *paths("en/*.ipynb"))]
    return source[0], said


def test_links_give_way_to_tables(monkeypatch):
    text, said = fill("[Half a day](../../book/schedules.yml#half-day)\n", monkeypatch)
    assert text.startswith("| At |") and said == []
    text, said = fill("[x](../../book/schedules.yml#chapters)\n", monkeypatch)
    assert text.count("\n") == len(chapters()) + 2 and said == []


def test_an_unknown_schedule_and_one_that_does_not_fit_are_warned_of(monkeypatch, tmp_path):
    _, said = fill("[x](../../book/schedules.yml#a-week)\n", monkeypatch)
    assert said == ["schedules.yml has no a-week"]
    known = yaml.safe_load(schedules.SCHEDULES.read_text(encoding="utf8"))
    known[0]["fits"] = 10
    (tmp_path / "schedules.yml").write_text(yaml.safe_dump(known))
    monkeypatch.setattr(schedules, "SCHEDULES", tmp_path / "schedules.yml")
    text, said = fill(f"[x](schedules.yml#{known[0]['id']})\n", monkeypatch)
    assert "do not fit into 10" in said[0] and text == "\n"


# The pages


def check_guide(text, language):
    """List what the guide lacks, or points to in vain."""
    said = []
    found = {label: (heading, place) for label, heading, place in sections(text)}
    for name in chapters():
        heading, body = found.get(f"teaching-{name}", ("", ""))
        if not heading.startswith(NUMBER[language].format(name[:2])):
            said.append(f"no section of {name}")
            continue
        said += [f"{name} lacks {part}" for part in PARTS[language] if part not in body]
        if len(re.findall(r"^- ", body, re.MULTILINE)) < 3:
            said.append(f"{name} has fewer than three mistakes")
        if not any(chapter == name for chapter, _ in CELL.findall(body)):
            said.append(f"{name} links no cell of its chapter")
    known = {f"teaching-{name}" for name in [*chapters(), *real_schedules()]}
    numbered = {label for label in found if re.match(r"teaching-\d\d-", label)}
    said += [f"{label} is no chapter" for label in sorted(numbered - known)]
    said += check_cells(text)
    tables = re.findall(r"\(../../book/schedules.yml#([\w-]+)\)", text)
    if sorted(tables) != sorted([*real_schedules(), "chapters"]):
        said.append(f"tables: {tables}")
    return said


def check_cells(text):
    """List the links to cells that do not exist."""
    cells = {
        (path.stem, cell["id"]) for path in paths("en/*.ipynb") for cell in read(path)["cells"]
    }
    return [f"no cell is {'#'.join(link)}" for link in CELL.findall(text) if link not in cells]


def sections(text):
    """The label, heading and text of each labeled section."""
    found = list(LABEL.finditer(text))
    ends = [*(section.start() for section in found[1:]), len(text)]
    for section, end in zip(found, ends, strict=True):
        yield section[1], section[3], text[section.end() : end]


@pytest.mark.parametrize("language", LANGUAGES)
def test_guide(language):
    assert check_guide(text_of("teaching", language), language) == []


@pytest.mark.parametrize("name", PAGES)
def test_labels_are_the_same_in_both_languages(name):
    one, two = ([s[0] for s in sections(text_of(name, language))] for language in LANGUAGES)
    assert one == two and len(one) == len(set(one)) > 5


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("(teaching-03-fft-layer)=", "(teaching-03-fft)=", "no section of 03-fft-layer"),
        ("(teaching-03-fft-layer)=", "(teaching-33-fft)=", "teaching-33-fft is no chapter"),
        ("### Chapter 04", "### Chapter 05", "no section of 04-correlate2d-layer"),
        ("**Stop and ask**", "**Stop**", "lacks **Stop and ask**"),
        ("- *\"It runs again", "*\"It runs again", "fewer than three mistakes"),
        ("06-then-and-now.ipynb#", "05-gradcheck.ipynb#", "06-then-and-now links no cell"),
        ("#fft-why-wrong", "#fft-why-right", "no cell is 03-fft-layer#fft-why-right"),
        ("schedules.yml#day", "schedules.yml#days", "tables: "),
    ],
)  # fmt: skip
def test_a_broken_guide_is_found(old, new, complaint):
    text = text_of("teaching", "en")
    assert old in text
    assert any(complaint in said for said in check_guide(text.replace(old, new), "en"))


# Code


def run(text):
    """Run the code blocks of a page, in order."""
    namespace = {}
    for block in CODE.findall(text):
        exec(compile(block, "page", "exec"), namespace)
    return len(CODE.findall(text))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", PAGES)
def test_code_holds(name, language):
    assert run(text_of(name, language)) >= 1


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("teaching", "== 25", "== 24"),
        ("teaching", "- 3 / 5", "- 4 / 5"),
        ("cheat-sheet", 'convolve2d(g, w, "full")', 'correlate2d(g, w, "full")'),
        ("cheat-sheet", "(2 * k < s[1])", "(2 * k <= s[1])"),
        ("cheat-sheet", "Z / twice", "Z"),
        ("cheat-sheet", "np.roll(g, -2)", "np.roll(g, 2)"),
        ("cheat-sheet", "return y * g", "return g"),
        ("cheat-sheet", ".copy()", ""),
        ("cheat-sheet", "torch.from_numpy(g), None", "torch.from_numpy(g)"),
    ],
)
def test_broken_code_is_found(name, old, new):
    text = text_of(name, "en")
    assert old in text
    broken = text.replace(old, new)
    if "<=" in new:  # an even width has a column that is its own mirror image
        broken = broken.replace("(5, 7)", "(5, 8)")
        run(broken.replace(new, old))
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        run(broken)


# As built


def rows(tables):
    """The rows of some tables, each as the texts of its cells."""
    found = [row.select("td") for table in tables for row in table.select("tbody tr")]
    return [[cell.get_text().strip() for cell in row] for row in found]


def check_tables(site, language):
    """List what the tables of the built guide do not show."""
    page, said = soup(site / language / "teaching.html"), []
    book = schedules.lessons(NOTEBOOKS / language)
    shown = [row[1:3] for row in rows(page.select("article table")[:1])]
    if shown != [[str(c.teaching), str(c.minutes_of_exercises)] for c in book.values()]:
        said.append("the table of the chapters")
    for name, schedule in real_schedules().items():
        starts, time = [], 0
        for item in [*schedule["sessions"], {"night": 0}]:
            starts.append(f"{time // 60}:{time % 60:02}")
            time = 0 if "night" in item else time + schedules.minutes(item, book)
        if [row[0] for row in rows(page.select(f"#teaching-{name} table"))] != starts:
            said.append(f"the schedule {name}")
    if page.select('article a[href*="schedules.yml"]'):
        said.append("a link where a table belongs")
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_tables_are_in_the_book(language, site):
    assert check_tables(site, language) == []


def test_missing_tables_are_found(site, tmp_path):
    copied = shutil.copytree(site / "en", tmp_path / "en")
    path = copied / "teaching.html"
    text = path.read_text(encoding="utf8")
    path.write_text(text.replace(">0:05<", ">0:06<").replace(">45<", ">44<"), encoding="utf8")
    said = check_tables(tmp_path, "en")
    assert "the table of the chapters" in said and "the schedule 90-minutes" in said


def printed(page, address, tmp_path, paper="A4", more=""):
    """How many pages a page of the book takes on paper, and their text."""
    page.goto(address)
    page.evaluate("document.fonts.ready.then(() => true)")
    if more:
        page.evaluate(more)
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "10mm")
    page.pdf(path=tmp_path / "page.pdf", format=paper, margin=margin)
    with pypdfium2.PdfDocument(tmp_path / "page.pdf") as document:
        return len(document), "".join(p.get_textpage().get_text_range() for p in document)


@pytest.mark.parametrize("paper", ["A4", "Letter"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_cheat_sheet_is_one_page(language, paper, page, site, tmp_path):
    address = (site / language / "cheat-sheet.html").as_uri()
    count, text = printed(page, address, tmp_path, paper)
    assert count == 1
    lines = [line for block in CODE.findall(text_of("cheat-sheet", "en"))
             for line in block.splitlines()]  # fmt: skip
    for line in lines:  # whole, in one piece
        code = line.partition("  #")[0]
        assert re.sub(r"\s", "", code) in re.sub(r"\s", "", text)


def test_a_sheet_that_is_too_long_is_found(page, site, tmp_path):
    address = (site / "en" / "cheat-sheet.html").as_uri()
    twice = "(s => s.append(...s.cloneNode(true).children))(document.querySelector('#cheat-sheet'))"
    assert printed(page, address, tmp_path, more=twice)[0] == 2
    plain = "document.querySelector('#cheat-sheet').id = 'other'"
    assert printed(page, address, tmp_path, more=plain)[0] > 1
