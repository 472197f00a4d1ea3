"""Grey values of more than 8 bits as 8 bits; Pillow's own `convert` clips them to white or black."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from gender_recognizer.pictures.strips import split

DEPTHS = (8, 10, 12, 14, 16)
"""Bits of the values that cameras, scanners and programs write into files of 16 or 32 bits."""

BITS = 258
"""The tag of a TIFF that tells the bits of each channel."""

_PHOTOMETRIC, _MAX_VALUE, _SAMPLE_FORMAT = 262, 281, 339  # further tags of a TIFF
_SCALED = ("JPEG2000", "PPM")  # their files say the depth, and Pillow has scaled it to 16 bits

Scale = Callable[[np.ndarray], np.ndarray]


def tags_of(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF; of another picture none."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def is_deep_grey(image: Image.Image) -> bool:
    """Say whether a picture has grey values of more than 8 bits."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def find_scale(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return what makes 8 bits, mode L, of the whole of a picture in deep grey or of any part of it.

    Raises:
        ValueError: the range of its values is unknown, and so what is white.
    """
    tags = tags_of(image)
    read = partial(_read, unsigned=bool(tags) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,))
    find = _find_float_scale if image.mode == "F" else _find_integer_scale
    scale = find(lambda: (read(image.crop(box)) for box in split(image.size)), tags, image.format in _SCALED)
    white_is_zero = tags.get(_PHOTOMETRIC) == 0

    def to_8_bits(part: Image.Image) -> Image.Image:
        grey = scale(read(part))
        return Image.fromarray(255 - grey if white_is_zero else grey)

    return to_8_bits


def find_depth(high: int, tags: Mapping[int, Any]) -> int:
    """Return how many bits white has in a file whose largest value is `high`."""
    bits, largest = tags.get(BITS, (16,))[0], tags.get(_MAX_VALUE, (high,))[0]
    if high < 1 << bits < 1 << 16:
        return int(bits)
    if high < largest <= 65535:
        high = largest
    return next(depth for depth in DEPTHS if high < 1 << depth)


def _read(part: Image.Image, unsigned: bool) -> np.ndarray:
    """Return the values `(H, W)` of a part."""
    values = np.asarray(part)
    return values.view(np.uint32) if unsigned and values.dtype.kind == "i" else values


def _find_float_scale(parts: Callable[[], Any], tags: Mapping[int, Any], scaled: bool) -> Scale:
    """Return what brings floats in 0..1, or whole numbers, to uint8."""
    low, high = _range(parts())
    if low >= 0.0 and high <= 1.0:
        return lambda values: np.round(values * 255).astype(np.uint8)
    if low >= 0.0 and high <= 65535 and not any((values % 1).any() for values in parts()):
        shift = _find_shift(int(high), 0, {}, False)
        return lambda values: shift(values.astype(np.int32))
    raise _unsupported(low, high)


def _find_integer_scale(parts: Callable[[], Any], tags: Mapping[int, Any], scaled: bool) -> Scale:
    """Return what brings whole numbers to uint8: of the depth in the file or else the smallest that holds them all."""
    low, high = (int(value) for value in _range(parts()))
    return _find_shift(high, low, tags, scaled)


def _find_shift(high: int, low: int, tags: Mapping[int, Any], scaled: bool) -> Scale:
    if high >= 1 << 31:  # unsigned
        return lambda values: (values >> 24).astype(np.uint8)
    if low < 0 or high > 65535:
        raise _unsupported(low, high)
    depth = 16 if scaled else find_depth(high, tags)
    return lambda values: (values // 257 if depth == 16 else values >> (depth - 8)).astype(np.uint8)


def _range(parts: Any) -> tuple[Any, Any]:
    """Return the smallest and the largest value of arrays; not a number if one of them holds such."""
    lows, highs = zip(*((values.min(), values.max()) for values in parts), strict=True)
    return np.min(lows), np.max(highs)


def _unsupported(low: float, high: float) -> ValueError:
    return ValueError(f"unsupported depth: grey values from {low:g} to {high:g}; save it with 8 or 16 bits")
