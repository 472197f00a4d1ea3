"""A photograph at several sizes, the larger ones in tiles, so that a detector sees faces of every size."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

TILE = 640
"""Longest side in pixels of what a detector sees at once."""

MAX_SMALL = 128
"""Longer side in pixels of the largest face that is searched for in tiles; tiles overlap by as much."""

LONGEST = (640, 1280, 2560)
"""Longer sides in pixels to which a photograph is brought: whole first, then in tiles, to find small faces."""


class Tile(NamedTuple):
    """A part of a photograph.

    Attributes:
        image: at most 640 x 640 pixels.
        start: x and y of its first pixel in the photograph at this scale.
        of: width and height of the photograph at this scale.
        scale: of the photograph.
    """

    image: Image.Image
    start: tuple[int, int]
    of: tuple[int, int]
    scale: float


def find_tiles(image: Image.Image) -> Iterator[Tile]:
    """Yield a photograph as a whole and, if it has enough pixels, enlarged in overlapping tiles."""
    longest = max(image.size)
    for side in LONGEST:
        scale = min(1.0, side / longest)
        width, height = (max(1, round(length * scale)) for length in image.size)
        same = (width, height) == image.size
        scaled = image if same else image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
        for top in find_starts(height):
            for left in find_starts(width):
                part = scaled.crop((left, top, min(left + TILE, width), min(top + TILE, height)))
                yield Tile(part, (left, top), (width, height), scale)
        if longest < 1.5 * side:  # the next scale would show little more
            return


def find_starts(length: int) -> list[int]:
    """Return where tiles start along a side, evenly, and overlapping by `MAX_SMALL` or more."""
    count = 1 + max(0, math.ceil((length - TILE) / (TILE - MAX_SMALL)))
    return [round(index * (length - TILE) / max(1, count - 1)) for index in range(count)]
