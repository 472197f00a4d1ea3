import csv
import shutil
import unicodedata

import numpy as np
import pytest
from conftest import RED, save_picture

from gender_recognizer.data.split import PARTS, read_split, split_indices, write_split

SHARES = (0.8, 0.1, 0.1)


def make_run(folder, root, names, parts=("train", "validation", "test"), seed=0):
    """Make pictures of these names, put them into the parts in turn, and return the split.csv."""
    rows = []
    for number, name in enumerate(names):
        save_picture(root / name, RED, seed + number, size=(20 + number, 30))
        rows.append({"part": parts[number % len(parts)], "file_name": name, "root": str(root.resolve())})
    folder.mkdir(exist_ok=True)
    write_split(folder / "split.csv", rows, [root])
    return folder / "split.csv"


def drop_column(split, column):
    """Make of a split.csv one of an earlier version."""
    rows = [*csv.DictReader(split.open())]
    names = [name for name in rows[0] if name != column]
    with split.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


NAMES = [f"{label}/{number:03}.png" for label in ("female", "male") for number in range(6)]


@pytest.fixture
def split(tmp_path):
    return make_run(tmp_path / "run", tmp_path / "pictures", NAMES)


def test_a_split_of_this_folder_is_believed(tmp_path, split):
    known = read_split(split, tmp_path / "pictures")
    assert (known.matched, known.note) == ("root", None)
    assert known.parts == {name: PARTS[number % 3] for number, name in enumerate(NAMES)}


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("how", ["moved", "copied with the run", "only the test part", "with more pictures"])
def test_pictures_that_were_moved_are_known_by_their_names(tmp_path, split, how, earlier):
    if earlier:
        drop_column(split, "bytes")
    expected = read_split(split, tmp_path / "pictures").parts
    there = tmp_path / "elsewhere/of the same"
    if how == "copied with the run":
        shutil.copytree(tmp_path / "pictures", there)
    else:
        shutil.copytree(tmp_path / "pictures", there)
        shutil.rmtree(tmp_path / "pictures")
    if how == "only the test part":
        for name, part in expected.items():
            if part != "test":
                (there / name).unlink()
        expected = {name: part for name, part in expected.items() if part == "test"}
    if how == "with more pictures":
        for number in range(100):
            save_picture(there / f"female/more_{number}.png", RED, number)
    known = read_split(split, there)
    assert known.matched == "names"
    assert known.parts == expected
    assert str(tmp_path / "pictures") in known.note
    assert str(there) in known.note


@pytest.mark.parametrize("earlier", [False, True])
def test_pictures_of_another_set_are_not_taken_for_those_of_the_split(tmp_path, split, earlier):
    if earlier:
        drop_column(split, "bytes")
    other = tmp_path / "other"
    for name in NAMES[:2] if earlier else NAMES:
        save_picture(other / name, RED, 99, size=(50, 50))
    for number in range(100, 130):
        save_picture(other / f"female/{number}.png", RED, number)
    known = read_split(split, other)
    assert (known.parts, known.matched) == ({}, "none")
    assert "which of these pictures trained the model is not known" in known.note


def test_a_split_of_nothing_that_is_here_says_so(tmp_path, split):
    save_picture(tmp_path / "other/female/zoe.png", RED, 0)
    known = read_split(split, tmp_path / "other")
    assert (known.parts, known.matched) == ({}, "none")
    assert "none of its pictures is here" in known.note


def test_pictures_of_the_same_names_that_are_other_files_are_in_no_part(tmp_path, split):
    for number, name in enumerate(NAMES):
        save_picture(tmp_path / "other" / name, RED, number, size=(70, 60))
    known = read_split(split, tmp_path / "other")
    assert (known.parts, known.matched) == ({}, "none")
    assert "pictures of the same names here are other files" in known.note


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_known_in_the_form_that_another_system_gives_their_accents(tmp_path, form):
    forms = {name: unicodedata.normalize(name, "female/\u00e9t\u00e9.png") for name in ("NFC", "NFD")}
    split = make_run(tmp_path / "run", tmp_path / "pictures", [forms[form]])
    other = forms["NFD" if form == "NFC" else "NFC"]
    (tmp_path / "copy/female").mkdir(parents=True)
    shutil.copy(tmp_path / "pictures" / forms[form], tmp_path / "copy" / other)
    assert read_split(split, tmp_path / "copy").parts == {other: "train"}


def test_a_folder_in_or_around_the_one_that_was_split_is_known(tmp_path):
    split = make_run(tmp_path / "run", tmp_path / "all/train", NAMES)
    around = read_split(split, tmp_path / "all")
    assert around.matched == "root"
    assert around.parts == {f"train/{name}": PARTS[number % 3] for number, name in enumerate(NAMES)}
    inside = read_split(split, tmp_path / "all/train/female")
    assert inside.parts == {name.removeprefix("female/"): PARTS[number % 3] for number, name in enumerate(NAMES[:6])}


def test_pictures_changed_in_place_are_in_no_part(tmp_path, split):
    save_picture(tmp_path / "pictures" / NAMES[0], RED, 5, size=(90, 90))
    known = read_split(split, tmp_path / "pictures")
    assert known.parts.keys() == {*NAMES[1:]}
    assert "1 pictures" in known.note


@pytest.mark.parametrize("earlier", [False, True])
def test_of_two_folders_with_the_same_names_the_right_one_is_found_or_none(tmp_path, earlier):
    splits = [
        make_run(tmp_path / f"run_{name}", tmp_path / name, NAMES, parts, seed)
        for name, parts, seed in (("train", ("train", "validation"), 0), ("test", ("test",), 500))
    ]
    both = tmp_path / "both.csv"
    both.write_text(splits[0].read_text() + splits[1].read_text().partition("\n")[2])
    if earlier:
        drop_column(both, "bytes")
    shutil.move(tmp_path / "test", tmp_path / "moved")
    known = read_split(both, tmp_path / "moved")
    if earlier:
        assert (known.parts, known.matched) == ({}, "none")
        assert "they share their pictures' names" in known.note
    else:
        assert {*known.parts.values()} == {"test"}


def test_a_split_saved_by_a_spreadsheet_is_read(tmp_path, split):
    split.write_bytes(split.read_text().replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_split(split, tmp_path / "pictures").matched == "root"


def test_another_table_is_refused(tmp_path):
    (tmp_path / "split.csv").write_text("file_name,label\na.png,female\n")
    with pytest.raises(ValueError, match=r"split.csv' has no column 'part'; its columns are file_name, label"):
        read_split(tmp_path / "split.csv", tmp_path)


def test_a_split_is_written_with_what_can_be_read_of_the_metadata(tmp_path, caplog):
    root = tmp_path / "pictures"
    save_picture(root / "female/a.png", RED, 0)
    (root / "metadata.csv").write_bytes("file_name;age\r\nfemale\\a.png;20\r\n".encode("utf-16"))
    rows = [{"part": "train", "file_name": "female/a.png", "root": str(root)}]
    write_split(tmp_path / "split.csv", rows, [root])
    (row,) = csv.DictReader((tmp_path / "split.csv").open())
    assert row["age"] == "20"
    (root / "metadata.csv").write_bytes(b"id,sex\n1,F\n")
    write_split(tmp_path / "split.csv", [dict(rows[0])], [root])
    assert "the table is not used" in caplog.text


def counts(parts, targets, number=2):
    return [np.bincount(targets[part], minlength=number).tolist() for part in parts]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ((60, 3), [[48, 1], [6, 1], [6, 1]]),
        ((50, 50), [[40, 40], [5, 5], [5, 5]]),
        ((10, 2), [[8, 1], [1, 1], [1, 0]]),
        ((10, 1), [[8, 1], [1, 0], [1, 0]]),
    ],
)
def test_each_part_gets_its_share_of_each_class_and_one_at_least_where_there_are_enough(classes, expected):
    targets = np.repeat([0, 1], classes)
    for seed in range(5):
        assert counts(split_indices(np.arange(len(targets)), targets, SHARES, seed), targets) == expected


def test_three_classes_are_split_each_by_itself():
    targets = np.repeat([0, 1, 2], (100, 10, 4))
    parts = split_indices(np.arange(114), targets, SHARES, 0)
    assert counts(parts, targets, 3) == [[80, 8, 2], [10, 1, 1], [10, 1, 1]]


def test_groups_are_never_cut_and_each_part_has_each_class():
    groups = np.arange(300) // 3
    targets = (groups % 2).astype(np.int64)
    parts = split_indices(groups, targets, SHARES, seed=1)
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    assert not set(groups[parts[0]]) & set(groups[parts[1]])
    assert not set(groups[parts[0]]) & set(groups[parts[2]])
    assert counts(parts, targets) == [[120, 120], [15, 15], [15, 15]]


def test_a_rare_class_whose_pictures_lie_in_groups_with_others_reaches_each_part():
    groups = np.repeat(np.arange(40), 3)
    targets = np.zeros(120, np.int64)
    targets[:9:3] = 1  # three groups with one picture of the rare class each
    assert [row[1] for row in counts(split_indices(groups, targets, SHARES, 0), targets)] == [1, 1, 1]


def test_the_split_is_the_same_for_the_same_seed():
    targets = np.arange(100) % 2
    first, again, other = (split_indices(np.arange(100), targets, SHARES, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


def test_too_few_pictures_are_an_error():
    with pytest.raises(ValueError, match=r"2 pictures are too few for the shares .*; add pictures"):
        split_indices(np.arange(2), np.array([0, 1]), SHARES, seed=0)


def test_too_few_groups_are_an_error_that_names_the_way_out():
    targets = np.repeat([0, 1], 200)
    with pytest.raises(ValueError, match=r"400 pictures are 2 groups of near copies.*data.split=random") as error:
        split_indices(targets, targets, SHARES, seed=0)
    assert "test_root" not in str(error.value)  # it would not help
    with pytest.raises(ValueError, match=r"4 groups .*data.test_root=\), or data.split=random"):
        split_indices(np.arange(400) // 100, targets, SHARES, seed=0)
    assert all(map(len, split_indices(np.arange(400), targets, SHARES, seed=0)))
