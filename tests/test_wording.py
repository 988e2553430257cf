"""Promise: words are chosen from terms.yml, set as Chinese is set, and spelled right in English."""

import re
import subprocess
import sys

import autocorrect_py
import pytest
import yaml

from notebooks import FENCE, FORMULA, INLINE_CODE, ROOT, comments, paths, read
from sync import FRONT_MATTER

TERMS = yaml.safe_load((ROOT / "book" / "terms.yml").read_text(encoding="utf8"))
MARK = "\x01"
HAN = r"[\u3400-\u9fff]"
LINK = re.compile(r"!(?=\[)|(\])\([^)\s]+\)|<https?://[^>]+>|^\([\w-]+\)=$", re.MULTILINE)
SPACING = (  # pattern, complaint
    (rf"{HAN}{MARK}|{MARK}{HAN}", "a space between Chinese and code or formulas"),
    (rf"{HAN} *\(|\) *{HAN}|{HAN}[,;:!?]|[,;:!?] ?{HAN}", "full-width punctuation in Chinese"),
    (rf'{HAN} ?"|" ?{HAN}', "Chinese quotation marks “ ”"),
    (
        r" [，。；：？！（）、“”]|[，。；：？！（）、] (?!\n|$)",
        "no space beside full-width punctuation",
    ),
)
NEVER_IN_ENGLISH = re.compile(r"\b(simply|just|obviously|trivially|of course)\b|!(?!\[)", re.I)


def prose(markdown):
    """A text's words: without code blocks, link targets and front matter."""
    return LINK.sub(lambda found: found[1] or "", FENCE.sub("", FRONT_MATTER.sub("", markdown)))


def check_chinese(markdown):
    """List slips of typography and forbidden words in a Chinese text."""
    text = prose(markdown)
    words = FORMULA.sub("", INLINE_CODE.sub("", text))
    said = [f"never {w['zh']}: {w['why']}" for w in TERMS["forbidden"] if w["zh"] in words]
    # code and formulas become one mark, so that only their borders are seen
    marked = FORMULA.sub(MARK, INLINE_CODE.sub(MARK, text))
    marked = re.sub(r"\*\*|__|[\[\]]|(?<!\*)\*(?!\*)", "", marked)
    for pattern, complaint in SPACING:
        if found := re.search(pattern, marked):
            where = marked[max(0, found.start() - 12) : found.end() + 12]
            said.append(f"{complaint}: {where.replace(MARK, '`…`')!r}")
    for line in autocorrect_py.lint_for(text, "markdown").lines:
        said.append(f"{line.old!r} is set as {line.new!r}")
    return said


def check_first_uses(text):
    """List the terms that a Chinese page does not introduce as 中文（English）."""
    text = FORMULA.sub("", INLINE_CODE.sub("`…`", prose(text)))
    text = re.sub(r"^#+ .*$", "", text, flags=re.MULTILINE)
    text = text.replace("*", "").replace("\\-", "-")
    by_length = sorted(TERMS["terms"], key=lambda term: -len(term["zh"]))
    pattern = re.compile("|".join(re.escape(term["zh"]) for term in by_length))
    known, said = {term["zh"]: term for term in TERMS["terms"]}, []
    for found in pattern.finditer(text):
        term = known.pop(found[0], None)
        if term is None or term.get("everyday"):
            continue
        introduced = re.match(r"（([^）]*)）", text[found.end() :])
        names = [term["en"], *term.get("also", [])]
        if not introduced or not any(n.lower() in introduced[1].lower() for n in names):
            said.append(f"first use of {found[0]}: write {found[0]}（{term['en']}）")
    return said


def check_english(markdown):
    """List words that the book does not use."""
    words = FORMULA.sub("", INLINE_CODE.sub("", prose(markdown)))
    return [f"not in this book: {found[0]!r}" for found in NEVER_IN_ENGLISH.finditer(words)]


def texts(path):
    """The texts of a page, each with its place: Markdown, alt texts, comments in code."""
    if path.suffix == ".md":
        return [(path.name, path.read_text(encoding="utf8"))]
    found = []
    for cell in read(path)["cells"]:
        code = cell["cell_type"] == "code"
        parts = [c.strip('#" \n') for c in comments(cell["source"])] if code else [cell["source"]]
        found += [(cell["id"], part) for part in [*parts, cell["metadata"].get("alt", "")]]
    return found


def all_paths(language):
    return [*paths(f"{language}/*.ipynb"), *paths(f"{language}/*.md")]


@pytest.mark.parametrize("path", all_paths("zh"), ids=lambda p: p.name)
def test_chinese(path):
    said = [f"[{place}] {what}" for place, text in texts(path) for what in check_chinese(text)]
    assert said == []


@pytest.mark.parametrize("path", all_paths("zh"), ids=lambda p: p.name)
def test_terms_are_introduced(path):
    if path.suffix == ".md":
        page = path.read_text(encoding="utf8")
    else:
        cells = read(path)["cells"]
        page = "\n\n".join(c["source"] for c in cells if c["cell_type"] == "markdown")
    assert check_first_uses(page) == []


@pytest.mark.parametrize("path", all_paths("en"), ids=lambda p: p.name)
def test_english(path):
    said = [f"[{place}] {what}" for place, text in texts(path) for what in check_english(text)]
    assert said == []


def test_spelling(tmp_path):
    for path in all_paths("en"):
        page = "\n\n".join(text for _, text in texts(path))
        (tmp_path / f"{path.name}.txt").write_text(page, encoding="utf8")
    assert (
        spelling(tmp_path, *ROOT.glob("*.md"), ROOT / "tools", ROOT / "book", ROOT / "tests") == ""
    )


def spelling(*places):
    command = [sys.executable, "-m", "codespell_lib", "--toml", ROOT / "pyproject.toml", *places]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True).stdout


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_code_is_in_style(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--quiet", "."],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout + done.stderr == ""


# every complaint is heard


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("计算自动分级。", "never 自动分级"),
        ("使用PyTorch。", "is set as"),
        ("函数`f`很好。", "a space between Chinese and code or formulas"),
        ("函数 `f`很好。", "a space between Chinese and code or formulas"),
        ("值$x$很大。", "a space between Chinese and code or formulas"),
        ("很好, 再来。", "full-width punctuation"),
        ("形状(如下)正确。", "full-width punctuation"),
        ('所谓"梯度"是什么。', "quotation marks"),
        ("很好 。", "no space beside"),
        ("很好， 再来。", "no space beside"),
    ],
)
def test_a_slip_in_chinese_is_found(text, complaint):
    assert any(complaint in said for said in check_chinese(text))


def test_good_chinese_passes():
    text = (
        "把 `rfft2` 的**伴随**（adjoint）记作 $A^\\top$，见[第 4 章](04-x.ipynb)：“它是线性的”。\n"
    )
    assert check_chinese(text) == []
    assert check_chinese("“`自动分级`”是机器翻译的错误。\n") == []


def test_a_term_without_its_english_is_found():
    assert check_first_uses("伴随是转置。") == ["first use of 伴随: write 伴随（adjoint）"]
    assert check_first_uses("# 伴随\n\n**伴随**（adjoint）是转置，伴随又是什么。") == []


def test_a_word_that_the_book_does_not_use_is_found():
    assert check_english("This is just it.") and check_english("Look!")
    assert check_english("Adjust `just`. ![picture](a.svg) $n!$") == []


def test_a_misspelling_is_found(tmp_path):
    page = tmp_path / "page.txt"
    page.write_text("The " + "func" + "iton returns a gradient.\n")
    assert "function" in spelling(page)
