"""The results of labelling, and the limits that decide them. Imports only the standard library."""

import math
from dataclasses import dataclass, fields

LABELLED, UNSURE, TOO_SMALL, BLANK, FAILED = "labelled", "unsure", "too_small", "blank", "failed"
NO_FACE = "no_face"
STATUSES = (LABELLED, UNSURE, TOO_SMALL, BLANK, NO_FACE, FAILED)

FACES = ("auto", "crop", "none")
"""What is labelled of a picture: its main face, each face, or the whole picture, whatever it shows."""


@dataclass(slots=True)
class Record:
    """The result for one file, or with `faces=crop` for one face in it.

    Attributes:
        file: path relative to the input folder, with `/`; with `faces=crop` followed by `#` and the face's number.
        status: `labelled`, `unsure`, `too_small`, `blank`, `no_face` or `failed`.
        label: name of the most probable class; None unless `labelled` or `unsure`.
        probability: its probability, in [0, 1], rounded to 6 digits; None unless `labelled` or `unsure`.
        reason: why it has no label; None for a labelled file.
        pages: number of pages (of a GIF: its pictures), of which the first was labelled; None for a single one.
        truncated: True if the file ends too early and what there is was labelled.
        size: length of the file in bytes; None if it could not be opened.
        modified: time of its last change in ns since 1970; None if it could not be opened.
        face: number of the face among those of its photograph, from left to right, from 0; with `faces=crop` only.
        faces: how many faces were found; 1 where the main one fills so much of the picture that no others were looked
            for; None if there is none, or none were looked for.
        box: left, top, right and bottom of the square that was labelled, in pixels of the upright picture; None if no
            face was found, or none was looked for.
    """

    file: str
    status: str = FAILED
    label: str | None = None
    probability: float | None = None
    reason: str | None = None
    pages: int | None = None
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
        return self.face is None or self.faces is None or self.face == self.faces - 1


COLUMNS = tuple(field.name for field in fields(Record))


@dataclass(frozen=True)
class Limits:
    """Limits on what is read, and thresholds for the decision.

    Attributes:
        min_confidence: probability below which a picture is `unsure`, in [0, 1].
        min_size: shorter side in pixels below which a picture, or a face in a photograph, is `too_small`.
        min_contrast: difference between the largest and the smallest value, in 0..255, which some colour channel
            must reach, or the picture is `blank`; 0 to label those too.
        max_pixels: width x height above which a picture is not decoded.
        max_file_size: length in bytes above which a file is not opened.
        max_seconds: time after which a worker that reads a file is ended, and the file is `failed`.
        allow_truncated: label what there is of a file that ends too early.
        faces: `auto` labels the main face of each picture, `crop` each face, `none` the whole picture, also one without
            a face. With a model that does not look for faces `auto` is the same as `none`.
    """

    min_confidence: float = 0.0
    min_size: int = 16
    min_contrast: int = 8
    max_pixels: int = 50_000_000
    max_file_size: int = 100_000_000
    max_seconds: float = 20.0
    allow_truncated: bool = False
    faces: str = "auto"

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ValueError(f"min_confidence is {self.min_confidence:g}; expected a probability from 0 to 1")
        for name in ("min_size", "min_contrast", "max_pixels", "max_file_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not 0 < self.max_seconds < math.inf:
            raise ValueError(f"max_seconds is {self.max_seconds:g}; expected a number of seconds above 0, such as 20")
        if self.faces not in FACES:
            hint = "; auto labels the main face" if self.faces == "largest" else ""
            raise ValueError(f"faces is {self.faces}; expected {', '.join(FACES[:-1])} or {FACES[-1]}{hint}")

    def status(self, probability: float) -> str:
        """Return `labelled` or `unsure`."""
        return UNSURE if probability < self.min_confidence else LABELLED
