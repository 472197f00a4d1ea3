import csv
import json
import os

import pytest

from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.result_files import WRITERS
from gender_recognizer.labelling.result_log import ResultLog
from gender_recognizer.pictures.listing import File

HEAD = {"gender_recognizer": "1", "model": "m"}


def file(name, size=5):
    return File(name, name, size=size, modified=7)


def record(name, probability=0.75, size=5, status="labelled", label="male"):
    return Record(name, status, label, probability, size=size, modified=7)


def failed(name):
    return Record(name, reason="empty file", size=5, modified=7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.json"


def label_all(path, files, head=HEAD, limits=None, resume=True, formats=("json", "jsonl")):
    """Run a log over the files; returns the names that had to be labelled."""
    log = ResultLog(path, head, limits or Limits(), resume)
    new = list(log.skip_done(files))
    log.add([record(file.name, size=file.size) for file in new])
    log.finish(formats)
    return [file.name for file in new]


def test_results_are_sorted_utf8_and_replace_the_old_ones(path):
    path.write_text("old")
    log = ResultLog(path, HEAD, Limits())
    log.add([record("b.jpg"), record("sub/ä 日本.jpg", label="female"), record("a.jpg"), failed("c.jpg")])
    log.finish()
    text = path.read_bytes().decode("utf-8")
    assert json.loads(text) == {"a.jpg": "male", "b.jpg": "male", "sub/ä 日本.jpg": "female"}
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2) + "\n"
    assert {file.name for file in path.parent.iterdir()} == {"out.json", "out.jsonl"}


def test_without_a_label_the_flat_file_is_an_empty_object(path):
    log = ResultLog(path, HEAD, Limits())
    log.add([failed("a.jpg")])
    log.finish()
    assert path.read_text() == "{}\n"


def test_log_has_a_head_and_a_line_for_each_record_without_empty_fields(path):
    log = ResultLog(path, HEAD, Limits())
    log.add([record("a\nb.jpg"), failed("c.jpg")])
    log.finish()
    assert [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()] == [
        HEAD,
        {"file": "a\nb.jpg", "status": "labelled", "label": "male", "probability": 0.75, "size": 5, "modified": 7},
        {"file": "c.jpg", "status": "failed", "reason": "empty file", "size": 5, "modified": 7},
    ]


def test_names_that_are_not_utf8_come_back_byte_by_byte(path):
    name = os.fsdecode(b"x\xff.jpg")
    assert label_all(path, [file(name)]) == [name]
    (read,) = json.loads(path.read_bytes().decode("utf-8"))
    assert os.fsencode(read) == b"x\xff.jpg"
    assert label_all(path, [file(name)]) == []


def test_unsure_is_the_label_in_the_flat_file(path):
    log = ResultLog(path, HEAD, Limits(min_confidence=0.8))
    log.add([record("a.jpg", status="unsure"), record("b.jpg", 0.9)])
    summary = log.finish()
    assert json.loads(path.read_text()) == {"a.jpg": "unsure", "b.jpg": "male"}
    assert summary.statuses == {"unsure": 1, "labelled": 1}
    assert summary.labels == {"male": 1}


def test_another_confidence_decides_again_without_labelling_again(path):
    label_all(path, [file("a.jpg"), file("b.jpg")])
    assert label_all(path, [file("a.jpg"), file("b.jpg")], limits=Limits(min_confidence=0.8)) == []
    assert json.loads(path.read_text()) == {"a.jpg": "unsure", "b.jpg": "unsure"}
    assert '"status": "unsure"' in path.with_suffix(".jsonl").read_text()


def test_csv_has_a_column_for_each_field(path):
    label_all(path, [file('a"b,\n.jpg'), file("c.jpg")], formats=["csv"])
    with path.with_suffix(".csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["file"] for row in rows] == ['a"b,\n.jpg', "c.jpg"]
    assert rows[0]["probability"] == "0.75"
    assert rows[0]["reason"] == ""
    assert {file.name for file in path.parent.iterdir()} == {"out.csv"}


def test_done_files_are_skipped_and_changed_and_new_ones_are_not(path):
    assert label_all(path, [file("b.jpg"), file("c.jpg"), file("d.jpg")]) == ["b.jpg", "c.jpg", "d.jpg"]
    files = [file("a.jpg"), file("b.jpg"), file("c.jpg", size=6)]
    assert label_all(path, files) == ["a.jpg", "c.jpg"]
    records = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()[1:]]
    assert [(record["file"], record["size"]) for record in records] == [("a.jpg", 5), ("b.jpg", 5), ("c.jpg", 6)]
    assert list(json.loads(path.read_text())) == ["a.jpg", "b.jpg", "c.jpg"]


def test_failed_files_are_tried_again(path):
    log = ResultLog(path, HEAD, Limits())
    log.add([failed("a.jpg"), record("b.jpg")])
    log.finish()
    assert label_all(path, [file("a.jpg"), file("b.jpg")]) == ["a.jpg"]
    assert list(json.loads(path.read_text())) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("cut", [1, 20, 110])
def test_a_line_that_was_cut_off_is_done_again(path, cut):
    files = [file(f"{index}.jpg") for index in range(5)]
    label_all(path, files)
    whole = path.read_bytes(), path.with_suffix(".jsonl").read_bytes()
    os.truncate(path.with_suffix(".jsonl"), len(whole[1]) - cut)
    assert label_all(path, files) == (["4.jpg"] if cut < 100 else ["3.jpg", "4.jpg"])
    assert (path.read_bytes(), path.with_suffix(".jsonl").read_bytes()) == whole


def test_another_head_or_resume_false_starts_over(path):
    files = [file("a.jpg"), file("b.jpg")]
    label_all(path, files)
    log = ResultLog(path, HEAD | {"model": "other"}, Limits())
    assert (log.resumed, log.problem) == (0, "made with a different model")
    assert list(log.skip_done(files)) == files
    log.finish()
    label_all(path, files)
    assert label_all(path, files, resume=False) == ["a.jpg", "b.jpg"]


def test_interrupted_run_leaves_what_is_done_and_forgets_nothing(path):
    files = [file(f"{index}.jpg") for index in range(5)]
    label_all(path, files)
    log = ResultLog(path, HEAD, Limits())
    next(log.skip_done(files), None)  # stopped before it reached the others
    log.add([record("00.jpg")])
    log.finish(complete=False)
    assert list(json.loads(path.read_text())) == ["0.jpg", "00.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert label_all(path, files) == []
    assert list(json.loads(path.read_text())) == [file.name for file in files]


def test_a_second_run_at_the_same_time_is_refused(path):
    log = ResultLog(path, HEAD, Limits())
    partial = path.with_name("out.json.partial")
    partial.touch()  # as while the first run finishes
    with pytest.raises(ValueError, match="in use by another run"):
        ResultLog(path, HEAD, Limits())
    assert partial.exists()
    log.finish()
    ResultLog(path, HEAD, Limits()).finish()


def test_foreign_file_of_the_name_of_the_log_is_kept(path):
    path.with_suffix(".jsonl").write_text('{"mine": 1}\n')
    for resume in (True, False):
        with pytest.raises(ValueError, match="is not a log of gender_recognizer; choose another output_path"):
            ResultLog(path, HEAD, Limits(), resume)
    assert path.with_suffix(".jsonl").read_text() == '{"mine": 1}\n'


def test_duplicate_names_have_one_record(path):
    label_all(path, [file("a.jpg"), file("b.jpg"), file("a.jpg")])
    assert len(path.with_suffix(".jsonl").read_text().splitlines()) == 3
    assert len(json.loads(path.read_text())) == 2


def faces_of(name, count, size=5):
    return [
        Record(
            f"{name}#{face}", "labelled", "male", 0.75, size=size, modified=7, face=face, faces=count, box=[0, 0, 9, 9]
        )
        for face in range(count)
    ]


def test_faces_of_a_photograph_are_kept_or_done_again_together(path):
    log = ResultLog(path, HEAD, Limits())
    log.add([*faces_of("a.jpg", 2), *faces_of("b.jpg", 3)])
    assert len(log) == 2
    assert log.finish().files == 2
    whole = path.with_suffix(".jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    for count, new in ((1, ["a.jpg", "b.jpg"]), (2, ["a.jpg", "b.jpg"]), (3, ["b.jpg"]), (4, ["b.jpg"]), (6, [])):
        path.with_suffix(".jsonl").write_bytes(b"".join(lines[:count]))
        log = ResultLog(path, HEAD, Limits())
        assert log.resumed == 2 - len(new)
        assert [file.name for file in log.skip_done([file("a.jpg"), file("b.jpg")])] == new
        log.add([record for name in new for record in faces_of(name, 2 if name == "a.jpg" else 3)])
        log.finish()
        assert path.with_suffix(".jsonl").read_bytes() == whole


@pytest.mark.parametrize("complete", [True, False])
def test_a_photograph_with_fewer_faces_than_before_leaves_none_of_the_old_ones(path, complete):
    log = ResultLog(path, HEAD, Limits())
    log.add([*faces_of("b.jpg", 3), *faces_of("a.jpg", 12)])
    log.finish()
    assert list(json.loads(path.read_text())) == [
        *(f"a.jpg#{face}" for face in range(12)),
        *(f"b.jpg#{face}" for face in range(3)),
    ]
    log = ResultLog(path, HEAD, Limits())
    assert [file.name for file in log.skip_done([file("a.jpg"), file("b.jpg", size=6)])] == ["b.jpg"]
    log.add(faces_of("b.jpg", 1, size=6))
    log.finish(complete=complete)
    assert list(json.loads(path.read_text())) == [*(f"a.jpg#{face}" for face in range(12)), "b.jpg#0"]


def test_a_photograph_that_failed_before_has_only_its_faces_after(path):
    log = ResultLog(path, HEAD, Limits())
    log.add([failed("a.jpg")])
    log.finish()
    log = ResultLog(path, HEAD, Limits())
    assert [file.name for file in log.skip_done([file("a.jpg")])] == ["a.jpg"]
    log.add(faces_of("a.jpg", 2))
    summary = log.finish()
    assert (summary.files, summary.statuses) == (1, {"labelled": 2})
    assert path.with_suffix(".jsonl").read_bytes().count(b"\n") == 3


def damages():
    """Return, by name, what becomes of a finished log, and which of its files 0.jpg to 5.jpg have to be done again."""
    everything = [f"{index}.jpg" for index in range(6)]

    def lines_with(number, line):
        return lambda whole: b"".join([*whole.splitlines(True)[:number], line, *whole.splitlines(True)[number + 1 :]])

    def zeros(start, stop):
        return lambda whole: whole[:start] + bytes(len(whole[start:stop])) + whole[stop:]

    return {
        "first page of zeros": (zeros(0, 150), everything),
        "nothing but zeros": (zeros(0, None), everything),
        "torn head": (lambda whole: whole[20:], everything),
        "half a head": (lambda whole: whole[:20], everything),
        "head is no object": (lines_with(0, b"[]\n"), everything),
        "empty": (lambda whole: b"", everything),
        "zeros at the end": (lambda whole: whole + bytes(300), []),
        "zeros in the middle": (zeros(250, 280), None),
        "zeros over two lines": (zeros(180, 320), None),
        "half a record": (lines_with(3, b'{"file": "2.jpg", "sta{"file": "3.jpg"}\n'), ["2.jpg"]),
        "a list": (lines_with(3, b"[]\n"), ["2.jpg"]),
        "a number": (lines_with(3, b"5\n"), ["2.jpg"]),
        "an empty line": (lines_with(3, b"\n"), ["2.jpg"]),
        "deep brackets": (lines_with(3, b"[" * 100_000 + b"\n"), ["2.jpg"]),
        "no UTF-8": (lines_with(3, b'{"file": "\xff"}\n'), ["2.jpg"]),
        "no file": (lines_with(3, b'{"status": "labelled"}\n'), ["2.jpg"]),
        "a file that is a number": (lines_with(3, b'{"file": 3, "status": "failed"}\n'), ["2.jpg"]),
        "an unknown field": (lines_with(3, b'{"file": "2.jpg", "status": "failed", "frames": 2}\n'), ["2.jpg"]),
        "an unknown status": (lines_with(3, b'{"file": "2.jpg", "status": "done"}\n'), ["2.jpg"]),
        "no label": (lines_with(3, b'{"file": "2.jpg", "status": "labelled", "probability": 0.5}\n'), ["2.jpg"]),
        "no number": (
            lines_with(3, b'{"file": "2.jpg", "status": "labelled", "label": "a", "probability": NaN}\n'),
            ["2.jpg"],
        ),
        "a size that is text": (lines_with(3, b'{"file": "2.jpg", "status": "blank", "size": "5"}\n'), ["2.jpg"]),
        "a face of none": (lines_with(3, b'{"file": "2.jpg#0", "status": "blank", "face": 0}\n'), ["2.jpg"]),
    }


@pytest.mark.parametrize("name", damages())
def test_damaged_logs_are_survived_and_end_in_the_files_of_an_undamaged_one(path, name):
    damage, again = damages()[name]
    files = [file(f"{index}.jpg") for index in range(6)]
    label_all(path, files)
    whole = path.read_bytes(), path.with_suffix(".jsonl").read_bytes()
    path.with_suffix(".jsonl").write_bytes(damage(whole[1]))
    log = ResultLog(path, HEAD, Limits())
    new = list(log.skip_done(files))
    if again is None:
        assert 0 < len(new) < 4
    else:
        assert [one.name for one in new] == again
    said = bool(log.problem or log.damaged)
    assert said == (name not in ("empty", "zeros at the end"))
    log.finish(complete=False)  # stopped at once: nothing that is damaged is left
    log = ResultLog(path, HEAD, Limits())
    assert (log.problem, log.damaged) == (None, 0)
    assert list(log.skip_done(files)) == new
    log.add([record(one.name) for one in new])
    log.finish()
    assert (path.read_bytes(), path.with_suffix(".jsonl").read_bytes()) == whole


def test_a_photograph_whose_faces_were_damaged_is_done_again(path):
    log = ResultLog(path, HEAD, Limits())
    log.add([*faces_of("a.jpg", 2), *faces_of("b.jpg", 3), *faces_of("c.jpg", 1)])
    log.finish()
    lines = path.with_suffix(".jsonl").read_bytes().splitlines(keepends=True)
    for missing, new in ((1, "a.jpg"), (2, "a.jpg"), (3, "b.jpg"), (4, "b.jpg"), (5, "b.jpg"), (6, "c.jpg")):
        for line in (b"", b"\0\0\n"):
            path.with_suffix(".jsonl").write_bytes(b"".join([*lines[:missing], line, *lines[missing + 1 :]]))
            log = ResultLog(path, HEAD, Limits())
            left = [one.name for one in log.skip_done([file("a.jpg"), file("b.jpg"), file("c.jpg")])]
            assert left == [new]
            log.add(faces_of(new, {"a.jpg": 2, "b.jpg": 3, "c.jpg": 1}[new]))
            log.finish()
            assert path.with_suffix(".jsonl").read_bytes() == b"".join(lines)


def test_a_log_stays_locked_when_its_damage_has_been_mended(path):
    label_all(path, [file("a.jpg"), file("b.jpg")])
    log_path = path.with_suffix(".jsonl")
    log_path.write_bytes(log_path.read_bytes().replace(b'"status"', b"\0", 1))
    log = ResultLog(path, HEAD, Limits())
    assert log.damaged == 1
    with pytest.raises(ValueError, match="in use by another run"):
        ResultLog(path, HEAD, Limits())
    log.finish()


def test_every_file_is_on_the_disk_before_it_takes_its_place(path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append(str(paths[1])), replace(*paths)))
    log = ResultLog(path, HEAD, Limits())
    log.add([record("b.jpg"), record("a.jpg")])  # which has to be sorted
    log.finish(["json", "jsonl", "csv"])
    places = [index for index, call in enumerate(calls) if call != "fsync"]
    assert sorted(calls[index] for index in places) == sorted(str(path.with_suffix(f".{name}")) for name in SUFFIXES)
    assert all(calls[index - 1] == "fsync" for index in places)


SUFFIXES = ("json", "jsonl", "csv")


def test_an_error_while_results_are_written_leaves_the_old_ones(path, monkeypatch):
    label_all(path, [file("a.jpg")])
    before = path.read_bytes()
    log = ResultLog(path, HEAD, Limits())
    log.add([record("b.jpg")])
    monkeypatch.setattr(os, "fsync", broken_disk)
    with pytest.raises(OSError, match="disk"):
        log.finish()
    assert path.read_bytes() == before
    assert {one.name for one in path.parent.iterdir()} == {"out.json", "out.jsonl"}


def broken_disk(descriptor):
    raise OSError("disk")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_names_that_a_spreadsheet_would_run_are_harmless_in_the_csv_alone(path, start):
    name = f"{start}cmd|calc.jpg"
    log = ResultLog(path, HEAD, Limits())
    log.add([Record(name, "labelled", f"{start}male", 0.75, size=5, modified=7)])
    log.finish(SUFFIXES)
    with path.with_suffix(".csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    assert (row["file"], row["label"], row["probability"]) == (f"'{name}", f"'{start}male", "0.75")
    assert json.loads(path.read_text()) == {name: f"{start}male"}


def test_a_format_is_added_by_a_writer(path, monkeypatch):
    class Names:
        def __init__(self, file):
            self.file = file

        def write(self, record):
            self.file.write(f"{record.file}\n")

        def finish(self):
            self.file.write("end\n")

    monkeypatch.setitem(WRITERS, "txt", Names)
    label_all(path, [file("a.jpg"), file("b.jpg")], formats=["json", "jsonl", "txt"])
    assert path.with_suffix(".txt").read_text() == "a.jpg\nb.jpg\nend\n"
