"""The LightningModule: loss, metrics, optimizer and schedule around a network."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import lightning
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC
from torchmetrics.wrappers import ClasswiseWrapper

from gender_recognizer.models.calibration import Scaling
from gender_recognizer.models.framing import frames_within, limit_frames
from gender_recognizer.models.networks import build_network
from gender_recognizer.pictures.loading import IMAGE_SIZE, LOADER_VERSION

STAGES = ("train", "val", "test")


class TrainingBatch(NamedTuple):
    """What a training step learns from.

    Attributes:
        images: `(N, 3, 100, 80)` in 0..255.
        targets: int64 `(N,)`.
        frames: `(N, 4)`, where in the images the pictures as they were lie, as `framing` describes it, if known.
        guidance: `(N, num_classes + num_features)`, teachers' logits and features, if there are any.
    """

    images: Tensor
    targets: Tensor
    frames: Tensor | None = None
    guidance: Tensor | None = None


class GenderClassifier(lightning.LightningModule):
    """A network that tells classes apart, with all that is needed to train it.

    Its hyperparameters are plain values, so that a checkpoint loads without executing code.
    """

    def __init__(
        self,
        classes: list[str],
        network: dict[str, Any],
        lr: float = 2e-3,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
        warmup_fraction: float = 0.1,
        frame_weight: float = 1.0,
        teacher_share: float = 0.7,
        teacher_features: int = 0,
        feature_weight: float = 1.0,
        learning_part: str | None = None,
        image_size: tuple[int, int] = IMAGE_SIZE,
        loader_version: int = LOADER_VERSION,
    ) -> None:
        """Build the network.

        Args:
            classes: names of the classes, in the order of the targets.
            network: name and arguments for `build_network`.
            lr: largest learning rate, at the end of the warm-up.
            weight_decay: decoupled weight decay of AdamW, on weights with two or more dimensions.
            label_smoothing: share of the target spread evenly over the classes.
            warmup_fraction: share of all steps in which the learning rate rises; it then falls as a cosine.
            frame_weight: weight of the error of frames, for networks that find the face.
            teacher_share: share of the target that is the teachers' probability instead of the label.
            teacher_features: number of features of the teachers that the network's own should tell; 0 for none.
            feature_weight: weight of the error in telling them.
            learning_part: the only part of the network that learns, such as `finders`; None for all of it.
            image_size: (height, width) of the pictures; travels in the checkpoint.
            loader_version: version of the loader of the pictures; travels in the checkpoint.

        Raises:
            ValueError: the network has no such part, or shows no features that could tell those of teachers.
        """
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.network = build_network(num_classes=len(classes), **network).to(memory_format=torch.channels_last)
        if learning_part is not None:
            self._freeze_all_but(learning_part)
        if teacher_features:
            if not hasattr(self.network, "look"):
                raise ValueError(f"'{network['name']}' shows no features and cannot learn from teachers; use smallcnn")
            self.telling = nn.Linear(self.network.head[-1].in_features, teacher_features)
        metrics = _metrics(classes)
        self.metrics = nn.ModuleDict({f"{stage}_metrics": metrics.clone(prefix=f"{stage}/") for stage in STAGES})
        self.outputs: dict[str, list[tuple[Tensor, Tensor]]] = {stage: [] for stage in STAGES}
        self.scaling = Scaling()  # fitted after training; what the model file says of it is what counts

    def _freeze_all_but(self, part: str) -> None:
        parts = [name for name, module in self.network.named_children() if any(True for _ in module.parameters())]
        if part not in parts:
            raise ValueError(f"classifier.learning_part is '{part}'; the network's parts are {', '.join(parts)}")
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name.startswith(part + "."))
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; what does not learn stays in evaluation."""
        super().train(mode)
        if mode and self.hparams["learning_part"] is not None:
            self.network.eval()
            self.network.get_submodule(self.hparams["learning_part"]).train()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(N, num_classes)` of images `(N, 3, 100, 80)` in 0..255."""
        return self.network(images)

    def training_step(self, batch: TrainingBatch | tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch, with label smoothing."""
        images, targets, frames, guidance = TrainingBatch(*batch)
        said: list[Tensor] = []
        if hasattr(self.network, "look"):
            features, said = self.network.look(images)
            logits = self.network.head(features).float()
        else:
            logits = self(images).float()
        loss = nn.functional.cross_entropy(logits, targets, label_smoothing=self.hparams["label_smoothing"])
        if guidance is not None:
            loss = self._guided_loss(loss, logits, features, guidance)
        if said:  # pictures that nothing moved are where they were
            frames = torch.zeros_like(said[0]) if frames is None else frames
            loss = loss + self.hparams["frame_weight"] * frame_loss(said, frames)
        self.outputs["train"].append((logits.detach(), targets))
        return loss

    def _guided_loss(self, loss: Tensor, logits: Tensor, features: Tensor, guidance: Tensor) -> Tensor:
        """Return the loss with the teachers' probabilities and features as targets, too."""
        theirs, wanted = guidance.split([logits.shape[1], guidance.shape[1] - logits.shape[1]], dim=1)
        share, weight = self.hparams["teacher_share"], self.hparams["feature_weight"]
        agreement = nn.functional.cross_entropy(logits, theirs.softmax(dim=1))
        telling = nn.functional.mse_loss(self.telling(features).float(), wanted)
        return (1 - share) * loss + share * agreement + weight * telling

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the probabilities `(N, num_classes)` of a batch."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the probabilities `(N, num_classes)` of a batch."""
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, targets = batch
        # Full precision whatever the trainer's: a score must be that of the model that is shipped.
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
        metrics.update(logits, targets)
        self.log_dict(metrics.compute())  # gathered in every process at this same point
        metrics.reset()

    def configure_optimizers(self) -> dict[str, Any]:
        """Return AdamW and a schedule per step: warm-up, then decay to about zero, both as a cosine (`OneCycleLR`)."""
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        decayed = [parameter for parameter in learning if parameter.ndim > 1]
        others = [parameter for parameter in learning if parameter.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.hparams["weight_decay"]},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = AdamW(groups, lr=self.hparams["lr"], fused=True)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = self.hparams["warmup_fraction"]
        if warmup * steps == 1:  # OneCycleLR divides by the length of the warm-up less one step
            warmup = 1.5 / steps
        schedule = OneCycleLR(optimizer, self.hparams["lr"], steps, pct_start=warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def frame_loss(said: Sequence[Tensor], frames: Tensor) -> Tensor:
    """Return the error of frames: absolute where it is large, squared below 0.1; mean over pictures, sum of the looks.

    Args:
        said: float `(N, 4)` for each look, in what the frames before it show.
        frames: `(N, 4)`, the true ones, in the whole picture.
    """
    loss = frames.new_zeros(())
    for look in said:
        errors = nn.functional.smooth_l1_loss(look.float(), frames, beta=0.1, reduction="none")
        loss = loss + errors.sum(dim=1).mean()
        frames = frames_within(frames, limit_frames(look.detach().float()))
    return loss


class MeanCrossEntropy(MeanMetric):
    """Mean cross-entropy of logits `(N, num_classes)` with targets `(N,)`, without label smoothing."""

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add the samples of a batch."""
        super().update(nn.functional.cross_entropy(logits, targets, reduction="none"))


def _metrics(classes: list[str]) -> MetricCollection:
    """Return loss, accuracy, balanced accuracy (mean recall), AUROC and the accuracy within each class."""
    count, fast = len(classes), {"validate_args": False}
    return MetricCollection(
        {
            "loss": MeanCrossEntropy(),
            "acc": MulticlassAccuracy(count, average="micro", **fast),
            "balanced_acc": MulticlassAccuracy(count, average="macro", **fast),
            "auroc": MulticlassAUROC(count, thresholds=None, **fast),
            "per_class": ClasswiseWrapper(MulticlassAccuracy(count, average=None, **fast), classes, prefix="acc_"),
        },
        compute_groups=False,  # a wrapped metric cannot share another's state
    )
