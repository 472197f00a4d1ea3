"""Read files: the picture in each, or the faces in it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import BinaryIO

from PIL import Image

from gender_recognizer.labelling.records import NO_FACE, Limits, Record
from gender_recognizer.models.detector import Detector, YuNet
from gender_recognizer.models.face_crops import Read, cut_faces, cut_main_face
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


class _FewPixelsError(Exception):
    """More of a photograph is needed than is at hand."""


class Reader:
    """Reads files, and finds the faces in them; may be used by several threads at once."""

    def __init__(
        self, limits: Limits, detector: Detector | None = None, image_size: tuple[int, int] = IMAGE_SIZE
    ) -> None:
        """Set the limits, the detector of faces in photographs (None for `YuNet`), and height and width of pictures."""
        self.limits, self.detector, self.image_size = limits, detector or YuNet(), image_size

    def read(self, file: File, content: bytes | None = None) -> list[Pair]:
        """Return the picture in a file or, if the limits ask for each, the faces in it.

        Args:
            file: what to read.
            content: its content, if it was read already.
        """
        return self._open(file, content, self._decode)

    def read_again(self, file: File, first: Pair, content: bytes | None = None) -> Pair:
        """Return the main face of the photograph in a file, which is searched for at the sizes that it takes.

        The search begins with what is at hand of the photograph; the file is opened only if that is not enough.

        Args:
            file: what to read.
            first: what `read` returned.
            content: the file's content, if it was read already.
        """
        if file.problem:
            return replace(first[0], reason=file.problem), None
        with ExitStack() as opened:

            @cache
            def stream() -> BinaryIO:
                if content is not None:
                    return BytesIO(content)
                return opened.enter_context(open_regular(file.path, self.limits.max_file_size)[0])

            return self._search(first, self._reading(stream))

    def search_at_hand(self, first: Pair) -> Pair | None:
        """Return the main face in what `read` left of a photograph; None if its file must be read again for it."""

        def read(longest: int | None) -> Photograph:
            raise _FewPixelsError

        try:
            return self._search(first, read)
        except _FewPixelsError:
            return None

    def convert(self, record: Record, image: Image.Image) -> list[Pair]:
        """Return an opened Pillow image, or its faces."""
        if self.limits.faces == "crop":
            return _guard(record, lambda: self._cut(record, lambda longest: convert_photograph(image)))
        return _guard(record, lambda: [(record, convert_picture(image, self.image_size))])

    def convert_again(self, first: Pair, image: Image.Image) -> Pair:
        """Return the main face of an opened Pillow image, of which `convert` returned the first look."""
        return self._search(first, lambda longest: convert_photograph(image))

    def _open(self, file: File, content: bytes | None, decode: Callable[[Record, BinaryIO], list[Pair]]) -> list[Pair]:
        record = Record(file.name, reason=file.problem, size=file.size, modified=file.modified)
        if file.problem:
            return [(record, None)]

        def read() -> list[Pair]:
            if content is not None:
                return decode(record, BytesIO(content))
            stream, status = open_regular(file.path, self.limits.max_file_size)
            record.size, record.modified = status.st_size, status.st_mtime_ns
            with stream:
                return decode(record, stream)

        return _guard(record, read)

    def _decode(self, record: Record, file: BinaryIO) -> list[Pair]:
        if self.limits.faces == "crop":
            return self._cut(record, self._reading(lambda: file))
        return [(record, self._read(file))]

    def _read(self, file: BinaryIO) -> Picture:
        return read_picture(file, self.limits.max_pixels, self.limits.allow_truncated, self.image_size)

    def _reading(self, stream: Callable[[], BinaryIO]) -> Read:
        def read(longest: int | None) -> Photograph:
            file = stream()
            file.seek(0)
            return read_photograph(file, longest, self.limits.max_pixels, self.limits.allow_truncated)

        return read

    def _cut(self, record: Record, read: Read) -> list[Pair]:
        """Return the faces of a photograph, each with a record of its own."""
        pictures, boxes = cut_faces(self.detector, read, self.image_size)
        if not pictures:
            return [(without_face(record), None)]
        return [
            (replace(record, file=f"{record.file}#{face}", face=face, faces=len(boxes), box=box), picture)
            for face, (picture, box) in enumerate(zip(pictures, boxes, strict=True))
        ]

    def _search(self, first: Pair, read: Read) -> Pair:
        """Return the main face of a photograph, given the first look at it."""
        record, picture = replace(first[0]), first[1]

        def search() -> list[Pair]:
            at_hand = picture.as_photograph() if picture else None
            found = cut_main_face(self.detector, read, self.image_size, at_hand)
            if found is None:
                return [(without_face(record), None)]
            face, record.box, record.faces = found
            return [(record, face)]

        return _guard(record, search)[0]


def without_face(record: Record) -> Record:
    """Return the record of a picture in which no face was found."""
    return replace(record, status=NO_FACE, reason="no face found", faces=None, box=None)


def _guard(record: Record, read: Callable[[], list[Pair]]) -> list[Pair]:
    """Return what `read` returns or, if the picture cannot be read, the record with the reason."""
    try:
        return read()
    except (OSError, ValueError, MemoryError) as error:
        record.reason = reason_of(error)
        return [(record, None)]


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read, in words."""
    if isinstance(error, MemoryError):
        return NO_MEMORY
    return getattr(error, "strerror", None) or str(error)
