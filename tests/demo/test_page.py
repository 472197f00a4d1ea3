import base64
import io
import re
import shutil
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import BLUE, PROJECT, RED, Redness, process, read_records, save_picture
from PIL import Image
from serving import SAMPLE, SETTINGS

from gender_recognizer.demo.page import ACCURATE, BUNDLED, LATEST, OTHER, Page, offered_models
from gender_recognizer.demo.results import show_labels
from gender_recognizer.demo.uploads import UploadStore
from gender_recognizer.labelling.recognizer import Recognizer
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.pictures.listing import File

WEIGHTS = PROJECT / "src" / "gender_recognizer" / "weights"
CROPS = "The main face of each"
ANNA = SimpleNamespace(session_hash="anna.tab")


@pytest.fixture
def page(tmp_path):
    settings = replace(SETTINGS, outputs=tmp_path / "outputs", max_visitor_mb=1, max_total_mb=2)
    store = UploadStore(settings, tmp_path)
    yield Page(store, settings)
    store.close()


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
    for file in files:
        arrival = page.store.arrivals.expect("anna")
        arrival.write(file.read_bytes())
        arrival.close()
        received.append({"path": str(arrival.path), "orig_name": file.name})
    page.take(received, visitor)


def downloads(html):
    """Return the files that results offer, by their names."""
    links = re.findall(r'download="([^"]+)" href="data:[^,]+;base64,([^"]+)"', html)
    return {name: base64.b64decode(content) for name, content in links}


@pytest.mark.parametrize("min_confidence", [0.0, 0.99999])
def test_labels_reasons_and_downloads_are_those_of_process_py(page, folder, tmp_path, min_confidence):
    upload(page, sorted(folder.iterdir(), reverse=True))
    html = page.show(BUNDLED, "", CROPS, min_confidence, False, ANNA)
    output = tmp_path / "results" / "process_results.json"
    output.parent.mkdir()
    options = [f"output_path={output}", f"min_confidence={min_confidence}", "formats=[json,jsonl,csv]"]
    assert process(folder, *options).returncode == 3
    files = downloads(html)
    assert files["process_results.json"] == output.read_bytes()
    without_time = [
        re.sub(rb",\d+,(,\d*,[^\r]*)\r\n", rb",,\1\r\n", text)
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
    html = page.show(BUNDLED, "", "Every face", 0, False, ANNA)
    process(tmp_path / "in", f"output_path={tmp_path}/out.json", "faces=crop")
    assert downloads(html)["process_results.json"] == (tmp_path / "out.json").read_bytes()
    cards = re.findall(r"<li.*?</li>", html, re.S)
    assert ["both.jpg#0" in cards[0], "both.jpg#1" in cards[1], "no face" in cards[2]] == [True] * 3
    pictures = [re.search(r'src="([^"]+)"', card) for card in cards]
    assert pictures[0][1] != pictures[1][1]  # each its own face
    assert pictures[2] is None
    assert "2 files, 3 results:" in html


def test_the_box_of_the_face_is_drawn_and_a_picture_without_one_is_said_to_have_none(page, tmp_path):
    shutil.copy(PROJECT / "data/sample/female/001.jpg", tmp_path / "face.jpg")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "nobody.png")
    upload(page, [tmp_path / "face.jpg", tmp_path / "nobody.png"])
    cards = re.findall(r"<li.*?</li>", page.show(BUNDLED, "", CROPS, 0, False, ANNA), re.S)
    pixels = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(re.search(r'base64,([^"]+)"', card)[1])))).astype(int)
        for card in cards
    ]
    orange = [((seen[..., 0] > 200) & (seen[..., 1] < 150) & (seen[..., 2] < 90)).sum() for seen in pixels]
    assert orange[0] > 50 > orange[1]
    assert "no face" in cards[1]


def test_names_are_text(page, folder):
    upload(page, [*folder.iterdir(), folder / "<img src=x onerror=alert(1)>.jpg"])
    (folder / "<b>.txt").write_text("x")
    upload(page, [folder / "<b>.txt"])
    html = page.show(BUNDLED, "", CROPS, 0, False, ANNA)
    assert "&lt;img src=x onerror=alert(1)&gt; (2).jpg" in html
    assert "&lt;b&gt;.txt" in html
    assert "<img src=x" not in html
    assert "<b>." not in html


def test_classes_of_any_model_are_text_too(page, tmp_path, monkeypatch):
    """Markup, mathematics, templates; in names of files also what turns the direction of writing."""
    odd = ModelInfo(("<b>x<b>", "$x$ ${1} {{2}}"))
    model = Redness()
    model.info = odd
    monkeypatch.setattr("gender_recognizer.labelling.recognizer.load_predictor", lambda path, device: model)
    save_picture(tmp_path / "red \u202egpj.png", RED, 0)
    save_picture(tmp_path / "blue.png", BLUE, 0)
    upload(page, [tmp_path / "red \u202egpj.png", tmp_path / "blue.png"])
    html = page.show(BUNDLED, "", CROPS, 0, False, ANNA)
    assert "&lt;b&gt;x&lt;b&gt; <span" in html
    assert "<b>x" not in html
    assert "$x$ ${1} {{2}} <span" in html
    assert r"red \u202egpj.png" in html
    assert "\u202e" not in html


@pytest.mark.parametrize("name", ["<b>\x1b\u202e.onnx", "a\udcff.onnx"])
def test_names_of_model_files_are_text(page, name):
    told = page.show(OTHER, name, CROPS, 0, False, ANNA)
    assert told == ""  # nothing to label
    upload(page, [SAMPLE / "female" / "001.jpg"])
    told = page.show(OTHER, name, CROPS, 0, False, ANNA)
    assert "does not exist" in told
    assert told.isprintable() or not {"\x1b", "\u202e", "\udcff"} & set(told)
    assert "<b>" not in told
    assert all(choice.isprintable() for choice in offered_models(name, "127.0.0.1"))


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


def test_pictures_are_added_shown_with_another_model_and_removed(page, folder):
    assert page.show(BUNDLED, "", CROPS, 0, False, ANNA) == ""
    upload(page, [folder / "anna.jpg"])
    page.take_sample(ANNA)
    shown = page.show(BUNDLED, "", CROPS, 0, False, ANNA)
    assert "8 labelled" in shown
    assert "5 not taken" in shown  # max_files is 8
    assert list(downloads(shown)) == ["process_results.json", "process_results.csv"]
    assert b'"female/001.jpg"' in downloads(shown)["process_results.json"]
    assert "no training run" in page.show(LATEST, "", CROPS, 0, False, ANNA)
    path = page.settings.outputs / "checkpoints" / "model_state-epoch-01-val_acc-0.9.ckpt"
    path.parent.mkdir(parents=True)
    shutil.copy(WEIGHTS / "smallcnn.ckpt", path)
    assert "8 labelled" in page.show(LATEST, "", CROPS, 0, False, ANNA)
    assert "8 labelled" in page.show(OTHER, f" {path} ", CROPS, 0, False, ANNA)
    assert "name a model file" in page.show(OTHER, "", CROPS, 0, False, ANNA)
    assert "does not exist" in page.show(OTHER, "<b>.onnx", CROPS, 0, False, ANNA)
    assert "<b>" not in page.show(OTHER, "<b>.onnx", CROPS, 0, False, ANNA)
    assert page.show(BUNDLED, "", CROPS, 0, False, SimpleNamespace(session_hash="ben.tab")) == ""
    page.forget(ANNA)
    assert page.show(BUNDLED, "", CROPS, 0, False, ANNA) == ""


def test_only_whoever_is_at_this_machine_names_files_of_it(page):
    assert list(offered_models(None, "127.0.0.1")) == [BUNDLED, ACCURATE, LATEST, OTHER]
    assert list(offered_models("latest", "localhost")) == [LATEST, BUNDLED, ACCURATE, OTHER]
    assert list(offered_models("accurate", "localhost")) == [ACCURATE, BUNDLED, LATEST, OTHER]
    assert offered_models("x/a.onnx", "0.0.0.0") == {
        "a.onnx": "x/a.onnx",
        BUNDLED: None,
        ACCURATE: "accurate",
        LATEST: "latest",
    }
    page = Page(page.store, replace(page.settings, host="0.0.0.0"))
    with pytest.raises(KeyError):
        page.find(OTHER, "/any.onnx")
