import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import demo
import pytest
import uvicorn
from conftest import BLUE, PROJECT, RED, Redness, process, read_records, save_picture
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import sync_playwright

from gender_recognizer.demo.guard import Guard
from gender_recognizer.demo.results import show_labels
from gender_recognizer.demo.uploads import UploadStore
from gender_recognizer.labelling.recognizer import Recognizer
from gender_recognizer.pictures.listing import File

SAMPLE = PROJECT / "data" / "sample"
SETTINGS = {"host": "127.0.0.1", "port": 0, "model_path": None, "min_confidence": 0.0}
CROPS = "Crops with one face each"
ANNA = SimpleNamespace(session_hash="anna")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # demo.py sets it; this puts it back
    store = UploadStore(max_files=8, max_file_mb=0.05, base=tmp_path)
    yield store
    store.close()


@pytest.fixture
def page(store, tmp_path):
    return demo.Page(store, demo.offered_models(None, "127.0.0.1"), tmp_path / "outputs")


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three good files and some bad ones of each kind."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(("anna.jpg", "Köln #2 ${1+1} {{value}}.jpg", "<img src=x onerror=alert(1)>.jpg"), 1):
        shutil.copy(SAMPLE / "female" / f"00{number}.jpg", folder / name)
    (folder / "cut.jpg").write_bytes((SAMPLE / "male" / "001.jpg").read_bytes()[:900])
    (folder / "empty.png").write_bytes(b"")
    save_picture(folder / "small.png", RED, 0, size=(9, 30))
    Image.new("RGB", (40, 50), BLUE).save(folder / "blank.png")
    return folder


def upload(page, files, visitor=ANNA):
    """Do what happens when the browser uploads files."""
    received = []
    for number, file in enumerate(files):
        path = page.store.incoming / str(number) / "stripped name"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(file, path)
        received.append({"path": str(path), "orig_name": file.name})
    page.take(received, visitor)


def downloads(html):
    """Return the files that results offer, by their names."""
    links = re.findall(r'download="([^"]+)" href="data:[^,]+;base64,([^"]+)"', html)
    return {name: base64.b64decode(content) for name, content in links}


@pytest.mark.parametrize("min_confidence", [0.0, 0.99999])
def test_labels_reasons_and_downloads_are_those_of_process_py(page, folder, tmp_path, min_confidence):
    upload(page, sorted(folder.iterdir(), reverse=True))
    html = page.show(demo.BUNDLED, "", CROPS, min_confidence, False, ANNA)
    output = tmp_path / "results" / "process_results.json"
    output.parent.mkdir()
    options = [f"output_path={output}", f"min_confidence={min_confidence}", "formats=[json,jsonl,csv]"]
    assert process(folder, *options).returncode == 3
    files = downloads(html)
    assert files["process_results.json"] == output.read_bytes()
    without_time = [
        re.sub(rb",\d+,,,\r\n", b",,,,\r\n", text)
        for text in (files["process_results.csv"], output.with_suffix(".csv").read_bytes())
    ]
    assert without_time[0] == without_time[1]
    cards = [unescape(card) for card in re.findall(r"<li.*?</li>", html, re.S)]
    records = read_records(output.with_suffix(".jsonl"))
    assert len(cards) == len(records) == 7
    for card, record in zip(cards, records, strict=True):
        assert record["file"] in card
        assert record["status"].replace("_", " ") in card
        assert record.get("reason", "") in card
        if label := record.get("label"):
            assert re.search(rf"{label} <span[^>]*>{100 * record['probability']:.1f} %", card)
    assert ("unsure" in html) == (min_confidence > 0)


def test_faces_of_photographs_are_shown_and_handed_out_as_process_py_does(page, tmp_path):
    (tmp_path / "in").mkdir()
    canvas = Image.new("RGB", (500, 300), (90, 110, 130))
    for left, name in ((30, "female/001.jpg"), (280, "male/001.jpg")):
        with Image.open(PROJECT / "data" / "sample" / name) as face:
            canvas.paste(face.resize((180, 180)), (left, 60))
    canvas.save(tmp_path / "in" / "both.jpg")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "in" / "nobody.png")
    upload(page, list((tmp_path / "in").iterdir()))
    html = page.show(demo.BUNDLED, "", "Photographs: every face", 0, False, ANNA)
    process(tmp_path / "in", f"output_path={tmp_path}/out.json", "faces=crop")
    assert downloads(html)["process_results.json"] == (tmp_path / "out.json").read_bytes()
    cards = re.findall(r"<li.*?</li>", html, re.S)
    assert ["both.jpg#0" in cards[0], "both.jpg#1" in cards[1], "no face" in cards[2]] == [True] * 3
    pictures = [re.search(r'src="([^"]+)"', card) for card in cards]
    assert pictures[0][1] != pictures[1][1]  # each its own face
    assert pictures[2] is None
    assert "2 files, 3 results:" in html


def test_names_are_text(page, folder):
    upload(page, [*folder.iterdir(), folder / "<img src=x onerror=alert(1)>.jpg"])
    (folder / "<b>.txt").write_text("x")
    upload(page, [folder / "<b>.txt"])
    html = page.show(demo.BUNDLED, "", CROPS, 0, False, ANNA)
    assert "&lt;img src=x onerror=alert(1)&gt; (2).jpg" in html
    assert "&lt;b&gt;.txt" in html
    assert "<img src=x" not in html
    assert "<b>." not in html


def test_saliency_is_shown_of_labelled_pictures_on_request(tmp_path, monkeypatch):
    monkeypatch.setattr("gender_recognizer.labelling.recognizer.load_predictor", lambda path, device: Redness())
    save_picture(tmp_path / "a.png", RED, 0)
    Image.new("RGB", (40, 50), BLUE).save(tmp_path / "blank.png")
    files = [File(name, str(tmp_path / name)) for name in ("blank.png", "a.png")]
    assert show_labels(Recognizer(), files).count("<img") == 2
    html = show_labels(Recognizer(), files, explain=True)
    cards = re.findall(r"<li.*?</li>", html, re.S)
    assert [card.count("<img") for card in cards] == [2, 1]
    assert "Coloured copies" in html
    assert "for the first" not in html
    monkeypatch.setattr("gender_recognizer.demo.results.MAX_EXPLAINED", 1)
    save_picture(tmp_path / "c.png", RED, 1)
    html = show_labels(Recognizer(), [*files, File("c.png", str(tmp_path / "c.png"))], explain=True)
    assert html.count("<img") == 4
    assert "Shown for the first 1." in html


def test_pictures_are_added_shown_with_another_model_and_removed(page, folder, colour_runs):
    assert page.show(demo.BUNDLED, "", CROPS, 0, False, ANNA) == ""
    upload(page, [folder / "anna.jpg"])
    page.take_sample(ANNA)
    shown = page.show(demo.BUNDLED, "", CROPS, 0, False, ANNA)
    assert "8 labelled" in shown
    assert "5 not taken" in shown  # max_files is 8
    assert list(downloads(shown)) == ["process_results.json", "process_results.csv"]
    assert b'"female/001.jpg"' in downloads(shown)["process_results.json"]
    assert "no training run" in page.show(demo.LATEST, "", CROPS, 0, False, ANNA)
    page.outputs = colour_runs["female", "male"]
    ours = page.show(demo.LATEST, "", CROPS, 0, False, ANNA)
    assert "8 labelled" in ours
    path = page.outputs / "checkpoints" / "model.onnx"
    assert "8 labelled" in page.show(demo.OTHER, f" {path} ", CROPS, 0, False, ANNA)
    assert "name a model file" in page.show(demo.OTHER, "", CROPS, 0, False, ANNA)
    assert "does not exist" in page.show(demo.OTHER, "<b>.onnx", CROPS, 0, False, ANNA)
    assert "<b>" not in page.show(demo.OTHER, "<b>.onnx", CROPS, 0, False, ANNA)
    assert page.show(demo.BUNDLED, "", CROPS, 0, False, SimpleNamespace(session_hash="ben")) == ""
    page.forget(ANNA)
    assert page.show(demo.BUNDLED, "", CROPS, 0, False, ANNA) == ""


def test_only_whoever_is_at_this_machine_names_files_of_it(store, tmp_path):
    assert list(demo.offered_models(None, "127.0.0.1")) == [demo.BUNDLED, demo.LATEST, demo.OTHER]
    assert list(demo.offered_models("latest", "localhost")) == [demo.LATEST, demo.BUNDLED, demo.OTHER]
    assert demo.offered_models("x/a.onnx", "0.0.0.0") == {
        "a.onnx": "x/a.onnx",
        demo.BUNDLED: None,
        demo.LATEST: "latest",
    }
    page = demo.Page(store, demo.offered_models(None, "0.0.0.0"), tmp_path)
    with pytest.raises(KeyError):
        page.find(demo.OTHER, "/any.onnx")


def test_server_refuses_too_much_and_strangers_and_sends_nobody_elsewhere(store, tmp_path):
    app = demo.build_app(SETTINGS | {"outputs": str(tmp_path)}, store)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        start = client.get("/")
        assert start.status_code == 200
        assert "default-src 'self'" in start.headers["content-security-policy"]
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', start.text)
        assert "url(http" not in client.get("/theme.css").text
        assert client.get("/", headers={"host": "attacker.example"}).status_code == 400
        send = "/gradio_api/upload"
        many = [("files", (f"{number}.jpg", b"x" * 45_000)) for number in range(9)]
        assert client.post(send, files=many).status_code == 413
        assert not list(store.incoming.rglob("*.jpg"))
        received = client.post(send, files={"files": ("../../x.jpg", b"x")}).json()
        assert Path(received[0]).is_relative_to(store.incoming)
        assert client.get(f"/gradio_api/file={SAMPLE / 'female' / '001.jpg'}").status_code in (403, 404)
    assert not store.incoming.parent.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 65536}, "port is 65536; expected a number from 0 to 65535"),
        ({"port": "x"}, "port is x"),
        ({"max_files": 0}, "max_files is 0; expected a number from 1 on"),
        ({"max_file_mb": None}, "max_file_mb is None"),
        ({"min_confidence": 2}, "min_confidence is 2; expected a number from 0 to 1"),
        ({"model_path": "none.onnx"}, "does not exist"),
        ({"host": "192.0.2.1"}, "cannot listen at host=192.0.2.1"),
    ],
)
def test_wrong_options_are_named(tmp_path, changes, message):
    settings = SETTINGS | {"outputs": str(tmp_path), "max_files": 8, "max_file_mb": 1} | changes
    with pytest.raises(ValueError, match=re.escape(message)):
        demo.serve(settings)


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(demo, "gradio", None)
    with pytest.raises(ValueError, match="extra demo"):
        demo.serve(SETTINGS)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")
def test_command_says_where_the_page_is_and_leaves_nothing(tmp_path):
    command = [sys.executable, PROJECT / "scripts" / "demo.py", "port=0"]
    variables = os.environ | {"TMPDIR": str(tmp_path)}
    server = subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline()).group()
        port = address.rpartition(":")[2]
        assert "gradio" in urllib.request.urlopen(address, timeout=30).read().decode()
        assert len(list(tmp_path.iterdir())) == 1
        with pytest.raises(ValueError, match=f"port={port}: Address already in use; try another port"):
            demo.listen("127.0.0.1", int(port))
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=60)[1] == "stopped\n"
        assert server.returncode == 0
        assert not list(tmp_path.iterdir())
    finally:
        server.kill()


def post(address, path, content):
    """Send JSON to the page's server; returns the status and what it says."""
    request = urllib.request.Request(
        f"{address}/gradio_api/{path}", json.dumps(content).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def fire(address, event, values):
    """Do what a client of gradio's queue does: join it with values for an event, and return all that it is told."""
    session = f"visitor{event}"
    joined = {"data": values, "fn_index": event, "session_hash": session, "trigger_id": None, "event_data": None}
    status, text = post(address, "queue/join", joined)
    if status != 200:
        return text
    with urllib.request.urlopen(f"{address}/gradio_api/queue/data?session_hash={session}", timeout=60) as answer:
        told = []
        while not told or "close_stream" not in told[-1]:
            told.append(answer.readline().decode())
    return "".join(told)


def events(address):
    """Return the number of each event that a client may send, with how many values it takes."""
    with urllib.request.urlopen(f"{address}/config", timeout=30) as answer:
        config = json.loads(answer.read())
    return [(event["id"], len(event["inputs"])) for event in config["dependencies"]]


def file_data(path, **more):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "a.jpg"} | more


@pytest.mark.parametrize("guarded", [True, False], ids=["all", "gradio alone"])
def test_no_event_takes_a_file_that_is_no_upload(address, store, tmp_path, monkeypatch, guarded):
    if not guarded:
        monkeypatch.setattr(Guard, "_is_harmless", lambda self, body: True)
    secret = tmp_path / "secret.jpg"
    shutil.copy(SAMPLE / "female" / "001.jpg", secret)
    (tmp_path / "link.jpg").symlink_to(secret)
    (store.incoming / "aa").mkdir()
    (store.incoming / "aa" / "link.jpg").symlink_to(secret)
    outside = [
        file_data(secret),
        file_data(tmp_path / "link.jpg"),
        file_data(f"{store.incoming}/../../secret.jpg"),
        file_data(os.path.relpath(secret)),
        [file_data(secret)],
        {"a": {"b": [file_data(secret)]}},
        file_data(secret, is_stream=True),
        file_data(secret, url=f"{address}/gradio_api/file={secret}"),
    ]
    slots = [(event, slot, count) for event, count in events(address) for slot in range(count)]
    assert len({event for event, *_ in slots}) >= 8
    for event, slot, count in slots:
        for payload in outside:
            values = ["", "", "", 0, False][:count]
            values[slot] = payload
            told = fire(address, event, values)
            assert '"success":true' not in told.replace(" ", "")
            assert "incoming" not in told
        assert not [file for file in store.incoming.rglob("*") if file.is_file() and not file.is_symlink()]
    assert not list(store.incoming.parent.glob("visit_*/*"))


def test_no_event_makes_the_server_ask_another_machine(address, monkeypatch):
    contacted = record_connections(monkeypatch)
    for event, count in events(address):
        for slot in range(count):
            for place in ("https://example.org/a.jpg", "http://192.0.2.1/a.jpg", "ftp://example.org/a.jpg", "//x/a"):
                values = ["", "", "", 0, False][:count]
                values[slot] = file_data(place)
                assert "not a file that you have uploaded" in fire(address, event, values)
    assert contacted <= {"127.0.0.1"}


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=/etc/hostname",
        "gradio_api/file=https://example.org/a.jpg",
        "gradio_api/file//etc/hostname",
        "gradio_api/proxy=https://example.org/",
        "gradio_api/run/show",
        "gradio_api/stream/a/b/1/playlist.m3u8",
        "gradio_api/openapi.json",
        "monitoring",
        "docs",
    ],
)
def test_there_is_nothing_on_the_server_but_the_page(address, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/{path}", timeout=30)
    assert post(address, path.removeprefix("gradio_api/"), {"data": [file_data("/etc/hostname")]})[0] == 404


def test_an_event_that_is_no_json_or_too_long_is_refused(address):
    request = urllib.request.Request(f"{address}/gradio_api/queue/join", b"[" * 200_000)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.putrequest("POST", "/gradio_api/queue/join")
    connection.putheader("content-length", "1000001")
    connection.endheaders()
    assert connection.getresponse().status == 413


def find_chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture
def address(store, tmp_path):
    """Serve the page, and return its address."""
    listener = demo.listen("127.0.0.1", 0)
    app = demo.build_app(SETTINGS | {"outputs": str(tmp_path / "outputs")}, store)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser_files_get_labels_and_nothing_leaves_the_machine(address, store, folder, tmp_path, monkeypatch):
    for name in ("small.png", "blank.png"):
        (folder / name).unlink()
    assert process(folder, f"output_path={tmp_path / 'expected.json'}").returncode == 3
    contacted = record_connections(monkeypatch)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(60_000)
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append("a name was run as a script"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.set_input_files("#files input[type=file]", sorted(folder.iterdir()))
        page.wait_for_selector(".demo-card")
        assert len(page.query_selector_all(".demo-label")) == 3
        reasons = [element.inner_text() for element in page.query_selector_all(".demo-reason")]
        assert len(reasons) == 2
        assert "empty file" in reasons
        shown = [element.inner_text() for element in page.query_selector_all(".demo-file")]
        assert shown == sorted(file.name for file in folder.iterdir())
        with page.expect_download() as download:
            page.click("text=Download process_results.json")
        assert download.value.suggested_filename == "process_results.json"
        assert Path(download.value.path()).read_bytes() == (tmp_path / "expected.json").read_bytes()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click("#remove")
        page.wait_for_selector(".demo-card", state="detached")
        assert not list(store.incoming.parent.rglob("*.jpg"))
        page.click("#sample")
        page.wait_for_selector(".demo-card")
        assert list(store.incoming.parent.rglob("*.jpg"))
        browser.close()
        wait_until(lambda: not list(store.incoming.parent.rglob("*.jpg")))
    assert complaints == []
    assert {url.split("/")[2] for url in requests if not url.startswith(("data:", "blob:"))} == {address.split("/")[2]}
    assert contacted <= {"127.0.0.1", "::1", "localhost"}


def wait_until(condition, seconds=30):
    """Wait for a condition; fails when it does not come about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


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
