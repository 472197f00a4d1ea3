"""A search for good training options with Optuna: unpromising trials are stopped early, and the same call continues."""

import copy
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import optuna
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from gender_recognizer.training.next_commands import command_line, without_options
from gender_recognizer.training.run import train
from gender_recognizer.training.settings import SearchSettings, TrainSettings, TuneSettings

logger = logging.getLogger(__name__)


class Pruning(Callback):
    """Stop a trial whose validation accuracy is below the median of the trials before it at the same epoch."""

    def __init__(self, trial: optuna.Trial) -> None:
        """Remember the trial."""
        self.trial = trial

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the epoch; raises `optuna.TrialPruned` to stop."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.trial.report(float(trainer.callback_metrics["val/acc"]), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def run(settings: TuneSettings) -> int:
    """Search, save the table of trials, print the best options, and return the exit code 0.

    Raises:
        ValueError: as `tune`.
    """
    folder = settings.run_dir or settings.outputs / f"tune_{settings.tune.name}"
    study = tune(settings, folder)
    study.trials_dataframe(("number", "state", "value", "params")).to_csv(folder / "trials.csv", index=False)
    best = study.best_trial
    print(f"best val/acc {best.value:.4f}, trial {best.number} of {len(study.trials)}, all in {folder}/trials.csv:")
    own = without_options(settings.typed, ("tune", *best.params))
    print(command_line("train", *own, *(f"{option}={value}" for option, value in best.params.items())))
    return 0


def tune(settings: TuneSettings, folder: Path) -> optuna.Study:
    """Continue the study in a folder until it has the wanted number of finished trials, and return it.

    Raises:
        ValueError: Optuna is not installed, or the search does not fit the options of training.
    """
    study = open_study(settings.tune, folder)

    def objective(trial: optuna.Trial) -> float:
        run_dir = folder / str(trial.number)
        run_dir.mkdir()
        return train(suggest(trial, settings, run_dir), [Pruning(trial)]).metrics["val/acc"]

    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    finished = len(study.get_trials(states=done))
    logger.info("%d of %d trials are finished: %s", finished, settings.tune.num_trials, folder)
    study.optimize(objective, n_trials=max(0, settings.tune.num_trials - finished))
    return study


def open_study(settings: SearchSettings, folder: Path) -> optuna.Study:
    """Return the study in a folder, or a new one if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=f"sqlite:///{folder.absolute() / 'study.db'}",
        study_name="study",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner(settings.pruning_starts_after, settings.pruning_from_epoch),
    )


def suggest(trial: optuna.Trial, settings: TuneSettings, run_dir: Path) -> TrainSettings:
    """Return the settings of training with the values that Optuna chooses for a trial.

    Raises:
        ValueError: an option is unknown, or its range is invalid.
    """
    options: dict[str, Any] = {
        field.name: copy.deepcopy(getattr(settings, field.name)) for field in fields(TrainSettings)
    }
    for option, space in settings.tune.search.items():
        *groups, name = option.split(".")
        place = options
        for group in groups:
            place = _options_of(place.get(group))
        if name not in place:
            raise ValueError(f"tune.search names '{option}', which is not an option of train.py")
        place[name] = _draw(trial, option, space)
    for name in ("data", "classifier"):
        options[name] = replace(options[name])  # which checks them again
    return TrainSettings(**options | {"run_dir": run_dir})


def _options_of(group: Any) -> dict[str, Any]:
    """Return the options of a group for reading and writing: the dictionary itself, or the attributes of an object."""
    return group if isinstance(group, dict) else getattr(group, "__dict__", {})


def _draw(trial: optuna.Trial, option: str, space: dict[str, Any]) -> Any:
    """Return the value of an option; whole numbers are drawn where `low` is one."""
    try:
        if "choices" in space:
            return trial.suggest_categorical(option, space["choices"])
        draw = trial.suggest_int if isinstance(space["low"], int) else trial.suggest_float
        return draw(option, **space)
    except (KeyError, TypeError):
        raise ValueError(f"tune.search.{option} is {space}; expected choices, or low and high") from None
