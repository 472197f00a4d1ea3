"""Where curves and results are logged: TensorBoard, CSV, MLflow, Weights and Biases, or several of these."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.extras import how_to_install
from gender_recognizer.training.figures import RESULTS
from gender_recognizer.training.next_commands import short_path
from gender_recognizer.training.settings import TrainSettings

SHOWN = ("acc", "balanced_acc")
"""Metrics of that table; metrics.json and the other loggers have all."""


class TensorBoardCurves(TensorBoardLogger):
    """Lightning's logger without its chart of the epoch, which would be the first on the page."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log points of curves."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)


def build_loggers(settings: TrainSettings, run_dir: Path) -> list[Logger]:
    """Return the loggers that the settings name.

    Raises:
        ValueError: one is not installed, or refuses its options.
    """
    if not settings.trainer.logger:
        return []
    return [_build(name, options, settings, run_dir) for name, options in settings.logger.named().items()]


def _build(name: str, options: dict[str, Any], settings: TrainSettings, run_dir: Path) -> Logger:
    if name in ("mlflow", "wandb") and importlib.util.find_spec(name) is None:
        raise ValueError(f"logger={name} needs the package {name}: {how_to_install(name)}")
    run = run_dir.relative_to(settings.outputs) if run_dir.is_relative_to(settings.outputs) else run_dir.name
    given = {key: value for key, value in options.items() if value is not None}
    make: dict[str, Callable[..., Logger]] = {
        "tensorboard": lambda: TensorBoardCurves(
            run_dir, name="", version="tensorboard", default_hp_metric=False, **given
        ),
        "csv": lambda: CSVLogger(run_dir, name="", version="csv", **given),
        "mlflow": lambda: MLFlowLogger(**{"run_name": str(run)} | given),
        "wandb": lambda: WandbLogger(**dict[str, Any](name=str(run), save_dir=run_dir, offline=True) | given),
    }
    try:
        return make[name]()
    except TypeError as error:
        raise ValueError(f"logger.{name}: {error}") from None


def log_result(
    settings: TrainSettings, trainer: lightning.Trainer, data: FaceDataModule, metrics: Mapping[str, float]
) -> None:
    """Log the options of a run with the metrics of its best checkpoint."""
    options = describe_options(settings, data)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            wanted = [f"{stage}/{name}" for stage in ("test", "val") for name in SHOWN]
            shown = {f"{RESULTS}/{name.replace('/', '_')}": metrics[name] for name in wanted if name in metrics}
            # The table shows five columns of options, in the order of the alphabet, and results only behind them.
            logger.log_hyperparams({"accuracy": next(iter(shown.values()))} | options, shown)
        else:
            logger.log_hyperparams(options)
            logger.log_metrics({f"best/{name}": value for name, value in metrics.items()}, trainer.global_step)
        logger.save()


def describe_options(settings: TrainSettings, data: FaceDataModule) -> dict[str, Any]:
    """Return the options that runs are compared by: the main ones, and those that are not the default."""
    changes = {} if settings.data.augmentation is None else _changed(settings.data.augmentation)
    augmentation = ", ".join(f"{name}={value}" for name, value in changes.items()) or "default"
    main = {
        "augmentation": "none" if settings.data.augmentation is None else augmentation,
        "data": short_path(data.root),
        "epochs": settings.trainer.max_epochs,
        "lr": settings.classifier.lr,
        "option/data.batch_size": data.batch_size,
        "option/init_from": settings.init_from or "random",
        "option/seed": settings.seed,
    }
    groups = {"model": settings.model, "classifier": _changed(settings.classifier)}
    named = {f"option/{group}.{name}": value for group, options in groups.items() for name, value in options.items()}
    options = main | {name: value for name, value in named.items() if name != "option/classifier.lr"}
    return {name: value if isinstance(value, str | int | float) else str(value) for name, value in options.items()}


def _changed(options: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from its defaults."""
    default = type(options)()
    return {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if getattr(options, field.name) != getattr(default, field.name)
    }
