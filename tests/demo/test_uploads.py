import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from serving import SETTINGS, stored

from gender_recognizer.demo import arrivals, uploads
from gender_recognizer.demo.settings import DemoSettings
from gender_recognizer.demo.uploads import Upload, UploadStore

LIMITS = replace(SETTINGS, max_files=5, max_file_mb=0.001, max_visitor_mb=0.005, max_total_mb=0.008)
ANNA, BEN = "anna.tab", "ben.tab"


@pytest.fixture
def store(tmp_path):
    store = UploadStore(LIMITS, tmp_path)
    yield store
    store.close()


def arrive(store, content=b"x", browser="anna"):
    """Return where a file lies that the server has received."""
    file = store.arrivals.expect(browser)
    file.write(content)
    file.close()
    return file.path


def names(store, visitor=ANNA):
    return [file.name for file in store.pictures(visitor)]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../x.jpg", "x.jpg"),
        ("/etc/x.jpg", "x.jpg"),
        ("..\\..\\x.jpg", "x.jpg"),
        ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
        ("日本 é 🙂.JPG", "日本 é 🙂.JPG"),
        ("a\x00b\nc.png", "abc.png"),
        ("é" * 300 + ".jpeg", "é" * 97 + ".jpeg"),
        ("#%?&.jpg", "#%?&.jpg"),
        ("odd\udcff.jpg", "odd?.jpg"),
    ],
)
def test_whatever_a_name_holds_its_file_stays_in_the_folder(store, name, kept):
    path = arrive(store)
    store.add(ANNA, [Upload(name, path)])
    assert names(store) == [kept]
    assert not store.refusals(ANNA)
    assert not path.exists()


def test_files_of_the_same_name_are_all_kept(store):
    store.add(ANNA, [Upload("a.jpg", arrive(store, b"1")), Upload("a.jpg", arrive(store, b"2"))])
    store.add(ANNA, [Upload("a.jpg", arrive(store, b"3")), Upload("a.jpg", arrive(store, b"3"))])
    files = list(store.pictures(ANNA))
    assert [file.name for file in files] == ["a (2).jpg", "a (3).jpg", "a (4).jpg", "a.jpg"]
    contents = [Path(file.path).read_bytes() for file in files]
    assert contents == [b"2", b"3", b"3", b"1"]


def test_what_is_not_taken_has_its_reason_and_stops_nothing(store, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"x")
    link = store.incoming / "link.jpg"
    link.symlink_to(secret)
    several = [Upload(f"{number}.jpg", arrive(store)) for number in range(6)]
    twice = several[0].path
    bad = {
        "notes.txt": (arrive(store), "its ending is not that of a picture"),
        ".hidden.jpg": (arrive(store), "hidden"),
        "..": (arrive(store), "its ending is not that of a picture"),
        "large.jpg": (arrive(store, b"x" * 1001), "larger than 0.001 MB"),
        "elsewhere.jpg": (secret, "did not arrive"),
        "link.jpg": (link, "did not arrive"),
        "gone.jpg": (store.incoming / "gone.jpg", "did not arrive"),
        "of another.jpg": (arrive(store, browser="ben"), "did not arrive"),
    }
    files = [*(Upload(name, path) for name, (path, _) in bad.items()), *several, Upload("twice.jpg", twice)]
    store.add(ANNA, files)
    assert names(store) == [f"{number}.jpg" for number in range(5)]
    refusals = dict(store.refusals(ANNA))
    assert list(refusals) == [*bad, "5.jpg", "twice.jpg"]
    assert "more than 5 pictures" in refusals["5.jpg"]
    for name, (_, reason) in bad.items():
        assert reason in refusals[name]
    assert secret.read_bytes() == b"x"
    assert len(stored(store)) == 5 + 1  # the one that waits for Ben


def test_visitors_see_their_own_pictures_until_they_leave(store):
    store.add(ANNA, [Upload("a.jpg", arrive(store))])
    store.add(BEN, [Upload("b.jpg", arrive(store, browser="ben"))])
    assert names(store) == ["a.jpg"]
    path = next(iter(store.pictures(ANNA))).path
    store.remove(ANNA)
    store.remove(ANNA)
    assert not Path(path).exists()
    assert names(store) == []
    assert names(store, BEN) == ["b.jpg"]


def test_whoever_only_looks_takes_no_room(store):
    before = sorted(store.incoming.parent.iterdir())
    for number in range(20):
        assert names(store, f"x.{number}") == store.refusals(f"x.{number}") == []
    assert sorted(store.incoming.parent.iterdir()) == before


def test_pictures_of_a_browser_that_went_silent_and_files_nobody_took_are_removed(store, monkeypatch):
    store.add(ANNA, [Upload("a.jpg", arrive(store))])
    waiting = arrive(store)
    now = time.monotonic()
    monkeypatch.setattr(arrivals.time, "monotonic", lambda: now + arrivals.MAX_WAITING_SECONDS - 9)
    store.sweep()
    assert len(stored(store)) == 2
    monkeypatch.setattr(arrivals.time, "monotonic", lambda: now + arrivals.MAX_WAITING_SECONDS + 1)
    store.sweep()
    assert not waiting.exists()
    assert len(stored(store)) == 1
    monkeypatch.setattr(uploads.time, "monotonic", lambda: now + uploads.MAX_IDLE_SECONDS + 1)
    store.sweep()
    assert not stored(store)
    store.add(ANNA, [Upload("a.jpg", waiting)])
    assert store.refusals(ANNA) == [("a.jpg", "it did not arrive; drop it again")]


def reasons(store, contents, visitor):
    """Let files arrive and be taken; returns why they are not."""
    paths = [arrive(store, content, visitor.partition(".")[0]) for content in contents]
    store.add(visitor, [Upload(f"{number}.jpg", path) for number, path in enumerate(paths)])
    return [reason for _, reason in store.refusals(visitor)]


def test_one_visitor_and_all_together_have_limits_and_what_is_removed_counts_no_more(store):
    kilobyte = b"x" * 1000
    for _ in range(3):
        assert reasons(store, [kilobyte] * 5, ANNA) == []
        assert "your files would take more than 0.005 MB" in reasons(store, [b"x"], "anna.other tab")[0]
        told = reasons(store, [kilobyte] * 4, BEN)
        assert told == ["the page is full: the files of all visitors take 0.008 MB; try again later"]
        store.remove(ANNA)
        assert reasons(store, [kilobyte], BEN) == []
        store.remove(BEN)
    assert not stored(store)


def test_copies_keep_their_folders_and_the_limit(store, tmp_path):
    files = [tmp_path / "sample" / label / f"{number}.jpg" for label in ("female", "male") for number in range(3)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    store.add_copies(ANNA, tmp_path / "sample", files)
    full = "more than 5 pictures at once; remove the others first, or use process.py for folders"
    assert store.refusals(ANNA) == [("male/2.jpg", full)]
    assert names(store) == ["female/0.jpg", "female/1.jpg", "female/2.jpg", "male/0.jpg", "male/1.jpg"]
    store.remove(ANNA)
    files[0].write_bytes(b"x" * 5001)
    store.add_copies(ANNA, tmp_path / "sample", files)
    assert "more than 0.005 MB" in dict(store.refusals(ANNA))["female/0.jpg"]
    assert len(names(store)) == 5


def test_nothing_is_left_after_an_end_or_a_crash(tmp_path):
    running, ended = UploadStore(DemoSettings(), tmp_path), UploadStore(DemoSettings(), tmp_path)
    ended.close()
    ended.close()
    killed = """if True:
        from gender_recognizer.demo.uploads import *
        UploadStore(DemoSettings(), Path({!r}))
        os.kill(os.getpid(), 9)"""
    assert subprocess.run([sys.executable, "-c", killed.format(str(tmp_path))]).returncode == -9
    (tmp_path / f"{uploads.PREFIX}not_ours").mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    new = UploadStore(DemoSettings(), tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {running.incoming.parent.name, new.incoming.parent.name, f"{uploads.PREFIX}not_ours"}
    assert new.incoming.parent.stat().st_mode & 0o77 == 0
    running.close()
    new.close()
