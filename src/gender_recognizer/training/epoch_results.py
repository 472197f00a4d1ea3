"""The results of each epoch: one line on the screen, one row in results.csv, and the curves in results.png."""

import csv
import logging
import warnings
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from gender_recognizer.pictures.writing import replacing
from gender_recognizer.training.callbacks import Speed
from gender_recognizer.training.figures import curves_figure
from gender_recognizer.training.screen import clock

logger = logging.getLogger(__name__)

HEADING = f"{'epoch':>10}  train loss  val loss     acc  balanced acc  images/s     left"
HEADING_EVERY = 20
MARKS = ("best", "kept")
"""Whether no epoch before was as accurate, and whether its checkpoint replaced the one before: with few validation
pictures a later epoch is kept that is as good within chance."""

Row = dict[str, Any]


class EpochResults(Checkpoint):
    """Shows and saves the results of each epoch.

    It is a `Checkpoint` because Lightning calls these after the metrics of an epoch are known.
    """

    def __init__(self, run_dir: Path, speed: Speed, best: ModelCheckpoint) -> None:
        """Remember where to write, what measures the speed, and what knows the best epoch."""
        super().__init__()
        self.run_dir, self.speed, self.best = run_dir, speed, best
        self.rows: list[Row] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the epochs before this one, of a run that is resumed."""
        self.kept, self.shown, self.validated = self.best.best_model_path, 0, False
        earlier = read_rows(self.run_dir / "results.csv") if trainer.current_epoch else []
        self.rows = [row for row in earlier if row["epoch"] <= trainer.current_epoch]
        if trainer.is_global_zero:
            logger.info(HEADING)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that there are new metrics of the validation part."""
        self.validated = trainer.state.fn == "fit" and not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show and save the epoch."""
        if not trainer.is_global_zero:
            return
        self.rows.append(row := self._row(trainer))
        self.kept, self.validated = self.best.best_model_path, False
        if self.shown and self.shown % HEADING_EVERY == 0:
            logger.info(HEADING)
        self.shown += 1
        logger.info(epoch_line(row, trainer.max_epochs), extra={"style": "green" if row["best"] else None})
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            write_rows(self.rows, self.run_dir / "results.csv")

    def _row(self, trainer: Trainer) -> Row:
        stages = ("train/", "val/") if self.validated else ("train/",)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(stages)}
        accuracy, before = metrics.get("val/acc"), [row.get("val/acc") or 0.0 for row in self.rows]
        return {
            "epoch": trainer.current_epoch + 1,
            **dict(sorted(metrics.items())),
            "images/s": self.speed.images_per_second_of_epoch,
            "seconds left": self.speed.seconds_left(trainer),
            "best": accuracy is not None and accuracy > max(before, default=-1.0),
            "kept": self.best.best_model_path != self.kept,
        }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves."""
        if self.rows and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            with warnings.catch_warnings(), replacing(self.run_dir / "results.png") as file:
                warnings.filterwarnings("ignore", "Glyph .* missing")
                curves_figure(self.rows).savefig(file, format="png", dpi=150)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the curves so far."""
        self.on_train_end(trainer, pl_module)


def epoch_line(row: Row, epochs: int | None) -> str:
    """Return the results of an epoch in one line below `HEADING`, 79 characters or fewer."""
    numbers = [
        "-" if row.get(name) is None else f"{row[name]:.4f}"
        for name in ("train/loss", "val/loss", "val/acc", "val/balanced_acc")
    ]
    speed = "-" if row["images/s"] is None else f"{row['images/s']:.0f}"
    name = f"{row['epoch']} of {epochs}" if epochs and epochs > 0 else f"{row['epoch']}"
    columns = zip((name, *numbers, speed, clock(row["seconds left"])), (10, 10, 8, 6, 12, 8, 7), strict=True)
    return "  ".join(f"{text:>{width}}" for text, width in columns) + (
        " best" if row["best"] else " kept" if row["kept"] else ""
    )


def write_rows(rows: list[Row], path: Path) -> None:
    """Write the epochs as CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[Row]:
    """Return the epochs of a results.csv; none if there is no such file or it is damaged."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_parse(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError):
        return []


def _parse(row: dict[str, str]) -> Row:
    numbers = {name: float(text) if text else None for name, text in row.items() if name not in ("epoch", *MARKS)}
    return {"epoch": int(row["epoch"]), **numbers, **{name: row[name] == "True" for name in MARKS}}
