"""Parts of a picture that are looked at again, at another scale, and boxes in pixels of the whole picture."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from gender_recognizer.pictures.loading import Picture
from gender_recognizer.pictures.shrinking import to_array

NEAR_SCALE = 0.9
"""Side of the square that is looked at more closely, as a share of the side of the face's frame.

A small face's frame comes out too large in a thumbnail: by 10 % in the median of 540 pictures of FairFace's training
part with wide surroundings, 0.43 of whose side is the true one."""

MARGINS = (0.2, 0.35)
"""Widths of the two borders in which a picture is seen again where no face was found, as shares of its side.

The first continues the picture's edge, the other has its mean colour. Of 8,000 of FairFace's training pictures, of
which only the middle 0.7 was left, the first look misses 220 faces. The mean score of both borders finds 186 of them
without a false face in 546 pictures of cats and scenes, the best single border 175 with one; the bundled model is right
on 86 % of those found. Both were chosen on these pictures, among 15 borders and their pairs."""

SMOOTH = 0.25
"""Share of a face's pixels that differ from the mean of their neighbours by a grey value or more, below which the face
is that of somebody far out of focus, or none.

Of 1,000 pictures of FairFace's training part none has less, blurred by 2 % of their height 15 %, at a third of the
light 12 %; of faces that were seen in strongly blurred backgrounds 88 %."""

DETAILED_SIDE = 200
"""Shorter side of a picture from which on it may show a sharp face that the 100x80 thumbnail does not."""


class Region(NamedTuple):
    """A part of a picture, or more than it, in pixels of the upright original."""

    left: float
    top: float
    width: float
    height: float


def whole(picture: Picture) -> Region:
    """Return the region that is all of a picture."""
    return Region(0.0, 0.0, *map(float, picture.size))


def cut_near(picture: Picture, frame: np.ndarray) -> tuple[Picture, Region] | None:
    """Return the square around a face as a picture of its own, and where it is; None if no more pixels are at hand.

    Beyond the picture's edges there is black.

    Args:
        picture: the whole picture.
        frame: `(4,)`, where the face is, as `framing` describes it.
    """
    larger = picture.more_pixels()
    if larger is None:
        return None
    region = find_square(frame, whole(picture), NEAR_SCALE)
    share = larger.width / picture.size[0], larger.height / picture.size[1]
    left, top = round(region.left * share[0]), round(region.top * share[1])
    right, bottom = (round((start + region.width) * scale) for start, scale in zip(region[:2], share, strict=True))
    height, width = picture.pixels.shape[:2]
    part = larger.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    pixels = to_array(part.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0))
    return picture._replace(pixels=pixels, larger=None, content=None, is_face=True), region


def widen(picture: Picture, border: int) -> tuple[Picture, Region]:
    """Return a picture in one of `MARGINS`, within which a face larger than the picture fits, and where that is."""
    height, width = picture.pixels.shape[:2]
    rows, columns = round(height * MARGINS[border]), round(width * MARGINS[border])
    canvas = np.pad(picture.pixels, ((rows, rows), (columns, columns), (0, 0)), "edge")
    if border:
        canvas[:] = picture.pixels.mean(axis=(0, 1))
        canvas[rows : rows + height, columns : columns + width] = picture.pixels
    pixels = to_array(Image.fromarray(canvas).resize((width, height), Image.Resampling.BILINEAR))
    x, y = picture.size[0] * columns / width, picture.size[1] * rows / height
    region = Region(-x, -y, picture.size[0] + 2 * x, picture.size[1] + 2 * y)
    return picture._replace(pixels=pixels, larger=None, content=None, is_face=True), region


def mirror(picture: Picture) -> Picture:
    """Return the mirror image of a picture."""
    return picture._replace(pixels=picture.pixels[:, ::-1], larger=None, content=None)


def is_smooth(picture: Picture, frame: np.ndarray) -> bool:
    """Return whether the middle of a face in a picture is smooth: sharper ones before it would be the main one.

    Args:
        picture: the whole picture.
        frame: `(4,)`, where the face is, as `framing` describes it.
    """
    x, y, log_size, log_aspect = frame.tolist()
    height, width = picture.pixels.shape[:2]
    rows = _span(y, 0.7 * math.exp(log_size), height)
    columns = _span(x, 0.7 * math.exp(log_size - log_aspect), width)
    values = picture.pixels[rows.start : rows.stop : 4, columns, 1].astype(np.int16)
    bends = np.abs(2 * values[:, 1:-1] - values[:, :-2] - values[:, 2:])
    return np.count_nonzero(bends >= 2) < SMOOTH * bends.size


def _span(centre: float, size: float, length: int) -> slice:
    """Return the pixels of a line of `length` in a part of it: its centre in -1..1, its size as a share, 8 or more."""
    start, stop = (min(max(round(((centre + 1) / 2 + side * size / 2) * length), 0), length) for side in (-1, 1))
    return slice(min(start, length - 8), max(stop, start + 8))


def find_square(frame: np.ndarray, region: Region, scale: float = 1.0) -> Region:
    """Return the square around a frame `(4,)` of a region, enlarged, as `framing` describes frames."""
    x, y, log_size, log_aspect = frame.tolist()
    side = scale * math.exp(log_size - log_aspect / 2) * math.sqrt(region.width * region.height)
    left = region.left + (x + 1) / 2 * region.width - side / 2
    return Region(left, region.top + (y + 1) / 2 * region.height - side / 2, side, side)


def find_box(frame: np.ndarray, region: Region, size: tuple[int, int]) -> list[int]:
    """Return left, top, right and bottom of the square around a frame, as far as it lies in a picture of this size.

    Args:
        frame: `(4,)`, as `framing` describes it.
        region: what the frame is a part of.
        size: width and height of the picture in pixels.
    """
    left, top, width, height = find_square(frame, region)
    corners = (left, top, left + width, top + height)
    return [min(max(round(value), 0), limit) for value, limit in zip(corners, size * 2, strict=True)]
