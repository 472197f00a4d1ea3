import shlex

import pytest
from conftest import train_settings

from gender_recognizer.cli import read_settings
from gender_recognizer.training.run import TrainResult
from gender_recognizer.training.settings import SearchSettings, TuneSettings
from gender_recognizer.training.tuning import run, tune

optuna = pytest.importorskip("optuna")


class Trainings:
    """Stands for `train`: reports an accuracy for each epoch, the first three times a better one."""

    def __init__(self):
        self.seen = []

    def __call__(self, settings, callbacks):
        from types import SimpleNamespace as Made

        self.seen.append(settings)
        accuracy = 0.9 if len(self.seen) < 4 else 0.1
        for epoch in range(4):
            trainer = Made(state=Made(fn="fit"), sanity_checking=False, current_epoch=epoch)
            trainer.callback_metrics = {"val/acc": accuracy}
            for callback in callbacks:
                callback.on_validation_end(trainer, None)
        return TrainResult(settings.run_dir, settings.run_dir / "best.ckpt", {"val/acc": accuracy})


@pytest.fixture
def settings():
    search = {"classifier.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "data.batch_size": {"choices": [8, 16]}}
    return tune_settings(SearchSettings("study", 3, 2, 1, search | {"model.depth": {"low": 1, "high": 2}}))


def tune_settings(search, *overrides):
    return TuneSettings(**vars(train_settings(*overrides)), tune=search)


def test_a_study_goes_on_and_prunes_what_is_worse_than_the_median(tmp_path, monkeypatch, settings):
    monkeypatch.setattr("gender_recognizer.training.tuning.train", trainings := Trainings())
    assert len(tune(settings, tmp_path / "study").trials) == 3
    assert len(tune(settings, tmp_path / "study").trials) == 3
    settings.tune.num_trials = 5
    study = tune(settings, tmp_path / "study")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["PRUNED"] * 2
    assert len(trainings.seen) == 5
    for trial, seen in zip(study.trials, trainings.seen, strict=True):
        assert 1e-4 <= seen.classifier.lr == trial.params["classifier.lr"] <= 1e-2
        assert seen.data.batch_size in (8, 16)
        assert seen.model["depth"] in (1, 2)
        assert seen.run_dir == tmp_path / "study" / str(trial.number)
    assert settings.classifier.lr is None


def test_the_best_options_are_printed_and_all_are_in_a_table(tmp_path, monkeypatch, settings, capsys):
    monkeypatch.setattr("gender_recognizer.training.tuning.train", Trainings())
    settings.outputs = tmp_path
    settings.typed = ["data.root=my pictures", "classifier.lr=0.5", "tune.num_trials=3", "+trainer.max_epochs=1"]
    assert run(settings) == 0
    out = capsys.readouterr().out
    assert "best val/acc 0.9000, trial 0 of 3" in out
    typed = shlex.split(out.splitlines()[-1])
    assert typed[:4] == ["gender-recognizer", "train", "data.root=my pictures", "+trainer.max_epochs=1"]
    assert [option.partition("=")[0] for option in typed[4:]] == ["classifier.lr", "data.batch_size", "model.depth"]
    assert read_settings("train", typed[2:]).classifier.lr < 0.1
    assert len((tmp_path / "tune_study/trials.csv").read_text().splitlines()) == 4


@pytest.mark.usefixtures("light_training")
def test_a_real_trial_is_stopped_in_the_middle_of_training(tmp_path, colour_data, cache_dir, monkeypatch):
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: True)
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=3"]
    settings = tune_settings(SearchSettings("study", 1, 2, 1, {"model.depth": {"low": 1, "high": 2}}), *options)
    study = tune(settings, tmp_path / "study")
    assert study.trials[0].state.name == "PRUNED"
    assert list(study.trials[0].intermediate_values) == [0]
    assert not (tmp_path / "study/0/metrics.json").exists()


@pytest.mark.parametrize(
    ("option", "space", "message"),
    [
        ("classifier.rate", {"low": 0.1, "high": 1.0}, "names 'classifier.rate', which is not an option"),
        ("seed.low", {"low": 1, "high": 2}, "names 'seed.low', which is not an option"),
        ("classifier.lr", {"low": 0.1}, r"tune.search.classifier.lr is .*; expected choices, or low and high"),
    ],
)
def test_mistakes_in_the_search_are_named(tmp_path, settings, option, space, message):
    settings.tune.search = {option: space}
    with pytest.raises(ValueError, match=message):
        tune(settings, tmp_path)
