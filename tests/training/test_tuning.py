import pytest
from conftest import train_settings

optuna = pytest.importorskip("optuna")


class Trainings:
    """Stands for `train`: reports an accuracy for each epoch, the better the nearer the rate is to 1e-3."""

    def __init__(self):
        self.seen = []

    def __call__(self, settings, run_dir, callbacks):
        from types import SimpleNamespace as Made

        self.seen.append(settings)
        accuracy = 0.9 if len(self.seen) < 4 else 0.1
        for epoch in range(4):
            trainer = Made(state=Made(fn="fit"), sanity_checking=False, current_epoch=epoch)
            trainer.callback_metrics = {"val/acc": accuracy}
            for callback in callbacks:
                callback.on_validation_end(trainer, None)
        return accuracy


@pytest.fixture
def settings():
    tuning = {"num_trials": 3, "pruning_starts_after": 2, "pruning_from_epoch": 1}
    search = {"classifier.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "data.batch_size": {"choices": [8, 16]}}
    return train_settings() | {"tune": tuning | {"search": search | {"model.depth": {"low": 1, "high": 2}}}}


def test_a_study_goes_on_and_prunes_what_is_worse_than_the_median(tmp_path, monkeypatch, settings):
    import tune

    monkeypatch.setattr(tune, "train", trainings := Trainings())
    assert len(tune.tune(settings, tmp_path / "study").trials) == 3
    assert len(tune.tune(settings, tmp_path / "study").trials) == 3
    settings["tune"]["num_trials"] = 5
    study = tune.tune(settings, tmp_path / "study")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3 + ["PRUNED"] * 2
    assert len(trainings.seen) == 5
    for trial, seen in zip(study.trials, trainings.seen, strict=True):
        assert 1e-4 <= seen["classifier"]["lr"] == trial.params["classifier.lr"] <= 1e-2
        assert seen["data"]["batch_size"] in (8, 16)
        assert seen["model"]["depth"] in (1, 2)
    assert settings["classifier"]["lr"] == 2e-3


def test_a_real_trial_is_stopped_in_the_middle_of_training(tmp_path, colour_data, cache_dir, monkeypatch, settings):
    import tune

    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: True)
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=3"]
    settings = train_settings(*options) | {"tune": settings["tune"] | {"num_trials": 1}}
    study = tune.tune(settings, tmp_path / "study")
    assert study.trials[0].state.name == "PRUNED"
    assert list(study.trials[0].intermediate_values) == [0]
    assert not (tmp_path / "study/0/metrics.json").exists()


@pytest.mark.parametrize(
    ("option", "space", "message"),
    [
        ("classifier.rate", {"low": 0.1, "high": 1.0}, "names 'classifier.rate', which is no option"),
        ("classifier.lr", {"low": 0.1}, r"tune.search.classifier.lr is .*; expected choices, or low and high"),
    ],
)
def test_mistakes_in_the_search_are_named(tmp_path, settings, option, space, message):
    import tune

    settings["tune"]["search"] = {option: space}
    with pytest.raises(ValueError, match=message):
        tune.tune(settings, tmp_path)
