"""A really started server of the page, and clients that speak to it as browsers do."""

import contextlib
import http.client
import http.cookiejar
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

from gender_recognizer.demo.server import build_app, listen
from gender_recognizer.demo.settings import DemoSettings
from gender_recognizer.demo.uploads import UploadStore

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
SETTINGS = DemoSettings(port=0, max_files=8, max_file_mb=0.05, max_visitor_mb=0.3, max_total_mb=0.5, sample=SAMPLE)


@contextlib.contextmanager
def served(base, **changes):
    """Serve the page while the block runs; yields its address and its store."""
    settings = replace(SETTINGS, outputs=base / "outputs", **changes)
    store, listener, before = UploadStore(settings, base), listen("127.0.0.1", 0), os.environ.get("GRADIO_TEMP_DIR")
    app = build_app(settings, store)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", store
    finally:
        server.should_exit = True
        thread.join()
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("server")) as address_and_store:
        yield address_and_store


class Client:
    """A browser with its own cookie."""

    def __init__(self, address):
        self.address = address
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), urllib.request.ProxyHandler({})
        )
        self.get("/")

    def send(self, path, body=None, headers=None, method=None):
        """Send a request; returns the status and what is said."""
        request = urllib.request.Request(f"{self.address}{path}", body, headers or {}, method=method)
        try:
            with self.opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path, **headers):
        return self.send(path, headers=headers)

    def post(self, path, content, **headers):
        """Send JSON, or bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.send(f"/gradio_api/{path}", body, {"content-type": "application/json"} | headers)

    def upload(self, *contents, **headers):
        """Upload files; returns the status, and the paths or what is said."""
        body, kind = multipart(*contents)
        status, text = self.send("/gradio_api/upload", body, {"content-type": kind} | headers)
        return status, json.loads(text) if status == 200 else text

    def cookie(self):
        handler = next(one for one in self.opener.handlers if hasattr(one, "cookiejar"))
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in handler.cookiejar)

    def join(self, event, values, session="tab", **more):
        joined = {"data": values, "fn_index": event, "session_hash": session, "trigger_id": None, "event_data": None}
        return self.post("queue/join", joined | more)

    def hear(self, session="tab"):
        """Return all that the queue tells a session."""
        request = urllib.request.Request(f"{self.address}/gradio_api/queue/data?session_hash={session}")
        told = []
        with self.opener.open(request, timeout=60) as answer:
            while not told or "close_stream" not in told[-1]:
                line = answer.readline().decode()
                if not line:
                    break
                told.append(line)
        return "".join(told)

    def fire(self, event, values, session=None):
        """Send values for an event, and return all that is told of it."""
        session = session or uuid.uuid4().hex
        status, text = self.join(event, values, session)
        return self.hear(session) if status == 200 else text

    def leave(self, session):
        """Do what needs no values: take the sample, and remove all pictures."""
        for event, count in self.events():
            if count == 0:
                self.fire(event, [], session)

    def events(self):
        """Return the number of each event that a client may send, with how many values it takes."""
        config = json.loads(self.get("/config")[1])
        return [(event["id"], len(event["inputs"])) for event in config["dependencies"]]


def multipart(*contents, name="files", filename="a.jpg"):
    """Return the body of an upload and its content type."""
    parts = [
        f'--line\r\ncontent-disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for content in contents
    ]
    return b"".join(parts) + b"--line--\r\n", "multipart/form-data; boundary=line"


def chunked(address, path, pieces, headers):
    """Send a body in chunks without saying its length; returns the status and the text."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused while it was sent
        connection.request("POST", path, iter(pieces), headers, encode_chunked=True)
    try:
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (ConnectionResetError, http.client.RemoteDisconnected):
        return None, ""
    finally:
        connection.close()


def raw(address, method, path, body=None, headers=None):
    """Send a request without a cookie; returns the status, the text and the headers of the answer."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    result = answer.status, answer.read().decode(), answer.headers
    connection.close()
    return result


def file_data(path, **more):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "a.jpg"} | more


def stored(store):
    """Return all files of visitors that the server keeps."""
    return [
        path
        for path in store.incoming.parent.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != "lock"
    ]


def wait_until(condition, seconds=30):
    """Wait for a condition; fails when it does not come about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
