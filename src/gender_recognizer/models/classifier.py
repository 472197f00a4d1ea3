"""The LightningModule: loss, metrics, optimizer and schedule around a network."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics import MetricCollection

from gender_recognizer.models.calibration import Scaling
from gender_recognizer.models.class_metrics import training_metrics
from gender_recognizer.models.classes import check_classes
from gender_recognizer.models.framing import FRAME_SIZE, frames_within, limit_frames
from gender_recognizer.models.model_info import read_scaling
from gender_recognizer.models.networks import build_network
from gender_recognizer.models.settings import ClassifierSettings
from gender_recognizer.pictures.loading import LOADER_VERSION

STAGES = ("train", "val", "test")
logger = logging.getLogger(__name__)


class TrainingBatch(NamedTuple):
    """The inputs of a training step.

    Attributes:
        images: `(N, 3, *image_size)` in 0..255.
        targets: int64 `(N,)`; -100 for a picture without a label, about which only the teachers say something.
        frames: `(N, 4)`, where the unchanged pictures lie in the images (see `framing`); None if unknown.
        guidance: `(N, num_classes + teacher_features)`, teachers' logits and features; None without teachers.
    """

    images: Tensor
    targets: Tensor
    frames: Tensor | None = None
    guidance: Tensor | None = None


class GenderClassifier(lightning.LightningModule):
    """A network with everything that is needed to train it as a classifier.

    Its hyperparameters are plain values, so that a checkpoint loads without executing code.
    """

    def __init__(
        self,
        classes: list[str],
        network: dict[str, Any],
        lr: float = 2e-3,
        head_lr: float | None = ClassifierSettings.head_lr,
        weight_decay: float = ClassifierSettings.weight_decay,
        label_smoothing: float = ClassifierSettings.label_smoothing,
        warmup_fraction: float = ClassifierSettings.warmup_fraction,
        frame_weight: float = ClassifierSettings.frame_weight,
        teacher_share: float = ClassifierSettings.teacher_share,
        teacher_features: int = 0,
        feature_weight: float = ClassifierSettings.feature_weight,
        loader_version: int = LOADER_VERSION,
    ) -> None:
        """Build the network.

        Args:
            classes: names of the classes, in the order of the targets.
            network: name and arguments for `build_network`.
            lr: largest learning rate, at the end of the warm-up.
            head_lr: that of the head; None for `lr`.
            weight_decay: decoupled weight decay of AdamW, on weights with two or more dimensions.
            label_smoothing: share of the target spread evenly over the classes.
            warmup_fraction: share of all steps in which the learning rate rises; it then falls as a cosine.
            frame_weight: weight of the error of frames, for networks that find the face.
            teacher_share: share of the target that is the teachers' probability instead of the label.
            teacher_features: number of the teachers' features that are predicted from the network's own; 0 for none.
            feature_weight: weight of the error in predicting them.
            loader_version: version of the loader of the pictures; travels in the checkpoint.

        Raises:
            ValueError: the classes are not two or more different names, or there is no such network.
        """
        super().__init__()
        classes = check_classes(classes)
        self.save_hyperparameters(logger=False)
        self.network = build_network(num_classes=len(classes), **network).to(memory_format=torch.channels_last)
        self.hparams["image_size"] = self.network.image_size  # travels in the checkpoint
        if teacher_features:
            self.teacher_layer = nn.Linear(self.network.num_features, teacher_features)
        metrics = training_metrics(classes)
        self.metrics = nn.ModuleDict({f"{stage}_metrics": metrics.clone(prefix=f"{stage}/") for stage in STAGES})
        self.outputs: dict[str, list[tuple[Tensor, Tensor]]] = {stage: [] for stage in STAGES}
        self.scaling = Scaling()  # used in evaluation only: that of the loaded checkpoint
        self.warned: set[str] = set()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read what a checkpoint holds besides the weights, and rename weights of earlier versions."""
        self.scaling = read_scaling(checkpoint)
        for part in ("state_dict", "current_model_state"):  # the second is that of an average in training
            if part in checkpoint:
                checkpoint[part] = self._rename_weights(checkpoint[part])

    def _rename_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights under the names they have now; until version 0.1.0 `teacher_layer` was `telling`."""
        own = {name.removeprefix("network."): value for name, value in weights.items() if name.startswith("network.")}
        others = {name: value for name, value in weights.items() if not name.startswith("network.")}
        renamed = {f"network.{name}": value for name, value in self.network.rename_weights(own).items()}
        return renamed | {name.replace("telling.", "teacher_layer.", 1): value for name, value in others.items()}

    def on_fit_start(self) -> None:
        """Train on logits as they are, also when training resumes from a calibrated checkpoint."""
        self.scaling = Scaling()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(N, num_classes)` of images `(N, 3, *image_size)` in 0..255."""
        return self.network(images)

    def training_step(self, batch: TrainingBatch | tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch, with label smoothing."""
        images, targets, frames, guidance = TrainingBatch(*batch)
        seen = self.network.forward_features(images)
        logits = self.network.forward_head(seen.features).float()
        known = targets >= 0
        loss = nn.functional.cross_entropy(
            logits, targets, label_smoothing=self.hparams["label_smoothing"], reduction="sum"
        ) / known.sum().clamp(min=1)
        if guidance is not None:
            loss = self._guided_loss(loss, logits, seen.features, guidance)
        if seen.steps:  # unmoved pictures keep their frame
            frames = seen.steps[0].new_zeros(len(images), FRAME_SIZE) if frames is None else frames
            frames = frames if seen.start is None else frames_within(frames, seen.start)
            loss = loss + self.hparams["frame_weight"] * frame_loss(seen.steps, frames)
        self.outputs["train"].append((logits.detach()[known], targets[known]))
        return loss

    def _guided_loss(self, loss: Tensor, logits: Tensor, features: Tensor, guidance: Tensor) -> Tensor:
        """Return the loss with the teachers' probabilities and features as targets, too."""
        theirs, wanted = guidance.split([logits.shape[1], guidance.shape[1] - logits.shape[1]], dim=1)
        share, weight = self.hparams["teacher_share"], self.hparams["feature_weight"]
        agreement = nn.functional.cross_entropy(logits, theirs.softmax(dim=1))
        difference = nn.functional.mse_loss(self.teacher_layer(features).float(), wanted)
        return (1 - share) * loss + share * agreement + weight * difference

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the probabilities `(N, num_classes)` of a batch."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the probabilities `(N, num_classes)` of a batch."""
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, targets = batch
        # Full precision whatever the trainer's: scores must be those of the model that is shipped.
        with torch.autocast(self.device.type, enabled=False):
            logits = self.scaling(self(images))
        self.outputs[stage].append((logits, targets))
        return logits.softmax(dim=1)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics of the epoch."""
        self._log_metrics("train")

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics of the epoch."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        """Log the metrics of an epoch, over all processes; doing so batch by batch would cost a hundredth of a step."""
        logits, targets = (torch.cat(parts) for parts in zip(*self.outputs[stage], strict=True))
        self.outputs[stage].clear()
        metrics = self.metrics[f"{stage}_metrics"]
        assert isinstance(metrics, MetricCollection)
        metrics.update(logits, targets)
        values = metrics.compute()  # gathered in every process at this same point
        self.log_dict(values)
        metrics.reset()
        absent = [name for name in self.hparams["classes"] if f"{stage}/acc_{name}" not in values]
        if absent and stage not in self.warned and self.trainer.is_global_zero:
            self.warned.add(stage)
            logger.warning("the %s part has no pictures of %s: no accuracy is given for it", stage, ", ".join(absent))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and a schedule per step: warm-up, then decay to about zero, both as a cosine (`OneCycleLR`)."""
        groups = self._parameter_groups()
        clips = bool(self.trainer.gradient_clip_val)  # Lightning refuses to clip for a fused one in mixed precision
        optimizer = AdamW(groups, lr=self.hparams["lr"], fused=not clips)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = self.hparams["warmup_fraction"]
        if warmup * steps == 1:  # OneCycleLR divides by the length of the warm-up less one step
            warmup = 1.5 / steps
        schedule = OneCycleLR(optimizer, [group["lr"] for group in groups], steps, pct_start=warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "train/lr"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters that learn, with rates and decay: the head apart if it has a rate of its own."""
        lr, head_lr, decay = (self.hparams[name] for name in ("lr", "head_lr", "weight_decay"))
        head = set() if head_lr is None else set(self.network.head.parameters())
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [
            {
                "params": [one for one in learning if (one in head) == in_head and (one.ndim > 1) == decayed],
                "lr": head_lr if in_head else lr,
                "weight_decay": decay if decayed else 0.0,
            }
            for in_head in ([False, True] if head else [False])
            for decayed in (True, False)
        ]


def frame_loss(found: Sequence[Tensor], frames: Tensor) -> Tensor:
    """Return the smooth L1 loss of frames (squared below 0.1, absolute above).

    It is the mean over pictures, summed over the steps in which a network finds the face.

    Args:
        found: float `(N, 4)` for each step, relative to the frames before it.
        frames: `(N, 4)`, the true ones, relative to what the first step sees.
    """
    loss = frames.new_zeros(())
    for step in found:
        errors = nn.functional.smooth_l1_loss(step.float(), frames, beta=0.1, reduction="none")
        loss = loss + errors.sum(dim=1).mean()
        frames = frames_within(frames, limit_frames(step.detach().float()))
    return loss
