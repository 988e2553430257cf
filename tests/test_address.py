"""Promise: with an address, a page says where it is, where it runs, and where to mend it."""

from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

import test_book
from notebooks import LANGUAGES, ROOT
from test_book import pages, soup
from test_dates import build, tiny_book

BASE, REPOSITORY = "https://reader.example/book", "https://github.com/someone/book"
HUB = "https://hub.example.org"
FORM = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/mistake.yml").read_text(encoding="utf8"))


@pytest.fixture(scope="session")
def addressed(tmp_path_factory):
    """A small book, built with an address, a repository and a hub."""
    root = tiny_book(tmp_path_factory.mktemp("addressed") / "book")
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf8"))
    config["html"]["baseurl"] = BASE
    config["repository"]["url"] = REPOSITORY
    config["launch_buttons"]["jupyterhub_url"] = HUB
    (root / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf8")
    return build(root)


@pytest.fixture
def change(addressed, tmp_path):
    """Copy the addressed site with a change in the first page that has the text."""
    return test_book.change.__wrapped__(addressed, tmp_path)


# The checks: each lists what is wrong


def button(page, label):
    found = page.select(f".btn-source-{label}-button")
    return found[0]["href"] if found else ""


def check_repository(site):
    """A page can be edited in its language, and an issue about it names page and language."""
    said = []
    for name, path in pages(site, *LANGUAGES).items():
        language, file = name.split("/")
        url = urlsplit(button(soup(path), "issues"))
        fields = dict(parse_qsl(url.query))
        if f"{url.scheme}://{url.netloc}{url.path}" != f"{REPOSITORY}/issues/new":
            said.append(f"{name}: an issue goes to {url.geturl()}")
        if fields.get("template") != "mistake.yml":
            said.append(f"{name}: an issue does not use the form")
        if fields.get("title") != f"[{language}] {file.removesuffix('.html')}: ":
            said.append(f"{name}: an issue has the title {fields.get('title')!r}")
        if fields.get("where") != f"{BASE}/{name}":
            said.append(f"{name}: an issue is about {fields.get('where')!r}")
        if unknown := set(fields) - {"template", "title"} - {f.get("id") for f in FORM["body"]}:
            said.append(f"{name}: the form of an issue has no field {unknown}")
        ending = ".ipynb" if file[:2].isdigit() else ".md"
        edit = f"{REPOSITORY}/edit/main/notebooks/{language}/{file.removesuffix('.html')}{ending}"
        if button(soup(path), "edit") != edit and file != "search.html":
            said.append(f"{name}: is edited at {button(soup(path), 'edit')}")
    return said


def check_launch(site):
    """A chapter can be opened where it runs: Binder, a hub, Colab."""
    said = []
    for name, path in pages(site, *LANGUAGES).items():
        file = f"notebooks/{name.removesuffix('.html')}.ipynb"
        expected = {
            f"https://mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/{file}",
            f"{HUB}/hub/user-redirect/git-pull?repo={REPOSITORY.replace(':', '%3A')}"
            f"&urlpath=lab/tree/book/{file}&branch=main",
            f"https://colab.research.google.com/github/someone/book/blob/main/{file}",
        }
        found = {a["href"] for a in soup(path).select(".dropdown-launch-buttons a")}
        if found != (expected if name.split("/")[1][:2].isdigit() else set()):
            said.append(f"{name}: runs at {sorted(found)}")
    return said


@pytest.mark.parametrize("check", [check_repository, check_launch], ids=lambda c: c.__name__)
def test_addressed(check, addressed):
    assert check(addressed) == []


def section_of_issue(page, path):
    """What a new issue is about, when the reader is in the first section of a page."""
    page.goto(path.as_uri() + "#title")
    page.click(".dropdown-source-buttons > button")
    page.focus(".btn-source-issues-button")
    url = page.locator(".btn-source-issues-button").get_attribute("href")
    return dict(parse_qsl(urlsplit(url).query))["where"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_issue_names_the_section(language, page, addressed):
    name = f"{language}/01-one.html"
    assert section_of_issue(page, addressed / name) == f"{BASE}/{name}#title"
    page.goto("about:blank")
    page.route("**/book.js*", lambda route: route.fulfill(body=""))
    assert section_of_issue(page, addressed / name) == f"{BASE}/{name}"


# Each check complains about a broken copy


@pytest.mark.parametrize(
    ("check", "pattern", "replacement", "where", "complaint"),
    [
        (check_repository, r"template=mistake.yml", "body=x", "en/0*", "does not use the form"),
        (check_repository, r"title=%5Bzh%5D", "title=", "zh/0*", "has the title"),
        (check_repository, r"where=[^&\"]*zh", "where=en", "zh/0*", "is about 'en"),
        (check_repository, r"&amp;where=|&where=", "&page=", "zh/0*", "has no field {'page'}"),
        (check_repository, r"/issues/new", "/issues", "zh/0*", "an issue goes to"),
        (check_repository, r"edit/main/notebooks/zh", "edit/main/en", "zh/0*", "is edited at"),
        (check_launch, r"lab/tree/notebooks/zh", "lab/tree/notebooks/en", "zh/0*", "runs at"),
        (check_launch, r"tree/book/notebooks", "tree/notebooks", "en/0*", "runs at"),
        (check_launch, r"colab\.research", "colab", "en/0*", "runs at"),
    ],
)
def test_check_complains(check, pattern, replacement, where, complaint, change):
    said = check(change(pattern, replacement, where))
    assert any(complaint in finding for finding in said), said
