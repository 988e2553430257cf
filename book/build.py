"""Build the book in every language: python book/build.py [--output FOLDER]

Each language of `_config.yml` becomes FOLDER/site/<language>/, by Jupyter Book, with every warning
an error; beside them stand a start page, FOLDER/site/index.html, that offers them, the page that a
server shows for what it does not find, and a zip of it all to read without a network. FOLDER is
_build unless another is named. Nothing is left of an earlier build, and a build that fails leaves
no site. FOLDER/work/ keeps what was read, so that the next build reads only the pages that have
changed since, and runs only for a language in which something has.
"""

import argparse
import copy
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path


def stop(reason):
    sys.exit(f"book/build.py: {reason}")


try:
    import jupyter_book
    import yaml
except ImportError as error:
    stop(f"{error}. Install what building needs: pip install -r book/requirements.txt")
if not jupyter_book.__version__.startswith("1."):
    stop(f"this is jupyter-book {jupyter_book.__version__}, book/requirements.txt names another")

ROOT = Path(__file__).resolve().parents[1]
ZIP = "extending-pytorch.zip"
PRESS = ("book", "_config.yml", "_toc.yml", "CITATION.cff", "notebooks/requirements.txt")
FOR_ALL = ("robots.txt", "sitemap.xml")  # written once the book has an address
OFFER = re.compile(r"<!-- offer (\S+) (?:-->)?(.*?)(?:<!-- )?/offer -->", re.DOTALL)
JUPYTER_BOOK = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf8"))


def write(data, path):
    path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf8")
    return str(path)


def lay_over(base, top):
    """Lay one tree of settings over another, in place."""
    for name, value in top.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            lay_over(base[name], value)
        else:
            base[name] = value


def language_config(config, code):
    """The settings of one language."""
    config = copy.deepcopy(config)
    sphinx = config["sphinx"]
    languages = sphinx["config"]["languages"]
    lay_over(config, languages[code].pop("settings", {}))
    sphinx["config"]["language_code"] = code
    for name, path in sphinx["local_extensions"].items():
        sphinx["local_extensions"][name] = str(ROOT / path)
    config["repository"]["path_to_book"] = f"notebooks/{code}"
    if config["html"]["baseurl"]:
        config["html"]["baseurl"] = f"{config['html']['baseurl'].rstrip('/')}/{code}/"
    return config


def language_toc(entry, captions):
    """The table of contents of one language: paths below its own folder, captions in its words."""
    if isinstance(entry, list):
        return [language_toc(item, captions) for item in entry]
    if not isinstance(entry, dict):
        return entry
    entry = {name: language_toc(value, captions) for name, value in entry.items()}
    for name in {"root", "file"} & set(entry):
        entry[name] = entry[name].removeprefix("notebooks/en/")
    if captions is not None and "caption" in entry:
        if entry["caption"] not in captions:
            stop(f"_config.yml has no translation of the caption {entry['caption']!r} of _toc.yml")
        entry["caption"] = captions[entry["caption"]]
    return entry


def fingerprint(*roots):
    """A hash of these files, and of all the files in these folders."""
    found = hashlib.sha256()
    for root in roots:
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                found.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
                found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def last_commit():
    """The name of the last commit, which says when pages were changed; empty without git."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def made_from(code):
    """What the pages of a language are made from: the press, and the words and their dates."""
    press = fingerprint(*(ROOT / name for name in PRESS))
    return f"{press}\n{fingerprint(ROOT / 'notebooks' / code)} {last_commit()}\n"


def tidy(folder, now):
    """Drop what an earlier build kept and this one cannot use; say whether there is work to do."""
    mark = folder / "made-from.txt"
    kept = mark.read_text() if mark.exists() else ""
    if kept == now:
        return False
    if kept.partition("\n")[0] == now.partition("\n")[0]:
        shutil.rmtree(folder / "_build" / "html")
        mark.unlink()  # until this build has ended well
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return True


def start(code, config, toc, folder):
    """Start building one language, in the background."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*JUPYTER_BOOK, "build", str(ROOT / "notebooks" / code), "--path-output", str(folder)]
    command += ["--config", write(config, folder / "_config.yml")]
    command += ["--toc", write(toc, folder / "_toc.yml")]
    command += ["--warningiserror", "--nitpick", "--keep-going", "--quiet"]
    with open(folder / "log.txt", "wb") as log:
        utf8 = {**os.environ, "PYTHONUTF8": "1"}
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=utf8)


def offer(text, files):
    """Show a page's links to these files of the site, and hide its other offers in comments."""

    def show(found):
        name, link = found.groups()
        if name in files:
            return f"<!-- offer {name} -->{link}<!-- /offer -->"
        return f"<!-- offer {name} {link}/offer -->"

    return OFFER.sub(show, text)


def put(archive, name, data):
    """Write data into a zip as a file that everybody may read once it is unpacked."""
    entry = zipfile.ZipInfo(name, time.localtime()[:6])
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data, zipfile.ZIP_DEFLATED)


def finish(site):
    """Offer the files that are to be had, and pack the site into its zip.

    Call it again when a file that a page can offer has been added to the site, such as a PDF.
    """
    pages = [site / "index.html", *site.glob("*/index.html")]
    files = {path.relative_to(site).as_posix() for path in site.rglob("*.*")}
    with zipfile.ZipFile(site / ZIP, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(site.rglob("*")):
            name = f"{Path(ZIP).stem}/{path.relative_to(site).as_posix()}"
            if path in pages:  # a copy does not offer itself
                put(archive, name, offer(path.read_text(encoding="utf8"), files - {ZIP}))
            elif path.is_file() and path.name != ZIP:
                archive.write(path, name)
    for path in pages:
        text = offer(path.read_text(encoding="utf8"), files | {ZIP})
        path.write_text(text, encoding="utf8")


def build(output):
    """Build every language, the start page and the zip; return the start page's path."""
    site, work = output / "site", output / "work"
    shutil.rmtree(site, ignore_errors=True)
    config, toc = read("_config.yml"), read("_toc.yml")
    languages = config["sphinx"]["config"]["languages"]
    prepared = {
        code: (language_config(config, code), language_toc(toc, language.get("captions")))
        for code, language in languages.items()
    }
    sources = {code: made_from(code) for code in languages}
    changed = [code for code in languages if tidy(work / code, sources[code])]
    running = {code: start(code, *prepared[code], work / code) for code in changed}
    failed = [code for code, process in running.items() if process.wait() != 0]
    for code in failed:
        print((work / code / "log.txt").read_text(encoding="utf8", errors="replace"))
        shutil.rmtree(work / code)
    for code in set(changed) - set(failed):
        (work / code / "made-from.txt").write_text(sources[code])
    if failed:
        stop(f"not built, for the reasons above: {', '.join(failed)}. Warnings count as errors.")
    site.mkdir(parents=True)
    for code in languages:
        shutil.copytree(work / code / "_build" / "html", site / code)
        for path in [site / code / name for name in FOR_ALL if (site / code / name).exists()]:
            path.replace(site / path.name)  # each language writes the same
    page = shutil.copy(ROOT / "book" / "start.html", site / "index.html")
    not_found = (ROOT / "book" / "404.html").read_text(encoding="utf8")
    if address := config["html"]["baseurl"]:
        shutil.copy(ROOT / ".github" / "page.png", site / "card.png")  # for who shares a link
        # a server shows the page at any address
        base = f'<head>\n<base href="{address.rstrip("/")}/">'
        not_found = not_found.replace("<head>", base, 1)
    (site / "404.html").write_text(not_found, encoding="utf8")
    finish(site)
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=ROOT / "_build", metavar="FOLDER")
    output = parser.parse_args().output.resolve()
    began = time.monotonic()
    print("Building the book in every language ...", flush=True)
    page = build(output)
    print(f"Built in {time.monotonic() - began:.0f} s: {page}")
    print("Open that file in a browser, or serve it on this machine: make serve")
