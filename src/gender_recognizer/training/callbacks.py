"""Callbacks of training: seeds, speed, and the pictures that TensorBoard shows."""

import logging
import time
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import CustomTimeColumn
from lightning.pytorch.loggers import TensorBoardLogger
from rich.progress import ProgressColumn, Task
from rich.text import Text
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.training.figures import class_balance_figure, named_grid_figure, result_figures, worst_errors

logger = logging.getLogger(__name__)

GRID_IMAGES = 64
WORST_ERRORS = 24


class SeedEachStep(Callback):
    """Seed torch from seed, step and process: a resumed run draws the same random numbers as an undisturbed one.

    A step's augmentation is drawn before its `on_train_batch_start`, and a resumed epoch has no
    `on_train_epoch_start`: each step is therefore seeded at the end of the one before.
    """

    def __init__(self, seed: int) -> None:
        """Remember the seed."""
        self.seed = seed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the first step."""
        generator = torch.default_generator if pl_module.device.type == "cpu" else torch  # torch seeds every device
        generator.manual_seed((self.seed * 1_000_003 + trainer.global_step) * 1_009 + trainer.global_rank)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Seed the next step."""
        self.on_train_start(trainer, pl_module)


class SameSchedule(Callback):
    """Refuse to resume a run whose schedule would change its length: its learning rate was planned for the old one."""

    def __init__(self, steps: int) -> None:
        """Remember the number of steps of the whole run."""
        self.steps = steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare the number of steps.

        Raises:
            ValueError: it differs.
        """
        if stage == "fit" and (steps := int(trainer.estimated_stepping_batches)) != self.steps:
            raise ValueError(
                f"the run's learning rate was planned for {self.steps} steps, and these options make {steps}; continue "
                "with the same trainer.max_epochs, data.batch_size and trainer.devices, or start a new run from its "
                "weights: init_from=latest"
            )


class TimeColumn(CustomTimeColumn):
    """The elapsed and the remaining time, in characters that every encoding has."""

    def render(self, task: Task) -> Text:
        """Return the text."""
        return Text(super().render(task).plain.replace("\N{BULLET}", "<"), style=self.style)


class ProgressBar(RichProgressBar):
    """Lightning's progress bar for output in any encoding, without the logger's meaningless version number."""

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Return the columns."""
        columns = super().configure_columns(trainer)
        return [TimeColumn(column.style) if isinstance(column, CustomTimeColumn) else column for column in columns]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what is shown behind the bar."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class Speed(Callback):
    """Log images/s and the minutes left, in the progress bar and in one line an epoch.

    Both leave out the first batches of a run, which include start-up.
    """

    WARM_UP = 2
    EVERY = 25  # batches: showing numbers takes longer than reading a batch

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the measurement."""
        self.batches = self.images = 0
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch."""
        self.batches += 1
        if self.batches <= self.WARM_UP:
            self.started = time.perf_counter()
            return
        self.images += len(batch[1]) * trainer.world_size
        seconds = time.perf_counter() - self.started
        steps_left = trainer.estimated_stepping_batches - trainer.global_step
        self.images_per_second = self.images / seconds
        self.minutes_left = steps_left * seconds / (self.batches - self.WARM_UP) / 60
        if self.batches % self.EVERY:
            return
        shown = {"images/s": self.images_per_second, "min left": self.minutes_left}
        pl_module.log_dict(shown, prog_bar=True, logger=False, on_step=True, on_epoch=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log one line for those who read the log file instead of the progress bar."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or not self.images or not trainer.is_global_zero:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        logger.info(
            "epoch %d of %s: val/loss %.4f, val/acc %.4f, val/balanced_acc %.4f; %.0f images/s, %.1f min left",
            trainer.current_epoch,
            trainer.max_epochs,
            *(values.get(f"val/{name}", float("nan")) for name in ("loss", "acc", "balanced_acc")),
            self.images_per_second,
            self.minutes_left,
        )


def data_of(trainer: Trainer) -> FaceDataModule:
    """Return the data module of a trainer."""
    return trainer.datamodule  # type: ignore[attr-defined]  # which Lightning sets when it starts


def writer_of(trainer: Trainer) -> SummaryWriter:
    """Return the writer for TensorBoard."""
    assert isinstance(trainer.logger, TensorBoardLogger)
    return trainer.logger.experiment


class TensorBoardPictures(Callback):
    """Log class balance and an augmented batch before training, curves and the worst errors after it."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the histograms of the classes and a grid of augmented training pictures."""
        if not trainer.is_global_zero:
            return
        data, writer = data_of(trainer), writer_of(trainer)
        writer.add_figure("class_balance", class_balance_figure(data.counts()))
        # TensorBoard cuts the outer bins at the smallest and largest value: with these edges all are equally wide.
        edges = np.linspace(0, len(data.classes) - 1, len(data.classes) + 1)
        for part, dataset in data.parts.items():
            if len(dataset):
                writer.add_histogram(f"class_balance/{part}", dataset.targets, bins=edges)
        first_batch = list(islice(data.train_dataloader().sampler, GRID_IMAGES))
        images = data.parts["train"].__getitems__(first_batch)[0]
        if data.augmentation is not None:
            images = data.augmentation(images)[0]
        writer.add_image("augmented_training_batch", make_grid(images.byte(), nrow=8))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to collect probabilities."""
        self.probabilities: list[Tensor] = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Collect the probabilities of the batch, when the best checkpoint is evaluated after training."""
        if trainer.state.fn != "fit":
            self.probabilities.append(outputs.cpu())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures of the validation part."""
        self._log_figures(trainer, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to collect probabilities."""
        self.on_validation_epoch_start(trainer, pl_module)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Collect the probabilities of the batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures of the test part."""
        self._log_figures(trainer, "test")

    def _log_figures(self, trainer: Trainer, stage: str) -> None:
        """Log the figures of a model's results and its worst errors, on the pictures that this process has seen."""
        if not self.probabilities or not trainer.is_global_zero:
            return
        data, writer = data_of(trainer), writer_of(trainer)
        part = {"val": "validation", "test": "test"}[stage]
        loader = data.val_dataloader() if stage == "val" else data.test_dataloader()
        probabilities = torch.cat(self.probabilities).double().numpy()
        indices = list(loader.sampler)[: len(probabilities)]  # fewer with limit_val_batches
        dataset, files = data.parts[part], data.files[part]
        targets = dataset.targets[indices]
        for name, figure in result_figures(probabilities, targets, data.classes).items():
            writer.add_figure(f"{stage}/{name}", figure, trainer.global_step)
        for target, name in enumerate(data.classes):
            writer.add_pr_curve(f"{stage}/{name}", targets == target, probabilities[:, target], trainer.global_step)
        wrong = worst_errors(probabilities, targets, WORST_ERRORS)
        if len(wrong):
            chosen = [indices[index] for index in wrong]
            names = [
                f"{files[index].parent.name}/{files[index].name}\n{data.classes[p.argmax()]} {p.max():.2f}"
                for index, p in zip(chosen, probabilities[wrong], strict=True)
            ]
            images = dataset.images[dataset.rows[chosen]]
            writer.add_figure(f"{stage}/worst_errors", named_grid_figure(images, names), trainer.global_step)
