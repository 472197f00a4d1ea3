"""Which weights a run leaves that began with trained ones: those of an epoch, or those that it began with."""

import logging
import math
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.models.comparing import mcnemar
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.training.trainer import MANY_PICTURES
from gender_recognizer.training.verdict import predict_labels

logger = logging.getLogger(__name__)

START = "model_state-start"
"""How the name of the checkpoint begins that holds the weights from before the first step."""


class SaveStart(Callback):
    """Save the weights from before the first step, which a resumed run finds again."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder of the checkpoints."""
        self.folder = folder

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save them."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.folder / f"{START}.ckpt", weights_only=True)


def choose_weights(trainer: lightning.Trainer, data: FaceDataModule, kept: Path) -> Path:
    """Return the checkpoint that a run leaves; that of the weights it began with, if the epoch is clearly worse.

    Worse means fewer validation pictures right, and where these are few, fewer by over one standard error: if one model
    alone is right on b of them and the other alone on c, that of b - c is sqrt(b + c). Asking the epoch to be clearly
    better would be too much of few: 42 pictures that raised 300 others from 25.0 to 41.0 % had 5 of 18 right, not 6.

    Args:
        trainer: of the run.
        data: after `setup`.
        kept: checkpoint of the epoch that was kept.
    """
    chosen = kept
    start = next(kept.parent.glob(f"{START}*.ckpt"), None)
    if trainer.is_global_zero and start is not None:
        chosen = _better(kept, start, data, str(trainer.strategy.root_device))
    return Path(trainer.strategy.broadcast(str(chosen)))


def _better(kept: Path, start: Path, data: FaceDataModule, device: str) -> Path:
    targets = data.parts["validation"].targets
    tuned, untuned = (predict_labels(load_predictor(path, device), data, "validation") for path in (kept, start))
    gained, lost, _ = mcnemar(tuned, untuned, targets)
    if lost - gained <= (0 if len(targets) >= MANY_PICTURES else math.sqrt(gained + lost)):
        start.unlink()
        return kept
    logger.info(
        "training made the model worse: of %d validation pictures only the new one is right on %d, only that which "
        "training began with on %d; the latter is kept, and the last epoch in last.ckpt",
        len(targets), gained, lost,
    )  # fmt: skip
    return start.replace(start.with_name(f"{START}-val_acc-{(untuned == targets).mean():.4f}.ckpt"))
