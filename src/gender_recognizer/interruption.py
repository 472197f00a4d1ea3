"""Ctrl-C: the first one can be put off to where no lock is held, the second ends the process at once.

Python raises KeyboardInterrupt wherever the main thread happens to be. If that is between taking a lock and entering
the block that releases it, a thread that needs the lock waits forever, and the end of the program waits for the thread.
"""

import multiprocessing
import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn, Self

STOPPED = 130
"""Exit code of a command that Ctrl-C ended: 128 and the number of the signal."""


class Interruption:
    """Handles Ctrl-C while it is entered, in place of Python or of one entered before, but of no other handler.

    Attributes:
        is_asked: whether there was a Ctrl-C.
        is_patient: whether the first one only sets `is_asked`, for `raise_if_interrupted`; otherwise it raises
            KeyboardInterrupt. Another one ends the process.
    """

    def __init__(self) -> None:
        """Set that there was none yet."""
        self.is_asked = self.is_patient = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is signal.default_int_handler or isinstance(self._before, Interruption):
                signal.signal(signal.SIGINT, self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        if self.is_asked:
            end_at_once(number, frame)
        self.is_asked = True
        if not self.is_patient:
            raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    """Raise what a patient `Interruption` has put off; to be called where the main thread holds no lock.

    Raises:
        KeyboardInterrupt: there was a Ctrl-C.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Interruption) and handler.is_asked:
        raise KeyboardInterrupt


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Kill the processes that were started, and end; labels are whole: they are written beside, then moved."""
    children = multiprocessing.active_children()
    for child in children:
        child.kill()
    for child in children:
        child.join(1)  # it may be in a system call that does not end
    os._exit(STOPPED)
