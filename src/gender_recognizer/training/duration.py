"""How long training is where the user does not say it."""

import logging
import math
from dataclasses import replace

import lightning

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.training.settings import TrainSettings

logger = logging.getLogger(__name__)

EPOCHS, EPOCHS_FROM_TRAINED = 30, 10
"""Epochs from random weights, and from trained ones."""

LEAST_SEEN = 48_000
"""Pictures that training from random weights sees at least, counting each once an epoch.

Of 1,000 other pictures, 100 women and 100 men of one race group of FairFace (160 of them to train on, the rest to judge
epochs) taught 56.0 % in 30 epochs, as judged by 20 pictures, and 68.0 % at the end of 300 (seed 0)."""

FEW_TO_JUDGE = 100
"""Validation pictures below which training does not end early: their accuracy is mostly luck."""


def choose_duration(settings: TrainSettings, trainer: lightning.Trainer, data: FaceDataModule) -> TrainSettings:
    """Set the number of epochs and the patience of a trainer by the pictures there are, and return settings with them.

    Args:
        settings: of the run; what it names is kept.
        trainer: of the run, before it trains.
        data: after `setup`.
    """
    own = data.root == settings.data.root  # nobody waits for the sample, which only shows how it works
    if (epochs := settings.trainer.max_epochs) is None:
        epochs = EPOCHS if settings.init_from is None else EPOCHS_FROM_TRAINED
        if own and settings.init_from is None:
            epochs = max(epochs, math.ceil(LEAST_SEEN / len(data.parts["train"])))
        if epochs > EPOCHS and trainer.is_global_zero:
            logger.info("%d epochs, for the pictures are few; trainer.max_epochs sets another number", epochs)
        trainer.fit_loop.max_epochs = epochs
    stopping = trainer.early_stopping_callback
    if own and stopping is not None and epochs > EPOCHS and len(data.parts["validation"]) < FEW_TO_JUDGE:
        stopping.patience = max(stopping.patience, epochs)
    return replace(settings, trainer=replace(settings.trainer, max_epochs=epochs))
