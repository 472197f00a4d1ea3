"""Lightning's trainer as every run uses it: checkpoints, callbacks, precision, settings for quiet and speed."""

import ctypes
import logging
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich import get_console
from torch import Tensor
from torch.optim.swa_utils import get_ema_avg_fn

from gender_recognizer.training.callbacks import SameSchedule, SeedEachStep, Speed, TensorBoardPictures
from gender_recognizer.training.duration import EPOCHS
from gender_recognizer.training.epoch_results import EpochResults
from gender_recognizer.training.interruption import EndAtOnce
from gender_recognizer.training.loggers import build_loggers
from gender_recognizer.training.screen import EpochBar
from gender_recognizer.training.settings import TrainSettings
from gender_recognizer.training.trainer_settings import TrainerSettings

MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3  # malloc.h


MANY_PICTURES = 1000
"""Validation pictures from which on the best accuracy is taken as it is."""


class BestCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the best validation accuracy, also in a run folder that was moved.

    Of few validation pictures the best accuracy is mostly luck: 20 pictures chose epochs with 62.5, 63.5, 61.4 and 62.5
    % of 1,000 others right, of runs whose last epochs had 64.3, 65.3, 66.6 and 65.3 %. There the latest epoch counts
    that is no farther from the best than luck explains: the best of n equally good epochs is expected to lie up to
    sqrt(2 ln n) standard errors above them (Boucheron, Lugosi and Massart, "Concentration Inequalities", 2013, section
    2.5), and one standard error is always granted (Breiman et al., "Classification and Regression Trees", 1984, section
    3.4.3).
    """

    top = 0.0
    """Best accuracy so far."""

    def __init__(self, folder: Path) -> None:
        """Keep it in a folder."""
        super().__init__(
            folder,
            filename="model_state-epoch-{epoch:02d}-val_acc-{val/acc:.4f}",
            auto_insert_metric_name=False,
            monitor="val/acc",
            mode="max",
        )

    def check_monitor_top_k(self, trainer: lightning.Trainer, current: Tensor | None = None) -> bool:
        """Return whether an epoch with this accuracy replaces the one that is kept."""
        if current is None or not self.best_k_models:
            return super().check_monitor_top_k(trainer, current)
        self.top = max(self.top, float(current), *(float(score) for score in self.best_k_models.values()))
        parts = getattr(getattr(trainer, "datamodule", None), "parts", {})
        count = len(parts["validation"]) if parts else MANY_PICTURES
        if count >= MANY_PICTURES:
            return super().check_monitor_top_k(trainer, current)
        standard_error = math.sqrt(self.top * (1 - self.top) / count)
        luck = max(1.0, math.sqrt(2 * math.log(trainer.current_epoch + 1)))
        return float(current) >= self.top - luck * standard_error

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return super().state_dict() | {"top": self.top}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a checkpoint, replacing the paths of the folder that the run was in."""
        state_dict = dict(state_dict)
        self.top = state_dict.pop("top", 0.0)
        here = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(here / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        state = state_dict | {"dirpath": self.dirpath} | {name: moved(state_dict[name]) for name in paths}
        state["best_k_models"] = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state)


def build_trainer(
    settings: TrainSettings, run_dir: Path, callbacks: Sequence[Callback] = (), steps: int | None = None
) -> lightning.Trainer:
    """Return the trainer of a run.

    Args:
        settings: of the run.
        run_dir: its folder.
        callbacks: in addition to those that every run has.
        steps: those of the whole schedule of the run that this one resumes, if any.

    Raises:
        ValueError: Lightning refuses an option of `trainer`.
    """
    # `save_last` would write only when a best checkpoint is: a resumed run would lose all epochs since.
    last = ModelCheckpoint(run_dir / "checkpoints", filename="last", enable_version_counter=False)
    best, speed = BestCheckpoint(run_dir / "checkpoints"), Speed()
    schedule = [] if steps is None else [SameSchedule(steps)]
    try:
        loggers = build_loggers(settings, run_dir)
        own = [speed, *build_callbacks(settings, loggers, speed), *schedule, *callbacks]
        return lightning.Trainer(
            **trainer_arguments(settings.trainer),
            callbacks=[best, last, *own, EpochResults(run_dir, speed, best)],
            logger=loggers,
            default_root_dir=run_dir,
        )
    except (TypeError, MisconfigurationException) as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from None


def build_callbacks(settings: TrainSettings, loggers: Sequence[Logger], speed: Speed) -> list[Callback]:
    """Return the callbacks other than those for checkpoints and the results of epochs."""
    callbacks = [
        EarlyStopping("val/acc", mode="max", patience=settings.early_stopping_patience),
        SeedEachStep(settings.seed),
        TensorBoardPictures(),
        EndAtOnce(),
    ]
    if loggers:
        callbacks.append(LearningRateMonitor("step"))
    if settings.trainer.enable_progress_bar is not False:
        callbacks.append(EpochBar(get_console(), speed))
    if settings.ema_decay is not None:
        callbacks.append(WeightAveraging(avg_fn=get_ema_avg_fn(settings.ema_decay)))
    return callbacks


def trainer_arguments(settings: TrainerSettings) -> dict[str, Any]:
    """Return the trainer's arguments, with `precision: auto` resolved: bf16 where the processor computes in it."""
    options = {name: value for name, value in vars(settings).items() if name != "logger"}
    options["max_epochs"] = settings.max_epochs or EPOCHS  # `duration` chooses it when the pictures are known
    if settings.precision != "auto":
        return options
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities()
        fast = features.get("avx512_bf16") or features.get("amx_bf16")
    return options | {"precision": "bf16-mixed" if fast else "32-true"}


def quiet_lightning() -> None:
    """Silence Lightning's advice that does not fit here.

    The loader reads from memory, small sets have few batches, the metrics have been gathered before they are logged,
    and a resumed run finds its folder filled, perhaps in another place.
    """
    advice = (
        "does not have many workers|number of training batches|LeafSpec|recommended to use `self.log|"
        "exists and is not empty|dirpath has changed"
    )
    warnings.filterwarnings("ignore", message=rf".*({advice})")
    for name in ("lightning.pytorch", "onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.WARNING)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: giving back the buffers of every step costs a tenth of the time on a CPU.

    Measured by `scripts/benchmark.py training`; other C libraries are left as they are.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        libc.mallopt(MALLOPT_MMAP_THRESHOLD, 2**25)  # the largest that glibc accepts
        libc.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)
