"""What a learner does in a hub, as a browser and JupyterLab do it: forms, pages, a websocket."""

import json
import re
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime

import nbformat
import requests
import websocket
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)

PASSWORD = "correct horse battery staple"


class LessonError(Exception):
    """Something did not go as promised."""


class Browser:
    """What a browser does: pages, forms and cookies; no token, no way around the front door."""

    def __init__(self, hub, name):
        self.hub, self.name = hub, name
        self.session = requests.Session()

    def ask(self, method, url, patience=180, **options):
        """Ask until there is an answer; hub or proxy may be away for a while."""
        end = time.monotonic() + patience
        while True:
            said = None
            try:
                answer = self.session.request(method, url, timeout=120, **options)
                if answer.status_code < 500:
                    return answer
                said = f"{answer.status_code} {answer.reason}"
            except requests.RequestException as error:
                said = repr(error)
            if time.monotonic() > end:
                raise LessonError(f"{method} {url}: {said}")
            time.sleep(1)

    def page(self, url, **options):
        return self.ask("GET", url, headers={"Sec-Fetch-Mode": "navigate"}, **options)

    def form(self, url, **fields):
        """Open a page with a form, fill it in, send it."""
        text = self.page(url).text
        fields["_xsrf"] = re.search(r'name="_xsrf" value="([^"]*)"', text)[1]
        return self.ask("POST", url, data=fields, headers={"Sec-Fetch-Mode": "navigate"})

    def sign_up(self):
        fields = {"username": self.name, "signup_password": PASSWORD}
        fields["signup_password_confirmation"] = PASSWORD
        return self.form(f"{self.hub.address}/hub/signup", **fields)

    def sign_in(self, password=PASSWORD):
        """Whether name and password open the door."""
        url = f"{self.hub.address}/hub/login?next=%2Fhub%2Fhome"
        answer = self.form(url, username=self.name, password=password)
        return answer.status_code == 200 and answer.url.endswith("/hub/home")

    def events(self, url):
        """The messages of an event stream, as the page's script gets them."""
        with self.session.get(url, stream=True, timeout=300) as answer:
            for line in answer.iter_lines():
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def visit(self, url):
        """Open a page of the learner's own server, waiting for the server as the browser does."""
        end = time.monotonic() + 600
        while time.monotonic() < end:
            answer = self.page(url)
            pending = re.search(r'EventSource\("([^"]+)"', answer.text)
            if not pending:
                if answer.status_code != 200:
                    raise LessonError(f"{answer.url}: {answer.status_code}")
                return answer
            with suppress(requests.RequestException):
                for event in self.events(self.hub.address + pending[1].replace("&amp;", "&")):
                    if event.get("failed"):
                        raise LessonError(f"the server did not start: {event.get('message')}")
            url = answer.url
        raise LessonError("no server within 600 s")

    @property
    def base(self):
        return f"/user/{self.name}/"

    def api(self, method, path, **options):
        """What JupyterLab's own scripts ask of the learner's server."""
        xsrf = [c.value for c in self.session.cookies if (c.name, c.path) == ("_xsrf", self.base)]
        headers = {"X-XSRFToken": xsrf[-1] if xsrf else "", "Sec-Fetch-Mode": "cors"}
        url = f"{self.hub.address}{self.base}api/{path}"
        answer = self.ask(method, url, headers=headers, **options)
        if answer.status_code >= 400:
            raise LessonError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer.json() if answer.content else None

    def pull(self, address):
        """Follow the link that brings the book, to its end."""
        page = self.visit(address)
        said = []
        for event in self.events(
            page.url.replace("/git-pull?", "/git-pull/api?").replace("targetPath=", "targetpath=")
        ):
            said.append(event)
        if not said or said[-1].get("phase") != "finished":
            raise LessonError(f"the book did not come: {said[-3:]}")


class KernelDiedError(Exception):
    pass


class Kernel:
    """A running notebook, over the same websocket and protocol as in JupyterLab."""

    def __init__(self, browser, path):
        self.browser = browser
        self.session = browser.api("POST", "sessions", json={
            "path": path, "type": "notebook", "name": "", "kernel": {"name": "python3"},
        })  # fmt: skip
        self.id, self.client = self.session["kernel"]["id"], uuid.uuid4().hex
        self.away = []  # seconds without a websocket, each time that it broke
        self.connect()

    def connect(self):
        path = f"{self.browser.base}api/kernels/{self.id}/channels?session_id={self.client}"
        url = self.browser.hub.address + path
        cookies = requests.cookies.get_cookie_header(
            self.browser.session.cookies, requests.Request("GET", url).prepare()
        )
        end = time.monotonic() + 180
        while True:
            try:
                self.socket = websocket.create_connection(
                    url.replace("http", "ws", 1), cookie=cookies, origin=self.browser.hub.address,
                    subprotocols=["v1.kernel.websocket.jupyter.org"], timeout=15,
                )  # fmt: skip
                return
            except (OSError, websocket.WebSocketException) as error:
                if time.monotonic() > end:
                    raise LessonError(f"no websocket: {error!r}") from error
                time.sleep(1)

    def send(self, code):
        header = {
            "msg_id": uuid.uuid4().hex, "session": self.client, "username": self.browser.name,
            "date": datetime.now(UTC).isoformat(), "msg_type": "execute_request",
            "version": "5.3",
        }  # fmt: skip
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {},
            "allow_stdin": False, "stop_on_error": True,
        }  # fmt: skip
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        self.socket.send_binary(serialize_msg_to_ws_v1(parts, "shell"))
        return header["msg_id"]

    def run(self, code, patience=300):
        """Run a cell; its outputs, once the kernel has replied and is idle again."""
        end = time.monotonic() + patience
        request, reply, idle, outputs = None, None, False, []
        while not (reply and idle):
            if time.monotonic() > end:
                raise LessonError(f"a cell took more than {patience} s")
            try:
                request = request or self.send(code)
                _, parts = deserialize_msg_from_ws_v1(self.socket.recv())
                header, parent, _, content = (json.loads(part) for part in parts[:4])
            except websocket.WebSocketTimeoutException:
                state = self.browser.api("GET", f"kernels/{self.id}")["execution_state"]
                if state == "idle":  # the reply went to a proxy that is gone: ask again
                    request, reply, idle, outputs = None, None, False, []
                continue
            except (OSError, websocket.WebSocketException):
                broken = time.monotonic()
                self.connect()  # same session: the server hands on what came meanwhile
                self.away.append(time.monotonic() - broken)
                continue
            kind = header["msg_type"]
            if kind == "status" and content["execution_state"].endswith("restarting"):
                raise KernelDiedError
            if parent.get("msg_id") != request:
                continue
            if kind == "execute_reply":
                reply = content
            elif kind == "status":
                idle = content["execution_state"] == "idle"
            elif kind in ("stream", "display_data", "execute_result", "error"):
                message = nbformat.from_dict({"header": header, "content": content, "metadata": {}})
                outputs.append(nbformat.v4.output_from_msg(message))
        if reply["status"] != "ok":
            raise LessonError(f"a cell ended with {reply.get('ename')}: {reply.get('evalue')}")
        return outputs, reply["execution_count"]

    def close(self):
        self.socket.close()
        self.browser.api("DELETE", f"sessions/{self.session['id']}")
