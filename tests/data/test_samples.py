import logging
import os
import unicodedata

import numpy as np
import pytest
from conftest import RED, save_picture

from gender_recognizer.data.samples import (
    class_counts,
    find_named,
    list_samples,
    read_exclude,
    read_metadata,
    warn_if_unbalanced,
)

CLASSES = ("female", "male")


def test_samples_are_sorted_by_class_and_path_from_nested_folders(tmp_path):
    for name in ("male/b.png", "female/z.PNG", "female/deep/er/a.png", "male/a.png"):
        save_picture(tmp_path / name.lower(), RED, 0).rename(tmp_path / name)
    samples = [
        (sample.path.relative_to(tmp_path).as_posix(), sample.target) for sample in list_samples(tmp_path, CLASSES)
    ]
    assert samples == [("female/deep/er/a.png", 0), ("female/z.PNG", 0), ("male/a.png", 1), ("male/b.png", 1)]


def test_missing_class_folder_is_named(tmp_path):
    save_picture(tmp_path / "female/a.png", RED, 0)
    with pytest.raises(ValueError, match=r"no folder '.*male'"):
        list_samples(tmp_path, CLASSES)


def test_empty_class_folder_is_named(tmp_path):
    save_picture(tmp_path / "female/a.png", RED, 0)
    (tmp_path / "male").mkdir()
    with pytest.raises(ValueError, match=r"no pictures in '.*male'"):
        list_samples(tmp_path, CLASSES)


def test_metadata_by_file_name(tmp_path):
    assert read_metadata(tmp_path) == {}
    (tmp_path / "metadata.csv").write_text("file_name,label,age\nfemale/a.png,female,20-29\n")
    assert read_metadata(tmp_path)["female/a.png"]["age"] == "20-29"


TABLE = "file_name,age\nfemale/1.jpg,20\nmale/1.jpg,30\n"
AGES = {"female/1.jpg": "20", "male/1.jpg": "30"}


def ages(root):
    return {name: row.get("age") for name, row in read_metadata(root).items()}


@pytest.fixture
def root(tmp_path):
    for name in AGES:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        TABLE.encode("utf-16-be"),
        TABLE.encode("utf-32"),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace(",", ";").encode(),
        TABLE.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
        ("sep=;\n" + TABLE.replace(",", ";")).encode("utf-8-sig"),
        TABLE.replace("/", "\\").encode(),
        TABLE.replace("female/", "./female/").encode(),
        TABLE.replace("file_name", " File_Name ").encode(),
        TABLE.replace("\n", ",,\n").encode(),
    ],
)
def test_metadata_is_read_as_any_program_writes_it(root, content, caplog):
    (root / "metadata.csv").write_bytes(content)
    assert ages(root) == AGES
    assert not caplog.records


def test_metadata_with_whole_paths(root):
    (root / "metadata.csv").write_text(f"file_name,age\n{root}/female/1.jpg,20\n")
    assert ages(root) == {"female/1.jpg": "20"}


def test_metadata_of_a_windows_code_page_is_read_with_a_note(root, caplog):
    (root / "metadata.csv").write_bytes("file_name,city\nfemale/1.jpg,Orl\u00e9ans\n".encode("cp1252"))
    assert read_metadata(root)["female/1.jpg"]["city"] == "Orl\u00e9ans"
    assert "metadata.csv' is not in UTF-8" in caplog.text
    (root / "metadata.csv").write_bytes(
        "file_name,\u0433\u043e\u0440\u043e\u0434\nfemale/1.jpg,\u041c\n".encode("cp1251")
    )
    assert read_metadata(root).keys() == {"female/1.jpg"}


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_found_in_the_form_that_a_system_gives_their_accents(tmp_path, forms):
    listed, there = (unicodedata.normalize(form, "female/\u00e9t\u00e9.jpg") for form in forms)
    make_files(tmp_path, there)
    (tmp_path / "metadata.csv").write_text(f"file_name,age\n{listed},20\n")
    assert ages(tmp_path) == {there: "20"}
    assert find_named([listed], [tmp_path / there], tmp_path) == ({0}, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file_name,age\nfemale/1.jpg,20, or so\nmale/1.jpg,30\n", "line 2: more values than the 2 columns"),
        ("file_name,age\nmale/1.jpg,29\nmale/1.jpg,30\n", "line 3: 'male/1.jpg' occurs again"),
        ("file_name,age\nmale/1.jpg,30\n" + "x" * 200_000, "cannot be read beyond line 2"),
    ],
)
def test_rows_of_the_metadata_that_are_wrong_are_named_and_left_out(root, content, message, caplog):
    (root / "metadata.csv").write_text(content)
    assert ages(root) == {"male/1.jpg": "30"}
    assert message in caplog.text


@pytest.mark.parametrize("content", ["id,gender\n1,F\n", "", "file,label\nfemale/1.jpg,female\n", "\0\0\0\0"])
def test_another_programs_metadata_is_warned_of_and_not_used(root, content, caplog):
    (root / "metadata.csv").write_text(content)
    assert read_metadata(root) == {}
    assert "metadata.csv' has no column 'file_name'" in caplog.text
    assert "the table is not used" in caplog.text


def test_metadata_that_names_no_file_is_warned_of(root, caplog):
    (root / "metadata.csv").write_text("file_name,age\n1.jpg,20\n")
    read_metadata(root)
    assert "no row names a file below the folder; the first names '1.jpg'" in caplog.text


LIST = "# to leave out\nfemale/1.jpg\n\nmale/\u00e9.jpg\n"


@pytest.mark.parametrize(
    "content",
    [
        LIST.encode(),
        LIST.replace("\n", "\r\n").encode("utf-8-sig"),
        LIST.encode("utf-16"),
        LIST.replace("/", "\\").replace("\n", "\r\n").encode("utf-16"),
    ],
)
def test_exclude_is_read_as_any_program_writes_it(tmp_path, content):
    (tmp_path / "exclude.txt").write_bytes(content)
    paths = [tmp_path / "female/1.jpg", tmp_path / "male/1.jpg", tmp_path / "male/\u00e9.jpg"]
    assert find_named(read_exclude(tmp_path / "exclude.txt"), paths, tmp_path) == ({0, 2}, [])


def test_exclude_keeps_names_that_are_no_text_and_whole_paths_are_understood(tmp_path):
    (tmp_path / "exclude.txt").write_bytes(b"female/\xff.jpg\n%s/male/1.jpg\nmale/2.jpg\n" % os.fsencode(tmp_path))
    paths = [tmp_path / os.fsdecode(b"female/\xff.jpg"), tmp_path / "male/1.jpg"]
    assert find_named(read_exclude(tmp_path / "exclude.txt"), paths, tmp_path) == ({0, 1}, ["male/2.jpg"])


def test_exclude_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"data.exclude '.*exclude.txt' does not exist"):
        read_exclude(tmp_path / "exclude.txt")


def test_class_counts_in_order_of_the_classes():
    assert class_counts(np.array([1, 1, 0, 1]), ["male", "female", "other"]) == {"male": 1, "female": 3, "other": 0}


@pytest.mark.parametrize(
    ("counts", "warned"), [({"female": 61, "male": 39}, True), ({"female": 60, "male": 40}, False)]
)
def test_more_than_60_percent_of_one_class_is_warned_of(caplog, counts, warned):
    with caplog.at_level(logging.WARNING):
        warn_if_unbalanced(counts)
    assert ("'female'" in caplog.text) == warned


def files_of(root):
    return [(sample.path.relative_to(root).as_posix(), sample.target) for sample in list_samples(root, CLASSES)]


def make_files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_class_folders_are_found_in_any_case(tmp_path):
    make_files(tmp_path, "Female/1.jpg", "MALE/1.jpg")
    assert files_of(tmp_path) == [("Female/1.jpg", 0), ("MALE/1.jpg", 1)]
    make_files(tmp_path, "male/2.jpg")
    assert files_of(tmp_path) == [("Female/1.jpg", 0), ("male/2.jpg", 1)]


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("Training", "Validation"), ("TRAIN", "test")])
def test_pictures_of_ready_parts_are_found(tmp_path, train, val):
    make_files(tmp_path, f"{train}/Female/1.jpg", f"{val}/female/1.jpg", f"{train}/male/1.jpg", f"{val}/male/1.jpg")
    assert sorted(files_of(tmp_path)) == sorted(
        [(f"{train}/Female/1.jpg", 0), (f"{val}/female/1.jpg", 0), (f"{train}/male/1.jpg", 1), (f"{val}/male/1.jpg", 1)]
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["women/1.jpg", "men/1.jpg"], "set 'data.classes=[women,men]', or name the folders female and male"),
        (["0/1.jpg", "1/1.jpg"], "set 'data.classes=[0,1]'"),
        (["Girls/1.jpg", "Boys/1.jpg"], "set 'data.classes=[Girls,Boys]'"),
        (["photos/female/1.jpg", "photos/male/1.jpg"], "set data.root={root}/photos"),
        (["a b/c/Women/1.jpg", "a b/c/Men/1.jpg"], "set 'data.root={root}/a b/c' 'data.classes=[Women,Men]'"),
        (["train/women/1.jpg", "train/men/1.jpg", "val/women/1.jpg"], "set 'data.classes=[women,men]'"),
        (["x/train/female/1.jpg", "x/train/male/1.jpg", "x/valid/male/1.jpg"], "set data.root={root}/x"),
        (["train/female/1.jpg", "train/male/1.jpg"], "set data.root={root}/train"),
        (["female/1.jpg", "man/1.jpg"], "set 'data.classes=[female,man]'"),
        (
            ["1.jpg", "2.png", "readme.txt"],
            "2 pictures lie directly in '{root}'; move each into the folder of its class",
        ),
        (["docs/readme.txt", ".git/1.jpg"], "'{root}' has the folders docs; each class needs a folder"),
        ([], "'{root}' has no folders"),
    ],
)
def test_where_class_folders_are_missing_it_is_said_what_is_there_and_what_would_use_it(tmp_path, names, expected):
    make_files(tmp_path, *names)
    with pytest.raises(ValueError, match=r"no folder '.*/(fe)?male' for class") as error:
        list_samples(tmp_path, CLASSES)
    assert expected.format(root=tmp_path) in str(error.value)


def test_the_order_of_other_names_follows_that_of_the_classes(tmp_path):
    make_files(tmp_path, "women/1.jpg", "men/1.jpg")
    with pytest.raises(ValueError, match=r"data.classes=\[men,women\]"):
        list_samples(tmp_path, ("male", "female"))


def test_a_root_that_is_no_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="that folder does not exist"):
        list_samples(tmp_path / "gone", CLASSES)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="that is a file"):
        list_samples(tmp_path / "file", CLASSES)


@pytest.mark.parametrize("link", ["file", "hard link", "folder"])
def test_a_file_of_two_classes_is_an_error_that_names_both(tmp_path, link):
    make_files(tmp_path, "female/1.jpg", "female/2.jpg", "male/3.jpg")
    if link == "file":
        (tmp_path / "male/z.jpg").symlink_to("../female/1.jpg")
    elif link == "hard link":
        (tmp_path / "male/z.jpg").hardlink_to(tmp_path / "female/1.jpg")
    else:
        (tmp_path / "male/more").symlink_to("../female")
    with pytest.raises(ValueError, match=r"'.*female/1.jpg' of class 'female' and '.*male/.*' of class 'male' are the"):
        list_samples(tmp_path, CLASSES)


def test_links_within_a_class_are_followed(tmp_path):
    make_files(tmp_path, "female/1.jpg", "male/2.jpg", "elsewhere/3.jpg")
    (tmp_path / "male/more").symlink_to("../elsewhere")
    assert [name for name, _ in files_of(tmp_path)] == ["female/1.jpg", "male/2.jpg", "male/more/3.jpg"]


@pytest.mark.parametrize("target", ["..", ".", "../male/.."])
def test_a_link_to_a_folder_above_gives_no_picture_another_label(tmp_path, target):
    make_files(tmp_path, "female/1.jpg", "male/2.jpg")
    (tmp_path / "female/up").symlink_to(target)
    assert files_of(tmp_path) == [("female/1.jpg", 0), ("male/2.jpg", 1)]
