"""Serve the built book on this machine, compressed as a public server would: tools/serve.py [PORT]

For looking at the pages as a reader on the web gets them, and for measuring what they weigh.
"""

import contextlib
import functools
import gzip
import io
import os
import sys
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = Path(__file__).resolve().parents[1] / "_build" / "site"
TEXT = {".html", ".css", ".js", ".svg", ".json", ".ipynb", ".py", ".txt", ".xml"}


@functools.lru_cache
def compressed(path, changed):
    """A file's bytes, compressed once for each time that it changes."""
    return gzip.compress(Path(path).read_bytes(), 9, mtime=0)


class Handler(SimpleHTTPRequestHandler):
    """Text goes out compressed to whoever accepts it; what never changes may be kept for a year."""

    protocol_version = "HTTP/1.1"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".ipynb": "application/json", ".js": "text/javascript", ".woff2": "font/woff2",
    }  # fmt: skip

    def send_head(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() and self.path.endswith("/") else path
        accepted = "gzip" in self.headers.get("Accept-Encoding", "")
        if path.suffix not in TEXT or not accepted or not path.is_file():
            return super().send_head()
        body = compressed(str(path), os.stat(path).st_mtime)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Vary", "Accept-Encoding")
        self.end_headers()
        return io.BytesIO(body)

    def guess_type(self, path):
        kind = super().guess_type(path)
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind

    def end_headers(self):
        kept = "/_static/" in self.path or "/_images/" in self.path
        self.send_header("Cache-Control", f"max-age={31536000 if kept else 0}")
        super().end_headers()

    def log_message(self, *_):
        pass


def server(folder=SITE, port=0):
    """A server of the folder on the loopback address; port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Handler, directory=folder))


if __name__ == "__main__":
    if not SITE.exists():
        sys.exit("there is no book yet: run `make book`")
    with server(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000) as book:
        print("http://{}:{}/  (Ctrl+C ends it)".format(*book.server_address), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            book.serve_forever()
