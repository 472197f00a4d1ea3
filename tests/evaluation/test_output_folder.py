"""Folders of reports whose work ends early."""

import pytest
from evaluating import SAMPLE
from PIL import Image

from gender_recognizer.checks import run as checking
from gender_recognizer.cli import main
from gender_recognizer.evaluation.output_folder import making


def stop(*_):
    raise KeyboardInterrupt


def test_a_report_of_pictures_without_a_face_leaves_no_folder(tmp_path, capsys):
    for name in ("female", "male"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("RGB", (90, 90), "green").save(tmp_path / "in" / name / "a.png")
    options = [f"data.root={tmp_path}/in", f"outputs={tmp_path}/out", f"data.cache_dir={tmp_path}/cache"]
    assert main("evaluate", options) == 2
    assert "no face was found in any of the 2 pictures" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_check_that_is_stopped_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "near_copies", stop)
    assert main("check", [f"data.root={SAMPLE}", f"outputs={tmp_path}/out", f"data.cache_dir={tmp_path}/cache"]) == 130
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("is_new", [True, False])
def test_a_folder_that_is_not_empty_or_not_new_stays(tmp_path, is_new):
    def fail():
        with making(tmp_path / "out"):
            if is_new:
                (tmp_path / "out" / "a.txt").write_text("a")
            stop()

    if not is_new:
        (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "out").is_dir()
