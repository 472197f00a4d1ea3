"""Callbacks of training: seeds, speed, and the pictures that TensorBoard shows."""

import time
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.training.figures import (
    PICTURES,
    RESULTS,
    class_balance_figure,
    named_grid_figure,
    result_figures,
    worst_errors,
)

GRID_IMAGES = 64
WORST_ERRORS = 24
LAYOUT = {
    "curves": {
        name: ["Multiline", [f"train/{metric}$", f"val/{metric}$"]]
        for name, metric in (("loss", "loss"), ("accuracy", "acc"))
    }
}
"""Charts of TensorBoard's page of custom scalars."""


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


class Speed(Callback):
    """Measures images/s, without validation, and the time left, with it.

    Both leave out the first batches of a run, which include start-up; they are None until these have passed.
    """

    WARM_UP = 2

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure."""
        self.batches = self.images = 0
        self.seconds = 0.0
        self.steps = trainer.estimated_stepping_batches
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure an epoch."""
        self.last = time.perf_counter()
        self.before = (self.images, self.seconds)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch."""
        before, self.last = self.last, time.perf_counter()
        self.batches += 1
        if self.batches > self.WARM_UP:
            self.images += len(batch[1]) * trainer.world_size
            self.seconds += self.last - before
        else:
            self.begin = (self.last, trainer.global_step)

    @property
    def images_per_second(self) -> float | None:
        """Return the training pictures of a second, over the whole run."""
        return self.images / self.seconds if self.images else None

    @property
    def images_per_second_of_epoch(self) -> float | None:
        """Return the training pictures of a second in this epoch."""
        images, seconds = self.images - self.before[0], self.seconds - self.before[1]
        return images / seconds if images else None

    def seconds_left(self, trainer: Trainer) -> float | None:
        """Return the seconds until the last step, validation included."""
        if not self.batches or trainer.global_step <= self.begin[1]:
            return None
        seconds = (time.perf_counter() - self.begin[0]) / (trainer.global_step - self.begin[1])
        return (self.steps - trainer.global_step) * seconds


def data_of(trainer: Trainer) -> FaceDataModule:
    """Return the data module of a trainer."""
    return trainer.datamodule  # type: ignore[attr-defined]  # which Lightning sets when it starts


def writer_of(trainer: Trainer) -> SummaryWriter | None:
    """Return the writer for TensorBoard, if the run has one and this process writes."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


class TensorBoardPictures(Callback):
    """Log class balance and an augmented batch before training, curves and the worst errors after it."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the histograms of the classes and a grid of augmented training pictures."""
        data, writer = data_of(trainer), writer_of(trainer)
        self.writer = writer  # the results of the end are measured without loggers
        if writer is None:
            return
        writer.add_custom_scalars(LAYOUT)
        writer.add_figure(f"{PICTURES}/class_balance", class_balance_figure(data.counts()))
        # TensorBoard cuts the outer bins at the smallest and largest value: with these edges all are equally wide.
        edges = np.linspace(0, len(data.classes) - 1, len(data.classes) + 1)
        names = ", ".join(f"{target} = {name}" for target, name in enumerate(data.classes))
        for part, dataset in data.parts.items():
            if len(dataset):
                writer.add_histogram(f"{PICTURES}/{part}: {names}", dataset.targets, bins=edges)
        first_batch = list(islice(data.train_dataloader().sampler, GRID_IMAGES))
        images = data.parts["train"].__getitems__(first_batch)[0]
        if data.augmentation is not None:
            images = data.augmentation(images, data.image_size)[0]
        writer.add_image(f"{PICTURES}/augmented_batch", make_grid(images.byte(), nrow=8))

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
        data, writer = data_of(trainer), self.writer
        if not self.probabilities or writer is None:
            return
        part = {"val": "validation", "test": "test"}[stage]
        loader = data.val_dataloader() if stage == "val" else data.test_dataloader()
        probabilities = torch.cat(self.probabilities).double().numpy()
        indices = list(loader.sampler)[: len(probabilities)]  # fewer with limit_val_batches
        dataset, files = data.parts[part], data.files[part]
        targets = dataset.targets[indices]
        for name, figure in result_figures(probabilities, targets, data.classes).items():
            writer.add_figure(f"{RESULTS}/{stage}_{name}", figure, trainer.global_step)
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
            writer.add_figure(f"{RESULTS}/{stage}_worst_errors", named_grid_figure(images, names), trainer.global_step)
