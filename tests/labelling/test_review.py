"""process.py review=true: the page, what it saves, and copies with boxes drawn on them."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import BLUE, RED, save_picture
from PIL import Image
from playwright.sync_api import sync_playwright

from gender_recognizer.labelling import review as review_module
from gender_recognizer.labelling.annotating import Annotating
from gender_recognizer.labelling.inputs import Inputs
from gender_recognizer.labelling.places import Places
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.review import Review
from gender_recognizer.labelling.thumbnails import CELL, make_thumbnail

HOSTILE = "<img src=x onerror=alert(1)>&quot;\u202e</script><script>alert(2)</script>.png"
CLASSES = ("female", "male")


def find_chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def write_page(folder, records, output="out", classes=CLASSES):
    inputs = Inputs([str(folder)])
    (folder.parent / output).mkdir(exist_ok=True)
    path = folder.parent / output / "process_results.json"
    review = Review(path, Limits())
    review.write(records, Places(inputs, path.with_suffix(".jsonl"), None), classes, "model.onnx")
    return review.path


def read_data(page):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text())[1])


@pytest.fixture
def folder(tmp_path):
    """Return a folder of pictures: one with a hostile name, one with a name that a spreadsheet would run."""
    for index, name in enumerate(
        ("a.png", "b.png", "c.png", HOSTILE.replace("/", "_"), "=1+1.png", "Köln #2 100%.png")
    ):
        save_picture(tmp_path / "in" / name, RED, index, size=(300, 200))
    return tmp_path / "in"


def records_of(folder):
    labelled = [
        Record(path.name, "labelled", "female", 0.6 + index / 20, box=[100, 50, 200, 150])
        for index, path in enumerate(sorted(folder.iterdir()))
    ]
    more = [Record("unsure.png", "unsure", "male", 0.55), Record("none.png", "no_face", reason="no face found")]
    return [*labelled, *more, Record("bad.png", "failed", reason="not a <b>picture</b>")]


def test_groups_come_by_label_then_by_status_the_least_sure_first(folder):
    data = read_data(write_page(folder, records_of(folder)))
    assert [group["name"] for group in data["groups"]] == ["female", "unsure", "no face", "failed"]
    probabilities = [row[3] for row in data["groups"][0]["rows"]]
    assert probabilities == sorted(probabilities)
    assert len(probabilities) == 6


def test_the_page_holds_no_markup_of_names_and_allows_only_its_own_script(folder):
    page = write_page(folder, records_of(folder)).read_text()
    assert "onerror=alert(1)>" not in page.replace("\\u003cimg src=x onerror=alert(1)>", "")
    assert page.count("<script") == page.count("</script>") == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "\u202e" not in read_data(write_page(folder, records_of(folder)))["groups"][0]["rows"][0][0]


def test_thumbnails_lie_beside_the_page_and_only_its_own(folder):
    page = write_page(folder, records_of(folder))
    first = {path.name for path in (page.parent / "process_results_thumbnails").iterdir()}
    write_page(folder, records_of(folder))
    second = {path.name for path in (page.parent / "process_results_thumbnails").iterdir()}
    assert len(first) == len(second) == 1
    assert first != second  # a page that is open does not show other pictures beside its labels
    assert read_data(page)["sheets"] in f"process_results_thumbnails/{second.pop()}"


def test_a_thumbnail_shows_the_face_and_where_its_box_is(tmp_path):
    image = Image.new("RGB", (2000, 1000), RED)
    image.paste(Image.new("RGB", (100, 100), BLUE), (900, 500))
    image.save(tmp_path / "a.jpg")
    thumbnail = make_thumbnail(str(tmp_path / "a.jpg"), [900, 500, 1000, 600], Limits())
    assert thumbnail.size == (2000, 1000)
    left, top, width, height = thumbnail.box
    assert width == height == pytest.approx(CELL / 1.7, abs=1)
    inside = np.asarray(thumbnail.image)[top + 3 : top + height - 3, left + 3 : left + width - 3]
    assert np.abs(inside.astype(int) - BLUE).max() < 60
    assert np.abs(np.asarray(thumbnail.image)[3, 3].astype(int) - RED).max() < 60


@pytest.mark.parametrize("box", [None, [-50, -50, 400, 400], [0, 0, 300, 200], [290, 190, 500, 400], [5, 5, 5, 5]])
def test_any_box_gives_a_thumbnail(tmp_path, box):
    save_picture(tmp_path / "a.png", RED, 0, size=(300, 200))
    assert make_thumbnail(str(tmp_path / "a.png"), box, Limits()).image.size == (CELL, CELL)


def test_pages_and_folders_of_others_are_not_overwritten(tmp_path):
    (tmp_path / "process_results.html").write_text("<p>mine")
    with pytest.raises(ValueError, match="is not a page of gender_recognizer; choose another output_path"):
        Review(tmp_path / "process_results.json", Limits())
    (tmp_path / "other_thumbnails").mkdir()
    (tmp_path / "other_thumbnails/me.jpg").write_text("mine")
    with pytest.raises(ValueError, match="holds other files than thumbnails; choose another output_path"):
        Review(tmp_path / "other.json", Limits())


def test_of_very_many_the_least_sure_are_shown(folder, monkeypatch):
    monkeypatch.setattr(review_module, "MOST", 3)
    data = read_data(write_page(folder, [Record(f"{index}.png", "labelled", "male", index / 10) for index in range(9)]))
    assert [row[0] for row in data["groups"][0]["rows"]] == ["0.png", "1.png", "2.png"]
    assert data["about"].startswith("9 results (here are the 3 least sure)")


def test_the_command_leaves_the_page_and_the_copies(folder, command):
    output = folder.parent / "out"
    done = command(
        "label", folder, f"output_path={output}/", "num_workers=1", "review=true", f"annotate={output}/drawn"
    )
    assert done.returncode == 0, done.stderr
    assert f"open {output}/process_results.html" in done.stderr
    assert sum(len(group["rows"]) for group in read_data(output / "process_results.html")["groups"]) == 6
    drawn = sorted(path.name for path in (output / "drawn").iterdir())
    assert drawn == sorted(f"{path.name}.jpg" for path in folder.iterdir())


def annotate(folder, records, into="drawn"):
    inputs = Inputs([str(folder)])
    annotating = Annotating(folder.parent / into, inputs, Limits())
    annotating.write(records, Places(inputs, folder / "no", None), ["female", "male"])
    return annotating


def test_copies_have_boxes_and_labels_and_originals_stay(folder):
    before = (folder / "a.png").read_bytes()
    annotating = annotate(folder, [[Record("a.png", "labelled", "female", 0.9, box=[100, 50, 200, 150])]])
    assert (annotating.done, (folder / "a.png").read_bytes()) == (1, before)
    pixels = np.asarray(Image.open(folder.parent / "drawn/a.png.jpg")).astype(int)
    assert pixels.shape == (200, 300, 3)
    assert np.abs(pixels[50:150, 100] - (232, 89, 12)).mean() < 40  # the colour of the first class
    assert np.abs(pixels[100, 150] - RED).max() < 140


@pytest.mark.parametrize("status", ["unsure", "no_face", "too_small", "blank"])
def test_pictures_without_a_label_say_why(folder, status):
    label = ("male", 0.5) if status == "unsure" else (None, None)
    assert annotate(folder, [[Record("a.png", status, *label)]]).done == 1


def test_a_copy_never_takes_the_place_of_another_file(folder):
    records = [[Record("a.png", "labelled", "male", 0.9)], [Record("gone.png", "labelled", "male", 0.9)]]
    (folder.parent / "drawn").mkdir()
    (folder.parent / "drawn/a.png.jpg").write_text("mine")
    annotating = annotate(folder, records)
    assert (folder.parent / "drawn/a.png.jpg").read_text() == "mine"
    assert [name for name, _ in annotating.left] == ["a.png", "gone.png"]
    lines = list(annotating.lines())
    assert "is another file" in lines[0]
    (folder.parent / "drawn/a.png.jpg").unlink()
    assert annotate(folder, records[:1]).done == annotate(folder, records[:1]).done == 1  # its own it replaces


def wait_until(page, expression):
    """Wait until an expression is true; `wait_for_function` would need what the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium")
def test_in_a_browser_labels_are_corrected_by_keys_and_saved(folder, tmp_path):
    many = [Record(f"many/{index:05}.png", "labelled", "male", 0.9) for index in range(6000)]
    address = write_page(folder, [*records_of(folder), *many]).as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(60_000)
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append("a name was run as a script"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.wait_for_selector(".card")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        shown = [element.inner_text() for element in page.query_selector_all(".file")]
        assert shown[:2] == [HOSTILE.replace("/", "_").replace("\u202e", "\\u202e"), "=1+1.png"]
        for key in ("m", "f", "m", "Backspace", "m", "Enter"):
            page.keyboard.press(key)
        assert page.inner_text("#state") == "4 judged, 2 labels changed"
        page.reload()
        page.wait_for_selector(".card")
        assert "4 judged" in page.inner_text("#state")
        page.keyboard.press(" ")
        wait_until(page, "document.getElementById('original').naturalWidth === 300")
        page.keyboard.press("Escape")
        page.click("text=male 6,000")
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_selector("text=many/05999.png")
        assert len(page.query_selector_all(".card")) < 100
        page.fill("#name", "05000")
        wait_until(page, "document.querySelectorAll('.card').length === 1")
        page.click("#choices button:first-child")
        with page.expect_download() as download:
            page.click("#save")
        assert download.value.suggested_filename == "corrections.csv"
        content = Path(download.value.path()).read_bytes().decode("utf-8-sig")
        browser.close()
    assert complaints == []
    assert {url.partition(":")[0] for url in requests} == {"file"}
    rows = list(csv.DictReader(content.splitlines()))
    assert [(row["file"], row["label"]) for row in rows] == [
        (HOSTILE.replace("/", "_"), "male"),
        ("'=1+1.png", "female"),
        ("Köln #2 100%.png", "male"),
        ("a.png", "female"),
        ("many/05000.png", "female"),
    ]
    assert rows[0]["folder"] == str(folder)
    assert (rows[0]["box"], rows[0]["classes"]) == ("100 50 200 150", "female/male")
