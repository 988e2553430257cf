"""Check that this machine can run the notebooks, and say what to do if it cannot:

    python tools/check_setup.py

Needs nothing but Python's standard library; any Python 3 can start it, to be told which it should
be. Speaks the language of the machine; --language en or --language zh chooses. The exit status is
0 if the notebooks will run.
"""

import argparse
import ctypes
import json
import locale
import os
import platform
import re
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ((3, 11), (3, 14))  # the oldest and the newest that every pinned package has a build for
NEEDED = 1.0  # GB: a kernel takes up to 0.6, JupyterLab 0.1, and the browser its part
CHAPTERS = ("03-fft-layer", "04-correlate2d-layer")
TRIAL = """
x = torch.rand(8, 8, dtype=torch.float64, requires_grad=True)
if "fft_magnitude" in globals():
    learns, y, right = [x], fft_magnitude(x), torch.fft.rfft2(x).abs()
else:
    layer = ScipyConv2d(3, 3).double()
    learns, y = [x, layer.filter, layer.bias], layer(x)
    right = nn.functional.conv2d(x[None], layer.filter[None, None], layer.bias[0])[0]
assert torch.allclose(y, right), "the values differ"
pairs = zip(*(torch.autograd.grad((z * z * z).sum(), learns) for z in (y, right)))
assert all(torch.allclose(a, b) for a, b in pairs), "the gradients differ"
"""
WORDS = {
    "en": {
        "good": "good ", "note": "note ", "wrong": "wrong",
        "bits": "this Python is a 32-bit build; torch needs 64 bits",
        "python": "Python {} is not among {} to {}, for which the packages are built",
        "environment": "no virtual environment is active; the check goes on with {}",
        "missing": "{} is not installed",
        "version": "{} is {}; the book's outputs were made with {}",
        "layer": "the layers of {} give the right values and gradients ({:.0f} s)",
        "broken": "the layers of {} do not run:",
        "slow": "more than two minutes",
        "memory": "{:.1f} GB of memory are free",
        "little": "{:.1f} GB of memory are free; close programs until {:.0f} GB are",
        "no memory": "cannot see how much memory is free; the notebooks need {:.0f} GB",
        "browser": "there is a browser",
        "no browser": "found no browser; open the address that jupyter lab prints in one",
        "ready": "READY. Go on with: jupyter lab notebooks",
        "nearly": "READY, with other versions than the book's. To have the same:",
        "failed": "NOT READY. Do this, then check again:",
        "get python": "install Python {} (64-bit) and make a virtual environment with it",
        "free memory": "close other programs",
        "report": "show this whole text to whoever teaches the course",
    },
    "zh": {
        "good": "正常", "note": "注意", "wrong": "不行",
        "bits": "这个 Python 是 32 位的，torch 要 64 位",
        "python": "Python {} 不在 {} 到 {} 之间，软件包没有对应的版本",
        "environment": "没有激活虚拟环境，下面检查的是 {}",
        "missing": "没有安装 {}",
        "version": "{} 的版本是 {}，书里的输出来自 {}",
        "layer": "{} 里的层，值和梯度都对（{:.0f} 秒）",
        "broken": "{} 里的层跑不起来：",
        "slow": "超过两分钟",
        "memory": "空闲内存 {:.1f} GB",
        "little": "空闲内存只有 {:.1f} GB，请关掉一些程序，腾出 {:.0f} GB",
        "no memory": "看不到空闲内存有多少，运行笔记本要 {:.0f} GB",
        "browser": "有浏览器",
        "no browser": "没有找到浏览器，jupyter lab 打印的网址要自己在浏览器里打开",
        "ready": "可以了。接下来运行：jupyter lab notebooks",
        "nearly": "可以了，只是版本和书里不同。想要一样的版本：",
        "failed": "还不行。请照下面做，然后再检查一次：",
        "get python": "安装 Python {}（64 位），用它建一个虚拟环境",
        "free memory": "关掉其他程序",
        "report": "把上面的全部内容给老师看",
    },
}  # fmt: skip


def language_of_machine():
    """zh on a machine that speaks Chinese to its user, else en."""
    names = [os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
    spoken = next((name for name in names if name), "")
    if os.name == "nt" and not spoken:
        number = ctypes.windll.kernel32.GetUserDefaultUILanguage()
        spoken = locale.windows_locale.get(number, "")
    return "zh" if spoken.lower().startswith("zh") else "en"


def wanted():
    """The packages that the notebooks need, each with its pinned version."""
    text = (ROOT / "notebooks" / "requirements.txt").read_text(encoding="utf8")
    return dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE))


def installed(name):
    """The version of a package, without what follows a plus; None if there is none."""
    from importlib import metadata  # the oldest Pythons, which are only told so, lack it

    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def free_memory():
    """Gigabytes that programs can still take; None where this cannot be seen."""
    try:
        if os.name == "nt":

            class Status(ctypes.Structure):
                _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
                    (name, ctypes.c_ulonglong) for name in ["total", "free", *"abcde"]
                ]

            status = Status(ctypes.sizeof(Status))
            ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
            return status.free / 1e9
        if sys.platform == "darwin":
            said = subprocess.run(["vm_stat"], capture_output=True, text=True).stdout
            size = int(re.search(r"page size of (\d+)", said)[1])
            pages = re.findall(r"Pages (?:free|inactive|speculative): +(\d+)", said)
            return sum(map(int, pages)) * size / 1e9
        said = Path("/proc/meminfo").read_text()
        return int(re.search(r"MemAvailable: +(\d+)", said)[1]) * 1024 / 1e9
    except (OSError, TypeError, AttributeError):
        return None


def has_browser():
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def program(chapter):
    """A chapter's layers as one program that tries them out."""
    path = min((ROOT / "notebooks").glob("*/" + chapter + ".ipynb"))  # the English one, if any
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    tagged = [c for c in cells if {"setup", "layer"} & set(c["metadata"].get("tags", []))]
    return "\n".join("".join(cell["source"]) for cell in tagged) + TRIAL


def try_layers(chapter):
    """What goes wrong with a chapter's layers; an empty text if nothing does, None if too slow."""
    command = [sys.executable, "-c", program(chapter)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return None
    return result.stderr.strip().splitlines()[-1] if result.returncode else ""


def check(words):
    """Print what is found; return the commands that mend what must and what may be mended."""
    must, may = [], []

    def say(kind, text, *values):
        print(words[kind], " ", words.get(text, text).format(*values), sep="", flush=True)

    version = ".".join(map(str, sys.version_info[:3]))
    oldest, newest = (".".join(map(str, v)) for v in PYTHONS)
    right = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    if not right:
        say("wrong", "python", version, oldest, newest)
    elif sys.maxsize < 2**32:
        say("wrong", "bits")
    else:
        say("good", "Python {}, {} {}", version, platform.system(), platform.machine())
    if not right or sys.maxsize < 2**32:
        return [words["get python"].format("3.12")], may
    if sys.prefix == sys.base_prefix and "CONDA_PREFIX" not in os.environ:
        say("note", "environment", sys.executable)

    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    install = python + " -m pip install -r notebooks/requirements.txt"
    for name, version in wanted().items():
        found = installed(name)
        if found is None:
            say("wrong", "missing", name)
            if name == "torch" and sys.platform == "linux":
                torch = " -m pip install torch=={} --index-url https://download.pytorch.org/whl/cpu"
                must.append(python + torch.format(version))
        elif found == version:
            say("good", "{} {}", name, found)
        else:
            say("note", "version", name, found, version)
            may = [install]
        if found is None and install not in must:
            must.append(install)
    for chapter in CHAPTERS if not must else ():
        begin = time.perf_counter()
        problem = try_layers(chapter)
        if problem == "":
            say("good", "layer", chapter, time.perf_counter() - begin)
        else:
            say("wrong", "broken", chapter)
            print("     ", words["slow"] if problem is None else problem)
            must += may or [words["report"]]

    memory = free_memory()
    if memory is None:
        say("note", "no memory", NEEDED)
    elif memory < NEEDED:
        say("wrong", "little", memory, NEEDED)
        must.append(words["free memory"])
    else:
        say("good", "memory", memory)
    say(*(("good", "browser") if has_browser() else ("note", "no browser")))
    return list(dict.fromkeys(must)), may


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--language", choices=sorted(WORDS), default=language_of_machine())
    words = WORDS[parser.parse_args().language]
    try:
        words["ready"].encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # a terminal that has no Chinese letters
        words = WORDS["en"]
    must, may = check(words)
    print()
    print(words["failed" if must else "nearly" if may else "ready"])
    for command in must or may:
        print("   ", command)
    return 1 if must else 0


if __name__ == "__main__":
    sys.exit(main())
