"""The group `logger`."""

import csv
import importlib.util

import pytest
from conftest import train_settings
from lightning.pytorch.loggers import TensorBoardLogger

from gender_recognizer.training.loggers import build_loggers
from gender_recognizer.training.run import train


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ([], ["TensorBoardCurves"]),
        (["logger=csv"], ["CSVLogger"]),
        (["logger=[tensorboard,csv]"], ["TensorBoardCurves", "CSVLogger"]),
        (["logger=[]"], []),
        (["trainer.logger=false"], []),
    ],
)
def test_loggers_are_those_that_are_named(tmp_path, typed, names):
    loggers = build_loggers(train_settings(*typed), tmp_path)
    assert [type(logger).__name__ for logger in loggers] == names


def test_settings_without_a_configuration_log_to_tensorboard(tmp_path):
    from gender_recognizer.training.settings import TrainSettings

    (logger,) = build_loggers(TrainSettings(), tmp_path)
    assert isinstance(logger, TensorBoardLogger)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_what_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == name else find(package))
    with pytest.raises(
        ValueError, match=rf"logger={name} needs the package {name}: (uv )?pip install -e '\.\[{name}\]'"
    ):
        build_loggers(train_settings(f"logger={name}"), tmp_path)


def test_loggers_stay_local_unless_told_otherwise(tmp_path):
    assert train_settings("logger=wandb").logger.wandb["offline"] is True
    uri = train_settings("logger=mlflow", f"outputs={tmp_path}").logger.mlflow["tracking_uri"]
    assert uri == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("logger=tensorbord", "logger is 'tensorbord'; there are csv, mlflow, tensorboard, wandb"),
        ("+logger.csv.colour=red", r"logger.csv: .*colour"),
        ("logger.tensorboard.colour=red", "unknown option 'logger.tensorboard.colour'"),
    ],
)
def test_mistakes_are_named(tmp_path, typed, message):
    with pytest.raises(ValueError, match=message):
        build_loggers(train_settings(typed), tmp_path)


@pytest.mark.usefixtures("light_training")
@pytest.mark.parametrize("names", ["csv", "[]"])
def test_without_tensorboard_nothing_of_it_is_needed(tmp_path, colour_data, cache_dir, names):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"outputs={tmp_path}"]
    result = train(train_settings(*options, f"+run_dir={tmp_path}/run", "trainer.max_epochs=2", f"logger={names}"))
    assert not (tmp_path / "run/tensorboard").exists()
    table = tmp_path / "run/csv/metrics.csv"
    assert table.exists() == (names == "csv")
    if table.exists():
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len([row for row in rows if row["val/acc"]]) == 2
        assert float(rows[-1]["best/test/acc"]) == pytest.approx(result.metrics["test/acc"])


@pytest.mark.usefixtures("light_training")
@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_run_is_logged_without_a_network(tmp_path, colour_data, cache_dir, name):
    pytest.importorskip(name)
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"outputs={tmp_path}", f"logger={name}"]
    train(train_settings(*options, f"+run_dir={tmp_path}/run", "trainer.max_epochs=2"))
    assert (tmp_path / "mlflow.db").exists() if name == "mlflow" else list(tmp_path.glob("run/wandb/offline-run-*"))
