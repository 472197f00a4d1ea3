"""Whole photographs: what is found in them, how it is labelled, and what the commands make of it."""

import csv
import json
import math
import pickle
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from benchmark_faces import compose, composed, label_composed, make_texture, overlap
from conftest import PROJECT, process, read_records, start, wait_for_records
from PIL import Image

from gender_recognizer import Recognizer
from gender_recognizer.labelling.local_engine import LocalEngine
from gender_recognizer.labelling.reader import Reader
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.models.detector import Face, YuNet
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.face_crops import cut_face, cut_faces, cut_main_face
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.tiles import MAX_SMALL, TILE, find_starts
from gender_recognizer.pictures.listing import Folder
from gender_recognizer.pictures.loading import convert_photograph, read_photograph

SAMPLE = PROJECT / "data/sample"
WOMAN, MAN = SAMPLE / "female/001.jpg", SAMPLE / "male/001.jpg"
VAL = PROJECT.parent / "shared/faces/fairface/val"


def photograph(*faces, size=(640, 420), seed=0):
    """Return a textured photograph with faces, each (path, side, left, top)."""
    image = make_texture(np.random.default_rng(seed), *size)
    for path, side, left, top in faces:
        image.paste(Image.open(path).resize((side, side), Image.Resampling.LANCZOS), (left, top))
    return image


TWO = [(WOMAN, 150, 60, 100), (MAN, 180, 380, 120)]
BOXES = [(60, 100, 210, 250), (380, 120, 560, 300)]


def exif(turn):
    tags = Image.Exif()
    tags[0x112] = turn
    return tags


@pytest.fixture(scope="module")
def finder():
    return Recognizer(faces="crop")


def test_faces_are_found_and_labelled_like_their_crops():
    found = label_composed(composed(SAMPLE, 25))
    assert found.pasted > 75
    assert len(found.pairs) >= 0.95 * found.pasted
    assert found.boxes - len(found.pairs) <= 0.02 * found.boxes
    assert np.mean([alone == whole for alone, whole, _ in found.pairs]) >= 0.95


@pytest.mark.skipif(not VAL.is_dir(), reason="needs the FairFace pictures")
def test_real_faces_are_found_and_labelled_like_their_crops():
    found = label_composed(composed(VAL, 25, seed=1))
    assert len(found.pairs) >= 0.95 * found.pasted
    assert found.boxes - len(found.pairs) <= 0.04 * found.boxes
    alone, whole = (np.mean([pair[column] == pair[2] for pair in found.pairs]) for column in (0, 1))
    assert whole >= alone - 0.05


def test_each_face_has_a_record_with_its_box_from_left_to_right(finder):
    records = finder.label(photograph(*TWO[::-1]))
    assert [record.file for record in records] == ["#0", "#1"]
    assert [(record.face, record.faces) for record in records] == [(0, 2), (1, 2)]
    assert [record.label for record in records] == ["female", "male"]
    for record, box in zip(records, BOXES, strict=True):
        assert overlap(record.box, box) > 0.7
    assert finder.label(photograph(*TWO)) == records


def test_the_main_face_stands_for_its_photograph():
    record = Recognizer().label(photograph(*TWO, size=(900, 600)))
    assert (record.file, record.face, record.faces, record.label) == ("", None, 2, "male")
    assert overlap(record.box, BOXES[1]) > 0.7


@pytest.mark.parametrize("faces", ["crop", "auto"])
def test_without_a_face_there_is_one_record_that_says_so(faces):
    pictures = [
        photograph(),
        Image.new("RGB", (500, 400), "white"),
        Image.new("RGB", (1, 1)),
        Image.new("L", (3, 2000)),
    ]
    records = Recognizer(faces=faces).label(pictures)
    if faces == "crop":
        assert [(record.status, record.reason) for record in records] == [("no_face", "no face found")] * 4
    else:
        assert [record.status for record in records] == ["no_face", "blank", "too_small", "too_small"]
    assert {(record.label, record.box, record.face, record.faces) for record in records} == {(None,) * 4}


def test_a_face_that_the_border_cuts_has_a_box_inside(finder):
    for left, top in ((-25, 100), (515, 100), (200, -20), (200, 300)):
        (record,) = finder.label(photograph((WOMAN, 150, left, top)))
        assert record.label == "female"
        assert 0 <= record.box[0] < record.box[2] <= 640
        assert 0 <= record.box[1] < record.box[3] <= 420


@pytest.mark.parametrize("turn", range(1, 9))
def test_boxes_are_in_pixels_of_the_upright_photograph(finder, tmp_path, turn):
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turn]
    image = photograph(*TWO)
    stored = image if back is None else image.transpose(Image.Transpose(back))
    expected = finder.label(image)
    stored.save(tmp_path / "a.png", exif=exif(turn))
    for record, other in zip(finder.label(tmp_path / "a.png"), expected, strict=True):
        assert (record.box, record.label, record.probability) == (other.box, other.label, other.probability)


@pytest.mark.parametrize("turn", [1, 6])
def test_large_photographs_are_decoded_as_far_as_needed_and_small_faces_cut_from_all_pixels(tmp_path, turn):
    image = photograph(size=(684, 456)).resize((5472, 3648))
    image.paste(Image.open(WOMAN).resize((110, 110)), (3000, 2100))
    image.paste(Image.open(MAN).resize((1200, 1200)), (400, 500))
    stored = image.transpose(Image.Transpose.ROTATE_90) if turn == 6 else image
    stored.save(tmp_path / "a.jpg", quality=95, exif=exif(turn))
    asked = []

    def read(longest):
        asked.append(longest)
        with (tmp_path / "a.jpg").open("rb") as file:
            return read_photograph(file, longest)

    reduced = read(2560)
    assert (reduced.size, reduced.image.size) == ((5472, 3648), (2736, 1824))
    pictures, boxes = cut_faces(YuNet(), read)
    assert asked == [2560, 2560, None]
    assert len(boxes) == 2
    assert overlap(boxes[0], (400, 500, 1600, 1700)) > 0.6
    assert overlap(boxes[1], (3000, 2100, 3110, 2210)) > 0.6
    whole = cut_faces(YuNet(), lambda longest: convert_photograph(image))[0]
    for picture, other in zip(pictures, whole, strict=True):
        assert np.abs(picture.pixels.astype(int) - other.pixels).mean() < 6
    asked.clear()
    main, box, _ = cut_main_face(YuNet(), read)
    assert overlap(box, (400, 500, 1600, 1700)) > 0.6
    assert np.abs(main.pixels.astype(int) - whole[0].pixels).mean() < 6
    assert asked == [320]


def test_a_face_is_found_once_wherever_tiles_meet():
    detector = YuNet()
    for left in range(400, 700, 50):
        image = photograph((WOMAN, 90, left, left - 100), size=(1400, 1000))
        assert len(detector.find(convert_photograph(image))) == 1


@pytest.mark.parametrize("length", [1, 639, 640, 641, 1152, 1153, 2560])
def test_tiles_reach_every_pixel_and_overlap_by_a_small_face(length):
    starts = find_starts(length)
    assert starts[0] == 0
    assert starts[-1] + TILE >= length
    assert all(second - first <= TILE - MAX_SMALL for first, second in pairwise(starts))


def test_pictures_from_60_pixels_on_are_labelled(finder):
    for side in (60, 90, 144, 300):
        (record,) = finder.label(Image.open(WOMAN).resize((side, side)))
        assert record.label == "female"


@pytest.mark.parametrize("side", [60, 200, 700])
@pytest.mark.parametrize("degrees", [0, 30, 180])
def test_a_face_of_any_size_and_tilt_is_cut_out_upright_and_black_beyond_the_picture(side, degrees):
    middle = 3 * side // 4
    upright = Image.new("RGB", (2 * middle, 2 * middle), "blue")
    corner = middle - side // 2
    upright.paste("green", (corner, corner, corner + side, corner + side))
    upright.paste("red", (corner, corner, middle, middle))  # the upper left quarter
    photo = convert_photograph(upright.rotate(-degrees, Image.Resampling.BICUBIC, fillcolor="blue"))
    face = Face((middle, middle), side, math.radians(degrees))
    pixels = cut_face(photo, face).pixels
    assert pixels[4:46, 4:36].reshape(-1, 3).min(axis=0)[0] > 200
    assert pixels[54:96, 4:76].reshape(-1, 3).max(axis=0)[0] < 50
    assert pixels[1:-1, 1:-1, 2].max() < 130  # hardly any blue
    beyond = cut_face(photo, face._replace(side=4 * side, tilt=0.0)).pixels
    assert beyond[:15].max() == beyond[:, -10:].max() == 0


def test_tilted_heads_are_turned_upright(finder):
    alone = Recognizer()
    agree = []
    for path in sorted(SAMPLE.glob("*/*.jpg"))[::8]:
        for angle in (-30, 30):
            image = photograph((path, 180, 120, 120), size=(420, 420)).rotate(angle, Image.Resampling.BICUBIC)
            agree += [record.label == alone.label(path).label for record in finder.label(image)]
    assert len(agree) >= 48
    assert np.mean(agree) >= 0.95


class Halves:
    """A detector that needs no network: a face in each half of a photograph."""

    fingerprint = "halves"
    longest = 100
    batch_size = 3

    def find(self, photograph):
        width, height = photograph.size
        return [Face((width * share, height / 2), height / 2, 0.0) for share in (0.25, 0.75)]


def test_another_detector_can_be_given():
    records = Recognizer(faces="crop", detector=Halves()).label(photograph(*TWO))
    assert [record.box for record in records] == [[55, 105, 265, 315], [375, 105, 585, 315]]
    assert [(record.face, record.faces) for record in records] == [(0, 2), (1, 2)]
    reader = Reader(Limits(), Halves())
    (first,) = Reader(Limits()).convert(Record("a"), photograph(*TWO))
    record, picture = reader.convert_again(first, photograph(*TWO))
    assert (record.faces, record.box) == (2, [55, 105, 265, 315])
    assert picture.is_face


def test_engines_take_another_detector(tmp_path):
    photograph(*TWO).save(tmp_path / "a.png")
    model = ChosenModel(BUNDLED_MODEL, "cpu", "a test")
    engine = LocalEngine(model, Limits(faces="crop"), 1, Halves.batch_size, Halves())
    (records,) = engine.label(Folder(tmp_path))
    engine.close()
    assert [record.file for record in records] == ["a.png#0", "a.png#1"]


def test_a_detector_travels_to_other_processes_and_says_which_it_is():
    detector = YuNet()
    found = detector.find(convert_photograph(photograph(*TWO)))
    other = pickle.loads(pickle.dumps(detector))
    assert other.find(convert_photograph(photograph(*TWO))) == found
    assert other.fingerprint == detector.fingerprint != Halves.fingerprint


def test_neither_torch_nor_opencv_is_imported():
    code = (
        "import sys; from gender_recognizer import Recognizer; import PIL.Image as I;"
        f"print(len(Recognizer(faces='crop').label({str(WOMAN)!r})), {{'torch', 'cv2'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1 set()\n", done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of photographs of all kinds, and in files/ what a run leaves."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "in").mkdir()
    two = photograph(*TWO)
    two.save(root / "in/two.jpg", quality=95)
    two.save(root / "in/turned.jpg", quality=95, exif=exif(3))
    two.transpose(Image.Transpose.ROTATE_90).save(root / "in/turned.jpg", quality=95, exif=exif(6))
    grey = np.asarray(two.convert("L"), np.uint16) * 257
    Image.fromarray(grey).save(root / "in/sixteen.png")
    hole = two.convert("RGBA")
    hole.paste((0, 0, 0, 0), (0, 0, 640, 60))
    hole.save(root / "in/alpha.png")
    photograph().save(root / "in/none.jpg")
    Image.new("RGB", (300, 300), "white").save(root / "in/blank.png")
    (root / "in/broken.jpg").write_bytes((root / "in/two.jpg").read_bytes()[:9000])
    (root / "in/text.jpg").write_bytes(b"<html>")
    many = [
        (path, 90, 20 + 100 * (index % 6), 20 + 100 * (index // 6))
        for index, path in enumerate(sorted(SAMPLE.glob("male/*.jpg"))[:12])
    ]
    photograph(*many, size=(640, 260)).save(root / "in/z_many.png")
    done = process(root / "in", "faces=crop", "formats=[json,jsonl,csv]", f"output_path={root}/out.json")
    assert done.returncode == 3, done.stderr
    (root / "messages").write_text(done.stderr)
    return root


def test_the_files_hold_one_record_for_each_face(folder):
    labels = json.loads((folder / "out.json").read_text())
    pairs = {
        f"{name}#{face}": label
        for name in ("alpha.png", "sixteen.png", "turned.jpg", "two.jpg")
        for face, label in enumerate(("female", "male"))
    }
    crowd = {f"z_many.png#{face}": labels[f"z_many.png#{face}"] for face in range(12)}
    assert list(labels.items()) == list((pairs | crowd).items())
    assert list(crowd.values()).count("male") >= 11
    records = read_records(folder / "out.jsonl")
    assert {record["file"]: record["label"] for record in records if "label" in record} == labels
    others = {record["file"]: (record["status"], record["reason"]) for record in records if "label" not in record}
    assert {name: status for name, (status, _) in others.items()} == {
        "blank.png": "no_face",
        "broken.jpg": "failed",
        "none.jpg": "no_face",
        "text.jpg": "failed",
    }
    assert "broken picture data" in others["broken.jpg"][1]
    with (folder / "out.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["file"] for row in rows] == [record["file"] for record in records]
    assert [json.loads(row["box"]) for row in rows if row["box"]] == [
        record["box"] for record in records if "box" in record
    ]


def test_boxes_do_not_depend_on_how_a_photograph_is_stored(folder):
    boxes = {record["file"]: record["box"] for record in read_records(folder / "out.jsonl") if "box" in record}
    for name in ("alpha.png", "sixteen.png", "turned.jpg"):
        for face in range(2):
            assert overlap(boxes[f"{name}#{face}"], boxes[f"two.jpg#{face}"]) > 0.9


def test_the_summary_counts_files_and_what_became_of_their_faces(folder):
    labels = list(json.loads((folder / "out.json").read_text()).values())
    counts = f"{labels.count('female')} female, {labels.count('male')} male"
    last = (folder / "messages").read_text().splitlines()[-1]
    assert last == f"9 files: 20 labelled ({counts}), 2 no face, 2 failed: {folder}/out.json"


@pytest.mark.parametrize(("cut_after", "more_bytes", "finished"), [("alpha.png#0", 0, 0), ("z_many.png#3", 40, 8)])
def test_a_run_cut_between_the_faces_of_a_photograph_does_it_again(folder, tmp_path, cut_after, more_bytes, finished):
    whole = (folder / "out.jsonl").read_bytes()
    end = whole.index(b"\n", whole.index(cut_after.encode())) + 1
    (tmp_path / "out.jsonl").write_bytes(whole[: end + more_bytes])
    done = process(folder / "in", "faces=crop", f"output_path={tmp_path}/out.json")
    assert done.returncode == 3
    assert ("continuing after" in done.stderr) == bool(finished)
    assert not finished or f"continuing after {finished} files" in done.stderr
    for name in ("out.json", "out.jsonl"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_killed_run_is_resumed_to_the_same_bytes(folder, tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(25):
        shutil.copy(folder / "in/two.jpg", tmp_path / f"in/{index:02}.jpg")
    arguments = [tmp_path / "in", "faces=crop", "num_workers=1", "batch_size=1"]
    assert process(*arguments, f"output_path={tmp_path}/whole.json").returncode == 0
    for goal in (7, 20):
        running = start(*arguments, f"output_path={tmp_path}/out.json")
        assert wait_for_records(tmp_path / "out.jsonl", goal, running)
        running.kill()
        running.communicate()
    done = process(*arguments, f"output_path={tmp_path}/out.json")
    assert "continuing after" in done.stderr
    for name in ("json", "jsonl"):
        assert (tmp_path / f"out.{name}").read_bytes() == (tmp_path / f"whole.{name}").read_bytes()


def test_a_changed_photograph_leaves_no_face_of_its_old_self(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        photograph(*TWO).save(tmp_path / f"in/{name}.png")
    arguments = [tmp_path / "in", "faces=crop", f"output_path={tmp_path}/out.json"]
    process(*arguments)
    photograph(TWO[1]).save(tmp_path / "in/a.png")
    photograph().save(tmp_path / "in/b.png")
    done = process(*arguments)
    assert done.returncode == 0
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "a.png#0": "male",
        "c.png#0": "female",
        "c.png#1": "male",
    }
    assert done.stderr.splitlines()[-1].startswith("3 files: 3 labelled (1 female, 2 male), 1 no face, 0 failed: ")
    assert (
        process(*arguments, "faces=auto").stderr.count("starting over: out.jsonl was made with a different limits") == 1
    )
    assert json.loads((tmp_path / "out.json").read_text()) == {"a.png": "male", "c.png": "male"}


def test_records_depend_neither_on_batches_nor_workers(folder):
    found = []
    for workers, batch_size in ((1, 32), (2, 1), (2, 3)):
        engine = LocalEngine(ChosenModel(BUNDLED_MODEL, "cpu", "a test"), Limits(faces="crop"), workers, batch_size)
        found.append([record for records in engine.label(Folder(folder / "in")) for record in records])
        engine.close()
    assert found[0] == found[1] == found[2]


def test_composed_photographs_do_not_overlap_their_faces():
    for _, pasted in composed(SAMPLE, 3):
        boxes = [box for _, box in pasted]
        assert len(boxes) >= 3
        assert all(overlap(first, second) == 0 for first in boxes for second in boxes if first is not second)
    assert compose(np.random.default_rng(0), [WOMAN], (90, 90), (90, 90))[1] == [(WOMAN, (0, 0, 90, 90))]
