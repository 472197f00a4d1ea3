import numpy as np
import pytest
from conftest import BLUE, RED, Redness, run, save_picture
from PIL import Image

from gender_recognizer.labelling.labeller import Labeller
from gender_recognizer.labelling.records import Limits
from gender_recognizer.pictures.listing import Folder
from gender_recognizer.pictures.loading import MAX_PIXELS, load_image
from gender_recognizer.pictures.opening import MAX_FILE_SIZE


@pytest.fixture
def folder(tmp_path):
    for index in range(11):
        save_picture(tmp_path / f"sub{index % 2}" / f"{index:02}.png", RED if index % 3 else BLUE, index)
    (tmp_path / "sub0" / "03_broken.jpg").write_bytes(b"<html>")
    (tmp_path / "sub1" / "x.jpg").symlink_to("missing")
    return tmp_path


def label_files(labeller, files, contents=None):
    """Return the records of files, or of contents that were read already."""
    given = contents or [None] * len(files)
    read = [labeller.reader.read(file, content) for file, content in zip(files, given, strict=True)]
    return labeller.label_pictures([pair for pairs in read for pair in pairs])


def test_every_file_has_one_record_with_its_own_label_or_reason(folder):
    files = list(Folder(folder))
    found = label_files(Labeller(Redness()), files)
    assert [record.file for record in found] == [file.name for file in files]
    assert len(found) == 13
    for record in found:
        if record.status == "failed":
            assert (record.label, record.probability) == (None, None)
        else:
            red = load_image(folder / record.file)[..., 0].mean() / 255
            assert record.label == ("female" if red >= 0.5 else "male")
            assert record.probability == pytest.approx(max(red, 1 - red), abs=1e-6)
            assert record.size == (folder / record.file).stat().st_size
            assert record.modified == (folder / record.file).stat().st_mtime_ns
    reasons = {record.file: record.reason for record in found if record.status == "failed"}
    assert reasons.keys() == {"sub0/03_broken.jpg", "sub1/x.jpg"}
    assert "not a picture" in reasons["sub0/03_broken.jpg"]
    assert reasons["sub1/x.jpg"] == "No such file or directory"


def test_contents_that_were_read_elsewhere_give_the_same_records(folder):
    files = [file for file in Folder(folder) if not file.name.endswith("x.jpg")]
    here = label_files(Labeller(Redness()), files)
    contents = [(folder / file.name).read_bytes() for file in files]
    read = [file._replace(size=len(content)) for file, content in zip(files, contents, strict=True)]
    there = label_files(Labeller(Redness()), read, contents)
    for record in here:
        record.modified = None
    assert here == there


def test_unsure_below_the_confidence_keeps_label_and_probability(folder):
    found = label_files(Labeller(Redness(), Limits(min_confidence=0.8)), list(Folder(folder)))
    for record in found:
        if record.probability is not None:
            assert record.status == ("unsure" if record.probability < 0.8 else "labelled")
            assert record.label in ("female", "male")
    assert {record.status for record in found} == {"unsure", "labelled", "failed"}


@pytest.mark.parametrize(
    ("pixels", "contrast", "blank"),
    [
        (np.full((100, 80, 3), 7, np.uint8), 8, True),
        (np.full((100, 80, 3), (200, 0, 0), np.uint8), 8, True),
        (np.full((100, 80, 3), 7, np.uint8), 0, False),
        (np.linspace(0, 7, 24000).reshape(100, 80, 3).astype(np.uint8), 8, True),
        (np.linspace(0, 9, 24000).reshape(100, 80, 3).astype(np.uint8), 8, False),
    ],
)
def test_blank_is_one_colour_all_over(tmp_path, pixels, contrast, blank):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (record,) = label_files(Labeller(Redness(), Limits(min_contrast=contrast)), list(Folder(tmp_path)))
    assert record.status == ("blank" if blank else "labelled")


def test_a_single_spot_is_not_overlooked(tmp_path):
    pixels = np.zeros((100, 80, 3), np.uint8)
    pixels[55, 33] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (record,) = label_files(Labeller(Redness()), list(Folder(tmp_path)))
    assert record.status == "labelled"


def test_limits_without_settings_are_those_of_the_loader():
    limits = Limits()  # which the light module of settings repeats
    assert (limits.max_pixels, limits.max_file_size) == (MAX_PIXELS, MAX_FILE_SIZE)


def test_settings_are_read_without_what_takes_time():
    code = (
        "import sys; from gender_recognizer.labelling.settings import LabelSettings;"
        "print({'numpy', 'PIL', 'torch', 'hydra', 'omegaconf', 'onnxruntime'} & sys.modules.keys())"
    )
    assert run("-c", code).stdout == "set()\n"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_confidence": 1.5}, "min_confidence is 1.5; expected a probability from 0 to 1"),
        ({"min_size": -1}, "min_size is -1; expected 0 or more"),
        ({"max_file_size": -1}, "max_file_size is -1; expected 0 or more"),
        ({"max_seconds": 0}, "max_seconds is 0; expected a number of seconds above 0"),
        ({"max_seconds": float("nan")}, "max_seconds is nan; expected a number of seconds above 0"),
        ({"faces": "all"}, "faces is all; expected auto, crop or none"),
        ({"faces": "largest"}, "faces is largest; expected auto, crop or none; auto labels the main face"),
    ],
)
def test_impossible_limits_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        Limits(**limits)
