"""Turn files into records: read, find the face, decide. Every engine and the Python API use the same `Labeller`."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image

from gender_recognizer.labelling.records import BLANK, FAILED, NO_FACE, TOO_SMALL, Limits, Record
from gender_recognizer.models.detector import Detector, YuNet, cut_faces
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.loading import (
    IMAGE_SIZE,
    Photograph,
    Picture,
    convert_photograph,
    convert_picture,
    read_photograph,
    read_picture,
)
from gender_recognizer.pictures.opening import open_regular

Pair = tuple[Record, Picture | None]
"""The record of a picture so far, and the picture; None if the record already holds the reason for having no label."""

NO_MEMORY = "not enough memory to read it; shrink the picture first"


class Reader:
    """Reads files, and finds the faces in them; may be used by several threads at once."""

    def __init__(self, limits: Limits, detector: Detector | None = None) -> None:
        """Set the limits, and the detector that is used if they ask for faces; None for `YuNet`.

        Raises:
            ValueError: the limits ask for faces, and the extra `faces` is not installed.
        """
        self.limits = limits
        self.detector = None if limits.faces == "none" else detector or YuNet()

    def read(self, file: File, content: bytes | None = None) -> list[Pair]:
        """Return the picture in a file, or its faces.

        Args:
            file: what to read.
            content: its content, if it was read already.
        """
        record = Record(file.name, reason=file.problem, size=file.size, modified=file.modified)
        if file.problem:
            return [(record, None)]
        try:
            if content is not None:
                return self._decode(record, BytesIO(content))
            stream, status = open_regular(file.path, self.limits.max_file_size)
            record.size, record.modified = status.st_size, status.st_mtime_ns
            with stream:
                return self._decode(record, stream)
        except (OSError, ValueError, MemoryError) as error:
            record.reason = reason_of(error)
        return [(record, None)]

    def convert(self, record: Record, image: Image.Image) -> list[Pair]:
        """Return an opened Pillow image, or its faces."""
        try:
            if self.detector:
                return self._cut(record, lambda longest: convert_photograph(image))
            return [(record, convert_picture(image))]
        except (OSError, ValueError, MemoryError) as error:
            record.reason = reason_of(error)
            return [(record, None)]

    def _decode(self, record: Record, file: BinaryIO) -> list[Pair]:
        max_pixels, allow_truncated = self.limits.max_pixels, self.limits.allow_truncated
        if not self.detector:
            return [(record, read_picture(file, max_pixels, allow_truncated))]

        def read(longest: int | None) -> Photograph:
            file.seek(0)
            return read_photograph(file, longest, max_pixels, allow_truncated)

        return self._cut(record, read)

    def _cut(self, record: Record, read: Callable[[int | None], Photograph]) -> list[Pair]:
        """Return the faces of a photograph, each with a record of its own."""
        assert self.detector is not None
        largest = self.limits.faces == "largest"
        pictures, boxes, count = cut_faces(self.detector, read, largest)
        if not count:
            record.status, record.reason = NO_FACE, "no face found"
            return [(record, None)]
        if largest:
            return [(replace(record, faces=count, box=boxes[0]), pictures[0])]
        return [
            (replace(record, file=f"{record.file}#{face}", face=face, faces=count, box=box), picture)
            for face, (picture, box) in enumerate(zip(pictures, boxes, strict=True))
        ]


class Labeller:
    """One model, its limits and its face detector; may be used by several threads at once."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None, detector: Detector | None = None) -> None:
        """Take a model.

        Args:
            predictor: the model.
            limits: None for the default ones.
            detector: finds faces where the limits ask for them; None for `YuNet`.

        Raises:
            ValueError: the limits ask for faces, and the extra `faces` is not installed.
        """
        self.predictor, self.limits = predictor, limits or Limits()
        self.reader = Reader(self.limits, detector)
        self._local = threading.local()

    def label_pictures(self, read: Sequence[Pair]) -> list[Record]:
        """Fill in and return the records of pictures."""
        batch = [(record, picture) for record, picture in read if picture and self._accept(record, picture)]
        if batch:
            images = self._buffer(len(batch))
            for row, (_, picture) in enumerate(batch):
                images[row] = picture.pixels
            for (record, _), probabilities in zip(batch, self.predictor.predict(images).probabilities, strict=True):
                if not np.isfinite(probabilities).all():
                    record.status, record.reason = FAILED, "the model gave no probability: its result is not a number"
                    continue
                best = int(probabilities.argmax())
                record.label = self.predictor.info.classes[best]
                record.probability = round(float(probabilities[best]), 6)
                record.status = self.limits.status(record.probability)
        return [record for record, _ in read]

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
        """Return this thread's memory for `count` pictures, uint8 `(count, 100, 80, 3)`."""
        images = getattr(self._local, "images", None)
        if images is None or len(images) < count:
            images = self._local.images = np.empty((count, *IMAGE_SIZE, 3), np.uint8)
        return images[:count]


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read, in words."""
    if isinstance(error, MemoryError):
        return NO_MEMORY
    return getattr(error, "strerror", None) or str(error)


def _is_below(pixels: np.ndarray, contrast: int) -> bool:
    """Return whether the values of each colour channel of `(100, 80, 3)` stay within less than `contrast`."""
    if np.ptp(pixels[50, :, 1]) >= contrast:  # the green values across the middle almost always decide it
        return False
    return bool((np.ptp(pixels.reshape(-1, 3), axis=0) < contrast).all())
