"""From a picture to the small one that networks see, keeping what is at hand of the larger one."""

import numpy as np
from PIL import Image

from gender_recognizer.pictures.colour import shrink_to_rgb, to_rgb

_LARGER = 4  # times as high and wide as what is asked for: more is not kept


def plan_decoding(size: tuple[int, int], target: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """Return at which width and height a JPEG is decoded, and the whole number by which it is reduced after that.

    From four times the target on that is twice the target: it takes a tenth more time, and a face that fills little of
    the picture can be seen better without decoding it again.
    """
    scale = min(size[0] // target[0], size[1] // target[1])
    if scale < 4:
        return target, 1
    return (2 * target[0], 2 * target[1]), 2 if scale < 16 else 1  # no JPEG is decoded at less than an eighth


def shrink(image: Image.Image, size: tuple[int, int], factor: int) -> tuple[Image.Image, Image.Image | None]:
    """Return a picture in RGB at `size` (width, height), and larger if it `has_more`."""
    resized, reduced = shrink_to_rgb(image, size, factor)
    larger = reduced if factor == 1 else to_rgb(image)
    if not has_more(larger.size, size):
        return resized, None
    if larger.width >= _LARGER * size[0] and larger.height >= _LARGER * size[1]:
        larger = larger.reduce(2)
    return resized, larger


def has_more(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Return whether a picture of this width and height has at least twice the pixels of the target."""
    return size[0] * size[1] >= 2 * target[0] * target[1]


def to_array(image: Image.Image) -> np.ndarray:
    """Return uint8 `(H, W, 3)` of a picture in RGB."""
    return np.frombuffer(image.tobytes("raw", "RGB"), np.uint8).reshape(image.height, image.width, 3).copy()
