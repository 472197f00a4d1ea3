"""Attacks on the page's server: other people's data, files of the machine, foreign sites, requests that are none."""

import contextlib
import gzip
import json
import os
import re
import shutil
import socket

import pytest
from serving import SAMPLE, Client, chunked, file_data, multipart, raw, served, server, stored  # noqa: F401

from gender_recognizer.demo import guard
from gender_recognizer.demo.events import rewrite_event

FEMALE = SAMPLE / "female" / "001.jpg"


@pytest.fixture
def anna(server):  # noqa: F811
    return Client(server[0])


@pytest.fixture
def ben(server):  # noqa: F811
    return Client(server[0])


def outside_files(store, tmp_path, address):
    """Return what an attacker may put into a slot to get a file that is no upload."""
    secret = tmp_path / "secret.jpg"
    shutil.copy(FEMALE, secret)
    (tmp_path / "link.jpg").symlink_to(secret)
    (store.incoming / "aa").mkdir(exist_ok=True)
    if not (store.incoming / "aa" / "link.jpg").is_symlink():
        (store.incoming / "aa" / "link.jpg").symlink_to(secret)
    return [
        file_data(secret),
        file_data(tmp_path / "link.jpg"),
        file_data(store.incoming / "aa" / "link.jpg"),
        file_data(f"{store.incoming}/../../secret.jpg"),
        file_data(os.path.relpath(secret)),
        [file_data(secret)],
        {"a": {"b": [file_data(secret)]}},
        file_data(secret, is_stream=True),
        file_data(secret, url=f"{address}/gradio_api/file={secret}"),
    ]


@pytest.mark.parametrize("guarded", [True, False], ids=["all", "gradio alone"])
def test_no_event_takes_a_file_that_is_no_upload(server, anna, tmp_path, monkeypatch, guarded):  # noqa: F811
    address, store = server
    if not guarded:
        plain = lambda kind, body, browser, _: json.dumps(  # noqa: E731
            json.loads(body) | {"session_hash": f"{browser}.{json.loads(body)['session_hash']}"}
        ).encode()
        monkeypatch.setattr(guard, "rewrite_event", plain)
    payloads = outside_files(store, tmp_path, address)
    slots = [(event, slot, count) for event, count in anna.events() for slot in range(count)]
    assert len({event for event, *_ in slots}) >= 8
    for event, slot, count in slots:
        for payload in payloads if guarded else payloads[::4]:
            values = ["", "", "", 0, False][:count]
            values[slot] = payload
            told = anna.fire(event, values)
            assert '"success":true' not in told.replace(" ", "")
            assert "incoming" not in told
    assert not stored(store)


@pytest.mark.parametrize("place", ["https://example.org/a.jpg", "http://192.0.2.1/a.jpg", "ftp://x.org/a", "//x/a"])
def test_no_event_makes_the_server_ask_another_machine(anna, monkeypatch, place):
    contacted = record_connections(monkeypatch)
    for event, count in anna.events():
        for slot in range(count):
            values = ["", "", "", 0, False][:count]
            values[slot] = [file_data(place)]
            assert "not a file that you have uploaded" in anna.fire(event, values)
            values[slot] = file_data(place)
            assert "not a value of the page" in anna.fire(event, values)
    assert contacted <= {"127.0.0.1"}


CHOICES = ["Bundled", "", "The main face of each", 0, False]


@pytest.fixture
def visit(server, anna):  # noqa: F811
    """Return the path of an upload that Anna's tab has taken, and remove it afterwards."""
    status, [path] = anna.upload(FEMALE.read_bytes())
    assert status == 200
    assert '"success":true' in anna.fire(anna.events()[0][0], [[file_data(path)]], "tab").replace(" ", "")
    yield path
    anna.leave("tab")


def test_nobody_takes_the_upload_of_another_browser_or_one_twice(server, anna, ben, visit):  # noqa: F811
    take = anna.events()[0][0]
    waiting = anna.upload(b"x")[1][0]
    assert ben.join(take, [[file_data(waiting)]]) == (403, "not a file that you have uploaded")
    assert anna.join(take, [[file_data(visit)]]) == (403, "not a file that you have uploaded")  # it is taken
    assert sorted(file.read_bytes() for file in stored(server[1])) == sorted([b"x", FEMALE.read_bytes()])
    anna.fire(take, [[file_data(waiting)]], "tab")


def test_nobody_sees_hears_or_ends_the_visit_of_another_browser(server, anna, ben, visit):  # noqa: F811
    show = anna.events()[1][0]
    assert "a.jpg" not in ben.fire(show, CHOICES, "tab")
    ben.leave("tab")
    with ben.opener.open(f"{ben.address}/gradio_api/heartbeat/tab", timeout=10) as answer:
        assert answer.readline() == b"data: ALIVE\n"
    anna.join(show, CHOICES, "tab")
    ben.join(show, CHOICES, "tab")
    assert "a.jpg" not in ben.hear("tab")
    assert "a.jpg" in anna.hear("tab")
    assert FEMALE.read_bytes() in [file.read_bytes() for file in stored(server[1])]


@pytest.mark.parametrize(
    "session", ["a.b", "a/b", "", "x" * 65, "x" * 900_000, "../x", "a b", "a\n", "é", None, 5, ["a"], {"a": 1}]
)
def test_a_session_is_a_short_word(anna, session):
    status, text = anna.join(0, [None], session)
    assert (status, text) == (403, "not a session of the page")


@pytest.mark.parametrize(
    "query", ["", "session_hash=", "session_hash=a&session_hash=b", "session_hash=a%2Fb", "&".join(["a=1"] * 30)]
)
def test_answers_are_asked_for_by_one_session(anna, query):
    assert anna.get(f"/gradio_api/queue/data?{query}")[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=/etc/hostname",
        "gradio_api/file=https://example.org/a.jpg",
        "gradio_api/file//etc/hostname",
        "gradio_api/proxy=https://example.org/",
        "gradio_api/run/show",
        "gradio_api/call/show",
        "gradio_api/queue/join/x",
        "gradio_api/queue/jo%69n/x",
        "gradio_api/join",
        "gradio_api//queue/join",
        "/gradio_api/queue/join",
        "gradio_api/upload//",
        "gradio_api/%66ile=/etc/hostname",
        "gradio_api/info/../file=/etc/hostname",
        "gradio_api/info%2f..%2ffile=/etc/hostname",
        "static/../gradio_api/file=/etc/hostname",
        "static/%2e%2e/%2e%2e/routes.py",
        "static/%2fetc/hostname%0a",
        "assets/..%2f..%2f..%2froutes.py",
        "gradio_api/stream/a/b/1/playlist.m3u8",
        "gradio_api/component_server",
        "gradio_api/deep_link?session_hash=a",
        "gradio_api/openapi.json",
        "gradio_api/vibe-edit",
        "gradio_api/heartbeat/a/b",
        "gradio_api/heartbeat/a.b%2fc",
        "monitoring",
        "monitoring/summary",
        "config/x",
        "login",
        "docs",
    ],
)
def test_there_is_nothing_on_the_server_but_the_page(anna, path):
    assert anna.get(f"/{path}")[0] == 404
    assert anna.post(f"../{path}", {"data": [file_data("/etc/hostname")]})[0] == 404
    assert anna.send(f"/{path}", b"{}", {"content-type": "application/json"}, "POST")[0] == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "post", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/gradio_api/upload", "/gradio_api/queue/join", "/config"])
def test_other_methods_are_refused(anna, method, path):
    assert anna.send(path, b"{}", method=method)[0] in (400, 404, 405)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b"{" * 200_000,
        b'{"data": ' + b"9" * 5000 + b"}",
        b'{"data": [NaN], "fn_index": 0, "session_hash": "a"}',
        b'{"data": [1e999], "fn_index": 0, "session_hash": "a"}',
        b'{"data": [], "fn_index": "0", "session_hash": "a"}',
        b'{"data": [], "fn_index": true, "session_hash": "a"}',
        b'{"data": {}, "fn_index": 0, "session_hash": "a"}',
        b"[]",
        b"",
        b"\xff\xfe",
        "+AHs-".encode("utf-7"),
        gzip.compress(b'{"data": [], "fn_index": 0, "session_hash": "a"}', mtime=0),
    ],
)
def test_an_event_that_is_none_of_the_page_is_refused(anna, body):
    assert anna.post("queue/join", body)[0] == 403
    assert anna.post("queue/join/", body)[0] == 403


@pytest.mark.parametrize("body", [b"[]", b"x", b"{}", b'{"session_hash": "a/b", "fn_index": 0, "event_id": "x"}'])
def test_a_cancellation_that_is_none_of_the_page_is_refused(anna, body):
    assert anna.post("cancel", body)[0] == 403


def test_a_long_event_is_refused_with_and_without_its_length(server, anna):  # noqa: F811
    assert anna.post("queue/join", b" " * 1_000_001)[0] == 413
    headers = {"cookie": anna.cookie(), "content-type": "application/json"}
    assert chunked(server[0], "/gradio_api/queue/join", [b" " * 100_000] * 11, headers)[0] == 413


def test_compressed_requests_are_refused(anna):
    body = gzip.compress(b"{}")
    assert anna.post("queue/join", body, **{"content-encoding": "gzip"})[0] == 415
    assert anna.upload(b"x", **{"content-encoding": "gzip"})[0] == 415


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_whatever_the_encoding_gradio_reads_the_event_that_was_checked(anna, encoding):
    harmful = json.dumps([file_data(FEMALE)])
    rest = ', "fn_index": 0, "session_hash": "a"}'
    last = f'{{"data": [], "data": [{harmful}]' + rest
    assert anna.post("queue/join", last.encode(encoding)) == (403, "not a file that you have uploaded")
    first = f'{{"data": [{harmful}], "data": []' + rest
    sent = rewrite_event("join", first.encode(encoding), "browser", lambda path: False)
    assert sent == b'{"data": [], "fn_index": 0, "session_hash": "browser.a", "trigger_id": null}'
    assert anna.post("queue/join", first.encode(encoding))[0] == 200
    assert "incoming" not in anna.hear("a")


def test_what_is_checked_is_all_that_goes_on():
    sent = {
        "data": [[file_data("/up", url="http://x", is_stream=True, size=1)], "odd \ud800"],
        "fn_index": 1,
        "session_hash": "a",
        "trigger_id": 2,
        "event_data": {"path": "/x"},
        "batched": True,
        "simple_format": True,
        "event_id": "x",
        "oauth_token": "x",
    }
    event = json.loads(rewrite_event("join", json.dumps(sent).encode(), "browser", lambda path: path == "/up"))
    file = {"path": "/up", "orig_name": "a.jpg", "meta": {"_type": "gradio.FileData"}}
    assert event == {"data": [[file], "odd ?"], "fn_index": 1, "session_hash": "browser.a", "trigger_id": 2}


FOREIGN = [
    {"origin": "http://attacker.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "http://["},
    {"referer": "https://attacker.example/page"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "odd"},
]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_other_sites_cannot_use_the_page(tmp_path, host):
    with served(tmp_path, host=host) as (address, store):
        client = Client(address)
        own = {"origin": address, "referer": f"{address}/", "sec-fetch-site": "same-origin"}
        for headers in FOREIGN:
            assert client.upload(b"x", **headers)[0] == 403
            assert client.upload(b"x", **(own | headers))[0] == 403
            for path in ("queue/join", "cancel", "reset"):
                assert client.post(path, {}, **headers) == (403, "another site may not use this page")
            for path in ("queue/data?session_hash=tab", "heartbeat/tab", "info", "upload_progress"):
                assert client.get(f"/gradio_api/{path}", **headers)[0] == 403
        assert not stored(store)
        assert client.upload(b"x", **own)[0] == 200


@pytest.mark.parametrize(
    "cookie", ["", "gender_recognizer_browser=short", f"gender_recognizer_browser={'.' * 32}", "\x01"]
)
def test_without_the_cookie_of_the_page_nothing_is_done(server, cookie):  # noqa: F811
    body, kind = multipart(b"x")
    headers = {"content-type": kind, "cookie": cookie}
    refusal = (403, "open the page first, and allow it its cookie")
    assert raw(server[0], "POST", "/gradio_api/upload", body, headers)[:2] == refusal
    assert raw(server[0], "POST", "/gradio_api/queue/join", b"{}", headers)[:2] == refusal
    assert raw(server[0], "GET", "/gradio_api/queue/data?session_hash=a", None, headers)[:2] == refusal
    assert raw(server[0], "GET", "/gradio_api/heartbeat/a", None, headers)[:2] == refusal


def test_the_page_opens_for_itself_and_tells_browsers_to_ask_nobody_else(server):  # noqa: F811
    from_a_link = {"sec-fetch-site": "cross-site", "referer": "https://example.org/link"}
    status, text, headers = raw(server[0], "GET", "/", headers=from_a_link)
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "HttpOnly; SameSite=Lax" in headers["set-cookie"]
    assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', text)
    again = raw(server[0], "GET", "/", headers={"cookie": headers["set-cookie"].split(";")[0]})
    assert again[2]["set-cookie"] is None
    assert raw(server[0], "GET", "/", headers={"host": "attacker.example"})[0] == 400
    assert "url(http" not in raw(server[0], "GET", "/theme.css")[1]


def exchange(address, *lines, body=""):
    """Send the lines of a request and a body, and return the status of each answer, until the server closes."""
    host, _, port = address.removeprefix("http://").partition(":")
    head = "\r\n".join([lines[0], f"Host: {host}:{port}", *lines[1:], "\r\n"])
    told = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall((head + body).encode())
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                told += piece
    return re.findall(r"HTTP/1\.1 (\d+)", told.decode())


def test_requests_in_a_row_on_one_connection_are_each_checked(server):  # noqa: F811
    host = server[0].removeprefix("http://")
    inner = f"GET /gradio_api/file=/etc/hostname HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert exchange(server[0], "GET /robots.txt HTTP/1.1", body=inner) == ["200", "404"]
    post = ("POST /gradio_api/queue/join HTTP/1.1", "Connection: close")
    assert exchange(server[0], *post, f"Content-Length: {len(inner)}", body=inner) == ["403"]  # a body is no request
    both = (*post, "Content-Length: 4", "Transfer-Encoding: chunked")
    assert exchange(server[0], *both, body="0\r\n\r\n" + inner)[0] in ("400", "403")


def test_websockets_are_refused(server):  # noqa: F811
    upgrade = ("Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    lines = ("GET /gradio_api/queue/join HTTP/1.1", *upgrade, "Sec-WebSocket-Key: eA==")
    assert exchange(server[0], *lines)[0] in ("400", "403", "404")


def record_connections(monkeypatch):
    """Return the set of hosts to which this process connects from now on, or which it looks up."""
    hosts = set()
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def recording_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            hosts.add(address[0])
        return connect(self, address)

    def recording_look_up(host, *arguments, **options):
        hosts.add(host)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", recording_connect)
    monkeypatch.setattr(socket, "getaddrinfo", recording_look_up)
    return hosts
