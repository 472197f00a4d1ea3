"""Large pictures in parts, so that what becomes of them never takes their memory twice."""

from collections.abc import Iterator

PART = 500_000
"""Pixels that are converted at once; each takes 12 to 24 bytes for a moment."""

_WIDEST = 65_536

Box = tuple[int, int, int, int]


def split(size: tuple[int, int], factors: tuple[int, int] = (1, 1)) -> Iterator[Box]:
    """Yield the boxes (left, top, right, bottom) that together cover a picture, each once.

    Args:
        size: width and height of the picture, in pixels.
        factors: of which left and top are multiples.
    """
    (width, height), (across, down) = size, factors
    columns = min(width, max(1, _WIDEST // across) * across)
    rows = max(1, PART // columns // down) * down
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)
