"""Ctrl-C during training: the first saves the model so far, the second ends at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerStatus

from gender_recognizer.labelling.interruption import Interruption, end_at_once


@contextmanager
def stoppable(trainer: Trainer, keep: Callable[[], None]) -> Iterator[None]:
    """Run the block; if Ctrl-C stops it, call `keep`. Another Ctrl-C ends the process at once.

    Args:
        trainer: one that has the callback `EndAtOnce`.
        keep: saves the model so far.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    with Interruption():
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:
            # Lightning turns the first Ctrl-C into an exit.
            if isinstance(error, SystemExit) and trainer.state.status != TrainerStatus.INTERRUPTED:
                raise
            keep()
            raise KeyboardInterrupt from None


class EndAtOnce(Callback):
    """From the first Ctrl-C on, the next one ends the process, which Lightning would ignore while it shuts down."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Replace the signal's handler."""
        if isinstance(exception, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, end_at_once)
