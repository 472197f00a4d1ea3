import os
import shutil

import pytest
from conftest import PROJECT
from PIL import Image

from gender_recognizer.pictures.formats import EXTENSIONS, FORMATS, PILLOW_FORMATS
from gender_recognizer.pictures.listing import (
    File,
    Folder,
    _sorted,
    describe_endings,
    find_images,
    is_picture_name,
    read_list,
)

FACE = PROJECT / "data/sample/female/001.jpg"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(folder):
    return [file.name for file in folder]


def test_pictures_are_found_by_ending_without_hidden_files(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "sub/c.JpEg", ".hidden.jpg", ".cache/d.jpg", "notes.txt", "noextension")
    folder = Folder(tmp_path)
    assert names(folder) == ["a.png", "b.JPG", "sub/c.JpEg"]
    assert folder.ignored == 4
    assert names(folder) == ["a.png", "b.JPG", "sub/c.JpEg"]
    assert folder.ignored == 4


def test_order_is_that_of_the_relative_paths_as_strings(tmp_path):
    touch(tmp_path, "b.jpg", "a/z.jpg", "a.jpg", "a-b.jpg", "a/b/c.jpg", "a0.jpg", "A.jpg", "é.jpg", "a/b.jpg")
    found = names(Folder(tmp_path))
    assert found == sorted(found)
    assert len(found) == 9


def test_the_names_of_a_huge_folder_come_in_order_each_once():
    names = [f"{index * 7919 % 100_003:06}.jpg" for index in range(100_001)]
    assert list(_sorted(names)) == sorted(names)


def test_paths_lead_to_the_files(tmp_path):
    touch(tmp_path, "sub/deeper/a.jpg")
    (file,) = Folder(tmp_path)
    assert (tmp_path / file.name).samefile(file.path)
    assert file.problem is None


def test_a_deep_tree_is_walked(tmp_path):
    deep = "/".join(["d"] * 500)
    touch(tmp_path, deep + "/a.jpg")
    assert names(Folder(tmp_path)) == [deep + "/a.jpg"]


def test_a_folder_that_cannot_be_read_is_reported(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "locked/b.jpg", "z.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).rstrip("/").endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(Folder(tmp_path))
    assert [file.name for file in found] == ["a.jpg", "locked/", "z.jpg"]
    assert found[1].problem == "folder cannot be read: Permission denied"


def test_training_follows_links(tmp_path):
    touch(tmp_path, "own/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "own/linked").symlink_to("../elsewhere")
    (tmp_path / "own/loop").symlink_to(".")
    assert find_images(tmp_path / "own") == [tmp_path / "own/a.jpg", tmp_path / "own/linked/b.jpg"]


def test_a_list_keeps_the_bytes_of_its_lines(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a.jpg\r\n\n leading.jpg\nx\xff.jpg\nlast.jpg")
    found = list(read_list(tmp_path / "list.txt"))
    assert [os.fsencode(file.name) for file in found] == [b"a.jpg", b" leading.jpg", b"x\xff.jpg", b"last.jpg"]
    assert found[0] == File("a.jpg", "a.jpg")


@pytest.mark.parametrize("ending", [".jpg", ".HEIC", ".webp", ".tif"])
def test_endings(tmp_path, ending):
    touch(tmp_path, "a" + ending)
    assert len(names(Folder(tmp_path))) == 1


def link(path, target):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("up", ["..", "../..", ".", "../female", "../../d"])
def test_a_link_to_a_folder_above_is_not_followed(tmp_path, up):
    touch(tmp_path, "d/female/a.jpg", "d/male/b.jpg", "c.jpg")
    link(tmp_path / "d/female/up", up)
    assert find_images(tmp_path / "d/female") == [tmp_path / "d/female/a.jpg"]


def test_a_link_to_a_folder_above_is_not_followed_by_way_of_another_folder(tmp_path):
    touch(tmp_path, "d/female/a.jpg", "d/male/b.jpg", "other/c.jpg")
    link(tmp_path / "d/female/other", "../../other")
    link(tmp_path / "other/back", "../d")
    assert names(Folder(tmp_path / "d/female", follow_links=True)) == ["a.jpg", "other/c.jpg"]


def test_a_folder_that_is_itself_a_link_is_not_entered_twice(tmp_path):
    touch(tmp_path, "real/sub/a.jpg")
    link(tmp_path / "real/sub/again", "..")
    link(tmp_path / "linked", "real")
    assert names(Folder(tmp_path / "linked", follow_links=True)) == ["sub/a.jpg"]


def test_a_folder_is_entered_once_by_links_and_by_itself(tmp_path):
    touch(tmp_path, "in/z/a.jpg", "out/deep/b.jpg")
    link(tmp_path / "in/a", "z")
    link(tmp_path / "in/b", "../out/deep")
    link(tmp_path / "in/c", "../out")
    link(tmp_path / "in/z/up", "..")
    assert names(Folder(tmp_path / "in", follow_links=True)) == ["b/b.jpg", "z/a.jpg"]


def test_links_that_are_followed_list_no_file_twice(tmp_path):
    touch(tmp_path, "in/z.jpg", "in/.store/x.jpg", "out/b.jpg", "out/c.jpg", "far/d.jpg")
    for name, target in {
        "0.jpg": "z.jpg",
        "1.jpg": "../out/b.jpg",
        "2.jpg": "../out/b.jpg",
        "3.jpg": ".store/x.jpg",
        "4": "../out",
        "5.jpg": "../out/c.jpg",
        "6.jpg": "../far/d.jpg",
    }.items():
        link(tmp_path / "in" / name, target)
    folder = Folder(tmp_path / "in", follow_links=True)
    assert names(folder) == ["1.jpg", "3.jpg", "4/c.jpg", "6.jpg", "z.jpg"]
    assert names(folder) == ["1.jpg", "3.jpg", "4/c.jpg", "6.jpg", "z.jpg"]
    assert folder.ignored == 5  # .store, 0.jpg, 2.jpg, 4/b.jpg, 5.jpg


def test_hard_links_are_files_of_their_own(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").hardlink_to(tmp_path / "a.jpg")
    assert names(Folder(tmp_path, follow_links=True)) == ["a.jpg", "b.jpg"]


def test_endings_that_pillow_registers_are_all_in_the_table():
    Image.init()
    registered = {ending for ending, format in Image.registered_extensions().items() if format in PILLOW_FORMATS}
    assert registered <= EXTENSIONS
    assert all(ending == ending.lower() and ending.startswith(".") for ending in EXTENSIONS)
    assert sum(map(len, FORMATS.values())) == len(EXTENSIONS)


@pytest.mark.parametrize(
    "name",
    ["p.HIF", "p.jfi", "p.j2k", "p.jpg_large", "p.JFIF", "p.dib", "p.pnm", "p.avifs", "p.jpx", "p.apng", "a.b.Jif"],
)
def test_pictures_are_listed_by_every_ending_of_their_format(tmp_path, name):
    touch(tmp_path, name)
    assert names(Folder(tmp_path)) == [name]
    assert is_picture_name(f"folder/{name}")


def test_unknown_endings_are_sniffed_on_request(tmp_path):
    for name in ("noending", "p.unknown", "p.jpg.1", "p.0001", "20240101.backup-copy"):
        shutil.copy(FACE, tmp_path / name)
    touch(tmp_path, "empty.unknown", "README")
    (tmp_path / "text.unknown").write_text("BMW and II")
    folder = Folder(tmp_path, sniff=True)
    assert names(folder) == ["20240101.backup-copy", "noending", "p.0001", "p.jpg.1", "p.unknown"]
    assert folder.ignored_endings == {".unknown": 2, "": 1}
    assert names(Folder(tmp_path)) == []


def test_endings_that_were_ignored_are_told_but_for_known_junk(tmp_path):
    touch(tmp_path, "a.jpg", "b.CR2", "c.cr2", "sub/d.psd", "e", "f.txt", "g.json", ".h.cr2", "Thumbs.db", "i.JSONL")
    folder = Folder(tmp_path)
    assert names(folder) == ["a.jpg"]
    assert folder.ignored_endings == {".cr2": 2, ".psd": 1, "": 1}
    assert folder.ignored == 9
    assert describe_endings(folder.ignored_endings) == ".cr2 (2), without ending (1), .psd (1)"
    assert names(folder) == ["a.jpg"]
    assert folder.ignored_endings == {".cr2": 2, ".psd": 1, "": 1}


LISTS = {
    "UTF-8 with a mark": "\ufeffé.jpg\r\nsub/b.jpg\r\n".encode(),
    "UTF-16": "é.jpg\r\nsub/b.jpg\r\n".encode("utf-16"),
    "UTF-16, big-endian": "\ufeffé.jpg\r\nsub/b.jpg\r\n".encode("utf-16-be"),
    "UTF-16 without a mark": "a.jpg\r\nsub/b.jpg\r\n".encode("utf-16-le"),
    "UTF-16 with backslashes": "é.jpg\r\nsub\\b.jpg".encode("utf-16"),
    "backslashes": "é.jpg\r\nsub\\b.jpg\r\n".encode(),
    "quotes": 'é.jpg\r\n"sub\\b.jpg"\r\n'.encode(),
    "code page of Western Europe": "é.jpg\r\nsub\\b.jpg\r\n".encode("cp1252"),
    "code page of the terminal": "é.jpg\r\nsub\\b.jpg\r\n".encode("cp850"),
    "NUL after each": "é.jpg\0sub/b.jpg\0".encode(),
    "blanks at the end": "é.jpg  \nsub/b.jpg\t\n\n".encode(),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_programs_name_their_files(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "é.jpg", "a.jpg", "sub/b.jpg")
    (tmp_path / "list.txt").write_bytes(LISTS[name])
    first = "a.jpg" if name.endswith("without a mark") else "é.jpg"
    assert list(read_list(tmp_path / "list.txt")) == [File(first, first), File("sub/b.jpg", "sub/b.jpg")]


def test_what_a_list_means_is_tried_only_where_no_file_has_the_name_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "sub\\b.jpg", "sub/b.jpg", '"q".jpg')
    (tmp_path / "list.txt").write_bytes(b'sub\\b.jpg\n"q".jpg\nC:\\missing.jpg\n')
    assert [file.path for file in read_list(tmp_path / "list.txt")] == ["sub\\b.jpg", '"q".jpg', "C:\\missing.jpg"]


def test_a_list_that_is_not_what_its_mark_says_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfea\0b")
    with pytest.raises(ValueError, match=r"list.txt' is marked as UTF-16 text and is not"):
        list(read_list(tmp_path / "list.txt"))
