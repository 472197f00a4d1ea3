"""From a picture to the small one that networks see, keeping what is at hand of the larger one."""

import numpy as np
from PIL import Image

from gender_recognizer.pictures.colour import reduce_to_rgb, shrink_to_rgb
from gender_recognizer.pictures.jpeg import SHRINKS, choose_shrink

KEPT = 400
"""Pixels along the longer side, up to twice as many, that are kept of a photograph: to look closer, and to search it.

Of JPEGs that are not wider than high it may be fewer."""

_MAX_KEPT = 1_000_000  # pixels; only of strips eight times as long as wide there are more, and of those nothing is kept


def plan_decoding(size: tuple[int, int], target: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """Return at which width and height a JPEG is decoded, and the whole number by which it is reduced after that.

    From four times the target on that is at least twice the target: it takes a tenth more time, and a face that fills
    little of the picture can be seen without decoding it again. From eight times on a picture that is wider than high,
    where most faces are small, is decoded to at least `KEPT`: another tenth, and its search needs no second decoding.
    """
    shrink = choose_shrink(size, target)
    if shrink < 4:
        return target, 1
    least = choose_shrink(size, (2 * target[0], 2 * target[1]))
    is_wide = (size[0] > size[1]) == (target[0] <= target[1])  # once it is turned upright, as the target is
    if shrink == SHRINKS[0] and is_wide:
        least = min(least, next((s for s in SHRINKS if s <= max(size) // KEPT), 1))
    return (size[0] // least, size[1] // least), shrink // least


def shrink(image: Image.Image, size: tuple[int, int], factor: int) -> tuple[Image.Image, Image.Image | None]:
    """Return a picture in RGB at `size` (width, height), and larger if it `has_more`."""
    width, height = image.size
    share = max(1, min(-(-max(width, height) // (2 * KEPT)), width // (2 * size[0]), height // (2 * size[1])))
    if width * height > _MAX_KEPT * share**2:
        return shrink_to_rgb(image, size, factor), None
    larger = reduce_to_rgb(image, (share, share))
    resized = shrink_to_rgb(larger, size, factor, (width / share, height / share))
    return resized, larger if has_more(larger.size, size) else None


def has_more(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Return whether a picture of this width and height has at least twice the pixels of the target."""
    return size[0] * size[1] >= 2 * target[0] * target[1]


def to_array(image: Image.Image) -> np.ndarray:
    """Return uint8 `(H, W, 3)` of a picture in RGB."""
    return np.frombuffer(image.tobytes("raw", "RGB"), np.uint8).reshape(image.height, image.width, 3).copy()
