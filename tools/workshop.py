"""Make the workshop kit: notebooks for learners and teachers, and one zip per language.

    python tools/workshop.py                          (make workshop)
    python tools/workshop.py --wheels windows macos   the packages too, for rooms without a network

In _build/workshop/LANGUAGE/ stand `learner/` (each solution replaced by a stub that says what to
return, its output shown as the goal), `teacher/` (the whole chapter, with the notes of the teaching
page), and `catch-up/` (for each break of a schedule, the chapters since the last one, solved as far
as the course has come). The zip, for a USB stick, holds all but the teacher's: the site, the
notebooks, what to install, and a page that says what to do. All of it is made from notebooks/ and
book/schedules.yml.
"""

import argparse
import ast
import copy
import html
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import yaml

from execute import METADATA, ROOT, load

LANGUAGES = ("en", "zh")
ALL = "all"  # of a chapter's sections
WORDS = {
    "en": {
        "function": "write {name}({arguments}) and return its result",
        "method": "write {name}({arguments})",
        "forward": "write {name}: it returns the output, a tensor",
        "backward": "write {name}: it returns the gradient of each argument, {arguments}",
        "setup_context": "write {name}: it saves what the gradients need",
        "jvp": "write {name}: it returns the tangent of the output",
        "vmap": "write {name}: it returns all results and the axis of the batch",
        "answer": "# your answer",
        "goal": "The goal: what a solution prints (look when you have tried)",
        "answers": "The answers, with what speaks for and against each option, are in "
        "[the book]({link}).",
        "teacher": "**For the teacher.** {teaching} minutes of reading and running, {exercises} "
        "minutes of exercises (planned, not measured). Read first: {requires}.",
        "nothing": "nothing",
        "break": "{schedule}, break {number}",
        "after": "after chapter {number}",
        "schedules": {
            "90-minutes": "90 minutes", "half-day": "half a day", "day": "one day",
            "two-days": "two days",
        },
    },
    "zh": {
        "function": "写出 {name}({arguments})，返回它的结果",
        "method": "写出 {name}({arguments})",
        "forward": "写出 {name}，返回输出，一个张量",
        "backward": "写出 {name}，返回每个参数的梯度：{arguments}",
        "setup_context": "写出 {name}，保存求梯度要用的东西",
        "jvp": "写出 {name}，返回输出的切向量",
        "vmap": "写出 {name}，返回全部结果和批所在的轴",
        "answer": "# 你的答案",
        "goal": "目标：解答打印的内容（先自己试，再看）",
        "answers": "答案，以及每个选项对在哪里、错在哪里，见[书里的这一节]({link})。",
        "teacher": "**给教师。**阅读和运行 {teaching} 分钟，练习 {exercises} 分钟"
        "（计划值，并非实测）。先修：{requires}。",
        "nothing": "无",
        "break": "{schedule}，第 {number} 次休息",
        "after": "第 {number} 章之后",
        "schedules": {
            "90-minutes": "90 分钟", "half-day": "半天", "day": "一天", "two-days": "两天",
        },
    },
}  # fmt: skip
JUDGE = {  # what `judge` says, as its cell writes it, and how the Chinese kit does
    '"nothing is there yet"': '"这里还没有答案"',
    'f"a {type(got).__name__}, not a tensor"': 'f"这是 {type(got).__name__}，应当是张量"',
    'f"the shape is {a.shape}, not {b.shape}"': 'f"形状是 {a.shape}，应当是 {b.shape}"',
    'f"the dtype is {types[0]}, not {types[1]}"': 'f"dtype 是 {types[0]}，应当是 {types[1]}"',
    '"the sign is wrong"': '"正负号反了"',
    '"transposed"': '"转置了"',
    '"all axes"': '"所有轴"',
    'f"axis {axis}"': 'f"轴 {axis}"',
    'f"flipped along {name}"': 'f"沿{name}翻转了"',
    'f"too large by the factor {factor:.6g}"': 'f"差一个倍数：是正确值的 {factor:.6g} 倍"',
    '"columns"': '"列"',
    '"rows"': '"行"',
    'f"only the {name} {np.flatnonzero(whole).tolist()} are right"':
        'f"只有第 {np.flatnonzero(whole).tolist()} {name}是对的（从 0 数起）"',
    'f"{np.count_nonzero(right)} of {right.size} are right; "':
        'f"{right.size} 个里对了 {np.count_nonzero(right)} 个；"',
    'f"the first that is not: number {place[0] if a.ndim == 1 else place}"':
        'f"第一个不对的位置：{place[0] if a.ndim == 1 else place}（从 0 数起）"',
    'f"value: {verdict}"': 'f"值：{verdict}"',
    'f"answer: {verdict}"': 'f"答案：{verdict}"',
    '"right"': '"正确"',
    '"gradients: none; the way back to the input is cut"': '"梯度：没有，回到输入的路断了"',
    'f"gradients: right, says {then.__name__}"': 'f"梯度：正确（{then.__name__}）"',
    'f"gradient of argument {k}: {verdict}"': 'f"参数 {k} 的梯度：{verdict}"',
    'f"not yet: {error}"': 'f"还没完成：{error}"',
}  # fmt: skip
WHEELS = {  # of each system: pip's names, and what pip leaves out when it runs on another one
    "windows": (["win_amd64"], ["colorama", "pywinpty", "tzdata"]),
    "macos": ([f"macosx_{v}_arm64" for v in ("14_0", "11_0")], ["appnope", "pexpect"]),
    "linux": (
        ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"],
        ["pexpect"],
    ),
}
CPU = "https://download.pytorch.org/whl/cpu"
PAGE = re.compile(r"\]\((?:(\d\d-[\w-]+)\.ipynb|(\w[\w-]*)\.md)?(#[\w-]+)?\)")


def tags(cell):
    return set(cell.metadata.get("tags", []))


def markdown(id, text):
    cell = nbformat.v4.new_markdown_cell(text)
    cell.id = id
    return cell


# stubs


def header(lines, node):
    """The lines of a definition, from its decorators to the colon."""
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    body = node.body[0]
    last = min([body.lineno, *(d.lineno for d in getattr(body, "decorator_list", []))])
    return "\n".join(lines[first - 1 : last - 1]).rstrip()


def docstring(lines, node):
    if ast.get_docstring(node) is None:
        return []
    return ["\n".join(lines[node.body[0].lineno - 1 : node.body[0].end_lineno])]


def emptied(lines, node, owner, task, words):
    """A function or method with nothing in it but a sentence that says what it must return.

    A number for the learner to choose, a default that the task does not write, is left out too.
    """
    name, kind, described = node.name, "function", node
    if owner is not None:
        name, kind = f"{owner.name}.{name}", name if name in words else "method"
        forward = [f for f in owner.body if getattr(f, "name", "") == "forward"]
        described = forward[0] if kind == "backward" and forward else node
    arguments = [a.arg for a in described.args.args if a.arg not in ("ctx", "self", "cls")]
    text = words[kind].format(name=name, arguments=", ".join(arguments))
    indent = " " * (node.col_offset + 4)
    said = f'{indent}raise NotImplementedError("{text}")'
    if len(said) > 84:
        said = f'{indent}raise NotImplementedError(\n{indent}    "{text}")'
    head = header(lines, node)
    positional = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    for argument, default in zip(positional, node.args.defaults, strict=True):
        written = f"{argument.arg}={ast.unparse(default)}"
        number = isinstance(default, ast.Constant) and type(default.value) in (int, float)
        if number and written not in task:
            head = re.sub(rf"\b{argument.arg}=[\w.+-]+", f"{argument.arg}=...", head)
    return "\n".join([head, *docstring(lines, node), said])


def stub(sources, names, task, words):
    """What a learner starts from: of these solutions, the definitions of these names, emptied."""
    parts, imports = [], []
    for source in sources:
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports.append(ast.get_source_segment(source, node))
            elif isinstance(node, ast.FunctionDef) and node.name in names:
                parts.append(emptied(lines, node, None, task, words))
            elif isinstance(node, ast.ClassDef) and node.name in names:
                methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
                inside = [emptied(lines, n, node, task, words) for n in methods] or ["    ..."]
                head = [header(lines, node), *docstring(lines, node)]
                start = "\n".join(head) + ("\n\n" if len(head) > 1 and methods else "\n")
                parts.append(start + "\n\n".join(inside))
            elif isinstance(node, ast.Assign):
                parts += [f"{t.id} = ..." for t in node.targets if getattr(t, "id", "") in names]
    parts = ["\n".join(imports)] * bool(imports) + list(dict.fromkeys(parts))
    if len(parts) == bool(imports):
        parts.append(words["answer"])
    simple = all(" = ..." in part and "\n" not in part for part in parts)
    return ("\n" if simple else "\n\n\n").join(parts)


def defined(sources):
    """The names that these cells define or assign, each as a whole."""
    found = set()
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return found


def read(source):
    """The names that a cell takes from the cells above it."""
    names = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)]
    stored = {n.id for n in names if isinstance(n.ctx, ast.Store)} | defined([source])
    stored |= {n.arg for n in ast.walk(ast.parse(source)) if isinstance(n, ast.arg)}
    return {n.id for n in names} - stored


def wanted_names(task, solutions, checks):
    """Of what the solutions define, the names that the task writes or the check reads."""
    known = defined([cell.source for cell in solutions])
    code = " ".join(re.findall(r"`([^`]+)`", task.source))
    return {
        name
        for name in known
        if re.search(rf"(?<![\w.]){name}\b", code)
        and any(re.search(rf"^(?:class|def) {name}\b", c.source, re.MULTILINE) for c in solutions)
        or any(name in read(cell.source) for cell in checks)
    }


def goal(task, solutions, words):
    """What the solutions print, folded; nothing if they print nothing."""
    printed = "".join(
        output.get("text") or output.get("data", {}).get("text/plain", "").rstrip("\n") + "\n"
        for cell in solutions
        for output in cell.outputs
    ).rstrip("\n")
    if not printed:
        return []
    text = f"<details>\n<summary>{words['goal']}</summary>\n\n```text\n{printed}\n```\n\n</details>"
    return [markdown(f"{task.id}-goal", text)]


# notebooks


def groups(notebook):
    """The cells in runs: an exercise and its solution, questions and their answers, or one cell.

    What a chapter itself leaves to fill (chapter 17) is no run: the layers of its solution stay,
    since later cells need them.
    """
    runs = []
    for cell in notebook.cells:
        begins = cell.cell_type == "markdown" and tags(cell) & {"exercise", "questions"}
        inside = runs and runs[-1][0].cell_type == "markdown"
        inside = inside and tags(runs[-1][0]) & {"exercise", "questions"}
        if not begins and inside and tags(cell) & {"exercise", "solution"}:
            runs[-1].append(cell)
        else:
            runs.append([cell])
    return runs


def relink(text, deep, language, chapters):
    """The text with links to pages, and to chapters that do not stand beside it, into the site."""
    site = "../" * deep + f"site/{language}/"

    def link(found):
        chapter, page, anchor = found.groups()
        name = chapter or page
        if name is None or (chapter in chapters):
            return found[0]
        return f"]({site}{name}.html{anchor or ''})"

    return PAGE.sub(link, text)


def finish(notebook, language, deep, chapters):
    """Links that lead somewhere, the kit's words in `judge`, and no metadata but tags."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        folded = "hide-input" in tags(cell) or cell.id in ("setup", "judge")
        folded |= {"solution", "layer"} <= tags(cell)
        metadata = {"tags": sorted(tags(cell))} if tags(cell) else {}
        if folded and cell.cell_type == "code":
            metadata["jupyter"] = {"source_hidden": True}
        cell.metadata = nbformat.from_dict(metadata)
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, deep, language, chapters)
        elif cell.id == "judge" and language == "zh":
            for english, chinese in JUDGE.items():
                cell.source = cell.source.replace(english, chinese)
    return notebook


def learner(notebook, name, language, *, deep=2, chapters=(), solved=(), past=lambda cell: False):
    """A chapter for learners: stubs for solutions, except for the exercises that are solved.

    Outputs are cleared, so that a prediction stays one, except for cells that are past, and for
    figures and tables that stand in Markdown.
    """
    words, made = WORDS[language], nbformat.v4.new_notebook()
    for first, *rest in groups(copy.deepcopy(notebook)):
        cells = [first, *rest]
        if "solution" in tags(first) and "layer" not in tags(first):
            continue  # of what the chapter itself leaves to fill
        if "questions" in tags(first) and not past(first):
            link = "../" * deep + f"site/{language}/{name}.html#{rest[0].id}"
            cells = [first, markdown(rest[0].id, words["answers"].format(link=link))]
        elif "exercise" in tags(first) and first.id not in solved:
            given = [cell for cell in rest if "exercise" in tags(cell)]
            code = [c for c in rest if c.cell_type == "code" and "solution" in tags(c)]
            checks = [cell for cell in code if "check" in tags(cell)]
            code = [cell for cell in code if cell not in checks]
            names = wanted_names(first, code, checks)
            cells = [first, *given]
            if code:
                goals = goal(first, code, words)
                code[0].source = stub([cell.source for cell in code], names, first.source, words)
                cells += [code[0], *goals, *checks]
        solution = first.id in solved
        for cell in cells:
            if cell.cell_type == "code" and not (solution or past(cell)):
                cell.outputs, cell.execution_count = [], None
        made.cells += cells
    return finish(made, language, deep, chapters)


def notes(name, language, folder):
    """What the teaching page says of a chapter: the text below its label, without the heading."""
    path = folder / language / "teaching.md"
    text = path.read_text(encoding="utf8") if path.exists() else ""
    found = re.search(rf"^\(teaching-{name}\)=\n(#+) .*\n", text, re.MULTILINE)
    if not found:
        return ""
    rest = text[found.end() :].replace("](#", "](teaching.md#")
    end = re.search(rf"^(?:\([\w-]+\)=\n)?#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()].strip() if end else rest.strip()


def teacher(notebook, name, language, *, chapters=(), folder=ROOT / "notebooks"):
    """A chapter for its teacher: whole, with the minutes and the notes below its title."""
    made, words = copy.deepcopy(notebook), WORDS[language]
    data = made.cells[0].metadata
    requires = ", ".join(data.get("requires", [])) or words["nothing"]
    text = words["teacher"].format(
        teaching=data.teaching, exercises=data.exercises, requires=requires
    )
    more = notes(name, language, folder)
    made.cells.insert(1, markdown("teacher", f"{text}\n\n{more}".strip()))
    return finish(made, language, 2, chapters)


# schedules


def steps(schedules, id):
    """The sessions of a schedule, with those of the schedules in it."""
    (schedule,) = [s for s in schedules if s["id"] == id]
    for session in schedule["sessions"]:
        if "schedule" in session:
            yield from steps(schedules, session["schedule"])
        else:
            yield session


def breaks(schedules, chapters):
    """Where a learner may catch up: (schedule, number, {chapter: (sections, exercises) done}).

    Without schedules, that is the end of each chapter. Only chapters since the last break count.
    """
    if not schedules:
        for name in chapters:
            yield None, name[:2], {name: (ALL, ALL)}
        return
    for schedule in schedules:
        done, touched, number = {}, [], 0
        for session in steps(schedules, schedule["id"]):
            name = session.get("chapter")
            if name in chapters:
                sections, exercises = done.setdefault(name, (set(), set()))
                exercises |= set(session.get("exercises", ()))
                if "sections" in session:
                    sections |= set(session["sections"])
                elif "exercises" not in session:
                    sections.add(ALL)
                touched.append(name)
            elif {"break", "lunch", "night"} & session.keys() and touched:
                number += 1
                yield schedule["id"], number, {n: copy.deepcopy(done[n]) for n in touched}
                touched = []


def catch_up(notebook, name, language, done, deep=3):
    """A chapter as it is at a break: solved and run as far as the course has come."""
    sections, exercises = done
    if exercises == ALL:
        exercises = {c.id for c in notebook.cells if "exercise" in tags(c)}
    reached, section = set(), None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            section = cell.id
        if section is None or sections == ALL or {section, ALL} & set(sections):
            reached.add(cell.id)
    return learner(
        notebook, name, language, deep=deep, solved=exercises,
        past=lambda cell: cell.id in reached and not tags(cell) & {"exercise", "solution"}
        or cell.id in reached and "questions" in tags(cell),
    )  # fmt: skip


# the kit


def save(notebook, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def make_notebooks(source, schedules, output, language):
    """Write a language's notebooks below output; return the list of catch-up folders."""
    books = {path.stem: load(path) for path in sorted((source / language).glob("*.ipynb"))}
    if not books:
        sys.exit(f"tools/workshop.py: no notebook in {source / language}")
    for name, book in books.items():
        save(learner(book, name, language, chapters=books), output / "learner" / f"{name}.ipynb")
        whole = teacher(book, name, language, chapters=books, folder=source)
        save(whole, output / "teacher" / f"{name}.ipynb")
    folders, words = [], WORDS[language]
    for schedule, number, chapters in breaks(schedules, books):
        if schedule is None:
            folder, title = f"after-{number}", words["after"].format(number=number)
        else:
            folder = f"{schedule}-{number}"
            name = words["schedules"].get(schedule, schedule)
            title = words["break"].format(schedule=name, number=number)
        for name, done in chapters.items():
            made = catch_up(books[name], name, language, done)
            save(made, output / "catch-up" / folder / f"{name}.ipynb")
        folders.append((folder, title, list(chapters)))
    return folders


def start_page(language, folders, wheels):
    """The page that says what to do, with the catch-up notebooks of each break."""
    text = (ROOT / "book" / f"start-here-{language}.html").read_text(encoding="utf8")
    rows = "\n".join(
        f"<tr><td>{html.escape(title)}</td><td>" + ", ".join(
            f"<code>catch-up/{folder}/{name}.ipynb</code>" for name in chapters
        ) + "</td></tr>"
        for folder, title, chapters in folders
    )  # fmt: skip
    offline = "--no-index --find-links wheels " if wheels else ""
    return text.replace("{{catch-up}}", rows).replace("{{offline}}", offline)


def pack(output, language, folders, site_zip, wheels=None):
    """Write a language's zip: the site, the notebooks, what to install, and where to start."""
    top = f"workshop-{language}"
    with zipfile.ZipFile(output / f"{top}.zip", "w", zipfile.ZIP_DEFLATED) as kit:
        page = output / language / "START-HERE.html"
        page.write_text(start_page(language, folders, wheels), encoding="utf8")
        kit.write(page, f"{top}/{page.name}")
        with zipfile.ZipFile(site_zip) as site:
            for entry in site.infolist():
                data = site.read(entry)
                entry.filename = f"{top}/site/{entry.filename.partition('/')[2]}"
                kit.writestr(entry, data)
        for kind, place in (("learner", language), ("catch-up", "catch-up")):
            for path in sorted((output / language / kind).rglob("*.ipynb")):
                below = path.relative_to(output / language / kind).as_posix()
                kit.write(path, f"{top}/notebooks/{place}/{below}")
        for name in ("notebooks/requirements.txt", "tools/check_setup.py", "LICENSE", "NOTICE"):
            kit.write(ROOT / name, f"{top}/{name}")
        for path in sorted(wheels.glob("*")) if wheels else ():
            kit.write(path, f"{top}/wheels/{path.name}", zipfile.ZIP_STORED)
    return output / f"{top}.zip"


def wheel_commands(systems, python, folder):
    """For each system, the call of pip that downloads what it needs, to be installed offline."""
    for system in systems:
        platforms, more = WHEELS[system]
        command = [sys.executable, "-m", "pip", "download", "--dest", str(folder)]
        command += ["--only-binary", ":all:", "--python-version", python]
        for platform in platforms:
            command += ["--platform", platform]
        if system == "linux":  # without CUDA
            command += ["--extra-index-url", CPU]
        yield [*command, "-r", str(ROOT / "notebooks" / "requirements.txt"), *more]


def build_site(output):
    """Build the book below output; return the path of its zip."""
    command = [sys.executable, str(ROOT / "book" / "build.py"), "--output", str(output)]
    if subprocess.run(command).returncode:
        sys.exit("tools/workshop.py: the book was not built, for the reasons above")
    return output / "site" / "extending-pytorch.zip"


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "workshop")
    parser.add_argument("--wheels", nargs="+", choices=WHEELS, default=[], metavar="SYSTEM")
    parser.add_argument(
        "--python", default=".".join(map(str, sys.version_info[:2])), help="of the wheels"
    )
    options = parser.parse_args(arguments)
    output, began = options.output.resolve(), time.monotonic()
    for name in (*LANGUAGES, "wheels"):
        shutil.rmtree(output / name, ignore_errors=True)
    site = build_site(output)
    wheels = output / "wheels" if options.wheels else None
    for command in wheel_commands(options.wheels, options.python, wheels):
        if subprocess.run(command).returncode:
            sys.exit("tools/workshop.py: the wheels were not downloaded, for the reasons above")
    path = ROOT / "book" / "schedules.yml"
    schedules = yaml.safe_load(path.read_text(encoding="utf8")) if path.exists() else []
    for language in LANGUAGES:
        folders = make_notebooks(ROOT / "notebooks", schedules, output / language, language)
        print(pack(output, language, folders, site, wheels))
    print(f"Made in {time.monotonic() - began:.0f} s; the teacher's notebooks: {output}/*/teacher")


if __name__ == "__main__":
    main()
