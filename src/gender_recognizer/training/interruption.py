"""Ctrl-C during training: the first saves the model so far, the second ends at once."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerStatus

STOPPED = 130
"""Exit code of a command that Ctrl-C ended: 128 and the number of the signal."""


@contextmanager
def stoppable(trainer: Trainer, keep: Callable[[], None]) -> Iterator[None]:
    """Run the block; if Ctrl-C stops it, call `keep`. Another Ctrl-C ends the process at once.

    Args:
        trainer: one that has the callback `EndAtOnce`.
        keep: saves the model so far.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped it.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning turns the first Ctrl-C into an exit.
        if isinstance(error, SystemExit) and trainer.state.status != TrainerStatus.INTERRUPTED:
            raise
        _at_interrupt(end_at_once)
        keep()
        raise KeyboardInterrupt from None
    finally:
        _at_interrupt(before)


class EndAtOnce(Callback):
    """From the first Ctrl-C on, the next one ends the process, which Lightning would ignore while it shuts down."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Replace the signal's handler."""
        if isinstance(exception, KeyboardInterrupt):
            _at_interrupt(end_at_once)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Kill the processes that read data, and end; files are whole, for they are written elsewhere and then moved."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(STOPPED)


def _at_interrupt(handler: Callable[[int, FrameType | None], object] | int | signal.Handlers | None) -> None:
    """Set what Ctrl-C does; only the main thread may."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
