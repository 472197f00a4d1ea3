import shutil
from pathlib import Path

import pytest
from conftest import process
from playwright.sync_api import sync_playwright
from serving import SAMPLE, served, stored, wait_until
from test_guard import record_connections


def find_chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three good files with odd names and two that cannot be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(("anna.jpg", "Köln #2 ${1+1} {{value}}.jpg", "<img src=x onerror=alert(1)>.jpg"), 1):
        shutil.copy(SAMPLE / "female" / f"00{number}.jpg", folder / name)
    (folder / "cut.jpg").write_bytes((SAMPLE / "male" / "001.jpg").read_bytes()[:900])
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser_files_get_labels_and_nothing_leaves_the_machine(folder, tmp_path, monkeypatch):
    with served(tmp_path) as (address, store):
        look_at_page(address, store, folder, tmp_path, monkeypatch)


def look_at_page(address, store, folder, tmp_path, monkeypatch):
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
        assert not stored(store)
        page.click("#sample")
        page.wait_for_selector(".demo-card")
        assert stored(store)
        browser.close()
        wait_until(lambda: not stored(store))
    assert complaints == []
    assert {url.split("/")[2] for url in requests if not url.startswith(("data:", "blob:"))} == {address.split("/")[2]}
    assert contacted <= {"127.0.0.1", "::1", "localhost"}
