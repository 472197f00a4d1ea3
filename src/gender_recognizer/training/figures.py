"""Figures of class balance and of what a model gets right and wrong, for TensorBoard and pages.

Names of classes and files may hold any character: they go through `names.drawable` before they are drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gender_recognizer.models.curves import NUM_BINS, confidence_bins, count_labels, rank, risk_coverage
from gender_recognizer.pictures.names import drawable

RESULTS, PICTURES = "verdict", "your_pictures"
"""Groups of TensorBoard's cards that are no curves; they sort behind the curves, `train` and `val`."""

RIGHT, WRONG, NEUTRAL = "#2a78b8", "#c8442f", "#5b6875"


def new_axes(title: str, x: str, y: str, size: tuple[float, float] = (5.5, 4.2)) -> tuple[Figure, Axes]:
    """Return a figure, `size` in inches, and its empty axes with a title and their labels."""
    figure = Figure(figsize=size, layout="constrained")  # not pyplot's, which live until they are closed
    axes = figure.subplots()
    axes.set(title=drawable(title), xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def class_balance_figure(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Return a bar chart of the number of pictures of each class in each part."""
    classes = list(next(iter(counts.values())))
    figure, axes = new_axes("Pictures of each class", "", "pictures", (6, 4))
    width = 0.8 / len(classes)
    for index, name in enumerate(classes):
        left = np.arange(len(counts)) + (index - (len(classes) - 1) / 2) * width
        axes.bar_label(axes.bar(left, [part[name] for part in counts.values()], width, label=drawable(name)))
    axes.set_xticks(range(len(counts)), list(counts))
    axes.margins(y=0.12)  # room for the numbers above the bars
    axes.legend()
    return figure


def curves_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the curves of loss and accuracy over the epochs, the epoch marked that the model is of.

    Args:
        rows: of each epoch: `epoch`, metrics such as `val/acc`, and `kept`, whether its checkpoint was kept.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    kept = max((row["epoch"] for row in rows if row["kept"]), default=None)
    panels = (("Loss", ("train/loss", "val/loss")), ("Accuracy", ("train/acc", "val/acc", "val/balanced_acc")))
    for axes, (title, names) in zip(figure.subplots(1, 2), panels, strict=True):
        for name, colour in zip(names, (NEUTRAL, RIGHT, WRONG), strict=False):
            values = [float("nan") if row.get(name) is None else row[name] for row in rows]
            axes.plot(epochs, values, color=colour, label=name, marker="." if len(rows) < 40 else "")
        if kept is not None:
            axes.axvline(kept, color=NEUTRAL, linestyle="--", linewidth=1, label=f"epoch that is kept, {kept}")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend()
    figure.axes[1].yaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure


def result_figures(probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Figure]:
    """Return all figures of some predictions by name.

    Args:
        probabilities: `(N, num_classes)`.
        targets: int `(N,)`.
        classes: names of the classes.
    """
    return {
        "confusion_matrix": confusion_figure(probabilities, targets, classes),
        "roc": roc_figure(probabilities, targets, classes),
        "precision_recall": precision_recall_figure(probabilities, targets, classes),
        "reliability": reliability_figure(probabilities, targets),
        "confidence": confidence_figure(probabilities, targets),
        "risk_coverage": risk_coverage_figure(probabilities, targets),
    }


def confusion_figure(probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return the confusion matrix: counts, and shares of each true class."""
    counts = count_labels(probabilities, targets)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / totals.clip(1)
    figure, axes = new_axes("Confusion matrix", "label given", "true class")
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        shown = f"{share:.1%}" if totals[row] else "-"  # a class without pictures has no shares
        axes.text(column, row, f"{count:,}\n{shown}", ha="center", va="center", color=colour)
    names = [drawable(name) for name in classes]
    axes.set_xticks(range(len(classes)), names)
    axes.set_yticks(range(len(classes)), names)
    return figure


def roc_figure(probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return the ROC curve of each class against the others."""
    figure, axes = new_axes("ROC curve", "false positive rate", "recall")
    for name, own, others in _ranked(probabilities, targets, classes):
        axes.plot(np.r_[0, others.cumsum() / others.sum()], np.r_[0, own.cumsum() / own.sum()], label=name)
        axes.legend()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


def precision_recall_figure(probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> Figure:
    """Return the precision-recall curve of each class against the others."""
    figure, axes = new_axes("Precision-recall curve", "recall", "precision")
    for name, own, others in _ranked(probabilities, targets, classes):
        axes.plot(own.cumsum() / own.sum(), own.cumsum() / (own + others).cumsum(), label=name)
        axes.legend()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    return figure


def _ranked(
    probabilities: np.ndarray, targets: np.ndarray, classes: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name of each class for which there are pictures of it and of others, with what `rank` returns."""
    for index, name in enumerate(classes):
        own, others = rank(probabilities[:, index], targets == index, np.ones((1, len(targets))))
        if own.any() and others.any():
            yield drawable(name), own[0], others[0]


def reliability_figure(probabilities: np.ndarray, targets: np.ndarray) -> Figure:
    """Return the share of right labels against the confidence, in the bins of the calibration error."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    figure, axes = new_axes("Reliability: does 90 % sure mean 90 % right?", "confidence", "share of right labels")
    axes.plot([0, 1], [0, 1], color=NEUTRAL, linestyle="--", linewidth=1, label="perfect calibration")
    bins = confidence_bins(confidence)
    counts = np.bincount(bins, minlength=NUM_BINS)
    used = np.flatnonzero(counts)
    sure, share = (np.bincount(bins, of, NUM_BINS)[used] / counts[used] for of in (confidence, right))
    axes.plot(sure, share, color=RIGHT, label="this model", marker="o", markersize=4)
    error = 1.96 * np.sqrt((share * (1 - share)) / counts[used])
    axes.fill_between(sure, share - error, share + error, color=RIGHT, alpha=0.15, linewidth=0)
    low = 1 / probabilities.shape[1] - 0.05
    axes.set(xlim=(low, 1.01), ylim=(min(low, (share - error).min()), 1.01))
    axes.legend(loc="upper left")
    return figure


def confidence_figure(probabilities: np.ndarray, targets: np.ndarray) -> Figure:
    """Return histograms of the confidence of the right and of the wrong labels."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    figure, axes = new_axes("How sure it is", "confidence", "pictures")
    edges = np.linspace(1 / probabilities.shape[1], 1, 26).tolist()
    parts = [confidence[~right], confidence[right]]
    axes.hist(parts, edges, stacked=True, color=[WRONG, RIGHT], label=["wrong", "right"])
    axes.legend(loc="upper left")
    return figure


def risk_coverage_figure(probabilities: np.ndarray, targets: np.ndarray) -> Figure:
    """Return the accuracy that remains when the least sure pictures are left unsure."""
    share, accuracy = risk_coverage(probabilities, targets)
    figure, axes = new_axes("Gain from leaving out the least sure", "share of pictures that get a label", "accuracy")
    shown = share >= min(0.02, share[-1])  # the surest few show only chance
    axes.plot(share[shown], accuracy[shown], color=RIGHT)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1.01)
    axes.set_ylim(top=min(1.005, axes.get_ylim()[1]))
    return figure


def worst_errors(probabilities: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of at most `count` wrong answers, the surest first.

    Args:
        probabilities: `(N, num_classes)`.
        targets: int `(N,)`.
        count: how many at most.
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != targets)
    return wrong[np.argsort(probabilities[wrong, targets[wrong]], kind="stable")][:count]


def named_grid_figure(images: np.ndarray, names: Sequence[str], columns: int = 6) -> Figure:
    """Return a grid of uint8 images `(N, H, W, 3)` with a text below each."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.7 * columns, 2.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, name in zip(axes.flat, images, names, strict=False):
        axis.imshow(image)
        axis.set_title("\n".join(map(drawable, name.split("\n"))), fontsize=7, y=-0.22)
    return figure
