"""Print the addresses that bring the book to a learner's server, and new versions of it.

    python deploy/hub_link.py https://hub.example.org https://github.com/you/book
    python deploy/hub_link.py https://hub.example.org https://github.com/you/book --language zh

A learner who follows it signs in, waits for the server, and finds the page open. Followed again, it
brings what is new; where both sides changed the same lines, the learner's stay.
"""

import argparse
from pathlib import Path
from urllib.parse import urlencode

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def folder(repository):
    """Where the book lies in a learner's home."""
    return repository.rstrip("/").rpartition("/")[2].removesuffix(".git")


def link(hub, repository, page, branch="main"):
    """The address for a page such as notebooks/en/03-fft-layer.ipynb."""
    place = folder(repository)
    question = {
        "repo": repository,
        "branch": branch,
        "targetPath": place,
        "urlpath": f"lab/tree/{place}/{page}",
    }
    return f"{hub.rstrip('/')}/hub/user-redirect/git-pull?{urlencode(question)}"


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="hub_link", description=__doc__.partition("\n")[0])
    parser.add_argument("hub", help="the address of the hub")
    parser.add_argument("repository", help="the address of the book's repository")
    parser.add_argument("--branch", default="main")
    parser.add_argument("--language", default="en", choices=["en", "zh"])
    options = parser.parse_args(arguments)
    for path in sorted((NOTEBOOKS / options.language).glob("*.ipynb")):
        page = f"notebooks/{options.language}/{path.name}"
        print(link(options.hub, options.repository, page, options.branch))


if __name__ == "__main__":
    main()
