"""The terminal during training: one console for lines and the bar below them, so that neither garbles the other."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from gender_recognizer.training.callbacks import Speed

PACKAGE = logging.getLogger("gender_recognizer")
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class Lines(logging.Handler):
    """Shows log records as plain lines above the bar; whether the record is a warning stands before it."""

    def __init__(self, console: Console) -> None:
        """Remember the console."""
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        style = STYLES.get(record.levelno) or getattr(record, "style", None)
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def lines_above(console: Console) -> Iterator[None]:
    """Show what is logged in the block on a console, instead of on the standard streams.

    Only the first process of a training shows it. Handlers that write files stay.
    """
    if getattr(rank_zero_only, "rank", 0) != 0 or any(isinstance(handler, Lines) for handler in logging.root.handlers):
        yield
        return
    root, level = logging.root, PACKAGE.level
    replaced = [handler for handler in root.handlers if _is_on_standard_stream(handler)]
    handlers = [*(handler for handler in root.handlers if handler not in replaced), Lines(console)]
    before, root.handlers = root.handlers, handlers
    if level == logging.NOTSET:  # a user's own choice stays
        PACKAGE.setLevel(min(PACKAGE.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        root.handlers = before
        PACKAGE.setLevel(level)


def _is_on_standard_stream(handler: logging.Handler) -> bool:
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return isinstance(handler, logging.StreamHandler) and handler.stream in streams


def clock(seconds: float | None) -> str:
    """Return a duration as mm:ss, or h:mm:ss from an hour on; `-` where it is not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    return f"{minutes:02}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class EpochBar(ProgressBar):
    """A bar of the epoch that is running, on a terminal only."""

    EVERY = 0.25  # seconds

    def __init__(self, console: Console, speed: Speed) -> None:
        """Remember where to show it and what measures the speed, a callback before this one."""
        super().__init__()
        self.console, self.speed = console, speed
        self.is_wanted = True
        self.progress: Progress | None = None
        self.task = TaskID(0)
        self.shown = 0.0

    def disable(self) -> None:
        """Show nothing: Lightning calls this in all processes but the first."""
        self.is_wanted = False

    def enable(self) -> None:
        """Show the bar."""
        self.is_wanted = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        if not self.is_wanted or not self.console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self.progress = Progress(*columns, console=self.console, transient=True, expand=True)
        self.task = self.progress.add_task("", now="")
        self.progress.start()
        self._begin(trainer, int(self.total_train_batches), "")

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Start an epoch."""
        self._begin(trainer, int(self.total_train_batches), "")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the batch, the speed and the time left."""
        if self.progress is None or time.perf_counter() - self.shown < self.EVERY:
            return
        self.shown = time.perf_counter()
        speed, left = self.speed.images_per_second_of_epoch, clock(self.speed.seconds_left(trainer))
        now = "" if speed is None else f"{speed:.0f} images/s, {left} left"
        self.progress.update(self.task, completed=batch_idx + 1, now=now)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the validation of an epoch."""
        self._begin(trainer, int(sum(trainer.num_val_batches)), ", validation")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show the batch."""
        if self.progress is not None:
            self.progress.update(self.task, completed=batch_idx + 1)

    def on_train_end(self, *_: Any) -> None:
        """Take the bar away."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def on_exception(self, *_: Any) -> None:
        """Take the bar away."""
        self.on_train_end()

    def _begin(self, trainer: Trainer, batches: int, what: str) -> None:
        if self.progress is not None:
            self.shown = 0.0
            name = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}{what}"
            self.progress.reset(self.task, total=batches, description=name, now="")
