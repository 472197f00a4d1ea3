"""The commands `train` and `tune`: they say at once what they do, for importing torch and lightning takes seconds."""

import logging

from gender_recognizer.training.settings import TrainSettings, TuneSettings

logger = logging.getLogger(__name__)


def run(settings: TrainSettings) -> int:
    """Train, show the result and what to do next, and return the exit code 0.

    Raises:
        ValueError: as `training.run.train`.
        KeyboardInterrupt: as `training.run.train`.
    """
    logger.info("loading torch and lightning")
    from gender_recognizer.training.run import run

    return run(settings)


def best_accuracy(settings: TrainSettings) -> float:
    """Train and return the validation accuracy of the best checkpoint, which a sweep compares.

    Raises:
        ValueError: as `training.run.train`.
        KeyboardInterrupt: as `training.run.train`.
    """
    from gender_recognizer.training.run import best_accuracy

    return best_accuracy(settings)


def search(settings: TuneSettings) -> int:
    """Search for good options, print the best, and return the exit code 0.

    Raises:
        ValueError: as `training.tuning.run`.
        KeyboardInterrupt: as `training.run.train`.
    """
    logger.info("loading torch and lightning")
    from gender_recognizer.training.tuning import run

    return run(settings)
