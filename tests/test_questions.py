"""Promise: each chapter asks three questions, which answer to click and key, scripts or not."""

import copy
import re

import pytest

from notebooks import LANGUAGES, NOTEBOOKS, paths, read, tags
from test_book import build, small_book, soup
from test_pages import accessibility

RIGHT = {"en": "**Right.** ", "zh": "**正确**。"}
ITEM = re.compile(r"^(\d+\.|   -) (.*)$")
FORM = {
    "en": "## Check yourself\n\nChoose before you read why.",
    "zh": "## 自测\n\n先选，再看理由。",
}


def parse(markdown):
    """What stands before an ordered list, and the list: pairs of an item and its inner items."""
    before, _, rest = ("\n" + markdown).partition("\n1. ")
    questions = []
    for line in ("1. " + rest).splitlines():
        found = ITEM.match(line)
        if found is None:
            raise ValueError(f"one line for each item, nested by three spaces: {line!r}")
        if found[1] == "   -":
            questions[-1][1].append(found[2])
        else:
            questions.append((found[2], []))
    return before.strip(), questions


def right(explanations, language):
    """The places of the explanations that say that theirs is the right option."""
    return [i for i, text in enumerate(explanations) if text.startswith(RIGHT[language])]


def check_questions(notebook, language):
    """List what is wrong with the questions of a chapter."""
    cells = notebook["cells"]
    places = [i for i, cell in enumerate(cells) if "questions" in tags(cell)]
    if len(places) != 1:
        return [f"{len(places)} cells are tagged questions"]
    asked, answers, after = cells[places[0] : places[0] + 3]
    if "solution" not in tags(answers) or not after["source"].startswith("## "):
        return ["the answers follow the questions, and then a new section"]
    try:
        (before, questions), (_, said) = parse(asked["source"]), parse(answers["source"])
    except ValueError as error:
        return [str(error)]
    found = [] if before == FORM[language] else [f"begins with {before!r}"]
    if len(questions) != 3 or len(said) != 3:
        return [*found, f"{len(questions)} questions and {len(said)} answers, not three"]
    for (question, options), (_, explanations) in zip(questions, said, strict=True):
        if not 3 <= len(options) <= 4 or len(set(options)) < len(options):
            found.append(f"three or four different options: {question}")
        if len(explanations) != len(options):
            found.append(f"{len(options)} options, {len(explanations)} explanations: {question}")
        elif len(right(explanations, language)) != 1:
            found.append(f"not one right option: {question}")
        if any(len(text) < (30 if language == "en" else 15) for text in explanations):
            found.append(f"an explanation says nothing: {question}")
    return found


def key(notebook, language):
    """For each question the number of its options and the place of the right one."""
    cells = notebook["cells"]
    place = next(i for i, cell in enumerate(cells) if "questions" in tags(cell))
    _, said = parse(cells[place + 1]["source"])
    return [(len(explanations), right(explanations, language)) for _, explanations in said]


@pytest.mark.parametrize("path", paths(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_chapter_asks(path):
    assert check_questions(read(path), path.parent.name) == []


@pytest.mark.parametrize("name", [path.name for path in paths("en/*.ipynb")])
def test_the_same_option_is_right_in_both_languages(name):
    keys = [key(read(NOTEBOOKS / language / name), language) for language in LANGUAGES]
    assert keys[0] == keys[1]


def test_the_right_option_has_no_place_of_its_own():
    places = [place for path in paths("en/*.ipynb") for _, (place,) in key(read(path), "en")]
    assert {0, 1, 2} <= set(places)


# every complaint is heard: a lesson with good questions, then with one thing broken

LESSON = [
    {"id": "a", "metadata": {"tags": ["questions"]}, "source": FORM["en"] + "\n\n" + "\n".join(
        f"{n}. What is {n}?\n   - This\n   - That\n   - It" for n in (1, 2, 3))},
    {"id": "b", "metadata": {"tags": ["solution"]}, "source": "\n".join(
        f"{n}. The number {n}.\n   - **Right.** Since it is the one that is asked for.\n"
        "   - That is what one gets by counting from zero.\n"
        "   - That is how many there are without this one." for n in (1, 2, 3))},
    {"id": "c", "metadata": {}, "source": "## Exercises"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("complaint", "place", "old", "new"),
    [
        ("not one right option", 1, "**Right.** Since", "Since"),
        ("not one right option", 1, "- That is", "- **Right.** That is"),
        ("2 explanations", 1, "   - That is what one gets by counting from zero.\n", ""),
        ("says nothing", 1, "That is what one gets by counting from zero.", "No, wrong."),
        ("different options", 0, "   - That\n", ""),
        ("different options", 0, "- That", "- This"),
        ("not three", 0, "3. What is 3?\n   - This\n   - That\n   - It", ""),
        ("begins with", 0, "Choose", "Guess"),
        ("one line for each item", 0, "   - That", "  - That"),
        ("the answers follow", 2, "## Exercises", "More."),
    ],
)
def test_a_broken_question_is_found(complaint, place, old, new):
    cells = copy.deepcopy(LESSON)
    assert check_questions({"cells": cells}, "en") == []
    assert old in cells[place]["source"]
    cells[place]["source"] = cells[place]["source"].replace(old, new, 1).strip()
    assert any(complaint in said for said in check_questions({"cells": cells}, "en"))


def test_a_chapter_without_questions_is_found():
    assert check_questions({"cells": LESSON[2:]}, "en") == ["0 cells are tagged questions"]


# In the browser


SEEN = """(whole) => [...whole.querySelectorAll(".why p")]
  .filter((why) => why.checkVisibility({ visibilityProperty: true }) && why.offsetHeight)
  .map((why) => [why.parentElement.className, why.innerText])"""


def shown(place):
    """The explanations that can be seen, each with its kind."""
    return place.evaluate(SEEN)


def check_page(page, path, said, by):
    """List where the page differs from what the chapter says about each option."""
    page.goto(path.as_uri())
    found = [f"shown before any choice: {text}" for _, text in shown(page.locator("main"))]
    questions = page.locator(".questions .question").all()
    if len(questions) != len(said):
        return [*found, f"{len(questions)} questions, not {len(said)}"]
    for question, (count, (place,)) in zip(questions, said, strict=True):
        buttons = question.locator("input[type=radio]").all()
        if len(buttons) != count:
            return [*found, f"{len(buttons)} options, not {count}"]
        for i, button in enumerate(buttons):
            if by == "mouse":
                question.locator("label").nth(i).click()
            elif by == "label":
                question.locator("label").nth(i).dispatch_event("click")
            elif i == 0:
                page.evaluate("document.activeElement.blur()")
                button.focus()
                page.keyboard.press("Space")
            else:
                page.keyboard.press("ArrowDown")
            classes = [kind for kind, _ in shown(question)]
            if classes != ["why right" if i == place else "why wrong"] or not button.is_checked():
                found.append(f"option {i + 1} shows {classes}")
    return found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("by", "script", "every"),
    [("label", True, 1), ("label", False, 1), ("mouse", True, 4), ("keys", True, 4)],
)
def test_questions_answer(language, by, script, every, browser, site):
    page = browser.new_page(java_script_enabled=script)
    for path in paths(f"{language}/*.ipynb")[::every]:
        built = site / language / f"{path.stem}.html"
        assert check_page(page, built, key(read(path), language), by) == []
    if script:
        assert accessibility(page) == []
    page.close()


def test_check_of_a_page_complains(page, site, tmp_path):
    path = paths("en/*.ipynb")[0]
    said, built = key(read(path), "en"), site / "en" / f"{path.stem}.html"
    text = built.read_text(encoding="utf8")
    broken = tmp_path / "page.html"
    for old, new, complaint in [
        ('class="why right"', 'class="why wrong"', "shows"),
        ('type="radio"', 'type="checkbox"', "options"),
        ("</article>", "<div class=why><p>Shown.</p></div></article>", "shown before"),
        ('class="question"', "", "2 questions"),
    ]:
        assert old in text
        broken.write_text(text.replace(old, new, 1), encoding="utf8")
        styles = soup(built).select("link[rel=stylesheet]")
        for style in styles:
            sheet = (built.parent / style["href"].split("?")[0]).as_uri()
            changed = broken.read_text(encoding="utf8").replace(style["href"], sheet)
            broken.write_text(changed, encoding="utf8")
        assert any(complaint in line for line in check_page(page, broken, said, "mouse")), complaint


def test_printed_page_shows_every_explanation(page, site):
    page.goto((site / "en" / f"{paths('en/*.ipynb')[0].stem}.html").as_uri())
    page.emulate_media(media="print")
    assert len(shown(page.locator("main"))) == page.locator(".why p").count() > 8


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("**Right.**", "Right.", "has one right answer"),
        ("   - That is what one gets by counting from zero.\n", "", "options have"),
        ("1. ", "- ", "no such list of answers"),
    ],
)
def test_questions_that_do_not_fit_stop_the_build(old, new, complaint, tmp_path):
    import nbformat

    root = small_book(tmp_path, "# A book\n\n```{toctree}\nlesson\n```\n")
    cells = [nbformat.v4.new_markdown_cell("# A lesson")]
    for cell in LESSON:
        text = cell["source"].replace(old, new, 1) if cell["id"] == "b" else cell["source"]
        cells.append(nbformat.v4.new_markdown_cell(text, id=cell["id"], metadata=cell["metadata"]))
    for language in LANGUAGES:
        path = root / "notebooks" / language / "lesson.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with open(root / "_toc.yml", "a", encoding="utf8") as toc:
        toc.write("chapters:\n  - file: notebooks/en/lesson\n")
    result = build(root)
    assert result.returncode != 0
    assert complaint in result.stdout
