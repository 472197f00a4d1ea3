"""Metrics of training: a class without pictures in a part has no metrics, and averages leave it out."""

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat


class MeanCrossEntropy(MeanMetric):
    """Mean cross-entropy of logits `(N, num_classes)` with targets `(N,)`, without label smoothing."""

    def update(self, logits: Tensor, targets: Tensor) -> None:  # type: ignore[override]  # two inputs, not one
        """Add the samples of a batch."""
        super().update(nn.functional.cross_entropy(logits, targets, reduction="none"))


class ClassAccuracy(Metric):
    """Accuracy within each class that has samples, `acc_<class>`, and its mean over them, `balanced_acc`."""

    right: Tensor
    count: Tensor

    def __init__(self, classes: list[str]) -> None:
        """Start with no samples."""
        super().__init__()
        self.classes = classes
        for name in ("right", "count"):
            self.add_state(name, torch.zeros(len(classes), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add the samples of a batch: logits `(N, num_classes)` and targets `(N,)`."""
        hits = targets[logits.argmax(dim=1) == targets]
        self.right += torch.bincount(hits, minlength=len(self.classes))
        self.count += torch.bincount(targets, minlength=len(self.classes))

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics by name, in 0..1."""
        present = self.count > 0
        accuracies = self.right / self.count
        by_class = zip(self.classes, accuracies, present, strict=True)
        named = {f"acc_{name}": accuracy for name, accuracy, there in by_class if there}
        return {"balanced_acc": accuracies[present].mean(), **named} if named else {}


class ClassAuroc(Metric):
    """Area under the ROC curve of each class against the others, `auroc`: the mean over classes that have samples."""

    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        """Start with no samples."""
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add the samples of a batch: logits `(N, num_classes)` and targets `(N,)`."""
        self.logits.append(logits.detach())
        self.targets.append(targets)

    def compute(self) -> dict[str, Tensor]:
        """Return the metric by name, in 0..1; nothing where all samples are of one class."""
        probabilities, targets = dim_zero_cat(self.logits).softmax(dim=1), dim_zero_cat(self.targets)
        present = targets.unique().tolist()
        if len(present) < 2:
            return {}
        areas = [
            binary_auroc(probabilities[:, target], (targets == target).long(), validate_args=False)
            for target in present
        ]
        return {"auroc": torch.stack(areas).mean()}


def training_metrics(classes: list[str]) -> MetricCollection:
    """Return loss, accuracy, balanced accuracy (mean recall), AUROC and the accuracy within each class."""
    return MetricCollection(
        {
            "loss": MeanCrossEntropy(),
            "acc": MulticlassAccuracy(len(classes), average="micro", validate_args=False),
            "per_class": ClassAccuracy(classes),
            "area": ClassAuroc(),
        },
        compute_groups=False,  # their states differ
    )
