import json
import os

import numpy as np
import pytest
from conftest import BLUE, RED, save_picture

from gender_recognizer.images import find_images, load_image
from gender_recognizer.labelling import Record, label_images, write_record, write_results
from gender_recognizer.model_file import ModelInfo


class Redness:
    """A predictor that needs no training: the redder, the more female."""

    info = ModelInfo(("female", "male"))

    def predict(self, images):
        assert images.dtype == np.uint8
        female = images[..., 0].mean(axis=(1, 2)) / 255
        return np.stack([female, 1 - female], axis=1).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for index in range(11):
        save_picture(tmp_path / f"sub{index % 2}" / f"{index:02}.png", RED if index % 3 else BLUE, index)
    (tmp_path / "sub0" / "03_broken.jpg").write_bytes(b"<html>")
    (tmp_path / "sub1" / "x.jpg").symlink_to("missing")
    return tmp_path


def records(folder, batch_size):
    return list(label_images(find_images(folder), folder, Redness(), batch_size))


def test_every_file_has_one_record_with_its_own_label_or_reason(folder):
    found = records(folder, 4)
    assert [record.file for record in found] == [path.relative_to(folder).as_posix() for path in find_images(folder)]
    assert len(found) == 13
    for record in found:
        if record.status == "failed":
            assert (record.label, record.probability) == (None, None)
        else:
            red = load_image(folder / record.file)[..., 0].mean() / 255
            assert record.label == ("female" if red >= 0.5 else "male")
            assert record.probability == pytest.approx(max(red, 1 - red), abs=1e-6)
    reasons = {record.file: record.reason for record in found if record.status == "failed"}
    assert reasons.keys() == {"sub0/03_broken.jpg", "sub1/x.jpg"}
    assert "not a picture" in reasons["sub0/03_broken.jpg"]
    assert reasons["sub1/x.jpg"] == "No such file or directory"


@pytest.mark.parametrize("batch_size", [1, 2, 7, 256])
def test_records_do_not_depend_on_the_batch_size(folder, batch_size):
    assert records(folder, batch_size) == records(folder, 3)


def test_only_a_bounded_number_of_files_is_read_ahead(folder):
    taken = []

    def paths():
        for path in [folder / "sub1" / "01.png"] * 100:
            taken.append(path)
            yield path

    next(label_images(paths(), folder, Redness(), batch_size=4))
    assert len(taken) <= 12


def test_results_are_sorted_utf8_and_replace_the_old_ones_in_one_move(tmp_path):
    path = tmp_path / "process_results.json"
    path.write_text("old")
    write_results({"b.jpg": "male", "sub/ä 日本.jpg": "female", "a.jpg": "female"}, path)
    text = path.read_bytes().decode("utf-8")
    assert list(json.loads(text)) == ["a.jpg", "b.jpg", "sub/ä 日本.jpg"]
    assert "日本" in text
    assert text.endswith("}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["process_results.json"]


def test_names_that_are_not_utf8_come_back_byte_by_byte(tmp_path):
    name = os.fsdecode(b"x\xff.jpg")
    write_results({name: "male"}, tmp_path / "a.json")
    (read,) = json.loads((tmp_path / "a.json").read_bytes().decode("utf-8"))
    assert os.fsencode(read) == b"x\xff.jpg"


def test_records_are_json_lines_without_empty_fields(tmp_path):
    with (tmp_path / "a.jsonl").open("w") as file:
        write_record(Record("a\nb.jpg", "labelled", "male", 0.75), file)
        write_record(Record("c.jpg", "failed", reason="empty file"), file)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines == [
        {"file": "a\nb.jpg", "status": "labelled", "label": "male", "probability": 0.75},
        {"file": "c.jpg", "status": "failed", "reason": "empty file"},
    ]
