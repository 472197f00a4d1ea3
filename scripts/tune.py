"""Search for good training options with Optuna: unpromising trials are stopped early, and the same call goes on.

    python scripts/tune.py data.root=folder-with-female-and-male tune.num_trials=30

Trains once for each trial below outputs/tune_NAME/, where study.db keeps what was found; all options of train.py work.
"""

import copy
import logging
from pathlib import Path
from typing import Any

import hydra
import lightning
from command import fail, register_resolvers
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from train import MISTAKES, HydraConfig, keep_freed_memory, read_settings, train

try:
    import optuna
except ImportError:
    optuna = None

logger = logging.getLogger("tune")


class Pruning(Callback):
    """Stop a trial whose validation accuracy is below the median of the trials before it at the same epoch."""

    def __init__(self, trial: "optuna.Trial") -> None:
        """Remember the trial."""
        self.trial = trial

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the epoch; raises `optuna.TrialPruned` to stop."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.trial.report(float(trainer.callback_metrics["val/acc"]), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def suggest(trial: "optuna.Trial", settings: dict[str, Any], search: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the settings with the values that Optuna chooses for a trial.

    Args:
        trial: the trial.
        settings: of `train.py`.
        search: by option, such as `classifier.lr`, either `choices` or `low`, `high` and perhaps `log` and `step`;
            whole numbers are drawn where `low` is one.

    Raises:
        ValueError: an option is unknown, or its range makes no sense.
    """
    settings = copy.deepcopy(settings)
    for option, space in search.items():
        *groups, name = option.split(".")
        place = settings
        for group in groups:
            place = place.get(group, {})
        if name not in place:
            raise ValueError(f"tune.search names '{option}', which is no option of train.py")
        try:
            if "choices" in space:
                place[name] = trial.suggest_categorical(option, space["choices"])
            else:
                draw = trial.suggest_int if isinstance(space["low"], int) else trial.suggest_float
                place[name] = draw(option, **space)
        except (KeyError, TypeError):
            raise ValueError(f"tune.search.{option} is {space}; expected choices, or low and high") from None
    return settings


def tune(settings: dict[str, Any], folder: Path) -> "optuna.Study":
    """Go on with the study in a folder until it has the wanted number of finished trials, and return it."""
    if optuna is None:
        raise ValueError("tuning needs the extra tune: uv sync --extra tune, or pip install optuna")
    options = settings["tune"]
    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder.absolute() / 'study.db'}",
        study_name="study",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner(options["pruning_starts_after"], options["pruning_from_epoch"]),
    )

    def objective(trial: "optuna.Trial") -> float:
        run_dir = folder / str(trial.number)
        run_dir.mkdir()
        return train(suggest(trial, settings, options["search"]), run_dir, [Pruning(trial)])

    finished = len(study.get_trials(states=done))
    logger.info("%d of %d trials are finished: %s", finished, options["num_trials"], folder)
    study.optimize(objective, n_trials=max(0, options["num_trials"] - finished))
    return study


@hydra.main(version_base="1.3", config_path="../configs", config_name="tune")
def main(cfg: DictConfig) -> None:
    """Tune, save the table of trials and print the best options."""
    try:
        folder = Path(HydraConfig.get().runtime.output_dir)
        study = tune(read_settings(cfg, HydraConfig.get().overrides.task), folder)
        study.trials_dataframe(("number", "state", "value", "params")).to_csv(folder / "trials.csv", index=False)
        best = study.best_trial
        print(f"best val/acc {best.value:.4f}, trial {best.number} of {len(study.trials)}, all in {folder}/trials.csv:")
        print("python scripts/train.py", *(f"{option}={value}" for option, value in best.params.items()))
    except MISTAKES as error:
        fail(error)


if __name__ == "__main__":
    register_resolvers()
    keep_freed_memory()
    main()
