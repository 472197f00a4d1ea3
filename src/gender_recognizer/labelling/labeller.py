"""Files to records: read, decode, label. Every engine and the Python API use the same `Labeller`."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image

from gender_recognizer.models.detector import FACES, FaceDetector
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.loading import (
    IMAGE_SIZE,
    MAX_PIXELS,
    Photograph,
    Picture,
    convert_photograph,
    convert_picture,
    read_photograph,
    read_picture,
)
from gender_recognizer.pictures.opening import open_regular

T = TypeVar("T")

LABELLED, UNSURE, TOO_SMALL, BLANK, FAILED = "labelled", "unsure", "too_small", "blank", "failed"
NO_FACE = "no_face"


@dataclass(slots=True)
class Record:
    """What became of one file, or of one face in a photograph.

    Attributes:
        file: path relative to the input folder, with `/`; with `faces=crop` followed by `#` and the face's number.
        status: `labelled`, `unsure`, `too_small`, `blank`, `no_face` or `failed`.
        label: name of the most probable class; None unless `labelled` or `unsure`.
        probability: its probability, in [0, 1], rounded to 6 digits; None unless `labelled` or `unsure`.
        reason: why it has no label; None for a labelled file.
        frames: number of frames or pages, of which the first was labelled; None for a single one.
        truncated: True if the file ends too early and what there is was labelled.
        size: length of the file in bytes; None if it could not be opened.
        modified: time of its last change in ns since 1970; None if it could not be opened.
        face: number of the face among those of its photograph, from left to right, from 0; with `faces=crop` only.
        faces: how many faces the photograph has; None if it has none, or none were looked for.
        box: left, top, right and bottom of the square that was labelled, in pixels of the upright photograph.
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
    face: int | None = None
    faces: int | None = None
    box: list[int] | None = None

    @property
    def photo(self) -> str:
        """The file that the record is about."""
        return self.file if self.face is None else self.file.removesuffix(f"#{self.face}")

    @property
    def is_last(self) -> bool:
        """Whether no further record of the same file follows."""
        return self.face is None or self.face == self.faces - 1


Pair = tuple[Record, Picture | None]
"""What is known of a picture so far, and the picture, unless the record already says why it has no label."""


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
        faces: `none` where pictures are crops of faces; in photographs, `crop` labels each face, `largest` the largest.
    """

    min_confidence: float = 0.0
    min_size: int = 16
    min_contrast: int = 8
    max_pixels: int = MAX_PIXELS
    allow_truncated: bool = False
    faces: str = "none"

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ValueError(f"min_confidence is {self.min_confidence}; expected a probability from 0 to 1")
        for name in ("min_size", "min_contrast", "max_pixels"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.faces not in FACES:
            raise ValueError(f"faces is {self.faces}; expected {', '.join(FACES[:-1])} or {FACES[-1]}")

    def status(self, probability: float) -> str:
        """Return `labelled` or `unsure`."""
        return UNSURE if probability < self.min_confidence else LABELLED


class Labeller:
    """One model and its limits; may be used by several threads at once."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None) -> None:
        """Take a model; without limits, the default ones.

        Raises:
            ValueError: the limits ask for faces, and the extra `faces` is not installed.
        """
        self.predictor, self.limits = predictor, limits or Limits()
        looking = self.limits.faces != "none"
        self._detector = FaceDetector(largest=self.limits.faces == "largest") if looking else None
        self._local = threading.local()

    def label_files(self, files: Sequence[File], contents: Sequence[bytes] | None = None) -> list[Record]:
        """Return the records of files, whatever is wrong with them.

        Args:
            files: what to read.
            contents: what is in them, where they were read already.
        """
        contents = contents or [None] * len(files)
        pairs = [pair for file, content in zip(files, contents, strict=True) for pair in self.read(file, content)]
        return self.label_pictures(pairs)

    def read(self, file: File, content: bytes | None = None) -> list[Pair]:
        """Return the picture in a file, or its faces."""
        record = Record(file.name, reason=file.problem, size=file.size, modified=file.modified)
        if file.problem:
            return [(record, None)]
        try:
            if content is not None:
                return self._decode(record, BytesIO(content))
            stream, status = open_regular(file.path)
            record.size, record.modified = status.st_size, status.st_mtime_ns
            with stream:
                return self._decode(record, stream)
        except OSError as error:
            record.reason = error.strerror or str(error)
        except ValueError as error:
            record.reason = str(error)
        return [(record, None)]

    def convert(self, record: Record, image: Image.Image) -> list[Pair]:
        """Return an opened Pillow image, or its faces."""
        try:
            if self._detector:
                return self._cut(record, lambda longest: convert_photograph(image))
            return [(record, convert_picture(image))]
        except (ValueError, OSError) as error:
            record.reason = str(error)
            return [(record, None)]

    def label_pictures(self, read: Sequence[Pair]) -> list[Record]:
        """Fill in and return the records of pictures."""
        batch = [(record, picture) for record, picture in read if picture and self._accept(record, picture)]
        if batch:
            images = self._buffer(len(batch))
            for row, (_, picture) in enumerate(batch):
                images[row] = picture.pixels
            for (record, _), probabilities in zip(batch, self.predictor.predict(images), strict=True):
                if not np.isfinite(probabilities).all():
                    record.status, record.reason = FAILED, "the model gave no probability: its result is no number"
                    continue
                best = int(probabilities.argmax())
                record.label = self.predictor.info.classes[best]
                record.probability = round(float(probabilities[best]), 6)
                record.status = self.limits.status(record.probability)
        return [record for record, _ in read]

    def _decode(self, record: Record, file: BinaryIO) -> list[Pair]:
        max_pixels, allow_truncated = self.limits.max_pixels, self.limits.allow_truncated
        if not self._detector:
            return [(record, read_picture(file, max_pixels, allow_truncated))]

        def read(longest: int | None) -> Photograph:
            file.seek(0)
            return read_photograph(file, longest, max_pixels, allow_truncated)

        return self._cut(record, read)

    def _cut(self, record: Record, read: Callable[[int | None], Photograph]) -> list[Pair]:
        """Return the faces of a photograph, each with a record of its own."""
        pictures, boxes, count = self._detector.cut(read)
        if not count:
            record.status, record.reason = NO_FACE, "no face found"
            return [(record, None)]
        if self.limits.faces == "largest":
            return [(replace(record, faces=count, box=boxes[0]), pictures[0])]
        return [
            (replace(record, file=f"{record.file}#{face}", face=face, faces=count, box=box), picture)
            for face, (picture, box) in enumerate(zip(pictures, boxes, strict=True))
        ]

    def _accept(self, record: Record, picture: Picture) -> bool:
        """Say whether there is something to label; the record says why if not."""
        record.frames = picture.pages if picture.pages > 1 else None
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
