"""Runs that go on: what must be as it was, and what may have moved."""

import json
import shutil

import pytest
from conftest import make_colour_data, save_picture, train_settings

from gender_recognizer.training.run import train

OPTIONS = ["trainer.max_epochs=2", "data.split_fractions=[0.5,0.25,0.25]"]

pytestmark = pytest.mark.usefixtures("light_training")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder with data/ and outputs/run, a run of two epochs; look, do not touch."""
    folder = tmp_path_factory.mktemp("finished")
    make_colour_data(folder / "data", count=12, wrong=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gender_recognizer.training.run.export", lambda *_: None)
        train(settings(folder, f"+run_dir={folder}/outputs/run"))
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """Return a copy of `finished`, whose run thinks that its pictures are where they were."""
    return shutil.copytree(finished, tmp_path / "copy")


def settings(folder, *options):
    paths = [f"data.root={folder}/data", f"data.cache_dir={folder}/cache", f"outputs={folder}/outputs"]
    return train_settings(*paths, *OPTIONS, *options)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_goes_on_to_the_same_metrics(finished, tmp_path):
    run_dir = shutil.copytree(finished / "outputs/run", tmp_path / "outputs/run")
    before = json.loads((run_dir / "metrics.json").read_text())
    result = train(settings(finished, f"outputs={tmp_path}/outputs", "ckpt_path=last"))
    assert result.run_dir == run_dir
    assert result.metrics == pytest.approx(before, abs=1e-6)
    assert result.checkpoint.parent == run_dir / "checkpoints"  # its own, not the original's


def test_a_run_and_its_pictures_may_move(folder, finished, tmp_path):
    moved = folder.rename(tmp_path / "moved")
    split = (moved / "outputs/run/split.csv").read_text().replace(str(finished), "/gone")  # as on another machine
    (moved / "outputs/run/split.csv").write_text(split)
    result = train(settings(moved, "ckpt_path=last"))
    assert result.checkpoint.parent == moved / "outputs/run/checkpoints"
    assert (moved / "outputs/run/split.csv").read_text() == split


def refused(folder, message, *options):
    before = contents(folder / "outputs/run")
    with pytest.raises(ValueError, match=message) as error:
        train(settings(folder, "ckpt_path=last", *options))
    assert "\n" not in str(error.value)
    return contents(folder / "outputs/run") == before


def test_pictures_in_another_folder_are_refused(folder, finished):
    assert refused(folder, f"began with data.root={finished}/data, not {folder}/data; continue with that")


def test_forgotten_and_other_test_pictures_are_refused(folder, finished):
    options = [f"data.root={finished}/data", f"data.test_root={folder}/data"]
    assert refused(folder, f"began with data.test_root=null, not {folder}/data", *options)


@pytest.mark.parametrize("change", ["come", "gone"])
def test_pictures_that_have_come_or_gone_are_refused(tmp_path, change):
    make_colour_data(tmp_path / "data", count=12, wrong=0)
    train(settings(tmp_path, f"+run_dir={tmp_path}/outputs/run"))
    if change == "come":
        save_picture(tmp_path / "data/female/new.png", (9, 99, 9), 5)
    else:
        (tmp_path / "data/female/red_003.png").unlink()
    counts = "1 pictures were added and 0 removed" if change == "come" else "0 pictures were added and 1 removed"
    assert refused(tmp_path, f"{counts}, the first '.*'; start a new run from its weights: init_from=.*model_state")


@pytest.mark.parametrize("option", ["data.split_seed=5", "data.split_fractions=[0.25,0.5,0.25]"])
def test_another_split_is_refused(folder, finished, option):
    message = "was in the .* part of the run .* and would be in the .* part; continue with the same data.split"
    assert refused(folder, message, f"data.root={finished}/data", option)


def test_another_network_and_other_classes_are_refused(folder, finished):
    root = f"data.root={finished}/data"
    assert refused(folder, "is a .* for .*; continue with the same options", root, "model.widths=[4]")
    assert refused(folder, "is a .* for .*; continue with the same options", root, "data.classes=[male,female]")


@pytest.mark.parametrize("option", ["trainer.max_epochs=5", "data.batch_size=4"])
def test_a_schedule_of_another_length_is_refused(folder, finished, option):
    message = (
        "learning rate was planned for .* steps, and these options make .*; continue with the same trainer.max_epochs"
    )
    refused(folder, message, f"data.root={finished}/data", option)


def test_models_to_label_with_have_nothing_to_go_on_from(folder, finished):
    from gender_recognizer.models.model_file import best_checkpoint, load_classifier, save_checkpoint

    run_dir = folder / "outputs/run"
    save_checkpoint(*load_classifier(best_checkpoint(run_dir)), run_dir / "checkpoints/small.ckpt")
    message = "small.ckpt' is a model without the state of its training; use init_from"
    assert refused(folder, message, f"data.root={finished}/data", f"ckpt_path={run_dir}/checkpoints/small.ckpt")
    assert refused(folder, "ckpt_path '.*nobody.ckpt' does not exist", f"ckpt_path={run_dir}/checkpoints/nobody.ckpt")
