import os

import pytest

from gender_recognizer.pictures.listing import File, Folder, _sorted, find_images, read_list


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
