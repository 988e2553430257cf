"""Promise: a hub for a class keeps strangers out, fits its learners, and keeps what they wrote."""

import functools
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
import yaml
from jupyterhub.app import JupyterHub
from nbgitpuller.pull import GitPuller
from traitlets.config import Config

import hub_link
import hub_test
from notebooks import NOTEBOOKS, ROOT

DEPLOY = ROOT / "deploy"
CONFIG = DEPLOY / "jupyterhub_config.py"
BINDER = (".binder", "deploy/learners.txt", "notebooks/requirements.txt")


def start(*arguments, config=CONFIG):
    """What a hub says when it reads the file and the command line: a refusal, or nothing."""
    JupyterHub.clear_instance()
    hub = JupyterHub.instance()
    try:
        hub.parse_command_line(list(arguments))
        hub.load_config_file(str(config))
    except SystemExit as refusal:
        return str(refusal)
    finally:
        JupyterHub.clear_instance()
    return ""


DUMMY = "--JupyterHub.authenticator_class=dummy"


@pytest.mark.parametrize("arguments", [
    [], ["--ip=0.0.0.0"], [DUMMY, "--ip=127.0.0.1"], [DUMMY, "--ip=localhost"],
    [DUMMY, "--JupyterHub.bind_url=http://[::1]:8000"],
])  # fmt: skip
def test_a_hub_starts_where_only_the_right_people_come_in(arguments):
    assert start(*arguments) == ""


@pytest.mark.parametrize("arguments", [
    [DUMMY], [DUMMY, "--ip=0.0.0.0"], [DUMMY, "--ip=10.0.0.1"], [DUMMY, "--ip=::"],
    [DUMMY, "--JupyterHub.bind_url=http://:8000"], [DUMMY, "--ip="],
    [DUMMY, "--JupyterHub.bind_url=http://hub.example.org"],
    [DUMMY, "--ip=127.0.0.1", "--JupyterHub.bind_url=http://:80"],
    [DUMMY, "--ip=127.0.0.1", "--ConfigurableHTTPProxy.should_start=False"],
    ["--JupyterHub.authenticator_class=jupyterhub.auth.DummyAuthenticator"],
    ["--JupyterHub.authenticator_class=shared-password"],
    ["--NativeAuthenticator.open_signup=True"],
])  # fmt: skip
def test_a_hub_that_lets_in_whoever_comes_does_not_start(arguments):
    assert start(*arguments).startswith("refused to start: ")


def test_the_file_itself_may_not_open_the_door(tmp_path):
    text = CONFIG.read_text(encoding="utf8")
    for old, new in (
        ('"nativeauthenticator.NativeAuthenticator"', '"dummy"'),
        ("open_signup = False", "open_signup = True"),
    ):
        assert old in text
        path = tmp_path / "config.py"
        path.write_text(text.replace(old, new), encoding="utf8")
        assert start(config=path).startswith("refused to start: ")


def test_the_little_hub_reads_the_file_after_its_own_settings():
    """What The Littlest JupyterHub has set by then: a proxy of its own, its own culler."""
    before = Config()
    before.JupyterHub.proxy_class = "traefik_file"
    before.JupyterHub.services = [{"name": "cull-idle", "admin": True, "command": ["other"]}]
    before.Authenticator.admin_users = {"teacher"}
    c = settings_of_config(before)
    assert [service["name"] for service in c.JupyterHub.services] == ["cull-idle"]
    assert "admin" not in c.JupyterHub.services[0]
    assert c.Authenticator.admin_users == {"teacher"}
    with pytest.raises(SystemExit, match="refused"):
        settings_of_config(before, lambda text: text.replace("open_signup = False",
                                                             "open_signup = True"))  # fmt: skip


def settings_of_config(c=None, change=lambda text: text):
    """What the file for one server sets."""
    c = c or Config()
    JupyterHub.clear_instance()
    exec(compile(change(CONFIG.read_text(encoding="utf8")), str(CONFIG), "exec"),
         {"get_config": lambda: c})  # fmt: skip
    return c


def bytes_of(text):
    """512M or 2G as a number."""
    return int(text[:-1]) * {"M": 2**20, "G": 2**30}[text[-1]]


def check_same(c, values):
    """List what the two files do not say alike, or do not say well."""
    flags = dict(word[2:].split("=") for word in c.JupyterHub.services[0]["command"][3:])
    single, hub = values["singleuser"], values["hub"]["config"]
    pairs = {
        "authenticator": (
            c.JupyterHub.authenticator_class,
            hub["JupyterHub"]["authenticator_class"],
        ),
        "sign-up": (dict(c.NativeAuthenticator), hub["NativeAuthenticator"]),
        "proxy": (c.JupyterHub.last_activity_interval, hub["JupyterHub"]["last_activity_interval"]),
        "allowed": (c.Authenticator.allow_all, hub["Authenticator"]["allow_all"]),
        "limit": (c.Spawner.mem_limit, single["memory"]["limit"]),
        "guarantee": (c.Spawner.mem_guarantee, single["memory"]["guarantee"]),
        "cores": (c.Spawner.cpu_limit, single["cpu"]["limit"]),
        "threads": (dict(c.Spawner.environment), single["extraEnv"]),
        "start": (c.Spawner.start_timeout, single["startTimeout"]),
        "answer": (c.Spawner.http_timeout, hub["Spawner"]["http_timeout"]),
        "page": (c.Spawner.default_url, single["defaultUrl"]),
        "idle": (int(flags["timeout"]), values["cull"]["timeout"]),
        "looked for": (int(flags["cull-every"]), values["cull"]["every"]),
    }
    said = [name for name, (one, other) in pairs.items() if one != other]
    if bytes_of(c.Spawner.mem_guarantee) > bytes_of(c.Spawner.mem_limit):
        said.append("more is guaranteed than allowed")
    if not values["cull"]["enabled"] or not values["proxy"]["https"]["enabled"]:
        said.append("no culling or no HTTPS")
    return said


VALUES = (DEPLOY / "values.yaml").read_text(encoding="utf8")


def test_one_server_and_kubernetes_have_the_same_settings():
    assert check_same(settings_of_config(), yaml.safe_load(VALUES)) == []


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ("limit: 2G", "limit: 1G", "limit"), ("open_signup: false", "open_signup: true", "sign-up"),
    ('OMP_NUM_THREADS: "1"', 'OMP_NUM_THREADS: "4"', "threads"),
    ("https:\n    enabled: true", "https:\n    enabled: false", "no culling or no HTTPS"),
    ("timeout: 3600", "timeout: 600", "idle"),
    ("NativeAuthenticator\n", "FirstUseAuthenticator\n", "authenticator"),
])  # fmt: skip
def test_a_difference_is_found(old, new, complaint):
    assert old in VALUES
    changed = yaml.safe_load(VALUES.replace(old, new, 1))
    assert check_same(settings_of_config(), changed) == [complaint]


@pytest.mark.parametrize(("kind", "refused"), [
    ("nativeauthenticator.NativeAuthenticator", False), ("dummy", True), ("shared-password", True),
])  # fmt: skip
def test_kubernetes_refuses_an_open_door_too(kind, refused):
    (code,) = yaml.safe_load(VALUES)["hub"]["extraConfig"].values()
    c = Config()
    c.JupyterHub.authenticator_class = kind
    if refused:
        with pytest.raises(SystemExit, match="refused to start"):
            exec(code, {"c": c})
    else:
        exec(code, {"c": c})
        c.NativeAuthenticator.open_signup = True
        with pytest.raises(SystemExit, match="refused to start"):
            exec(code, {"c": c})


def measured(text):
    """The rows of the tables in README, in each language."""
    found = {}
    for language, head in hub_test.HEADS.items():
        block = re.search(rf"<!-- hub-test {language} -->(.*?)<!--", text, re.DOTALL)[1]
        lines = [[cell.strip() for cell in line.strip("|").split("|")]
                 for line in block.split("\n") if line.startswith("|")]  # fmt: skip
        assert lines[0][: len(head)] == head
        found[language] = [
            dict(zip(hub_test.HEADS["en"], line, strict=False)) for line in lines[2:]
        ]
    return found


def check_limits(text, c):
    """List what the measured table does not bear out."""
    said, rows = [], measured(text)
    if rows["en"] != rows["zh"]:
        said.append("the languages have different numbers")
    if not {"10", "20", "30"} <= {row["learners"] for row in rows["en"]}:
        said.append("10, 20 and 30 learners are not measured")
    for row in rows["en"]:
        if row["learners"] != row["succeeded"]:
            said.append(f"{row['learners']} learners: not all succeeded")
        if not float(row["memory each (MB)"]) * 1e6 < 0.6e9:
            said.append("a learner needs more memory than the rule of README says")
        if not float(row["largest (MB)"]) * 1e6 < bytes_of(c.Spawner.mem_limit) / 2:
            said.append("the limit is less than twice what the largest needs")
    return said


README = (DEPLOY / "README.md").read_text(encoding="utf8")


def test_the_limits_come_from_what_was_measured():
    c = settings_of_config()
    assert check_limits(README, c) == []
    limit, guarantee = c.Spawner.mem_limit, c.Spawner.mem_guarantee
    for said in (f"{limit[:-1]} {limit[-1]}B", f"{guarantee[:-1]} {guarantee[-1]}B"):
        assert README.count(said) >= 2, said


def test_a_limit_without_ground_is_found():
    c = settings_of_config()
    c.Spawner.mem_limit = "512M"
    assert "the limit is less than twice what the largest needs" in check_limits(README, c)
    row = next(line for line in README.splitlines() if line.startswith("| 30 |"))
    broken = README.replace(row, row.replace("| 30 | 30 |", "| 30 | 29 |"), 1)
    assert check_limits(broken, settings_of_config()) == [
        "the languages have different numbers", "30 learners: not all succeeded"]  # fmt: skip


def dockerfile(folder):
    """What repo2docker would build, without building it."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf8", timeout=120)
    return result.stdout + result.stderr


def check_binder(text):
    """List what is wrong with the image that Binder would build."""
    said = []
    if not re.search(r"environment for python=3\.1[1-4]\b", text):
        said.append("the book does not run on this Python")
    install = text.find('pip install --no-cache-dir -r ".binder/requirements.txt"')
    whole = text.find("COPY --chown=0:0 src/ ${REPO_DIR}/")
    if not 0 <= whole < install:
        said.append("the packages are not installed, or before the files that name them are there")
    return said


@pytest.fixture
def repository(tmp_path):
    """A copy of what Binder looks at."""
    for name in BINDER:
        target = tmp_path / "repository" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    return tmp_path / "repository"


def test_binder_would_build_the_book(repository):
    assert check_binder(dockerfile(repository)) == []
    (repository / ".binder" / "runtime.txt").unlink()
    assert check_binder(dockerfile(repository)) == ["the book does not run on this Python"]


def test_binder_installs_after_it_has_all_files(repository):
    (repository / ".binder" / "requirements.txt").write_text("numpy\n")
    (said,) = check_binder(dockerfile(repository))
    assert said.startswith("the packages are not installed, or before")


def requirements(path):
    """The requirements of a file and of those that it names."""
    found = []
    for line in path.read_text(encoding="utf8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found += requirements(path.parent / line[3:])
        elif line and not line.startswith("--"):
            found.append(line)
    return found


def test_a_learner_has_what_the_notebooks_need():
    needed = set(requirements(NOTEBOOKS / "requirements.txt"))
    for path in (ROOT / ".binder" / "requirements.txt", DEPLOY / "requirements.txt"):
        assert needed < set(requirements(path))
        names = {line.partition("==")[0] for line in requirements(path)}
        assert {"nbgitpuller", "jupyterlab-language-pack-zh-CN"} <= names


@pytest.fixture
def book(tmp_path):
    """A bare repository with two notebooks, and a learner's home."""
    work = tmp_path / "work"
    for language in ("en", "zh"):
        (work / "notebooks" / language).mkdir(parents=True)
        shutil.copy(NOTEBOOKS / language / "02-backward.ipynb", work / "notebooks" / language)
    hub_test.git(work, "init", "-q")
    hub_test.git(work, "add", ".")
    hub_test.git(work, "commit", "-q", "-m", "The book")
    hub_test.git(tmp_path, "clone", "-q", "--bare", str(work), "book.git")
    (tmp_path / "home").mkdir()
    return tmp_path


def follow(address, home):
    """Do what nbgitpuller does for who follows a link; the page that opens."""
    question = {key: value[0] for key, value in parse_qs(urlsplit(address).query).items()}
    puller = GitPuller(question["repo"], str(home / question["targetPath"]),
                       branch=question["branch"], depth=None)  # fmt: skip
    for _ in puller.pull():
        pass
    return home / question["urlpath"].removeprefix("lab/tree/")


def test_a_link_brings_the_book_and_keeps_what_a_learner_wrote(book):
    name = "02-backward.ipynb"
    repository = f"file://{book / 'book.git'}"
    address = hub_link.link("https://hub.example.org/", repository, f"notebooks/en/{name}")
    assert address.startswith(
        "https://hub.example.org/hub/user-redirect/git-pull?repo=file%3A%2F%2F"
    )
    page = follow(address, book / "home")
    assert page.exists() and page.parts[-4:] == ("book", "notebooks", "en", name)
    mine = nbformat.read(page, as_version=4)
    mine.cells.append(nbformat.v4.new_markdown_cell("My note", id="note"))
    mine.cells[2].source += "\nmine"
    nbformat.write(mine, page)

    hub_test.change_repository(book, [name])  # a new page, and another first cell
    theirs = nbformat.read(book / "work" / "notebooks" / "en" / name, as_version=4)
    theirs.cells[2].source += "\ntheirs"
    nbformat.write(theirs, book / "work" / "notebooks" / "en" / name)
    hub_test.git(book / "work", "commit", "-qam", "The same line")
    hub_test.git(book / "work", "push", "-q", str(book / "book.git"), "main")

    assert follow(address, book / "home") == page
    cells = nbformat.read(page, as_version=4).cells
    assert cells[-1].source == "My note"
    assert cells[2].source.endswith("\nmine")
    assert "NEWS" in cells[0].source
    assert (page.parents[1] / "news.md").exists()


@pytest.mark.parametrize("repository", [
    "https://example.org/me/book", "https://example.org/me/book.git", "https://example.org/me/book/",
])  # fmt: skip
def test_the_book_lies_in_a_folder_with_its_name(repository):
    assert hub_link.folder(repository) == "book"


def test_links_are_printed_for_each_chapter(capsys):
    hub_link.main(["https://hub.example.org", "https://example.org/book", "--language", "zh"])
    printed = capsys.readouterr().out.split()
    assert len(printed) == len(list((NOTEBOOKS / "zh").glob("*.ipynb")))
    assert printed[0].endswith("urlpath=lab%2Ftree%2Fbook%2Fnotebooks%2Fzh%2F"
                               "01-tensors-and-arrays.ipynb")  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), [
    (lambda cells: None, None),
    (lambda cells: cells.pop(), "the note is gone"),
    (lambda cells: [c.update(outputs=[]) for c in cells if c.cell_type == "code"],
     "the outputs are gone"),
])  # fmt: skip
def test_lost_work_is_noticed(change, complaint, tmp_path):
    name = "02-backward.ipynb"
    hub = SimpleNamespace(homes=tmp_path, address="")
    learner = hub_test.Learner(SimpleNamespace(hub=hub, chapters=[name], repository="file:///b.git"),
                               2)  # fmt: skip
    path = tmp_path / learner.name / learner.path(name)
    path.parent.mkdir(parents=True)
    assert len(learner.lost()) == 1  # there is no file
    notebook = nbformat.read(NOTEBOOKS / "en" / name, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"Note of {learner.name}"))
    change(notebook.cells)
    nbformat.write(notebook, path)
    assert [said.partition(": ")[2] for said in learner.lost()] == [complaint] * bool(complaint)


def test_nothing_keeps_running(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_test, "proxy_command", lambda: ["proxy"])
    hub = hub_test.Hub(tmp_path)
    sleep = functools.partial(
        subprocess.Popen, [sys.executable, "-c", "import time; time.sleep(60)"]
    )
    ours = sleep(env=os.environ | {"HUB_TEST": hub.mark}, start_new_session=True)
    other = sleep(env=os.environ | {"HUB_TEST": "of another run"})
    try:
        hub.stop()
        ours.wait(5)
        assert other.poll() is None
    finally:
        ours.kill()
        other.kill()
        ours.wait()
        other.wait()


def test_a_row_of_the_table_is_written():
    text = ("a\n<!-- hub-test en -->\n<!-- hub-test en ends -->\nb\n"
            "<!-- hub-test zh -->\n<!-- hub-test zh ends -->\nc")  # fmt: skip
    row = ["10", *"123456789"]
    for learners in ("30", "10"):
        for language in ("en", "zh"):
            text = hub_test.table(text, language, [learners, *row[1:]], "today, here")
    assert text.startswith("a\n<!--") and text.endswith("ends -->\nc")
    rows = measured(text)
    assert [row["learners"] for row in rows["en"]] == ["10", "30"]
    assert rows["en"] == rows["zh"]
    again = hub_test.table(text, "en", ["10", *"987654321"], "later")
    assert [row["succeeded"] for row in measured(again)["en"]] == ["9", "1"]


def test_only_chapters_that_exist_are_run():
    assert hub_test.find_chapters(["03"]) == ["03-fft-layer.ipynb"]
    for name in ("99", "0"):
        with pytest.raises(SystemExit, match=f"{name} is not the number of a chapter"):
            hub_test.find_chapters([name])
