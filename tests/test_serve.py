"""Promise: `make serve` sends text compressed, pictures and fonts as they are, and nothing else."""

import gzip
import threading
import urllib.error
import urllib.request

import pytest

import serve


@pytest.fixture
def address(tmp_path):
    """The address of a served folder with a page, a style and a font."""
    (tmp_path / "en" / "_static").mkdir(parents=True)
    (tmp_path / "en" / "index.html").write_text("<p>梯度</p>" * 99, encoding="utf8")
    (tmp_path / "en" / "_static" / "book.css").write_text("p { color: red }")
    (tmp_path / "en" / "_static" / "a.woff2").write_bytes(b"wOF2" * 9)
    with serve.server(tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield "http://{}:{}/".format(*server.server_address)
        server.shutdown()


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.headers, answer.read()


@pytest.mark.parametrize("page", ["en/", "en/index.html"])
def test_text_is_compressed_for_who_accepts_it(address, page):
    headers, body = get(address + page, **{"Accept-Encoding": "gzip, br"})
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert len(body) == int(headers["Content-Length"]) < 200
    assert gzip.decompress(body).decode() == "<p>梯度</p>" * 99
    headers, body = get(address + page)
    assert headers["Content-Encoding"] is None
    assert body.decode() == "<p>梯度</p>" * 99


def test_a_font_is_sent_as_it_is_and_may_be_kept(address):
    headers, body = get(address + "en/_static/a.woff2", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] is None
    assert headers["Content-Type"] == "font/woff2"
    assert "max-age=31536000" in headers["Cache-Control"]
    assert body == b"wOF2" * 9


def test_a_page_that_changes_is_sent_anew(address, tmp_path):
    get(address + "en/index.html", **{"Accept-Encoding": "gzip"})
    page = tmp_path / "en" / "index.html"
    page.write_text("new")
    headers, body = get(address + "en/index.html", **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(body) == b"new"
    assert "max-age=0" in headers["Cache-Control"]


@pytest.mark.parametrize("path", ["en/none.html", "../pyproject.toml", "%2e%2e/pyproject.toml"])
def test_nothing_outside_the_folder(address, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(address + path, **{"Accept-Encoding": "gzip"})
