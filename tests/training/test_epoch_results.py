"""results.csv and results.png of a run."""

import csv

import pytest
from conftest import train_settings
from PIL import Image
from test_interruption import Interrupt

from gender_recognizer.training.figures import curves_figure
from gender_recognizer.training.run import train


def read(run_dir):
    with (run_dir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_epoch_has_a_row_with_its_metrics_and_there_are_curves(colour_runs):
    run_dir = colour_runs["female", "male"]
    rows = read(run_dir)
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 7)]
    for row in rows:
        for name in ("train/loss", "val/loss", "train/acc", "val/acc", "val/balanced_acc", "val/acc_female"):
            assert float(row[name]) >= 0
    best = max(rows, key=lambda row: float(row["val/acc"]))  # the first of equal ones
    assert [row["epoch"] for row in rows if row["best"] == "True"][-1] == best["epoch"]
    (checkpoint,) = (run_dir / "checkpoints").glob("model_state-*")
    kept = [row["epoch"] for row in rows if row["kept"] == "True"][-1]
    assert f"epoch-{int(kept) - 1:02}" in checkpoint.name
    with Image.open(run_dir / "results.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.usefixtures("light_training")
def test_a_run_that_was_stopped_has_its_epochs_and_goes_on_with_them(tmp_path, colour_data, cache_dir):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=4", f"outputs={tmp_path}"]
    with pytest.raises(KeyboardInterrupt):
        train(train_settings(*options, f"+run_dir={tmp_path}/run"), [Interrupt(epoch=2)])
    before = read(tmp_path / "run")
    assert [row["epoch"] for row in before] == ["1", "2"]
    assert (tmp_path / "run/results.png").is_file()
    train(train_settings(*options, f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"))
    after = read(tmp_path / "run")
    assert [row["epoch"] for row in after] == ["1", "2", "3", "4"]
    assert [row["val/loss"] for row in after[:2]] == [row["val/loss"] for row in before]


@pytest.mark.usefixtures("light_training")
def test_a_damaged_table_of_a_resumed_run_is_begun_anew(tmp_path, colour_data, cache_dir):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=3", f"outputs={tmp_path}"]
    with pytest.raises(KeyboardInterrupt):
        train(train_settings(*options, f"+run_dir={tmp_path}/run"), [Interrupt(epoch=2)])
    (tmp_path / "run/results.csv").write_text("epoch,val/acc,best,kept\none,two,three,four\n")
    train(train_settings(*options, f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"))
    assert [row["epoch"] for row in read(tmp_path / "run")] == ["3"]


@pytest.mark.usefixtures("light_training")
def test_epochs_without_validation_have_no_stale_metrics(tmp_path, colour_data, cache_dir):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=4", f"outputs={tmp_path}"]
    train(train_settings(*options, f"+run_dir={tmp_path}/run", "trainer.check_val_every_n_epoch=2"))
    assert [bool(row["val/acc"]) for row in read(tmp_path / "run")] == [False, True, False, True]


def test_curves_have_gaps_where_there_are_no_values():
    rows = [
        {"epoch": 1, "train/loss": 0.5, "kept": False},
        {"epoch": 2, "train/loss": 0.4, "val/loss": 0.6, "kept": True},
    ]
    figure = curves_figure(rows)
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]
    assert "epoch that is kept, 2" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
