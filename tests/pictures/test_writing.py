"""Files take their place whole: what was there stays until the new content is complete."""

from pathlib import Path

import pytest

from gender_recognizer.pictures.writing import replace_text, replacing


def test_what_was_there_stays_when_writing_fails(tmp_path):
    page = tmp_path / "report.html"
    page.write_text("the earlier report")
    with pytest.raises(UnicodeEncodeError):
        replace_text(page, "a name that is not UTF-8: \udcff")
    with pytest.raises(KeyboardInterrupt):
        _write_half(page)
    assert page.read_text() == "the earlier report"
    assert list(tmp_path.iterdir()) == [page]


def _write_half(page: Path) -> None:
    with replacing(page, "w") as file:
        file.write("half of the new rep")
        file.flush()
        raise KeyboardInterrupt


def test_text_is_written_as_it_is(tmp_path):
    page = tmp_path / "report.html"
    replace_text(page, "é\r\nb\n\udcff", "backslashreplace")
    assert page.read_bytes() == b"\xc3\xa9\r\nb\n\\udcff"


def test_a_left_over_part_of_a_killed_run_is_in_nobodys_way(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("another's")
    (tmp_path / "page.partial").symlink_to(other)
    replace_text(tmp_path / "page", "new")
    assert (tmp_path / "page").read_text() == "new"
    assert other.read_text() == "another's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.txt", "page"]
