"""Turn pictures into records: look, look again where that was not enough, decide.

Every engine, the Python API and the evaluation use the same `Labeller`.
"""

import math
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gender_recognizer.labelling.reader import Pair, Reader, without_face
from gender_recognizer.labelling.records import BLANK, FAILED, TOO_SMALL, Limits, Record
from gender_recognizer.models.detector import MIN_FAR_SCORE, MIN_LOOK_SCORE, MIN_SHARE, NEAR_SHARE, Detector
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.loading import Picture

LookAgain = Callable[[list[int]], list[Pair]]
"""Returns the main faces of pictures, which are read again: `Reader.read_again` of those with these numbers."""


class Decision(NamedTuple):
    """What became of a picture.

    Attributes:
        record: of the file or the face.
        probabilities: `(num_classes,)`, of a picture without a face those of the whole picture; None if the model did
            not see it.
        picture: what was looked at last: the whole picture, or a face in it; None if there is none.
    """

    record: Record
    probabilities: np.ndarray | None
    picture: Picture | None


class _Look(NamedTuple):
    """What a model says about one picture; names as in `predictor.Prediction`."""

    probabilities: np.ndarray
    frame: np.ndarray
    face_score: float


class Labeller:
    """One model, its limits and its reader; may be used by several threads at once."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None, detector: Detector | None = None) -> None:
        """Take a model.

        Args:
            predictor: the model.
            limits: None for the default ones.
            detector: finds faces in photographs; None for `YuNet`.

        Raises:
            ValueError: the limits ask for each face, and the model does not look for faces.
        """
        self.predictor, self.limits = predictor, limits or Limits()
        self.reader = Reader(self.limits, detector, predictor.info.image_size)
        self._local = threading.local()
        self._looks = self.limits.faces == "auto" and predictor.info.looks_for_faces
        if self.limits.faces == "crop" and not predictor.info.looks_for_faces:
            raise ValueError("faces is crop, but the model does not look for faces; use faces=none or another model")

    def label_pictures(self, read: Sequence[Pair], look_again: LookAgain | None = None) -> list[Record]:
        """Fill in and return the records of pictures; see `decide`."""
        return [decision.record for decision in self.decide(read, look_again)]

    def decide(self, read: Sequence[Pair], look_again: LookAgain | None = None) -> list[Decision]:
        """Return what becomes of pictures, and fill in their records.

        A picture whose face does not fill enough of it, or that shows none, is looked at again.

        Args:
            read: the pictures.
            look_again: reads those with these numbers again; None where there is nothing more to read.
        """
        looks = self._look(read)
        rows = [row for row, look in enumerate(looks) if look and self._looks and not _shows_enough(look)]
        again = dict(zip(rows, look_again(rows) if rows and look_again else [], strict=False))
        closer = dict(zip(again, self._look(list(again.values())), strict=True))
        return [
            self._choose((record, picture), look, again.get(row), closer.get(row))
            for row, ((record, picture), look) in enumerate(zip(read, looks, strict=True))
        ]

    def _choose(self, first: Pair, look: _Look | None, second: Pair | None, closer: _Look | None) -> Decision:
        """Return what becomes of a picture, given the first look at it and, if there was one, the second."""
        record, picture = first
        if look is None or picture is None:
            return Decision(record, None, picture)
        if second:
            again, face = second
            if face and closer and closer.face_score >= MIN_LOOK_SCORE:
                return self._decide(again, face, closer)
            if again.status == TOO_SMALL or (face is None and again.status == FAILED):
                return Decision(again, None, picture)
        if self._looks and not _is_face(look):
            return Decision(without_face(record), look.probabilities, picture)
        if self._looks:
            record.box, record.faces = find_box(look.frame, picture.size), 1
        return self._decide(record, picture, look)

    def _decide(self, record: Record, picture: Picture, look: _Look) -> Decision:
        """Return the decision for a picture by what the model says about it."""
        probabilities = look.probabilities
        if not np.isfinite(probabilities).all():
            record.status, record.reason = FAILED, "the model gave no probability: its result is not a number"
            return Decision(record, probabilities, picture)
        best = int(probabilities.argmax())
        record.label = self.predictor.info.classes[best]
        record.probability = round(float(probabilities[best]), 6)
        record.status, record.reason = self.limits.status(record.probability), None
        return Decision(record, probabilities, picture)

    def _look(self, read: Sequence[Pair]) -> list[_Look | None]:
        """Return what the model says about pictures; None where there is nothing to look at."""
        rows = [row for row, (record, picture) in enumerate(read) if picture and self._accept(record, picture)]
        looks: list[_Look | None] = [None] * len(read)
        if rows:
            images = self._buffer(len(rows))
            for place, row in enumerate(rows):
                images[place] = read[row][1].pixels  # type: ignore[union-attr] # which was asked above
            for row, *said in zip(rows, *self.predictor.predict(images), strict=True):
                looks[row] = _Look(*said)
        return looks

    def _accept(self, record: Record, picture: Picture) -> bool:
        """Return whether there is something to label; if not, set the record's status and reason."""
        record.pages = picture.pages if picture.pages > 1 else None
        record.truncated = picture.truncated or None
        width, height = picture.size
        if min(width, height) < self.limits.min_size:
            record.status, record.reason = TOO_SMALL, f"{width}x{height} pixels"
        elif _is_below(picture.pixels, self.limits.min_contrast):
            record.status, record.reason = BLANK, "one colour all over"
        else:
            return True
        return False

    def _buffer(self, count: int) -> np.ndarray:
        """Return this thread's memory for `count` pictures, uint8 `(count, *image_size, 3)`."""
        images = getattr(self._local, "images", None)
        if images is None or len(images) < count:
            images = self._local.images = np.empty((count, *self.reader.image_size, 3), np.uint8)
        return images[:count]


def find_box(frame: np.ndarray, size: tuple[int, int]) -> list[int]:
    """Return left, top, right and bottom of the square around a frame, as far as it lies in a picture of this size.

    Args:
        frame: `(4,)`, as `framing` describes it.
        size: width and height of the picture in pixels.
    """
    x, y, log_size, log_aspect = (float(value) for value in frame)
    side = math.exp(log_size - log_aspect / 2) * math.sqrt(size[0] * size[1])
    centre = (x + 1) / 2 * size[0], (y + 1) / 2 * size[1]
    corners = [middle + half for half in (-side / 2, side / 2) for middle in centre]
    return [min(max(round(value), 0), limit) for value, limit in zip(corners, size * 2, strict=True)]


def _shows_enough(look: _Look) -> bool:
    """Return whether there is a face in a picture, and fills so much of it that its 100x80 pixels tell enough."""
    return _is_face(look) and _share(look) >= MIN_SHARE


def _is_face(look: _Look) -> bool:
    return look.face_score >= (MIN_LOOK_SCORE if _share(look) >= NEAR_SHARE else MIN_FAR_SCORE)


def _share(look: _Look) -> float:
    """Return the side of the face's frame as a share of the root of the picture's area."""
    _, _, log_size, log_aspect = look.frame
    return math.exp(log_size - log_aspect / 2)


def _is_below(pixels: np.ndarray, contrast: int) -> bool:
    """Return whether the values of each colour channel of `(100, 80, 3)` stay within less than `contrast`."""
    if np.ptp(pixels[50, :, 1]) >= contrast:  # the green values across the middle almost always decide it
        return False
    return bool((np.ptp(pixels.reshape(-1, 3), axis=0) < contrast).all())
