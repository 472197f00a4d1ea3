"""Ctrl-C during training: the first saves the model so far, the second ends at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerStatus

from gender_recognizer.interruption import Interruption, end_at_once, raise_if_interrupted


@contextmanager
def stoppable(trainer: Trainer, keep: Callable[[], None]) -> Iterator[Interruption]:
    """Run the block; if Ctrl-C stops it, call `keep`. Another Ctrl-C ends the process at once.

    While what the block gets is patient, the first one is answered after a batch: an error in the callback of a weak
    reference, for instance, is lost.

    Args:
        trainer: one that has the callback `EndAtOnce`.
        keep: saves the model so far.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    with Interruption() as interruption:
        try:
            yield interruption
        except (KeyboardInterrupt, SystemExit) as error:
            # Lightning turns the first Ctrl-C into an exit.
            if isinstance(error, SystemExit) and trainer.state.status != TrainerStatus.INTERRUPTED:
                raise
            keep()
            raise KeyboardInterrupt from None


class EndAtOnce(Callback):
    """Ends a training after the batch in which there was a Ctrl-C, and the process at the next one.

    Lightning would ignore the next one while it shuts down.
    """

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise KeyboardInterrupt if there was a Ctrl-C."""
        raise_if_interrupted()

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Raise KeyboardInterrupt if there was a Ctrl-C."""
        raise_if_interrupted()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Replace the signal's handler."""
        if isinstance(exception, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, end_at_once)
