"""The end of a training: this model against the bundled one on the same pictures, the advice that follows, commands."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.models.comparing import mcnemar, share_interval
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import Predictor, available_cores, load_predictor
from gender_recognizer.training.next_commands import command_line, short_path, without_options
from gender_recognizer.training.settings import TrainSettings

logger = logging.getLogger(__name__)

FEW_PICTURES = 10_000
"""Training pictures below which starting from the bundled weights is worth a try."""

BATCH = 256
SURE = 0.05
"""Largest p-value with which one model is called better."""


def show_verdict(
    console: Console, settings: TrainSettings, checkpoint: Path, data: FaceDataModule, device: str
) -> None:
    """Show the table, the advice and the next commands on a console."""
    logger.info("comparing with the bundled model")
    found = compare_with_bundled(checkpoint, data, device)
    console.print(result_table(found))
    lines = [advice(found, settings, len(data.parts["train"])), "", "Next:"]
    lines += [f"  {command}" for command in next_commands(found, settings, checkpoint, data)]
    logger.info("best checkpoint: %s, and model.onnx beside it", checkpoint)
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=line.startswith("  "))


class Comparison(NamedTuple):
    """The labels of two models for the same pictures, as class indices, int `(N,)`.

    Attributes:
        part: the part of the data that the pictures are: test, or validation where there is no test part.
        classes: names of the classes.
        targets: the true ones.
        own: those of the model that was trained.
        bundled: those of the bundled model; None if it has other classes.
    """

    part: str
    classes: list[str]
    targets: np.ndarray
    own: np.ndarray
    bundled: np.ndarray | None

    @property
    def better(self) -> str | None:
        """Return `own` or `bundled` if that one is better beyond chance."""
        if self.bundled is None:
            return None
        own, bundled, p_value = mcnemar(self.own, self.bundled, self.targets)
        return None if p_value > SURE else "own" if own > bundled else "bundled"


def compare_with_bundled(checkpoint: Path, data: FaceDataModule, device: str) -> Comparison:
    """Return the labels of a checkpoint and of the bundled model for the test part, or else the validation part.

    Args:
        checkpoint: of the model that was trained; on a CPU model.onnx beside it, which is faster, answers for it.
        data: after `setup`.
        device: where the checkpoint computes, as torch names it.
    """
    exported = checkpoint.with_name("model.onnx")
    path = exported if device == "cpu" and exported.is_file() else checkpoint
    part = "test" if len(data.parts["test"]) else "validation"
    cores = available_cores()
    own, bundled = load_predictor(path, device, cores), load_predictor(BUNDLED_MODEL, num_threads=cores)
    same = sorted(bundled.info.classes) == sorted(data.classes)
    labels = [predict_labels(model, data, part) for model in (own, *([bundled] if same else []))]
    return Comparison(part, data.classes, data.parts[part].targets, labels[0], labels[1] if same else None)


def predict_labels(predictor: Predictor, data: FaceDataModule, part: str) -> np.ndarray:
    """Return a model's labels for the pictures of a part, as indices of the data's classes, int `(N,)`."""
    pictures = data.parts[part]
    starts = range(0, len(pictures), BATCH)
    size = predictor.info.image_size
    images = pictures.images if pictures.images.shape[1:3] == tuple(size) else data.caches[part].images_of(size)
    batches = [images[pictures.rows[start : start + BATCH]] for start in starts]
    theirs = np.concatenate([predictor.predict(batch).probabilities.argmax(axis=1) for batch in batches])
    return np.array([data.classes.index(name) for name in predictor.info.classes])[theirs]


def result_table(found: Comparison) -> Table:
    """Return the accuracies of both models with their 95 % intervals."""
    models = {"this model": found.own} | ({} if found.bundled is None else {"bundled model": found.bundled})
    table = Table(f"{len(found.targets):,} {found.part} pictures", *models)
    hits = [labels == found.targets for labels in models.values()]
    table.add_row("accuracy", *map(share_with_interval, hits))
    present = [target for target in range(len(found.classes)) if target in found.targets]
    by_class = [[hit[found.targets == target].mean() for target in present] for hit in hits]
    table.add_row("balanced accuracy", *(f"{100 * np.mean(shares):.1f} %" for shares in by_class))
    for target, name in enumerate(found.classes):
        table.add_row(Text(name), *(share_with_interval(hit[found.targets == target]) for hit in hits))
    table.caption = "with 95 % intervals"
    return table


def share_with_interval(right: np.ndarray) -> str:
    """Return the share of right labels, bool `(N,)`, with its interval; `-` without pictures."""
    if not len(right):
        return "-"
    low, high = share_interval(int(right.sum()), len(right))
    return f"{100 * right.mean():.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def advice(found: Comparison, settings: TrainSettings, pictures: int) -> str:
    """Return in a sentence or two which model to use, and whether to start from the bundled weights.

    Args:
        found: the comparison.
        settings: of the run.
        pictures: number of training pictures.
    """
    if found.bundled is None:
        return "The bundled model has other classes: there is nothing to compare this one with."
    own, bundled, p_value = mcnemar(found.own, found.bundled, found.targets)
    counts = f"only this one is right on {own}, only the bundled one on {bundled} (p = {p_value:.2g})"
    start = starts_from_random(settings) and pictures < FEW_PICTURES
    if found.better == "own":
        return f"Use this model, it is better than the bundled one on these pictures: {counts}." + (
            " init_from=bundled may still be better than both." if start else ""
        )
    way = f" {START_FROM_BUNDLED}" if start else ""
    if found.better == "bundled":
        return f"Use the bundled model, it is better on these pictures: {counts}.{way}"
    gained = "" if settings.init_from is None else " Starting from trained weights has gained nothing that they show."
    return (
        f"{len(found.targets):,} pictures do not show which model is better: {counts}. Use the bundled one, which has "
        f"seen more faces, unless a larger test says otherwise.{gained}{way}"
    )


START_FROM_BUNDLED = "To make more of your pictures, train with init_from=bundled and see whether it beats both."


def starts_from_random(settings: TrainSettings) -> bool:
    """Return whether a run starts from random weights."""
    return settings.init_from is None and not settings.model.get("pretrained")


def next_commands(found: Comparison, settings: TrainSettings, checkpoint: Path, data: FaceDataModule) -> list[str]:
    """Return three commands: to label with the better model, to measure, and to train again or check the pictures."""
    model = short_path(checkpoint.with_name("model.onnx"))
    use_own = found.bundled is None or found.better == "own"
    root = f"data.root={short_path(data.root)}"
    tested = root if data.test_root is None else f"data.root={short_path(data.test_root)}"
    compared = [] if found.bundled is None else [f"compare=[{short_path(BUNDLED_MODEL)}]"]
    if starts_from_random(settings) and len(data.parts["train"]) < FEW_PICTURES:
        kept = without_options(settings.typed, ("init_from", "ckpt_path", "model", "experiment", "classifier.lr"))
        last = command_line("train", "init_from=bundled", *(kept if settings.typed else [root]))
    else:
        last = command_line("check", root)
    return [
        command_line("label", f"input_dir={short_path(data.root)}", *([f"model_path={model}"] if use_own else [])),
        command_line("evaluate", f"model_path={model}", *compared, tested),
        last,
    ]
