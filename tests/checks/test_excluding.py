import csv
import logging
import shutil

import pytest
from PIL import Image
from planted import active_lines, check, check_planted, files, texture

from gender_recognizer.checks import report
from gender_recognizer.data import cache
from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.data.samples import read_exclude


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    return check_planted(tmp_path_factory.mktemp("checked"))


def load(root, cache_dir, **options):
    data = FaceDataModule(root, cache_dir, **options)
    data.prepare_data()
    data.setup()
    return data


def used(data):
    return {path.relative_to(data.root).as_posix() for paths in data.files.values() for path in paths}


def test_excluded_pictures_are_not_trained_on_and_nothing_is_decoded_again(checked, tmp_path, monkeypatch, caplog):
    root, _, folder = checked
    everything = used(load(root, folder.parent / "cache"))
    monkeypatch.setattr(cache, "load_or_reason", lambda path: pytest.fail("decoded again"))
    certain = active_lines(folder / "exclude.txt")
    caplog.clear()
    data = load(root, folder.parent / "cache", exclude=folder / "exclude.txt")
    assert used(data) == everything - certain
    assert "cannot be read" not in caplog.text
    chosen = (folder / "exclude.txt").read_text().replace("# male/dark.png", "male/dark.png")
    (tmp_path / "exclude.txt").write_text(chosen)
    data = load(root, folder.parent / "cache", exclude=tmp_path / "exclude.txt")
    assert used(data) == everything - certain - {"male/dark.png"}
    data.save_split(tmp_path / "split.csv")
    with (tmp_path / "split.csv").open() as file:
        parts = {row["file_name"]: row["part"] for row in csv.DictReader(file)}
    assert {name for name, part in parts.items() if part == "excluded"} == certain | {"male/dark.png"}


def test_lines_that_name_no_picture_are_counted(checked, tmp_path, caplog):
    root, _, folder = checked
    (tmp_path / "exclude.txt").write_bytes(b"\xef\xbb\xbf./female/003.png\r\n\r\nfemale/gone.png\r\nmale\r\n")
    with caplog.at_level(logging.WARNING):
        data = load(root, folder.parent / "cache", exclude=tmp_path / "exclude.txt")
    assert "2 lines name a picture that is not in" in caplog.text
    assert "'female/gone.png'" in caplog.text
    assert "female/003.png" not in used(data)


def test_missing_exclude_file_and_excluding_a_whole_class_are_errors(checked, tmp_path):
    root, _, folder = checked
    with pytest.raises(ValueError, match=r"data.exclude '.*gone.txt' does not exist"):
        FaceDataModule(root, tmp_path, exclude=tmp_path / "gone.txt")
    names = [path.relative_to(root).as_posix() for path in (root / "male").iterdir()]
    (tmp_path / "exclude.txt").write_text("\n".join(names))
    with pytest.raises(ValueError, match=r"none of the pictures in '.*male' can be read and is not excluded"):
        load(root, folder.parent / "cache", exclude=tmp_path / "exclude.txt")


def test_names_that_look_like_comments_are_excluded_too(tmp_path):
    lines = report.exclude_lines(
        {"root": "/x", "date": "today", "near_copies": [], "tiny": [], "dark": [], "blurred": []}
        | {"suspicious_labels": []},
        {"# odd/1.jpg": "why\nso", "two\nlines.jpg": "why", "a/caf\udce9.jpg": "why"},
    )
    (tmp_path / "exclude.txt").write_text("\n".join(lines), errors="surrogateescape")
    assert read_exclude(tmp_path / "exclude.txt") == ["# odd/1.jpg", "a/caf\udce9.jpg"]


# Other folders and splits


def test_copies_across_parts_of_a_split_are_found(checked, tmp_path):
    root, _, folder = checked
    for split, found in (("random", True), ("grouped", False)):
        data = load(root, folder.parent / "cache", split=split, split_fractions=(0.5, 0.25, 0.25), split_seed=1)
        data.save_split(tmp_path / f"{split}.csv")
        summary = check(root, folder.parent, tmp_path / split, split=tmp_path / f"{split}.csv")
        groups = summary["across_parts"]["groups"]
        assert bool(groups) == found
        for group in groups:
            assert len({entry["part"] for entry in group["files"]}) > 1
            known = summary["exact_copies"] + summary["near_copies"]
            assert files(group["files"]) in [files(other["files"]) for other in known]
        assert summary["across_parts"]["pictures_without_part"] == 1  # the broken one
        assert ("These copies lie in different parts" in (tmp_path / split / "check.html").read_text()) == found


def test_copies_in_another_folder_are_found_whatever_its_folders_are_called(checked, tmp_path):
    root, _, folder = checked
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    shutil.copy(root / "male" / "007.png", other / "same.png")
    Image.open(root / "female" / "008.png").save(other / "deep" / "pixels.bmp")
    Image.open(root / "female" / "009.png").save(other / "deep" / "near.jpg", quality=40)
    texture(9000).save(other / "another.png")
    Image.new("RGB", (60, 70), (90, 80, 70)).save(other / "blank.png")
    (other / "broken.jpg").write_bytes(b"")
    shared = check(root, folder.parent, tmp_path / "check", against=other)["against"]
    assert shared["pictures"] == 6
    found = [(pair["file"], pair["other"], pair["same_bytes"], pair["same_pixels"]) for pair in shared["pairs"]]
    assert found == [
        ("male/007.png", "same.png", True, True),
        ("female/008.png", "deep/pixels.bmp", False, True),
        ("female/009.png", "deep/near.jpg", False, False),
    ]
    page = (tmp_path / "check" / "check.html").read_text()
    assert "3 pairs are copies" in page
    assert "deep/near.jpg" in page
