"""Files to records: read, decode, label. Every engine and the Python API use the same `Labeller`."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import BinaryIO, TypeVar

import numpy as np

from gender_recognizer.images import IMAGE_SIZE, MAX_PIXELS, Picture, open_regular, read_picture
from gender_recognizer.listing import File
from gender_recognizer.predictor import Predictor

T = TypeVar("T")

LABELLED, UNSURE, TOO_SMALL, BLANK, FAILED = "labelled", "unsure", "too_small", "blank", "failed"


@dataclass(slots=True)
class Record:
    """What became of one file.

    Attributes:
        file: path relative to the input folder, with `/`.
        status: `labelled`, `unsure`, `too_small`, `blank` or `failed`.
        label: name of the most probable class; None unless `labelled` or `unsure`.
        probability: its probability, in [0, 1], rounded to 6 digits; None unless `labelled` or `unsure`.
        reason: why it has no label; None for a labelled file.
        frames: number of frames or pages, of which the first was labelled; None for a single one.
        truncated: True if the file ends too early and what there is was labelled.
        size: length of the file in bytes; None if it could not be opened.
        modified: time of its last change in ns since 1970; None if it could not be opened.
    """

    file: str
    status: str = FAILED
    label: str | None = None
    probability: float | None = None
    reason: str | None = None
    frames: int | None = None
    truncated: bool | None = None
    size: int | None = None
    modified: int | None = None


@dataclass(frozen=True)
class Limits:
    """What is read and what is decided.

    Attributes:
        min_confidence: probability below which a picture is `unsure`, in [0, 1].
        min_size: shorter side in pixels below which a picture is `too_small`.
        min_contrast: difference between the largest and the smallest value, in 0..255, which some colour channel
            must reach, or the picture is `blank`; 0 to label those too.
        max_pixels: width x height above which a picture is not decoded.
        allow_truncated: label what there is of a file that ends too early.
    """

    min_confidence: float = 0.0
    min_size: int = 16
    min_contrast: int = 8
    max_pixels: int = MAX_PIXELS
    allow_truncated: bool = False

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ValueError(f"min_confidence is {self.min_confidence}; expected a probability from 0 to 1")
        for name in ("min_size", "min_contrast", "max_pixels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")

    def status(self, probability: float) -> str:
        """Return `labelled` or `unsure`."""
        return UNSURE if probability < self.min_confidence else LABELLED


class Labeller:
    """One model and its limits; may be used by several threads at once."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None) -> None:
        """Take a model; without limits, the default ones."""
        self.predictor, self.limits = predictor, limits or Limits()
        self._local = threading.local()

    def label_files(self, files: Sequence[File], contents: Sequence[bytes] | None = None) -> list[Record]:
        """Return the records of files, whatever is wrong with them.

        Args:
            files: what to read.
            contents: what is in them, where they were read already.
        """
        if contents is None:
            return self.label_pictures([self.read(file) for file in files])
        return self.label_pictures([self.read(file, content) for file, content in zip(files, contents, strict=True)])

    def read(self, file: File, content: bytes | None = None) -> tuple[Record, Picture | None]:
        """Return the picture in a file, or None and the record with the reason."""
        record = Record(file.name, reason=file.problem, size=file.size, modified=file.modified)
        if file.problem:
            return record, None
        try:
            if content is not None:
                return record, self._decode(BytesIO(content))
            stream, status = open_regular(file.path)
            record.size, record.modified = status.st_size, status.st_mtime_ns
            with stream:
                return record, self._decode(stream)
        except OSError as error:
            record.reason = error.strerror or str(error)
        except ValueError as error:
            record.reason = str(error)
        return record, None

    def label_pictures(self, read: Sequence[tuple[Record, Picture | None]]) -> list[Record]:
        """Fill in and return the records of pictures."""
        batch = [(record, picture) for record, picture in read if picture and self._accept(record, picture)]
        if batch:
            images = self._buffer(len(batch))
            for row, (_, picture) in enumerate(batch):
                images[row] = picture.pixels
            for (record, _), probabilities in zip(batch, self.predictor.predict(images), strict=True):
                best = int(probabilities.argmax())
                record.label = self.predictor.info.classes[best]
                record.probability = round(float(probabilities[best]), 6)
                record.status = self.limits.status(record.probability)
        return [record for record, _ in read]

    def _decode(self, file: BinaryIO) -> Picture:
        return read_picture(file, self.limits.max_pixels, self.limits.allow_truncated)

    def _accept(self, record: Record, picture: Picture) -> bool:
        """Say whether there is something to label; the record says why if not."""
        record.frames = picture.frames if picture.frames > 1 else None
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


def _is_below(pixels: np.ndarray, contrast: int) -> bool:
    """Say whether the values of each colour channel of `(100, 80, 3)` stay within less than `contrast`."""
    if np.ptp(pixels[50, :, 1]) >= contrast:  # the greens across the middle tell almost always
        return False
    return bool((np.ptp(pixels.reshape(-1, 3), axis=0) < contrast).all())


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last perhaps shorter; `itertools.batched` came with Python 3.12."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])
