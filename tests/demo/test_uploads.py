import subprocess
import sys
import time
from pathlib import Path

import pytest

from gender_recognizer.demo import uploads
from gender_recognizer.demo.uploads import Refusal, Upload, UploadStore


@pytest.fixture
def store(tmp_path):
    store = UploadStore(max_files=5, max_file_mb=0.001, base=tmp_path)
    yield store
    store.close()


def arrive(store, content=b"x", folder="1", name="a.jpg"):
    """Return where a file lies that the server has received."""
    path = store.incoming / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def names(store, visitor="anna"):
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
    store.add("anna", [Upload(name, path)])
    assert names(store) == [kept]
    assert not store.refusals("anna")
    assert not path.exists()


def test_files_of_the_same_name_are_all_kept(store):
    store.add("anna", [Upload("a.jpg", arrive(store, b"1")), Upload("a.jpg", arrive(store, b"2", "2"))])
    equal = arrive(store, b"3")  # the server keeps equal files of one name once
    store.add("anna", [Upload("a.jpg", equal), Upload("a.jpg", equal)])
    files = list(store.pictures("anna"))
    assert [file.name for file in files] == ["a (2).jpg", "a (3).jpg", "a (4).jpg", "a.jpg"]
    contents = [Path(file.path).read_bytes() for file in files]
    assert contents == [b"2", b"3", b"3", b"1"]


def test_what_is_not_taken_has_its_reason_and_stops_nothing(store, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"x")
    link = store.incoming / "link.jpg"
    link.symlink_to(secret)
    several = [Upload(f"{number}.jpg", arrive(store, b"x", str(number))) for number in range(6)]
    bad = {
        "notes.txt": (arrive(store, b"x", "a"), "does not end like a picture's"),
        ".hidden.jpg": (arrive(store, b"x", "b"), "hidden"),
        "..": (arrive(store, b"x", "c"), "does not end like a picture's"),
        "large.jpg": (arrive(store, b"x" * 1001, "d"), "larger than 0.001 MB"),
        "elsewhere.jpg": (secret, "did not arrive"),
        "link.jpg": (link, "did not arrive"),
        "gone.jpg": (store.incoming / "gone.jpg", "did not arrive"),
    }
    store.add("anna", [*(Upload(name, path) for name, (path, _) in bad.items()), *several])
    assert names(store) == [f"{number}.jpg" for number in range(5)]
    refusals = dict(store.refusals("anna"))
    assert list(refusals) == [*bad, "5.jpg"]
    assert "more than 5 pictures" in refusals["5.jpg"]
    for name, (_, reason) in bad.items():
        assert reason in refusals[name]
    assert secret.read_bytes() == b"x"
    assert not [path for path in store.incoming.rglob("*") if path.is_file() and not path.is_symlink()]


def test_visitors_see_their_own_pictures_until_they_leave(store):
    store.add("../anna", [Upload("a.jpg", arrive(store))])
    store.add("ben", [Upload("b.jpg", arrive(store))])
    assert names(store, "../anna") == ["a.jpg"]
    path = next(iter(store.pictures("../anna"))).path
    store.remove("../anna")
    store.remove("../anna")
    assert not Path(path).exists()
    assert names(store, "../anna") == []
    assert names(store, "ben") == ["b.jpg"]


def test_pictures_of_a_browser_that_went_silent_are_removed(store, monkeypatch):
    store.add("anna", [Upload("a.jpg", arrive(store))])
    path = next(iter(store.pictures("anna"))).path
    now = time.monotonic()
    monkeypatch.setattr(uploads.time, "monotonic", lambda: now + uploads.MAX_IDLE_SECONDS + 1)
    store.pictures("ben")
    assert not Path(path).exists()


def test_copies_keep_their_folders_and_the_limit(store, tmp_path):
    files = [tmp_path / "sample" / label / f"{number}.jpg" for label in ("female", "male") for number in range(3)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    store.add_copies("anna", tmp_path / "sample", files)
    store.add_copies("anna", tmp_path / "sample", files[:0])
    assert names(store) == ["female/0.jpg", "female/1.jpg", "female/2.jpg", "male/0.jpg", "male/1.jpg"]
    store.remove("anna")
    store.add_copies("anna", tmp_path / "sample", files)
    assert store.refusals("anna") == [Refusal("male/2.jpg", store._full)]


def test_nothing_is_left_after_an_end_or_a_crash(tmp_path):
    running, ended = UploadStore(base=tmp_path), UploadStore(base=tmp_path)
    ended.close()
    ended.close()
    killed = "from gender_recognizer.demo.uploads import *; UploadStore(base=Path({!r})); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", killed.format(str(tmp_path))]).returncode == -9
    (tmp_path / f"{uploads.PREFIX}not_ours").mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    new = UploadStore(base=tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {running.incoming.parent.name, new.incoming.parent.name, f"{uploads.PREFIX}not_ours"}
    assert new.incoming.parent.stat().st_mode & 0o77 == 0
    running.close()
    new.close()
