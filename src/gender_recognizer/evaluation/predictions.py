"""What a model says about the chosen pictures, found and labelled as `process.py` does it."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gender_recognizer.evaluation.selection import Selection
from gender_recognizer.labelling.labeller import Decision, Labeller
from gender_recognizer.labelling.reader import Pair
from gender_recognizer.labelling.records import NO_FACE, Limits
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.listing import File

EVERYTHING = Limits(min_size=0, min_contrast=0)
"""Limits with which only a picture without a face gets no label."""

_BATCH = 256


class Predictions(NamedTuple):
    """What a model says.

    Attributes:
        probabilities: float64 `(N, num_classes)`; of a picture without a face those of the whole picture.
        found: bool `(N,)`, whether a face was found, or none was looked for.
        seconds: that it took.
    """

    probabilities: np.ndarray
    found: np.ndarray
    seconds: float


def predict(predictor: Predictor, selection: Selection) -> Predictions:
    """Return what a model says about the pictures.

    Raises:
        ValueError: some of the model's results are not numbers.
    """
    labeller, paths = Labeller(predictor, EVERYTHING), selection.paths
    list(decide(labeller, paths[:_BATCH]))  # the first call is slower and not measured
    parts, found, started = [], [], time.perf_counter()
    nothing = np.full(len(predictor.info.classes), np.nan)
    for record, probabilities, _ in decide(labeller, paths):
        parts.append(nothing if probabilities is None else probabilities)  # the file is gone since it was decoded
        found.append(record.status != NO_FACE)
    seconds = time.perf_counter() - started
    probabilities = np.array(parts, np.float64)
    if broken := int((~np.isfinite(probabilities)).any(axis=1).sum()):
        raise ValueError(f"the model's results for {broken} of {len(probabilities)} pictures are not numbers")
    return Predictions(probabilities / probabilities.sum(axis=1, keepdims=True), np.array(found), seconds)


def predict_as(predictor: Predictor, classes: Sequence[str], selection: Selection) -> np.ndarray:
    """Return float64 probabilities `(N, num_classes)` of the pictures, with the classes in this order."""
    probabilities = predict(predictor, selection).probabilities
    return probabilities[:, [predictor.info.classes.index(name) for name in classes]]


def decide(labeller: Labeller, paths: Sequence[Path]) -> Iterator[Decision]:
    """Yield what becomes of the pictures in files, as in labelling."""
    files = [File(path.name, str(path)) for path in paths]
    reader = labeller.reader
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            pairs = [pair for read in threads.map(reader.read, batch) for pair in read]

            def look_again(rows: list[int], first: list[Pair], batch: list[File] = batch) -> list[Pair]:
                return list(threads.map(reader.read_again, [batch[row] for row in rows], first))

            yield from labeller.decide(pairs, look_again)
