"""Thumbnails of what was labelled: the face with its surroundings, small, many on one sheet.

One JPEG for 64 thumbnails instead of one for each: a browser opens 79 files for 5,000 pictures, and only those whose
pictures are in view.
"""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from gender_recognizer.labelling.records import Limits
from gender_recognizer.pictures.loading import Photograph, read_photograph
from gender_recognizer.pictures.opening import open_picture, open_regular

CELL = 144
"""Width and height of a thumbnail in pixels; twice 72, and a whole number of the blocks that JPEG works in."""

PER_ROW = 8
PER_SHEET = PER_ROW * PER_ROW

AROUND = 1.7
"""How many times the box is shown: enough to tell whose face it is, and the face still takes half of the side."""

Box = tuple[int, int, int, int]
"""Left, top, width and height."""


class Thumbnail(NamedTuple):
    """A picture for a cell of a sheet.

    Attributes:
        image: RGB, `(CELL, CELL)`; None once it is on a sheet.
        box: of the face, in pixels of the cell; None where all was labelled.
        size: width and height of the upright original, in pixels.
    """

    image: Image.Image | None
    box: Box | None
    size: tuple[int, int]


def open_photograph(path: str, limits: Limits, longest: int | None = None) -> Photograph:
    """Return what a file shows, read as labelling does; raises what `read_photograph` and `open_regular` raise."""
    with open_regular(path, limits.max_file_size)[0] as file:
        return read_photograph(file, longest, limits.max_pixels, limits.allow_truncated)


def make_thumbnail(path: str, box: list[int] | None, limits: Limits) -> Thumbnail:
    """Return a thumbnail of a face, or of the whole picture without a box.

    Args:
        path: of the file.
        box: left, top, right and bottom in pixels of the upright photograph.
        limits: of what is read.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it cannot be decoded.
    """
    photograph = open_photograph(path, limits, _longest(path, box, limits))
    image, (width, height) = photograph.image, photograph.size
    left, top, right, bottom = region = _around(box, width, height)
    share = image.width / width
    corners = left * share, top * share, min(image.width, right * share), min(image.height, bottom * share)
    part = image.resize(_fit(right - left, bottom - top), Image.Resampling.BILINEAR, corners, reducing_gap=2.0)
    cell = Image.new("RGB", (CELL, CELL), (232, 236, 241))
    start = (CELL - part.width) // 2, (CELL - part.height) // 2
    cell.paste(part, start)
    scale = part.width / (right - left)
    return Thumbnail(cell, _in_cell(box, region, scale, start) if box else None, (width, height))


def _longest(path: str, box: list[int] | None, limits: Limits) -> int | None:
    """Return how long the longer side has to be decoded for a thumbnail."""
    if box is None:
        return CELL * 2
    with open_regular(path, limits.max_file_size)[0] as file:
        size = open_picture(file, limits.max_pixels).size
    side = max(1, box[2] - box[0], box[3] - box[1])
    return round(max(size) * CELL / side) if side > CELL else None


def _around(box: list[int] | None, width: int, height: int) -> tuple[float, float, float, float]:
    """Return the part of a photograph that is shown: the box and what is around it, inside of the photograph."""
    if box is None:
        return 0, 0, width, height
    left, top, right, bottom = box
    more = (AROUND - 1) / 2 * max(right - left, bottom - top)
    part = max(0, left - more), max(0, top - more), min(width, right + more), min(height, bottom + more)
    return part if part[2] > part[0] and part[3] > part[1] else (0, 0, width, height)


def _fit(width: float, height: float) -> tuple[int, int]:
    """Return the size, in pixels, at which something fits a cell."""
    scale = CELL / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _in_cell(box: list[int], region: tuple[float, ...], scale: float, start: tuple[int, int]) -> Box | None:
    """Return a box in pixels of the cell, inside of it; None if it is all that is shown."""
    low = [start[axis] + (box[axis] - region[axis]) * scale for axis in (0, 1)]
    high = [start[axis] + (box[axis + 2] - region[axis]) * scale for axis in (0, 1)]
    left, top = (round(max(0, value)) for value in low)
    right, bottom = (round(min(CELL, value)) for value in high)
    width, height = right - left, bottom - top
    return None if (width >= CELL - 2 and height >= CELL - 2) or min(width, height) < 1 else (left, top, width, height)


def write_sheet(images: list[Image.Image | None], path: Path) -> None:
    """Write a JPEG with up to `PER_SHEET` thumbnails, in rows of `PER_ROW`; None leaves a cell empty."""
    rows = -(-len(images) // PER_ROW)
    sheet = Image.new("RGB", (PER_ROW * CELL, rows * CELL), (232, 236, 241))
    for place, image in enumerate(images):
        if image is not None:
            sheet.paste(image, (place % PER_ROW * CELL, place // PER_ROW * CELL))
    sheet.save(path, "JPEG", quality=75)
