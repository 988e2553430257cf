"""Promise: tools/check_setup.py says whether the notebooks will run, and if not, what mends it."""

import ast
import functools
import json
import re
import shutil
import string
import subprocess
import sys

import pytest

import check_setup
from notebooks import LANGUAGES, ROOT, paths

TOOL = ROOT / "tools" / "check_setup.py"
TRIED = functools.cache(check_setup.try_layers)  # once for both languages


@pytest.fixture
def quick(monkeypatch):
    """The tool without the trial of the layers, on a machine that has all it needs."""
    monkeypatch.setattr(check_setup, "try_layers", lambda chapter: "")
    monkeypatch.setattr(check_setup, "installed", check_setup.wanted().get)
    monkeypatch.setattr(check_setup, "free_memory", lambda: 4.0)
    monkeypatch.setattr(check_setup, "has_browser", lambda: True)
    return monkeypatch


def run(capsys, language="en"):
    """What the tool says, and its exit status."""
    sys.argv = ["check_setup.py", "--language", language]
    status = check_setup.main()
    return capsys.readouterr().out, status


def shape(text):
    """A printed check without what differs between machines."""
    text = re.sub(r"Python [\d.]+, .*", "Python", text)
    return re.sub(r"\d+(\.\d+)? ?(s|GB|秒)", "N", text)


def console(language):
    """What the pages say that a program prints: tests/test_languages.py leaves it to us."""
    text = "".join(path.read_text(encoding="utf8") for path in paths(f"{language}/*.*"))
    return [shape(said) for said in re.findall(r"```console(?:\n|\\n)(.*?)\n```", text, re.DOTALL)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_this_machine_is_ready_as_the_setup_page_shows(language, capsys, monkeypatch):
    monkeypatch.setattr(check_setup, "has_browser", lambda: True)
    monkeypatch.setattr(check_setup, "try_layers", TRIED)
    monkeypatch.setattr(sys, "prefix", "a virtual environment")
    said, status = run(capsys, language)
    assert status == 0, said
    assert console(language) == [shape(said.strip())]


def test_it_runs_as_a_program_in_the_language_of_the_machine():
    said = {}
    for name, encoding in [("zh_CN.UTF-8", "utf8"), ("zh_CN.UTF-8", "ascii")]:
        result = subprocess.run(
            [sys.executable, TOOL], capture_output=True, text=True, encoding=encoding,
            env={"LC_ALL": name, "PYTHONIOENCODING": encoding, "PATH": ""}, check=True,
        )  # fmt: skip
        said[name, encoding] = result.stdout.strip().splitlines()[-1]
    assert said["zh_CN.UTF-8", "ascii"] == check_setup.WORDS["en"]["ready"]
    assert said["zh_CN.UTF-8", "utf8"] == check_setup.WORDS["zh"]["ready"]


@pytest.mark.parametrize(("variables", "language"), [
    ({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_TW.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
    ({"LANG": "C"}, "en"), ({"LANG": "de_DE", "LC_MESSAGES": "zh_CN"}, "zh"),
])  # fmt: skip
def test_the_language_is_that_of_the_machine(variables, language, monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, variables.get(name, ""))
    assert check_setup.language_of_machine() == language


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_missing_package_is_named_with_its_cure(language, quick, capsys):
    have = check_setup.wanted()
    quick.setattr(check_setup, "installed", lambda name: None if name == "torch" else have[name])
    quick.setattr(sys, "platform", "linux")
    said, status = run(capsys, language)
    words = check_setup.WORDS[language]
    assert status == 1
    assert words["wrong"] + " " + words["missing"].format("torch") in said
    cures = said.partition(words["failed"])[2].split("\n")[1:-1]
    assert f"-m pip install torch=={have['torch']} --index-url" in cures[0]
    assert cures[1].endswith("-m pip install -r notebooks/requirements.txt")
    assert len(cures) == 2


def test_other_versions_are_ready_too(quick, capsys):
    quick.setattr(check_setup, "installed", lambda name: "1.0")
    said, status = run(capsys)
    assert status == 0
    assert said.count("was") == 0
    assert said.count(" is 1.0; the book's outputs were made with ") == len(check_setup.wanted())
    assert "READY, with other versions" in said
    assert said.count("pip install") == 1


@pytest.mark.parametrize(("name", "value", "complaint", "cure"), [
    ("free_memory", lambda: 0.4, "0.4 GB of memory", "close other programs"),
    ("try_layers", lambda chapter: "Error: oh", "do not run:\n      Error: oh", "show this"),
    ("try_layers", lambda chapter: None, "do not run:\n      more than two", "show this"),
])  # fmt: skip
def test_what_is_wrong_is_said(name, value, complaint, cure, quick, capsys):
    quick.setattr(check_setup, name, value)
    said, status = run(capsys)
    assert status == 1
    assert complaint in said
    assert cure in said.partition("NOT READY")[2]


@pytest.mark.parametrize(("name", "note"), [
    ("free_memory", "cannot see how much memory"), ("has_browser", "found no browser"),
])  # fmt: skip
def test_what_cannot_be_seen_is_noted(name, note, quick, capsys):
    quick.setattr(check_setup, name, lambda: None)
    said, status = run(capsys)
    assert status == 0
    assert note in said


def test_the_python_is_wrong(quick, capsys):
    quick.setattr(sys, "version_info", (3, 9, 1))
    said, status = run(capsys)
    assert status == 1
    assert "Python 3.9.1 is not among 3.11 to 3.14" in said
    assert "install Python 3.12" in said.partition("NOT READY")[2]


@pytest.mark.parametrize(("chapter", "old", "new", "complaint"), [
    ("03-fft-layer", "norm=\"forward\"", "norm=\"backward\"", "the gradients differ"),
    ("03-fft-layer", "np.abs(spectrum))", "2 * np.abs(spectrum))", "the values differ"),
    ("04-correlate2d-layer", "convolve2d(g, to_array(filter)", "correlate2d(g, to_array(filter)",
     "the gradients differ"),
    ("04-correlate2d-layer", "correlate2d(to_array(input), g", "convolve2d(to_array(input), g",
     "the gradients differ"),
    ("04-correlate2d-layer", "class ScipyConv2d(", "class Renamed(", "NameError"),
])  # fmt: skip
def test_a_broken_layer_is_found(chapter, old, new, complaint, tmp_path, monkeypatch):
    path = tmp_path / "notebooks" / "en" / f"{chapter}.ipynb"
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "en" / path.name, path)
    monkeypatch.setattr(check_setup, "ROOT", tmp_path)
    text = path.read_text(encoding="utf8")
    old, new = (json.dumps(part)[1:-1] for part in (old, new))
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf8")
    assert complaint in check_setup.try_layers(chapter)


def test_memory_is_seen_here():
    if sys.platform in ("linux", "darwin", "win32"):
        assert 0.01 < check_setup.free_memory() < 100_000


def fields(text):
    """The places that a sentence leaves for values, in order."""
    return [spec for _, field, spec, _ in string.Formatter().parse(text) if field is not None]


def test_both_languages_say_the_same_things():
    english, chinese = check_setup.WORDS["en"], check_setup.WORDS["zh"]
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert fields(text) == fields(chinese[key]), key
    assert not [text for text in chinese.values() if not re.search("[\u4e00-\u9fff]", text)]


def check_plain(text):
    """List what keeps a program from starting on an old Python without packages."""
    tree = ast.parse(text, feature_version=(3, 6))
    said = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        said += [n for n in names if n.partition(".")[0] not in sys.stdlib_module_names]
    return said


def test_nothing_but_the_standard_library_is_needed():
    text = TOOL.read_text(encoding="utf8")
    assert check_plain(text) == []
    assert check_plain(text + "\nimport numpy.fft\n") == ["numpy.fft"]
    with pytest.raises(SyntaxError):
        check_plain(text + "\n(x := 1)\n")
