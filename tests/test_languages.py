"""Promise: both languages are the same lesson: cells, code, outputs, links, formulas."""

import copy
import re
from collections import Counter
from difflib import unified_diff

import pytest

from notebooks import FENCE, FORMULA, INLINE_CODE, NOTEBOOKS, comments, paths, read
from outputs import difference
from sync import CHINESE, FRONT_MATTER, program, stamp

SAME = {  # what must be the same in both languages: name -> (pattern, does the order count)
    "heading levels": (re.compile(r"^(#{1,6}) ", re.MULTILINE), True),
    "formulas": (FORMULA, False),
    "links": (re.compile(r"\]\(([^)\s]+)|<(https?://[^>]+)>"), False),
    "labels": (re.compile(r"^\(([\w-]+)\)=", re.MULTILINE), True),
    "decimal numbers": (re.compile(r"(?<![\w.])(\d+\.\d+)(?![\w.]*\d)"), False),
    "table rows": (re.compile(r"^(\|)", re.MULTILINE), True),
    "list items": (re.compile(r"^ *(?:[-*]|\d+\.)( )", re.MULTILINE), True),
}
PROSE = re.compile(r"[A-Za-z]{3,}(?:[^A-Za-z\n]+[A-Za-z]{2,}){2,}")
SPOKEN = re.compile(r"^```console\n.*", re.DOTALL)  # what a program of the book says
TEXT_IN_FORMULA = re.compile(r"\\text\{[^}]*\}")


def traits(markdown):
    """What of a Markdown text must not depend on the language."""
    fences = [match[0] for match in FENCE.finditer(markdown)]
    text = FENCE.sub("", markdown)
    found = {"code blocks": [SPOKEN.sub("console", re.sub(r"#.*", "", f)) for f in fences]}
    for name, (pattern, ordered) in SAME.items():
        where = text if name in ("links", "labels") else INLINE_CODE.sub("`code`", text)
        items = ["".join(g or "" for g in m.groups()) or m[0] for m in pattern.finditer(where)]
        if name == "formulas":
            items = [re.sub(r"\s+", " ", TEXT_IN_FORMULA.sub(r"\\text{}", item)) for item in items]
        found[name] = items if ordered else Counter(items)
    return found


def compare_markdown(english, chinese):
    """Yield what differs between two Markdown texts."""
    one, two = traits(english), traits(chinese)
    for name in one:
        if one[name] != two[name]:
            yield f"{name}: {one[name]} became {two[name]}"
    bare = INLINE_CODE.sub("", FENCE.sub("", FORMULA.sub("", chinese)))
    if PROSE.search(re.sub(r"\]\([^)]*\)|<http[^>]*>", "", bare)) and not CHINESE.search(bare):
        yield "not translated"


def compare_code(english, chinese):
    """Yield what differs between two code cells."""
    one, two = program(english["source"]), program(chinese["source"])
    if one != two:
        lines = unified_diff(one.splitlines(), two.splitlines(), "en", "zh", lineterm="", n=0)
        yield "code differs:\n" + "\n".join(lines)
    notes = comments(english["source"]), comments(chinese["source"])
    if len(notes[0]) != len(notes[1]):
        yield f"{len(notes[0])} comments became {len(notes[1])}"
    for note in notes[1]:
        if PROSE.search(re.sub(r"`[^`]*`", "", note)) and not CHINESE.search(note):
            yield f"comment not translated: {note[:60]!r}"
    if english["execution_count"] != chinese["execution_count"]:
        yield "execution counts differ"
    yield from compare_outputs(english["outputs"], chinese["outputs"])


def compare_outputs(english, chinese):
    kinds = [
        [(o["output_type"], *sorted(o.get("data", {}))) for o in x] for x in (english, chinese)
    ]
    if kinds[0] != kinds[1]:
        yield f"outputs {kinds[0]} became {kinds[1]}"
        return
    for one, two in zip(english, chinese, strict=True):
        pairs = [(one.get("text", ""), two.get("text", ""))]
        pairs += [(one["data"][kind], two["data"][kind]) for kind in one.get("data", {})]
        for left, right in pairs:
            if said := difference(left, right):
                yield f"outputs differ: {said}"


def compare(english, chinese):
    """List what differs between two notebooks."""
    shape = [[(c["id"], c["cell_type"]) for c in n["cells"]] for n in (english, chinese)]
    if shape[0] != shape[1]:
        return ["cells differ in id, order or type: run tools/sync.py"]
    said = []
    for one, two in zip(english["cells"], chinese["cells"], strict=True):
        found = []
        for key in ("tags", "teaching", "exercises", "requires", "reason"):
            if one["metadata"].get(key) != two["metadata"].get(key):
                found.append(f"{key} differ: run tools/sync.py")
        if ("alt" in one["metadata"]) != bool(CHINESE.search(two["metadata"].get("alt", ""))):
            found.append("alt text is missing, or not Chinese")
        if one["cell_type"] == "code":
            found += compare_code(one, two)
        else:
            found += compare_markdown(one["source"], two["source"])
            if two["metadata"].get("translated-from") != stamp(one["source"]):
                found.append("stale: the English changed after this was translated")
        said += [f"[{one['id']}] {text}" for text in found]
    return said


def compare_pages(english, chinese):
    """List what differs between two Markdown pages."""
    front = FRONT_MATTER.match(chinese)
    said = list(compare_markdown(FRONT_MATTER.sub("", english), FRONT_MATTER.sub("", chinese)))
    if front is None or f"translated-from: {stamp(english)}" not in front[1]:
        said.append("stale: the English changed after this was translated")
    return said


def pairs(pattern):
    return [pytest.param(p, NOTEBOOKS / "zh" / p.name, id=p.name) for p in paths(f"en/{pattern}")]


def test_the_same_files_in_both_languages():
    names = [{p.name for p in paths(f"{language}/*.*")} for language in ("en", "zh")]
    assert names[0] == names[1]


@pytest.mark.parametrize(("english", "chinese"), pairs("*.ipynb"))
def test_notebooks_are_in_step(english, chinese):
    assert compare(read(english), read(chinese)) == []


@pytest.mark.parametrize(("english", "chinese"), pairs("*.md"))
def test_pages_are_in_step(english, chinese):
    texts = [path.read_text(encoding="utf8") for path in (english, chinese)]
    assert compare_pages(*texts) == []


# every complaint is heard: two cells in step, then one of them changed


def lesson(language):
    prose = {"en": "## Two\n\nThe value $x^2$ of [this](a.ipynb) layer is about 0.98 here.",
             "zh": "## 二\n\n这里[这个](a.ipynb)层的值 $x^2$ 约为 0.98。"}  # fmt: skip
    note = {"en": "# square every single number", "zh": "# 逐元素平方"}
    output = {"output_type": "stream", "name": "stdout", "text": "0.9800\n"}
    cells = [
        {"cell_type": "markdown", "id": "words", "metadata": {}, "source": prose[language]},
        {"cell_type": "code", "id": "square", "metadata": {"tags": ["layer"]}, "outputs": [output],
         "execution_count": 1, "source": f"{note[language]}\ny = x**2\nprint('value')"},
    ]  # fmt: skip
    if language == "zh":
        cells[0]["metadata"]["translated-from"] = stamp(prose["en"])
    return {"cells": copy.deepcopy(cells)}


def edit(number, old, new):
    def change(notebook):
        cell = notebook["cells"][number]
        assert old in cell["source"]
        cell["source"] = cell["source"].replace(old, new)

    return change


CHANGES = [
    ("zh", "id, order or type", lambda n: n["cells"].reverse()),
    ("zh", "tags differ", lambda n: n["cells"][1]["metadata"].update(tags=[])),
    ("zh", "code differs", edit(1, "x**2", "x**3")),
    ("zh", "code differs", edit(1, "'value'", "'数值'")),
    ("zh", "comment not translated", edit(1, "逐元素平方", "square every single number")),
    ("zh", "comments became", edit(1, "# 逐元素平方\n", "")),
    ("zh", "outputs differ", lambda n: n["cells"][1]["outputs"][0].update(text="0.9700\n")),
    ("zh", "outputs", lambda n: n["cells"][1].update(outputs=[])),
    ("zh", "heading levels", edit(0, "## 二", "# 二")),
    ("zh", "formulas", edit(0, "$x^2$", "$x^3$")),
    ("zh", "links", edit(0, "a.ipynb", "b.ipynb")),
    ("zh", "decimal numbers", edit(0, "0.98", "0.89")),
    ("zh", "not translated", edit(0, "这里[这个](a.ipynb)层的值", "The value of [this](a.ipynb)")),
    ("en", "alt text", lambda n: n["cells"][1]["metadata"].update(alt="A new figure")),
    ("en", "stale", edit(0, "about", "nearly")),
]


def test_a_lesson_in_step_passes():
    assert compare(lesson("en"), lesson("zh")) == []


@pytest.mark.parametrize(("language", "complaint", "change"), CHANGES)
def test_a_lesson_out_of_step_is_found(language, complaint, change):
    both = {"en": lesson("en"), "zh": lesson("zh")}
    change(both[language])
    if complaint == "not translated":
        both["zh"]["cells"][0]["source"] = lesson("en")["cells"][0]["source"]
    assert any(complaint in said for said in compare(both["en"], both["zh"]))


def test_a_stale_page_is_found():
    english = "# Setup\n\nInstall it.\n"
    chinese = f"---\ntranslated-from: {stamp(english)}\n---\n# 安装\n\n先安装。\n"
    assert compare_pages(english, chinese) == []
    assert "stale" in compare_pages(english + "More of it.\n", chinese)[-1]
