import importlib.metadata
import typing

import numpy as np
import pytest
from conftest import PROJECT, Redness
from PIL import Image

import gender_recognizer
from gender_recognizer import Recognizer
from gender_recognizer.labelling import recognizer
from gender_recognizer.labelling.recognizer import LimitOptions
from gender_recognizer.labelling.records import Limits
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.loading import load_image

CLASSES = ("female", "male")
SAMPLE = PROJECT / "data/sample"
FACE = SAMPLE / "female/001.jpg"


@pytest.fixture(scope="module")
def bundled():
    return Recognizer()


def test_three_lines_label_a_file(bundled):
    record = bundled.label(FACE)
    assert (record.label, record.status, record.file) == ("female", "labelled", str(FACE))
    assert bundled.label(str(FACE)) == record
    assert bundled.classes == ("female", "male")


def test_a_list_gives_a_list_in_its_order(bundled):
    paths = [FACE, SAMPLE / "male/001.jpg", FACE]
    records = bundled.label(paths)
    assert [record.file for record in records] == [str(path) for path in paths]
    assert records == [bundled.label(path) for path in paths]
    assert bundled.label([]) == []


def test_a_file_its_pixels_and_its_opened_image_have_one_probability(bundled):
    probability = bundled.label(FACE).probability
    loaded = Image.open(FACE)
    loaded.load()
    assert bundled.label(load_image(FACE)).probability == pytest.approx(probability, abs=1e-5)
    assert bundled.label(np.asarray(loaded)).probability == pytest.approx(probability, abs=0.02)  # decoded whole
    assert bundled.label(loaded).probability == pytest.approx(probability, abs=0.02)


def test_an_opened_image_is_left_as_it_is(bundled):
    image = Image.open(FACE)
    size = image.size
    record = bundled.label(image)
    assert image.size == size
    assert record.file == str(FACE)


def test_what_cannot_be_read_is_a_record_and_not_an_error(bundled, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(FACE.read_bytes()[:3000])
    records = bundled.label([tmp_path / "a.jpg", tmp_path / "missing.jpg", FACE, Image.open(tmp_path / "cut.jpg")])
    assert [record.status for record in records] == ["failed", "failed", "labelled", "failed"]
    assert records[0].reason == "empty file"
    assert "broken picture data" in records[3].reason


def test_limits_are_arguments():
    assert Recognizer(min_confidence=1.0).label(FACE).status == "unsure"


def test_wanted_accuracy_chooses_the_confidence(bundled):
    female, male = (np.stack([load_image(path) for path in sorted((SAMPLE / name).iterdir())[:40]]) for name in CLASSES)
    pictures = [*female, *(female // 2 + male // 2)]  # of which nobody knows what the latter are
    everything, sure = bundled.label(pictures), Recognizer(target_accuracy=0.99).label(pictures)
    unsure = [record.probability for record in sure if record.status == "unsure"]
    assert 0 < len(unsure) < len(pictures)
    assert max(unsure) < min(record.probability for record in sure if record.status == "labelled")
    assert [record.probability for record in sure] == [record.probability for record in everything]
    with pytest.raises(ValueError, match="min_confidence is 2"):
        Recognizer(min_confidence=2)


@pytest.mark.parametrize(
    "array", [np.zeros((50, 40)), np.zeros((50, 40, 3)), np.zeros((50, 40, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(bundled, array):
    with pytest.raises(ValueError, match=r"expected uint8 RGB \(H, W, 3\)"):
        bundled.label(array)


def test_other_things_are_refused(bundled):
    with pytest.raises(TypeError, match="expected a path, an array or a Pillow image, not int"):
        bundled.label(3)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_stream_is_labelled_while_it_comes(monkeypatch, batch_size):
    monkeypatch.setattr(recognizer, "load_predictor", lambda path, device: Redness())
    reds = [10 * value for value in range(25)]
    taken = []

    def pictures():
        for red in reds:
            taken.append(red)
            yield np.stack([np.full((20, 20), red), *[np.arange(400).reshape(20, 20) % 256] * 2], axis=2).astype(
                "uint8"
            )

    stream = Recognizer(batch_size=batch_size, num_threads=2).stream(pictures())
    first = next(stream)
    assert len(taken) <= 3 * batch_size
    records = [first, *stream]
    female = [record.probability if record.label == "female" else 1 - record.probability for record in records]
    assert female == pytest.approx([red / 255 for red in reds], abs=1e-5)


def test_a_folder_is_labelled_with_relative_names(bundled):
    records = list(bundled.label_folder(SAMPLE))
    assert len(records) == 200
    assert np.mean([record.file.split("/")[0] == record.label for record in records]) >= 0.95


def test_all_limits_and_no_other_names_are_arguments():
    assert typing.get_type_hints(LimitOptions) | {"faces": str} == typing.get_type_hints(Limits)
    with pytest.raises(TypeError, match=r"no argument 'min_confidense'; did you mean min_confidence\?"):
        Recognizer(min_confidense=0.9)
    with pytest.raises(TypeError, match=r"no argument 'model'; did you mean model_path\?"):
        Recognizer(model="a.onnx")
    with pytest.raises(TypeError, match="no argument 'zzz'; there are model_path, device"):
        Recognizer(zzz=1)


def test_a_recognizer_says_what_it_is(bundled):
    assert repr(bundled) == "<Recognizer smallcnn-int8.onnx: female, male; device=cpu, faces=auto>"


def test_the_package_says_its_version():
    assert gender_recognizer.__version__ == importlib.metadata.version("gender_recognizer")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gender_recognizer.nothing  # noqa: B018


def test_folders_and_patterns_are_not_taken_for_files(bundled, tmp_path):
    with pytest.raises(ValueError, match=r"female' is a folder; label_folder labels the pictures in it"):
        bundled.label(SAMPLE / "female")
    with pytest.raises(ValueError, match=r"\*.jpg' is a pattern, and no such file exists; label takes files"):
        bundled.label(f"{SAMPLE}/female/*.jpg")
    (tmp_path / "a[1].jpg").write_bytes(FACE.read_bytes())
    assert bundled.label(tmp_path / "a[1].jpg").status == "labelled"
    among_others = bundled.label([FACE, SAMPLE, "*.jpg"])
    assert [record.status for record in among_others] == ["labelled", "failed", "failed"]
    assert among_others[1].reason == "a folder; label_folder labels the pictures in it"
    assert among_others[2].reason.startswith("a pattern, and no such file exists")


def test_one_picture_is_not_taken_for_many(bundled):
    for one in (str(FACE), FACE, b"abc", Image.new("RGB", (20, 20)), 3, File("a", str(FACE))):
        for many in (bundled.stream, bundled.look):
            with pytest.raises(TypeError, match=f"an iterable of pictures, not one {type(one).__name__}; label takes"):
                many(one)
    assert bundled.label(File("a", str(FACE))).file == "a"


def test_label_folder_takes_folders_only(bundled, tmp_path):
    with pytest.raises(NotADirectoryError, match=r"001.jpg' is a file; label_folder takes a folder, label takes files"):
        bundled.label_folder(FACE)
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*missing'"):
        bundled.label_folder(tmp_path / "missing")
