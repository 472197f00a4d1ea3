import json
import os
import re
import shutil

import numpy as np
import pytest
from conftest import PROJECT
from planted import WRONG, active_lines, check, check_planted, files, make_pictures, texture

from gender_recognizer.checks import report
from gender_recognizer.cli import main
from gender_recognizer.data.samples import read_exclude

FAIRFACE = PROJECT.parent / "shared" / "faces" / "fairface"


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    return check_planted(tmp_path_factory.mktemp("checked"))


def test_exact_copies_are_found_those_with_different_labels_first(checked):
    groups = checked[1]["exact_copies"]
    assert [files(group["files"]) for group in groups] == [
        ["female/001.png", "male/opposite.png"],
        ["female/000.png", "female/copy.png"],
        ["female/002.png", "female/pixels.bmp"],
    ]
    assert [group["opposite_labels"] for group in groups] == [True, False, False]
    assert [group["same_bytes"] for group in groups] == [True, True, False]


def test_near_copies_are_found_those_with_different_labels_first(checked):
    groups = checked[1]["near_copies"]
    assert [files(group["files"]) for group in groups] == [
        ["female/darker.jpg", "male/004.png"],
        ["male/003.png", "male/saved_again.jpg"],
    ]
    assert [group["opposite_labels"] for group in groups] == [True, False]
    assert all(0.7 < group["correlation"] <= 1 for group in groups)


def test_pictures_that_show_hardly_anything_are_found_and_no_others(checked):
    summary = checked[1]
    for name in ("blank", "dark", "blurred", "tiny"):
        assert files(summary[name]) == [f"male/{name}.png"]
    assert (summary["tiny"][0]["width"], summary["tiny"][0]["height"]) == (12, 40)
    assert summary["unreadable"] == [{"file": "male/broken.jpg", "label": "male", "reason": "empty file"}]


def test_wrong_labels_are_the_most_suspicious_ones(checked):
    suspicious = checked[1]["suspicious_labels"]
    assert {*files(suspicious)[:8]} >= WRONG
    assert all(entry["suggested"] != entry["label"] for entry in suspicious[:4])


def test_counts_and_metadata(checked):
    summary = checked[1]
    assert summary["pictures"] == 64
    assert sum(summary["classes"].values()) == 64
    assert summary["metadata"]["rows_without_picture"] == ["female/gone.png"]
    assert "male/tiny.png" in summary["metadata"]["pictures_without_row"]
    assert summary["metadata"]["rows"] == 51


def test_exclude_txt_leaves_out_what_is_certain_and_proposes_the_rest(checked):
    _, _, folder = checked
    certain = {"male/broken.jpg", "male/blank.png", "female/001.png", "male/opposite.png", "female/copy.png"}
    assert active_lines(folder / "exclude.txt") == certain | {"female/pixels.bmp"}
    proposed = {line for line in (folder / "exclude.txt").read_text().splitlines() if line.startswith("# ")}
    doubtful = {"male/saved_again.jpg", "male/004.png", "female/darker.jpg", "male/dark.png", *WRONG}
    assert {f"# {name}" for name in doubtful} <= proposed
    assert "# male/003.png" not in proposed
    assert "# -- almost the same picture as male/003.png" in proposed


def test_the_page_holds_every_section_and_needs_nothing_else(checked):
    root, summary, folder = checked
    page = (folder / "check.html").read_text()
    for section in ("Balance", "Cannot be read", "Show hardly anything", "Equal pictures", "Almost equal pictures"):
        assert f">{section}</h2>" in page
    assert ">Suspicious labels</h2>" in page
    assert "Not looked for: copies across the parts of a split (split=outputs/RUN/split.csv does); copies in" in page
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) <= {
        "data:",
        "#unre",
        "#look",
        "#exac",
        "#near",
        "#labe",
        "#face",
    }
    assert "<script" not in page
    assert "wrong labels that the network learnt by heart are missed" in page
    assert str(root) in page
    assert json.loads((folder / "check.json").read_text()) == summary


def test_the_page_shows_a_part_and_check_json_all(checked, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SHOWN", 1)
    summary = checked[1]
    report.write_check(summary, lambda name: np.zeros((100, 80, 3), np.uint8), None, tmp_path)
    page = (tmp_path / "check.html").read_text()
    assert "2 more groups are in check.json" in page
    assert page.count("<figure>") < 20
    assert len(json.loads((tmp_path / "check.json").read_text())["exact_copies"]) == 3


def test_of_clean_pictures_one_sentence_says_what_was_not_found(checked, tmp_path):
    nothing = ("unreadable", "tiny", "blank", "dark", "blurred", "exact_copies", "near_copies", "suspicious_labels")
    nothing += ("no_face", "several_faces", "small_face")
    summary = checked[1] | {name: [] for name in nothing}
    summary |= {"across_parts": {"note": None, "groups": [], "pictures_without_part": 0}}
    summary |= {"against": {"root": "/other", "pictures": 1234, "pairs": []}, "ignored_endings": {}}
    report.write_check(summary, lambda name: np.zeros((100, 80, 3), np.uint8), None, tmp_path)
    page = (tmp_path / "check.html").read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == ["Balance", "What is not there", "How this was found"]
    assert "Looked for and not found: files that cannot be read, tiny pictures, blank ones" in page
    assert "copies of the 1,234 pictures in /other, suspicious labels." in page
    assert "None.<" not in page
    assert "What to do" not in page


def test_a_pair_below_the_finer_limit_is_shown_with_the_limit_that_it_passed(checked, tmp_path):
    summary = checked[1]
    groups = [
        group | {"correlation": value} for group, value in zip(summary["near_copies"], (0.66, 0.91), strict=False)
    ]
    report.write_check(summary | {"near_copies": groups}, lambda name: np.zeros((100, 80, 3), np.uint8), None, tmp_path)
    page = (tmp_path / "check.html").read_text()
    assert "correlation 0.66, above 0.86 when coarser" in page
    assert re.search(r"more than 0.755 at 50x40 pixels or, where something moved, more than 0.86 at 20x16", page)
    assert not re.search(r"correlation 0.91,", page)


# Odd folders


def test_one_class_without_metadata(tmp_path):
    root = make_pictures(tmp_path / "data", 3)
    summary = check(root, tmp_path, classes=["female"])
    assert summary["classes"] == {"female": 3}
    assert summary["suspicious_labels_skipped"] == "there is only one class, 'female'"
    page = (tmp_path / "check" / "check.html").read_text()
    assert "Not looked for: suspicious labels (there is only one class, &#39;female&#39;)" in page
    assert "There is no metadata.csv that can be used" in page


def test_three_pictures(tmp_path, capsys):
    root = make_pictures(tmp_path / "data", 1)
    texture(5).save(root / "male" / "second.png")
    summary = check(root, tmp_path)
    assert summary["suspicious_labels_skipped"] == "class 'female' has 1 different pictures and needs 10"
    assert main("check", [f"data.root={root}", f"outputs={tmp_path}", f"data.cache_dir={tmp_path}/cache"]) == 0
    assert "labels not checked (class 'female' has 1 different" in capsys.readouterr().out
    assert not summary["exact_copies"] + summary["near_copies"]
    assert active_lines(tmp_path / "check" / "exclude.txt") == set()


def test_nothing_can_be_read(tmp_path):
    root = make_pictures(tmp_path / "data", 1)
    for path in root.glob("*/*.png"):
        path.write_bytes(b"no picture")
    summary = check(root, tmp_path)
    assert len(summary["unreadable"]) == 2
    assert not summary["blank"] + summary["exact_copies"]


def test_three_classes_of_other_names(tmp_path):
    root = tmp_path / "data"
    tints = {"cat": (90, -60, -60), "dog": (-60, 90, -60), "a b": (-60, -60, 90)}  # seen by a network of faces
    for target, (name, tint) in enumerate(tints.items()):
        (root / name).mkdir(parents=True)
        for index in range(20):
            texture(100 * target + index, tint).save(root / name / f"{index}.png")
    (root / "cat" / "0.png").rename(root / "dog" / "moved.png")
    summary = check(root, tmp_path, classes=[*tints])
    assert summary["suspicious_labels"][0]["file"] == "dog/moved.png"
    assert summary["suspicious_labels"][0]["suggested"] == "cat"


def test_names_that_are_not_utf8(tmp_path):
    root = make_pictures(tmp_path / "data", 2)
    for number in range(2):
        shutil.copyfile(root / "male" / "001.png", os.fsencode(root / "female") + b"/caf\xe9%d.png" % number)
    check(root, tmp_path)
    (group,) = json.loads((tmp_path / "check" / "check.json").read_text())["exact_copies"]
    assert files(group["files"]) == ["female/caf\udce90.png", "female/caf\udce91.png", "male/001.png"]
    assert "caf\\udce90.png" in (tmp_path / "check" / "check.html").read_text()
    assert set(read_exclude(tmp_path / "check" / "exclude.txt")) == set(files(group["files"]))


@pytest.mark.skipif(not FAIRFACE.is_dir(), reason="../shared/faces/fairface is not there")
def test_flipped_labels_of_real_faces_are_found(tmp_path):
    flipped = set()
    for label, other in (("female", "male"), ("male", "female")):
        for number, path in enumerate(sorted((FAIRFACE / "val" / label).glob("*.jpg"))[:300]):
            folder = tmp_path / "data" / (other if number % 20 == 0 else label)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / f"{label}_{path.name}")
            if number % 20 == 0:
                flipped.add(f"{other}/{label}_{path.name}")
    summary = check(tmp_path / "data", tmp_path)
    assert len(flipped & {*files(summary["suspicious_labels"])[: 2 * len(flipped)]}) >= 0.6 * len(flipped)
