"""What a browser may send: limits that hold while it arrives, and nothing that stays of a broken upload."""

import errno
import socket
import time
from pathlib import Path

import pytest
from serving import Client, chunked, file_data, multipart, raw, served, server, stored, wait_until  # noqa: F401

from gender_recognizer.demo import arrivals, receiving
from gender_recognizer.demo import server as server_module


@pytest.fixture
def fresh(tmp_path):
    """Return a client of a server of its own, and its store."""
    with served(tmp_path) as (address, store):
        yield Client(address), store


def take(client, paths):
    """Take uploads on the page, and return what it shows then."""
    (event, _), (show, _), *_ = client.events()
    client.fire(event, [[file_data(path, orig_name=f"{number}.jpg") for number, path in enumerate(paths)]], "tab")
    return client.fire(show, ["Bundled", "", "The main face of each", 0, False], "tab")


def head(client, kind="multipart/form-data; boundary=line"):
    return {"cookie": client.cookie(), "content-type": kind}


def test_a_large_file_is_dropped_while_it_arrives_and_the_others_are_kept(fresh, monkeypatch):
    client, store = fresh
    largest = record_largest(monkeypatch, store)
    status, paths = client.upload(b"1" * 49_999, b"2" * 200_000, b"3")
    assert status == 200
    assert sorted(len(file.read_bytes()) for file in stored(store)) == [1, 49_999]
    assert max(largest) <= 50_000
    shown = take(client, paths)
    assert "larger than 0.05 MB" in shown
    assert shown.count("1.jpg") >= 1
    client.leave("tab")
    assert not stored(store)


def record_largest(monkeypatch, store):
    """Return the list of sizes that files have after each piece."""
    sizes, write = [], arrivals.Arrival.write

    def recording_write(self, data):
        write(self, data)
        sizes.extend(file.stat().st_size for file in store.incoming.iterdir())

    monkeypatch.setattr(arrivals.Arrival, "write", recording_write)
    return sizes


def test_a_request_that_is_longer_than_a_visitor_may_have_is_refused(fresh):
    client, store = fresh
    body, _ = multipart(b"x" * 1_400_000)
    sized = raw(client.address, "POST", "/gradio_api/upload", None, head(client) | {"content-length": "1400000"})
    assert sized[:2] == (413, "too much at once; drop fewer pictures")
    status, _ = chunked(client.address, "/gradio_api/upload", pieces(body, 9999), head(client))
    assert status in (413, None)  # None: it was refused before all was sent
    assert not stored(store)


def test_an_upload_in_pieces_without_its_length_is_limited_alike(fresh):
    client, store = fresh
    body, _ = multipart(b"1" * 40_000, b"2" * 60_000, b"3" * 40_000)
    odd = pieces(body[:700], 7) + pieces(body[700:], 9999)
    status, text = chunked(client.address, "/gradio_api/upload/", odd, head(client))
    assert status == 200
    assert text.count("incoming") == 3
    assert [len(file.read_bytes()) for file in stored(store)] == [40_000, 40_000]


def pieces(body, size):
    return [body[start : start + size] for start in range(0, len(body), size)]


def test_one_visitor_and_all_have_limits(fresh):
    client, store = fresh
    other = Client(client.address)
    contents = [bytes([number]) * 49_000 for number in range(7)]
    shown = take(client, client.upload(*contents)[1])
    assert shown.count("your files would take more than 0.3 MB together") >= 1
    shown = take(other, other.upload(*contents)[1])
    assert "the page is full: the files of all visitors take 0.5 MB" in shown
    assert sum(len(file.read_bytes()) for file in stored(store)) <= 500_000
    client.leave("tab")
    assert "the page is full" not in take(other, other.upload(b"x")[1])


def test_fields_that_are_no_files_are_not_kept(fresh):
    client, store = fresh
    body, kind = multipart(b"x" * 300_000, name="other")
    field = b'--line\r\ncontent-disposition: form-data; name="files"\r\n\r\n' + b"y" * 300_000 + b"\r\n"
    assert client.send("/gradio_api/upload", field + body, {"content-type": kind}) == (200, "[]")
    assert not stored(store)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("text/plain", b"x"),
        ("", b"x"),
        ("multipart/form-data; boundary=line", b"no boundary"),
        ("multipart/form-data; boundary=line", multipart(b"x")[0][:-20]),
        ("multipart/form-data; boundary=line", multipart(b"x")[0][:80]),
        ("multipart/form-data; boundary=line", b"--line\r\n" + b"a" * 100_000),
        ("multipart/form-data; boundary=line", b"--line\r\n" + b"a: b\r\n" * 10_000),
        ("multipart/form-data; boundary=" + "l" * 10_000, b"x"),
    ],
)
def test_what_is_no_complete_upload_is_refused_and_leaves_nothing(server, kind, body):  # noqa: F811
    client = Client(server[0])
    assert client.send("/gradio_api/upload", body, {"content-type": kind})[0] == 400
    assert not stored(server[1])


def test_a_connection_that_breaks_leaves_nothing(fresh):
    client, store = fresh
    host, _, port = client.address.removeprefix("http://").partition(":")
    body, kind = multipart(b"x" * 40_000)
    lines = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {client.cookie()}\r\nContent-Type: {kind}"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{lines}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:30_000])
        wait_until(lambda: stored(store))
    wait_until(lambda: not stored(store))


def test_a_slow_upload_ends(fresh, monkeypatch):
    client, store = fresh
    monkeypatch.setattr(receiving, "MAX_WAITING_SECONDS", 0.2)

    def slowly():
        body = multipart(b"x" * 20)[0]
        for number in range(40):
            yield body[number : number + 1]
            time.sleep(0.02)

    assert chunked(client.address, "/gradio_api/upload", slowly(), head(client))[0] in (400, None)
    assert not stored(store)


def test_a_full_disk_is_named_and_leaves_no_half_of_a_file(fresh, monkeypatch):
    client, store = fresh
    write_all = Path.open

    class FullDisk:
        """A file on a disk with room for 100 bytes."""

        def __init__(self, path):
            self.file, self.room = write_all(path, "xb"), 100

        def write(self, data):
            self.file.write(data[: self.room])
            self.room -= len(data)

        def flush(self):
            self.file.flush()
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

        close = flush

    monkeypatch.setattr(arrivals.Path, "open", lambda self, mode: FullDisk(self))
    status, paths = client.upload(b"x" * 1000, b"x" * 50)
    monkeypatch.undo()
    assert status == 200
    assert [file.read_bytes() for file in stored(store)] == [b"x" * 50]
    assert "the disk of the computer that runs this page is full" in take(client, paths)


def test_more_files_than_the_page_takes_at_once_are_refused(fresh, monkeypatch):
    client, store = fresh
    monkeypatch.setattr(arrivals, "MAX_WAITING_FILES", 3)
    assert client.upload(b"1", b"2", b"3", b"4") == (413, "too much at once; drop fewer pictures")
    assert not stored(store)
    assert client.upload(b"1", b"2", b"3")[0] == 200
    assert client.upload(b"4")[0] == 413
    assert Client(client.address).upload(b"4")[0] == 200


def test_files_that_nobody_takes_go_without_anybody_doing_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(arrivals, "MAX_WAITING_SECONDS", 0.3)
    with served(tmp_path) as (address, store):
        assert Client(address).upload(b"x")[0] == 200
        assert stored(store)
        wait_until(lambda: not stored(store))


def test_the_page_is_told_that_an_upload_ends(server):  # noqa: F811
    assert '"done"' in Client(server[0]).get("/gradio_api/upload_progress?upload_id=x")[1]
