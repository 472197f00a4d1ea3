"""Calibrate a trained checkpoint on pictures that did not train it."""

import logging
from pathlib import Path

import lightning

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.models.calibration import MIN_PICTURES
from gender_recognizer.models.model_file import calibrate_checkpoint

logger = logging.getLogger(__name__)


def calibrate(trainer: lightning.Trainer, data: FaceDataModule, ckpt_path: Path) -> None:
    """Calibrate a checkpoint, in one process."""
    if trainer.is_global_zero:
        fit_scaling(data, ckpt_path)
    trainer.strategy.barrier()


def fit_scaling(data: FaceDataModule, ckpt_path: Path) -> None:
    """Fit the scaling of a checkpoint's logits on the validation part, and write it into the checkpoint.

    What each confidence gives is measured there, too; where that part is small, on the test part as well.
    """
    part, test = data.parts["validation"], data.parts["test"]
    rest = None if len(part) >= MIN_PICTURES or not len(test) else (test.images[test.rows], test.targets)
    info = calibrate_checkpoint(ckpt_path, part.images[part.rows], part.targets, rest)
    logger.info("calibrated on %d validation pictures: temperature %.3f, curvature %.3f", len(part), *info.scaling)
