"""faces=auto: the main face of each picture, near or far, and what becomes of pictures without one."""

import json
import time
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from benchmark_faces import make_texture, overlap
from conftest import PROJECT, Redness, read_records
from PIL import Image

from gender_recognizer import Recognizer
from gender_recognizer.labelling.labeller import Labeller
from gender_recognizer.labelling.local_engine import LocalEngine
from gender_recognizer.labelling.reader import Reader
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.regions import Region, find_box
from gender_recognizer.models.detector import YuNet
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.face_crops import cut_main_face
from gender_recognizer.models.model_file import BUNDLED_MODEL, checkpoint_beside
from gender_recognizer.pictures.listing import Folder
from gender_recognizer.pictures.loading import read_photograph, read_picture

WOMAN, MAN = PROJECT / "data/sample/female/001.jpg", PROJECT / "data/sample/male/001.jpg"


def photograph(*faces, size=(640, 480), seed=0):
    """Return a textured photograph with faces, each (path, side, left, top)."""
    image = make_texture(np.random.default_rng(seed), *size)
    for path, side, left, top in faces:
        image.paste(Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (left, top))
    return image


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer(num_threads=1)


def test_a_crop_is_labelled_at_a_glance_and_its_box_is_in_its_pixels(recognizer):
    for path, label in ((WOMAN, "female"), (MAN, "male")):
        record = recognizer.label(Image.open(path).convert("RGB").resize((300, 300)))
        assert (record.status, record.label, record.faces, record.reason) == ("labelled", label, 1, None)
        assert overlap(record.box, (0, 0, 300, 300)) > 0.6


@pytest.mark.parametrize("side", [260, 120, 70, 40])
def test_a_face_is_found_near_and_far(recognizer, side):
    record = recognizer.label(photograph((WOMAN, side, 350, 130), size=(1000, 700)))
    assert record.label == "female"
    assert overlap(record.box, (350, 130, 350 + side, 130 + side)) > 0.5


@pytest.mark.parametrize("quarter", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270])
def test_heads_that_do_not_stand_upright_are_found(recognizer, quarter):
    image = photograph((WOMAN, 150, 350, 230), size=(900, 700)).transpose(quarter)
    where = np.zeros((700, 900), np.uint8)
    where[230:380, 350:500] = 255
    rows, columns = np.nonzero(np.asarray(Image.fromarray(where).transpose(quarter)))
    record = recognizer.label(image)
    assert record.label == "female"
    assert overlap(record.box, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)) > 0.5


def test_of_several_faces_the_main_one_is_large_and_near_the_middle(recognizer):
    record = recognizer.label(
        photograph((MAN, 90, 20, 20), (WOMAN, 150, 300, 150), (MAN, 80, 560, 330), size=(700, 460))
    )
    assert (record.label, record.faces) == ("female", 3)
    assert overlap(record.box, (300, 150, 450, 300)) > 0.5


def test_black_borders_change_nothing(recognizer):
    canvas = Image.new("RGB", (700, 400))
    canvas.paste(photograph((MAN, 160, 100, 60), size=(360, 400)), (170, 0))
    record = recognizer.label(canvas)
    assert record.label == "male"
    assert overlap(record.box, (270, 60, 430, 220)) > 0.5


@pytest.mark.parametrize("faces", ["auto", "none"])
def test_what_shows_no_face_has_no_label_unless_nothing_is_to_be_refused(faces):
    records = Recognizer(num_threads=1, faces=faces).label([photograph(seed=seed) for seed in range(4)])
    if faces == "auto":
        assert {(r.status, r.reason, r.label, r.probability, r.box) for r in records} == {
            ("no_face", "no face found", None, None, None)
        }
    else:
        assert all(r.status == "labelled" and r.label and r.box is None and r.faces is None for r in records)


def test_a_model_that_does_not_look_for_faces_labels_whole_pictures_and_each_face_contradicts_it():
    labeller = Labeller(Redness(), Limits())
    (record,) = labeller.label_pictures(labeller.reader.convert(Record("a"), photograph()), None)
    assert (record.status, record.box, record.faces) == ("labelled", None, None)
    with pytest.raises(ValueError, match="faces is crop, but the model does not look for faces; use faces=none"):
        Labeller(Redness(), Limits(faces="crop"))


def test_a_far_face_of_few_pixels_is_too_small():
    record = Recognizer(num_threads=1, min_size=100).label(photograph((WOMAN, 70, 300, 200)))
    assert record.status == "too_small"
    assert record.label is None


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize(
    ("side", "status", "reason"), [(190, "labelled", None), (50, "failed", "No such file or directory")]
)
def test_a_file_is_opened_again_only_for_a_face_too_small_for_what_is_at_hand(
    tmp_path, monkeypatch, name, side, status, reason
):
    photograph((WOMAN, side, 300, 200), size=(1200, 900)).save(tmp_path / name)
    read = Reader.read

    def read_once(self, file, content=None):
        pairs = read(self, file, content)
        Path(file.path).unlink()
        return pairs

    monkeypatch.setattr(Reader, "read", read_once)
    record = Recognizer(num_threads=1).label(tmp_path / name)
    assert (record.status, record.reason) == (status, reason)
    assert record.size > 0


@pytest.mark.parametrize("name", ["smallcnn-int8.onnx", "smallcnn.ckpt"])
def test_a_file_is_fetched_again_only_for_a_face_too_small_for_what_is_at_hand(tmp_path, name):
    for side in (190, 50):
        photograph((WOMAN, side, 300, 200), size=(1200, 900)).save(tmp_path / f"{side}.jpg", quality=95)

    def fetch(files):
        with (tmp_path / "fetched").open("a") as log:  # by another process
            log.writelines(f"{file.name}\n" for file in files)
        return ((file, Path(file.path).read_bytes()) for file in files)

    engine = LocalEngine(ChosenModel(BUNDLED_MODEL.with_name(name), "cpu", ""), Limits(), 1, 4, fetch=fetch)
    (records,) = engine.label(Folder(tmp_path))
    engine.close()
    assert [(record.file, record.label, record.faces) for record in records] == [
        ("190.jpg", "female", 1),
        ("50.jpg", "female", 1),
    ]
    assert (tmp_path / "fetched").read_text().split() == ["190.jpg", "50.jpg", "50.jpg"]


@pytest.mark.parametrize("side", [190, 50])
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_what_is_at_hand_of_a_photograph_shows_the_face_that_all_of_it_shows(recognizer, side, format_):
    file = BytesIO()
    photograph((MAN, side, 500, 300), size=(1200, 900)).save(file, format_, quality=95)
    picture = read_picture(BytesIO(file.getvalue()))
    assert picture.as_photograph().image.size == (600, 450)  # half of it
    asked = []

    def read(longest):
        asked.append(longest)
        return read_photograph(BytesIO(file.getvalue()), longest)

    face, box, count = cut_main_face(YuNet(), read, at_hand=picture.as_photograph())
    assert bool(asked) == (side == 50)
    other, other_box, other_count = cut_main_face(YuNet(), lambda longest: read_photograph(BytesIO(file.getvalue())))
    assert (count, other_count) == (1, 1)
    assert np.abs(np.subtract(box, other_box)).max() < 0.1 * side
    assert np.abs(face.pixels.astype(int) - other.pixels).mean() < 10


def test_boxes_of_frames_are_squares_within_the_picture():
    assert find_box(np.array([0.0, 0.0, np.log(0.5), 0.0]), Region(0, 0, 200, 200), (200, 200)) == [50, 50, 150, 150]
    wide = find_box(np.array([0.0, 0.0, np.log(0.5), np.log(2)]), Region(0, 0, 400, 200), (400, 200))
    assert wide == [150, 50, 250, 150]
    assert find_box(np.array([-1.0, 1.0, 0.0, 0.0]), Region(0, 0, 200, 200), (200, 200)) == [0, 100, 100, 200]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of a crop, a photograph, and a picture without a face."""
    root = tmp_path_factory.mktemp("mixed")
    Image.open(MAN).save(root / "crop.jpg")
    photograph((WOMAN, 110, 350, 130), size=(1000, 700)).save(root / "far.jpg", quality=95)
    photograph(seed=2).save(root / "none.jpg")
    return root


def test_the_command_says_what_it_found(folder, tmp_path, command):
    done = command("label", folder, f"output_path={tmp_path}/out.json", "num_workers=1", "formats=[json,jsonl,csv]")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text()) == {"crop.jpg": "male", "far.jpg": "female"}
    crop, far, none = read_records(tmp_path / "out.jsonl")
    assert none.keys() == {"file", "status", "reason", "size", "modified"}
    assert (crop["faces"], far["faces"], none["status"]) == (1, 1, "no_face")
    assert overlap(far["box"], (350, 130, 460, 240)) > 0.5
    last = done.stderr.splitlines()[-1]
    assert last == f"3 files: 2 labelled (1 female, 1 male), 1 no face, 0 failed: {tmp_path}/out.json"
    again = command("label", folder, f"output_path={tmp_path}/out.json", "num_workers=1", "faces=none")
    assert "starting over: out.jsonl was made with a different limits" in again.stderr
    assert len(json.loads((tmp_path / "out.json").read_text())) == 3


@pytest.mark.parametrize("faces", ["largest", "all"])
def test_other_values_end_in_one_line(folder, tmp_path, command, faces):
    done = command("label", folder, f"output_path={tmp_path}/out.json", f"faces={faces}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"error: faces is {faces}; expected auto, crop or none")


def test_a_model_that_is_loaded_here_finds_the_same(folder):
    found = []
    for path in (BUNDLED_MODEL.with_name("smallcnn.onnx"), checkpoint_beside(BUNDLED_MODEL)):
        engine = LocalEngine(ChosenModel(path, "cpu", ""), Limits(), 2, 2)
        found.append([record for records in engine.label(Folder(folder)) for record in records])
        engine.close()
    for first, second in zip(*found, strict=True):
        assert (first.file, first.status, first.label, first.faces) == (
            second.file,
            second.status,
            second.label,
            second.faces,
        )
        assert first.box is None or np.abs(np.subtract(first.box, second.box)).max() <= 1
        assert first.probability == pytest.approx(second.probability, abs=1e-4)


@pytest.mark.parametrize("name", ["smallcnn-int8.onnx", "smallcnn.ckpt"])
def test_a_file_that_takes_too_long_at_the_second_look_is_failed_alone(folder, monkeypatch, name):
    again = Reader.read_again

    def slow(self, file, *arguments):
        if file.name == "none.jpg":
            time.sleep(60)
        return again(self, file, *arguments)

    monkeypatch.setattr(Reader, "read_again", slow)  # the workers are forks of this process
    engine = LocalEngine(ChosenModel(BUNDLED_MODEL.with_name(name), "cpu", ""), Limits(max_seconds=3), 1, 8)
    records = [record for records in engine.label(Folder(folder)) for record in records]
    engine.close()
    assert [(record.file, record.status) for record in records] == [
        ("crop.jpg", "labelled"),
        ("far.jpg", "labelled"),
        ("none.jpg", "failed"),
    ]
    assert records[2].reason == "took longer than 3 s"


def bundled_pictures(package, folder):
    """Return the sample pictures over 8 kB that a package brings."""
    if not (spec := find_spec(package)):
        pytest.skip(f"{package} is not installed")
    endings = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".webp")
    files = sorted(Path(spec.origin).parent.joinpath(folder).rglob("*"))
    return [path for path in files if path.suffix.lower() in endings and path.stat().st_size > 8000]


@pytest.mark.parametrize(
    ("package", "folder", "person", "centre", "most"),
    [
        ("skimage", "data", "astronaut.png", (222, 112), 2),
        ("sklearn", "datasets/images", None, None, 0),
        ("matplotlib", "mpl-data/sample_data", "grace_hopper.jpg", (264, 240), 0),
    ],
)
def test_sample_pictures_of_packages_show_the_faces_that_they_show(recognizer, package, folder, person, centre, most):
    pictures = bundled_pictures(package, folder)
    records = {path.name: record for path, record in zip(pictures, recognizer.stream(pictures), strict=True)}
    if person in records:
        records.pop("camera.png", None)  # a man with a camera
        left, top, right, bottom = records.pop(person).box
        side = max(Image.open(next(path for path in pictures if path.name == person)).size)
        assert np.abs(np.subtract(((left + right) / 2, (top + bottom) / 2), centre)).max() < 0.15 * side
    assert sum(record.status != "no_face" for record in records.values()) <= most, records
