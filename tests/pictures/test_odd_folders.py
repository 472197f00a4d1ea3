"""Folders that change, that may not be read or written, and what options make of what is left out otherwise."""

import errno
import json
import os
import subprocess
import sys

import pytest
from conftest import process, read_records
from PIL import Image
from test_nasty_inputs import WITHOUT_LABEL, A, J, encode, write

from gender_recognizer import Recognizer
from gender_recognizer.labelling.local_engine import LocalEngine
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.pictures.listing import Folder


def label(folder, *options):
    """Label a folder and return the records by name."""
    process(folder, f"output_path={folder.parent}/out.json", *options)
    return {record["file"]: record for record in read_records(folder.parent / "out.jsonl")}


def test_truncated_files_are_labelled_on_request_and_flagged(tmp_path):
    for name in WITHOUT_LABEL[4]:
        write(tmp_path / "in" / name, WITHOUT_LABEL[4][name][0])
    write(tmp_path / "in/whole.jpg", J)
    write(tmp_path / "in/empty.jpg", b"")
    found = label(tmp_path / "in", "allow_truncated=true")
    assert {name: record["status"] for name, record in found.items()} == {
        "cut.jpg": "labelled",
        "cut.png": "labelled",
        "whole.jpg": "labelled",
        "empty.jpg": "failed",
    }
    assert {name for name, record in found.items() if record.get("truncated")} == {"cut.jpg", "cut.png"}


def test_files_without_ending_are_labelled_on_request(tmp_path):
    write(tmp_path / "in/noending", J)
    write(tmp_path / "in/README", b"text")
    assert label(tmp_path / "in", "sniff=true").keys() == {"noending"}


def test_links_are_followed_on_request_each_folder_and_file_once(tmp_path):
    write(tmp_path / "in/a.jpg", J)
    write(tmp_path / "out/b.jpg", J)
    (tmp_path / "in/loop").symlink_to(".")
    (tmp_path / "in/other").symlink_to("../out")
    (tmp_path / "in/third").symlink_to("../out")
    (tmp_path / "in/leaving.jpg").symlink_to("../out/b.jpg")
    write(tmp_path / "out/c.jpg", J)
    assert label(tmp_path / "in", "follow_links=true").keys() == {"a.jpg", "leaving.jpg", "other/c.jpg"}


def test_limits_of_size_and_contrast_are_settings(tmp_path):
    write(tmp_path / "in/tiny.png", encode(A.resize((10, 10)), "PNG"))
    write(tmp_path / "in/black.png", encode(Image.new("RGB", (90, 120)), "PNG"))
    write(tmp_path / "in/a.jpg", J)
    options = ["min_size=0", "min_contrast=0", "max_pixels=9999"]
    assert {name: record["status"] for name, record in label(tmp_path / "in", *options).items()} == {
        "tiny.png": "labelled",
        "black.png": "failed",
        "a.jpg": "failed",
    }


def test_vanished_and_unreadable_files_are_reported(tmp_path):
    write(tmp_path / "a.jpg", J)
    write(tmp_path / "list.txt", b"a.jpg\n\nmissing.jpg\r\n/proc/self/mem.jpg\n")
    done = process(tmp_path / "list.txt", f"output_path={tmp_path}/out.json", cwd=tmp_path)
    assert done.returncode == 3
    assert json.loads((tmp_path / "out.json").read_text()).keys() == {"a.jpg"}
    assert "failed: 'missing.jpg': No such file or directory" in done.stderr


def test_files_without_permission_are_reported(tmp_path, monkeypatch):
    write(tmp_path / "in/a.jpg", J)
    write(tmp_path / "in/b.jpg", J)
    (tmp_path / "in/a.jpg").chmod(0)
    if os.geteuid() == 0:  # root may read everything
        monkeypatch.setattr(os, "open", denied(os.open, "a.jpg"))
    first, second = Recognizer().label([tmp_path / "in/a.jpg", tmp_path / "in/b.jpg"])
    assert (first.status, first.label, first.reason) == ("failed", None, "Permission denied")
    assert second.status == "labelled"


def denied(function, name):
    """Return `os.open` for someone who may not read the file of that name."""

    def open_or_refuse(path, *arguments, **options):
        if os.fspath(path).endswith(name):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return function(path, *arguments, **options)

    return open_or_refuse


def test_a_file_that_vanishes_after_it_was_listed_is_reported(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        write(tmp_path / name, J)
    listed = list(Folder(tmp_path))
    (tmp_path / "a.jpg").unlink()
    engine = LocalEngine(ChosenModel(BUNDLED_MODEL, "cpu", "a test"), Limits(), 1, 2)
    first, second = (record for records in engine.label(listed) for record in records)
    engine.close()
    assert (first.status, first.label, first.reason) == ("failed", None, "No such file or directory")
    assert second.status == "labelled"


def test_results_may_lie_among_the_pictures_and_are_not_read_again(tmp_path):
    write(tmp_path / "in/a.jpg", J)
    options = [tmp_path / "in", f"output_path={tmp_path}/in/", "formats=[json,jsonl,csv]"]
    assert process(*options).returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert before.keys() == {"a.jpg", *(f"process_results.{ending}" for ending in ("json", "jsonl", "csv"))}
    assert process(*options).returncode == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


def test_nothing_is_written_to_the_folder_of_the_pictures(tmp_path):
    write(tmp_path / "in/a.jpg", J)
    (tmp_path / "in").chmod(0o555)
    before = (tmp_path / "in").stat().st_mtime_ns
    assert process(tmp_path / "in", f"output_path={tmp_path}/out.json").returncode == 0
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.jpg"]
    assert (tmp_path / "in").stat().st_mtime_ns == before


def test_heic_pictures_are_labelled_with_the_extra(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    (tmp_path / "in").mkdir()
    pillow_heif.from_pillow(A).save(tmp_path / "in/a.heic", quality=90)
    assert label(tmp_path / "in")["a.heic"]["status"] == "labelled"


def test_heic_pictures_name_the_extra_where_it_is_missing(tmp_path):
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from gender_recognizer import Recognizer\n"
        f"print(Recognizer().label({str(tmp_path / 'a.heic')!r}).reason)"
    )
    write(tmp_path / "a.heic", WITHOUT_LABEL[19]["photo.heic"][0])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "extra heic" in done.stdout, done.stderr
