import os
import signal
import sys
import time

import numpy as np
import pytest
from conftest import BLUE, PROJECT, RED, is_running, save_picture
from PIL import Image

from gender_recognizer.labelling.local_engine import AHEAD, LocalEngine
from gender_recognizer.labelling.reader import Reader
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.pictures.listing import Folder

MODEL = ChosenModel(BUNDLED_MODEL, "cpu", "a test")


@pytest.fixture
def files(tmp_path):
    for index in range(30):
        save_picture(tmp_path / f"{index:02}.png", RED if index % 3 else BLUE, index)
    (tmp_path / "03_broken.jpg").write_bytes(b"<html>")
    return list(Folder(tmp_path))


def label(files, num_workers=2, batch_size=4, model=MODEL, limits=None):
    engine = LocalEngine(model, limits or Limits(), num_workers, batch_size)
    try:
        return [record for records in engine.label(files) for record in records]
    finally:
        engine.close()


def test_records_depend_neither_on_batches_nor_workers_nor_neighbours(files):
    reference = label(files, 1, 1)
    assert [record.file for record in reference] == [file.name for file in files]
    for num_workers, batch_size in ((1, 7), (2, 3), (2, 256)):
        assert label(files, num_workers, batch_size) == reference
    backwards = label(files[::-1], 2, 5)
    assert backwards[::-1] == reference


def test_a_checkpoint_labels_in_threads_like_its_onnx_file():
    faces = list(Folder(PROJECT / "data" / "sample"))[::7]  # rounding decides where a face is found if there is none
    onnx, torch = (
        ChosenModel(BUNDLED_MODEL.with_name(f"smallcnn.{ending}"), "cpu", "a test") for ending in ("onnx", "ckpt")
    )
    for first, second in zip(label(faces, model=onnx), label(faces, model=torch), strict=True):
        assert first.label == second.label is not None
        assert first.probability == pytest.approx(second.probability, abs=1e-5)


def test_only_a_bounded_number_of_files_is_read_ahead(files):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield files[0]

    engine = LocalEngine(MODEL, Limits(), 2, 4)
    next(engine.label(endless()))
    engine.close()
    assert len(taken) <= 2 * AHEAD * 4


def test_a_file_that_kills_its_process_is_named_and_the_others_are_labelled(files, monkeypatch):
    read = Reader.read

    def deadly(self, file, content=None):
        if file.name in ("07.png", "21.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, file, content)

    undisturbed = label(files)
    monkeypatch.setattr(Reader, "read", deadly)  # the workers are forks of this process
    found = label(files)
    assert [record.file for record in found] == [file.name for file in files]
    for record, expected in zip(found, undisturbed, strict=True):
        if record.file in ("07.png", "21.png"):
            assert record.status == "failed"
            assert "the process that read it died" in record.reason
        else:
            assert record == expected


def slow(seconds, names):
    """Return a reader that takes its time over some files."""
    read = Reader.read

    def read_slowly(self, file, content=None):
        if file.name in names:
            time.sleep(seconds)
        return read(self, file, content)

    return read_slowly


@pytest.mark.parametrize("model", ["onnx", "ckpt"])
def test_a_file_that_takes_too_long_is_named_and_the_others_are_labelled(files, monkeypatch, model):
    choice = ChosenModel(BUNDLED_MODEL.with_name(f"smallcnn.{model}"), "cpu", "a test")
    undisturbed = label(files, model=choice)
    monkeypatch.setattr(Reader, "read", slow(60, ("05.png", "06.png", "29.png")))
    found = label(files, model=choice, limits=Limits(max_seconds=0.5))
    assert [record.file for record in found] == [file.name for file in files]
    for record, expected in zip(found, undisturbed, strict=True):
        if record.file in ("05.png", "06.png", "29.png"):
            assert (record.status, record.label) == ("failed", None)
            assert record.reason == "took longer than 0.5 s"
        else:
            assert (record.label, record.status) == (expected.label, expected.status)


def test_time_is_that_of_a_file_and_not_of_its_batch(files, monkeypatch):
    monkeypatch.setattr(Reader, "read", slow(0.1, {file.name for file in files}))
    found = label(files[:8], 1, 8, limits=Limits(max_seconds=0.6))
    assert not [record.reason for record in found if "longer" in (record.reason or "")]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_file_cannot_take_all_memory(files, monkeypatch):
    read = Reader.read

    def greedy(self, file, content=None):
        if file.name == "02.png":
            monkeypatch.setattr("gender_recognizer.labelling.reader.read_picture", lambda *_: bytearray(10**12))
        return read(self, file, content)

    monkeypatch.setattr(Reader, "read", greedy)
    found = label(files[:4], 1, 1, limits=Limits(max_pixels=10**6, max_file_size=10**6))
    assert [record.status for record in found][:2] == ["no_face", "no_face"]
    assert found[2].status == "failed"
    assert found[2].reason == "not enough memory to read it; shrink the picture first"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_what_the_limits_allow_has_the_memory_that_it_needs(tmp_path):
    side = 1200
    colours = np.random.default_rng(0).integers(0, 255, (side, side, 4), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "alpha.png", compress_level=1)
    Image.fromarray(colours[..., 0].astype(np.float32) / 255).save(tmp_path / "deep.tiff")
    limits = Limits(max_pixels=side**2, max_file_size=10**7)
    assert [record.reason for record in label(list(Folder(tmp_path)), 1, 1, limits=limits)] == ["no face found"] * 2


def test_a_mistake_of_ours_is_told_and_not_taken_for_a_broken_file(files, monkeypatch):
    monkeypatch.setattr(Reader, "read", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError in a worker: division by zero"):
        label(files)


def test_workers_can_be_ended_whatever_they_are_at(files, monkeypatch):
    monkeypatch.setattr(Reader, "read", slow(60, {file.name for file in files[8:]}))
    engine = LocalEngine(MODEL, Limits(), 2, 4)
    next(engine.label(files))
    workers = engine.pids
    started = time.monotonic()
    engine.close()
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() - started < 10
        time.sleep(0.01)


def test_a_model_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not an ONNX model"):
        LocalEngine(ChosenModel(tmp_path / "a.onnx", "cpu", "a test"), Limits(), 1, 4).info  # noqa: B018


def test_workers_end_with_their_parent(tmp_path):
    parent = os.fork()
    if parent == 0:
        engine = LocalEngine(MODEL, Limits(), 2, 4)
        (tmp_path / "pids").write_text(" ".join(map(str, engine.pids)))
        time.sleep(60)
        os._exit(0)
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        time.sleep(0.05)
    workers = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(workers) == 2
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
