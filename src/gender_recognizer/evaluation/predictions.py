"""What a model says about the chosen pictures, found and labelled as `process.py` does it."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from gender_recognizer.evaluation.selection import Selection
from gender_recognizer.labelling.labeller import Decision, Labeller
from gender_recognizer.labelling.reader import Pair
from gender_recognizer.labelling.records import NO_FACE, Limits, Record
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.loading import IMAGE_SIZE, Picture

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
    labeller = Labeller(predictor, EVERYTHING)
    predictor.predict(selection.images[selection.rows[:_BATCH]])  # the first call is slower and not measured
    parts, found, started = [], [], time.perf_counter()
    for start in range(0, len(selection.rows), _BATCH):
        for record, probabilities, _ in _decide(labeller, selection, start):
            parts.append(probabilities)
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


def _decide(labeller: Labeller, selection: Selection, start: int) -> list[Decision]:
    """Return the decisions for a batch of the pictures."""
    images = selection.images[selection.rows[start : start + _BATCH]]
    pairs: list[Pair] = [(Record(""), Picture(pixels, IMAGE_SIZE[::-1])) for pixels in images]

    def look_again(rows: list[int]) -> list[Pair]:
        paths = [selection.root / selection.names[start + row] for row in rows]
        with ThreadPoolExecutor() as threads:
            return list(threads.map(lambda path: labeller.reader.read_again(File(path.name, str(path))), paths))

    return labeller.decide(pairs, look_again)
