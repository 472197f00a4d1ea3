"""Write the results: metrics.json and, made from its numbers, a page, a model card and figures for TensorBoard."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gender_recognizer.evaluation.groups import group_gaps
from gender_recognizer.evaluation.intervals import Estimate, estimate_values, share_estimate
from gender_recognizer.evaluation.metrics import Evaluation
from gender_recognizer.evaluation.pages import figure_image, render, thumbnail, write_page
from gender_recognizer.evaluation.saliency import overlay
from gender_recognizer.evaluation.selection import Selection
from gender_recognizer.models.calibration import OperatingPoint, confidence_for
from gender_recognizer.models.curves import count_labels
from gender_recognizer.pictures.names import drawable, printable
from gender_recognizer.pictures.writing import replace_text
from gender_recognizer.training.figures import (
    NEUTRAL,
    RESULTS,
    RIGHT,
    named_grid_figure,
    new_axes,
    result_figures,
    worst_errors,
)

WORST = 48
"""Errors that are shown, the surest first."""

TARGET_ACCURACIES = (0.9, 0.95, 0.97, 0.98, 0.99)

EXPLANATIONS = {
    "accuracy": "share of right labels",
    "balanced_accuracy": "mean of the classes' recalls: the accuracy if all classes were equally frequent",
    "auroc": "chance that a picture of a class gets a higher probability for it than another picture",
    "average_precision": "area under the precision-recall curve, mean of the classes",
    "f1": "harmonic mean of precision and recall, mean of the classes",
    "mcc": "Matthews' correlation coefficient: 1 perfect, 0 guessing",
    "brier": "mean squared error of the probability; 0 is perfect, 0.25 is always saying 50 %",
    "log_loss": "cross-entropy; 0 is perfect, 0.69 is always saying 50 % of two classes",
    "calibration_error": "expected distance between confidence and share of right labels, 15 bins",
}


@dataclass
class Results:
    """The measurements of one model on some pictures.

    Attributes:
        facts: about the `model`, the `data` and how it was `measured`, plain values by these names.
        classes: names of the classes.
        pictures: those that it was measured on.
        probabilities: `(N, num_classes)`.
        evaluation: metrics of all pictures.
        groups: metrics of the groups in each column of the metadata.
        points: the model file's operating points, measured on its validation pictures.
        comparisons: other models on the same pictures, plain values.
        explained: for each title, indices of pictures and their saliency `(M, 100, 80)`.
        robustness: results for changed pictures, as `robustness.measure_robustness` returns it.
    """

    facts: dict[str, dict[str, Any]]
    classes: Sequence[str]
    pictures: Selection
    probabilities: np.ndarray
    evaluation: Evaluation
    groups: Mapping[str, Mapping[str, Evaluation]]
    points: Sequence[OperatingPoint] = ()
    comparisons: Sequence[Mapping[str, Any]] = ()
    explained: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    robustness: Sequence[Mapping[str, Any]] = ()


def summarise(results: Results) -> dict[str, Any]:
    """Return all numbers of an evaluation as plain values; undefined ones are None."""
    return results.facts | {
        "metrics": _plain(results.evaluation.metrics),
        "confusion": count_labels(results.probabilities, results.pictures.targets).tolist(),
        "unsure": _unsure(results),
        "groups": {
            column: {
                name: {"pictures": group.count, "metrics": _plain(group.metrics)} for name, group in groups.items()
            }
            for column, groups in results.groups.items()
        },
        "gaps": {column: _gaps(groups, results.classes) for column, groups in results.groups.items()},
        "comparisons": list(results.comparisons),
        "robustness": list(results.robustness),
    }


def _plain(metrics: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: estimate_values(estimate) for name, estimate in metrics.items()}


def _gaps(groups: Mapping[str, Evaluation], classes: Sequence[str]) -> dict[str, Any]:
    gaps: dict[str, Any] = _plain(group_gaps(groups, classes))
    if gaps:
        accuracy = {name: group.metrics["accuracy"].value for name, group in groups.items()}
        gaps["best"], gaps["worst"] = max(accuracy, key=accuracy.__getitem__), min(accuracy, key=accuracy.__getitem__)
    return gaps


def _unsure(results: Results) -> list[dict[str, Any]]:
    """Return the results here at the confidences that reached wanted accuracies on the model's validation pictures."""
    confidence = results.probabilities.max(axis=1)
    right = results.probabilities.argmax(axis=1) == results.pictures.targets
    rows = []
    for wanted in TARGET_ACCURACIES:
        try:
            point = confidence_for(results.points, wanted)
        except ValueError:  # not reached, or not calibrated
            continue
        kept = right[confidence >= point.confidence]
        rows.append(
            {
                "target_accuracy": wanted,
                "min_confidence": point.confidence,
                "unsure": 1 - len(kept) / len(right),
                "accuracy": estimate_values(share_estimate(kept.sum(), len(kept))),
            }
        )
    return rows


def write_metrics(summary: Mapping[str, Any], path: Path) -> None:
    """Write metrics.json; names that are not UTF-8 keep their odd bytes as escapes."""
    replace_text(path, json.dumps(summary, indent=1) + "\n")


def write_report(results: Results, summary: Mapping[str, Any], path: Path) -> dict[str, Figure]:
    """Write the page, and return its figures by name."""
    figures = result_figures(results.probabilities, results.pictures.targets, results.classes)
    for column, groups in results.groups.items():
        if groups:
            figures[f"by_{column}"] = group_figure(column, groups, results.evaluation.metrics["accuracy"].value)
    write_page(
        path,
        "report.html",
        summary=summary,
        classes=results.classes,
        explanations=EXPLANATIONS,
        figures={name: figure_image(figure, name.replace("_", " ")) for name, figure in figures.items()},
        errors=[_picture(results, row) for row in worst_errors(results.probabilities, results.pictures.targets, WORST)],
        explained={
            title: [_picture(results, row, saliency) for row, saliency in zip(rows, maps, strict=True)]
            for title, (rows, maps) in results.explained.items()
        },
    )
    return figures


def group_figure(column: str, groups: Mapping[str, Evaluation], overall: float) -> Figure:
    """Return the accuracy of each group with its 95 % interval, beside that of all pictures."""
    figure, axes = new_axes(f"Accuracy by {column.replace('_', ' ')}", "accuracy", "", (5.5, 1.4 + 0.3 * len(groups)))
    axes.axvline(overall, color=NEUTRAL, linestyle="--", linewidth=1)
    for row, group in enumerate(groups.values()):
        value, low, high = group.metrics["accuracy"]
        axes.plot([low, high], [row, row], color=RIGHT, alpha=0.4, linewidth=5, solid_capstyle="butt")
        axes.plot(value, row, "o", color=RIGHT)
    axes.set_yticks(range(len(groups)), [f"{drawable(name)} ({group.count:,})" for name, group in groups.items()])
    axes.invert_yaxis()
    axes.set_xlim(right=min(1.005, axes.get_xlim()[1]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def _picture(results: Results, row: int, saliency: np.ndarray | None = None) -> dict[str, Any]:
    image, name = results.pictures.images[results.pictures.rows[row]], results.pictures.names[row]
    label = int(results.probabilities[row].argmax())
    return {
        "image": thumbnail(image if saliency is None else overlay(image, saliency), name),
        "name": name,
        "label": results.classes[label],
        "right": label == results.pictures.targets[row],
        "probability": float(results.probabilities[row, label]),
    }


def write_card(summary: Mapping[str, Any], about: Mapping[str, Any], path: Path) -> None:
    """Write a model card in the form of Hugging Face's.

    Args:
        summary: what `summarise` returned.
        about: what cannot be measured: `name`, `license`, `tags`, `description`, `intended_use`, `out_of_scope`,
            `data`, `training`, `tried`, `limits`; any of them may be missing.
        path: of the card.
    """
    card = render("MODEL_CARD.md", summary=summary, about=about, explanations=EXPLANATIONS)
    replace_text(path, card, "backslashreplace")


def log_to_tensorboard(results: Results, figures: Mapping[str, Figure], folder: Path) -> None:
    """Write the metrics and the figures of the page for `tensorboard --logdir`."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of names in scripts that matplotlib's font lacks
        rows = [f"| {name} | {estimate.value:.4f} |" for name, estimate in results.evaluation.metrics.items()]
        writer.add_text(f"{RESULTS}/metrics", "\n".join(["| metric | value |", "|---|---|", *rows]))
        for name, figure in figures.items():
            writer.add_figure(f"{RESULTS}/{name}", figure)
        worst = worst_errors(results.probabilities, results.pictures.targets, WORST)
        if len(worst):
            pictures = results.pictures
            names = [f"{printable(pictures.names[row])}\n{results.probabilities[row].max():.2f}" for row in worst]
            grid = named_grid_figure(pictures.images[pictures.rows[worst]], names)
            writer.add_figure(f"{RESULTS}/worst_errors", grid)
