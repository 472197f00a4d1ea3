"""The one way in which a file becomes pixels, shared by training, evaluation and labelling.

Contract: the same file gives the same `(100, 80, 3)` uint8 array everywhere. Raise `LOADER_VERSION` with any change of
a pixel; caches are rebuilt, and models for another version are refused unless `COMPATIBLE_VERSIONS` says why not.
"""

import math
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile

from gender_recognizer.pictures import jpeg
from gender_recognizer.pictures.colour import correct_planes, has_deep_colour, keep_deep_colour, to_rgb
from gender_recognizer.pictures.headers import MAX_SLOW_PIXELS, SLOW_DECODERS, check_size
from gender_recognizer.pictures.memory import limit_memory
from gender_recognizer.pictures.mending import mend
from gender_recognizer.pictures.opening import MAX_PIXELS, open_picture, open_regular
from gender_recognizer.pictures.orientation import load_orientation, turn
from gender_recognizer.pictures.pages import count_pages
from gender_recognizer.pictures.shrinking import has_more, plan_decoding, shrink, to_array

LOADER_VERSION = 4
COMPATIBLE_VERSIONS = {4: (1, 2, 3)}
"""For a version, the earlier ones whose models it takes, because the pictures that models learn from are the same.

4 differs from 3 in pictures of 800 pixels or more along a side: by rounding, but in JPEGs that are wider than high by
1.8 grey values on average (120 textures and scenes of 1155x866), since libjpeg shrinks them less, and we the rest. Of
600 such photographs with a training face of 0.7 to 1.0 of the height 90.7 instead of 90.0 % are right.

3 differs from 2 by rounding, in JPEGs of four times or more the height and width that is asked for.

2 differs from 1 only where 1 was wrong, never in the 8-bit pictures that models were trained on: in grey values that
use fewer bits than their file has or where white is zero, and in fourth channels that are no transparency. A JPEG 2000
of more than about 17 million pixels in colour is now decoded at half its size first.
"""

IMAGE_SIZE = (100, 80)
"""Height and width, in pixels, of every picture that a network sees."""

_truncated_lock = threading.Lock()

# Pillow warns about odd metadata and about sizes that are refused below anyway.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Photograph(NamedTuple):
    """What a file shows, at about its own size, to find faces in.

    Attributes:
        image: RGB and upright, at the original's size or, of a JPEG, a fraction of it.
        size: width and height of the upright original, in pixels.
        pages: how many pages or frames the file has, `MAX_PAGES` if that many or more; `image` is the first.
        truncated: whether the file ends too early; then the missing part is grey.
    """

    image: Image.Image
    size: tuple[int, int]
    pages: int = 1
    truncated: bool = False


class Picture(NamedTuple):
    """What a file shows, or one face of it, at the size that networks take.

    Attributes:
        pixels: uint8 RGB `(100, 80, 3)`, unless another shape was asked for.
        size: width and height of the original, in pixels.
        pages: how many pages or frames the file has, `MAX_PAGES` if that many or more; `pixels` show the first.
        truncated: whether the file ends too early; then the missing part is grey.
        is_face: whether `pixels` show not the whole, but what was cut out around a face.
        larger: the same in RGB with more pixels, if they were at hand; how many, `shrinking.KEPT` says.
        content: of the file, a JPEG that was decoded at half its size and has more pixels.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    pages: int = 1
    truncated: bool = False
    is_face: bool = False
    larger: Image.Image | None = None
    content: bytes | None = None

    def more_pixels(self) -> Image.Image | None:
        """Return the picture in RGB with at least twice as many pixels; None if there are none, or some are missing."""
        if self.content is not None and not self.truncated:
            return read_photograph(BytesIO(self.content)).image
        return self.larger

    def as_photograph(self) -> Photograph | None:
        """Return the picture as a photograph with those of its pixels that are at hand; None if they are few."""
        return Photograph(self.larger, self.size, self.pages, self.truncated) if self.larger else None


T = TypeVar("T", Picture, Photograph)
Finish = Callable[[Image.Image, BinaryIO | None], T]


def load_image(path: str | os.PathLike[str], shape: tuple[int, int] = IMAGE_SIZE) -> np.ndarray:
    """Return the picture in a file as uint8 RGB of shape (100, 80, 3), or of another height and width.

    The whole picture is resized, its EXIF turn applied, transparency laid on mid grey, the first page of
    several taken, and values of more than 8 bits scaled to 8.

    Raises:
        OSError: the file cannot be opened or is not a regular file.
        ValueError: it is larger than `opening.MAX_FILE_SIZE`, or its content is not a whole picture of one of
            `formats.FORMATS` with at most `MAX_PIXELS` pixels that can be decoded without great effort.
    """
    with open_regular(path)[0] as file:
        return read_picture(file, shape=shape).pixels


def load_or_reason(path: Path, shape: tuple[int, int] = IMAGE_SIZE) -> np.ndarray | str:
    """Return the picture in a file as `load_image` does or, when that fails, the reason."""
    try:
        return load_image(path, shape)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def read_picture(
    file: BinaryIO,
    max_pixels: int = MAX_PIXELS,
    allow_truncated: bool = False,
    shape: tuple[int, int] = IMAGE_SIZE,
) -> Picture:
    """Return the picture in an open binary file, decoded as `load_image` does.

    Args:
        file: at its beginning.
        max_pixels: largest width x height that is decoded.
        allow_truncated: take what there is of a file that ends too early.
        shape: height and width of its pixels.

    Raises:
        ValueError: the content is not a whole picture of one of `formats.FORMATS` with at most `max_pixels` pixels
            that can be decoded without great effort.
    """
    content = file.getvalue() if isinstance(file, BytesIO) else b""
    size = jpeg.read_plain_header(content)
    if size and size[0] * size[1] <= max_pixels:
        wanted, factor = plan_decoding(size, shape[::-1])
        if image := jpeg.decode_shrunk(content, size, wanted):
            pixels, larger = shrink(image, shape[::-1], factor)
            keeps = larger is None and has_more(size, shape[::-1])
            return Picture(to_array(pixels), size, larger=larger, content=content if keeps else None)
    return _read(file, max_pixels, allow_truncated, lambda image, file: _to_picture(image, file, shape))


def read_photograph(
    file: BinaryIO, longest: int | None = None, max_pixels: int = MAX_PIXELS, allow_truncated: bool = False
) -> Photograph:
    """Return the picture in an open binary file whole, decoded as `load_image` does, but not resized.

    Args:
        file: at its beginning.
        longest: side in pixels that suffices: of a larger JPEG fewer are decoded; None for all.
        max_pixels: largest width x height that is decoded.
        allow_truncated: take what there is of a file that ends too early.

    Raises:
        ValueError: as in `read_picture`.
    """
    content = file.getvalue() if isinstance(file, BytesIO) else b""
    size = jpeg.read_plain_header(content)
    if (
        size
        and size[0] * size[1] <= max_pixels
        and (image := jpeg.decode_shrunk(content, size, _wanted(size, longest)))
    ):
        return Photograph(image, size)
    return _read(file, max_pixels, allow_truncated, lambda image, file: _to_photograph(image, file, longest))


def _wanted(size: tuple[int, int], longest: int | None) -> tuple[int, int]:
    """Return the width and height at which a picture of this size has `longest` pixels along its longer side."""
    share = min(1.0, longest / max(size)) if longest else 1.0
    return math.ceil(size[0] * share), math.ceil(size[1] * share)


def convert_picture(image: Image.Image, shape: tuple[int, int] = IMAGE_SIZE) -> Picture:
    """Return an opened Pillow image, resized as `load_image` does; an image not yet loaded is loaded whole.

    Args:
        image: the image.
        shape: height and width of the pixels.

    Raises:
        ValueError: its content is broken, or it has more than `MAX_PIXELS` pixels.
    """
    return _decode(image, None, MAX_PIXELS, lambda image, file: _to_picture(image, file, shape))


def convert_photograph(image: Image.Image) -> Photograph:
    """Return an opened Pillow image whole; raises what `convert_picture` raises."""
    return _decode(image, None, MAX_PIXELS, lambda image, file: _to_photograph(image, file, None))


def _read(file: BinaryIO, max_pixels: int, allow_truncated: bool, finish: Finish[T]) -> T:
    if not allow_truncated:
        return _read_whole(file, max_pixels, finish)
    with _truncated_lock:
        with suppress(ValueError):
            return _read_whole(file, max_pixels, finish)
        file.seek(0)
        ImageFile.LOAD_TRUNCATED_IMAGES = True  # Pillow knows no switch for a single picture
        try:
            return _decode(open_picture(file, max_pixels), file, max_pixels, finish)._replace(truncated=True)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


def _read_whole(file: BinaryIO, max_pixels: int, finish: Finish[T]) -> T:
    """Decode a file or, where that fails, what is left of it without what does not touch the pixels."""
    try:
        return _decode(open_picture(file, max_pixels), file, max_pixels, finish)
    except ValueError as error:
        reason = str(error)  # the error itself keeps the memory of the picture
    for mended in mend(file):
        with suppress(ValueError):
            return _decode(open_picture(mended, max_pixels), mended, max_pixels, finish)
    raise ValueError(reason)


def _decode(image: Image.Image, file: BinaryIO | None, max_pixels: int, finish: Finish[T]) -> T:
    """Check the size in an opened picture's header, then decode it; without a file it is decoded whole at once."""
    check_size(*image.size, max_pixels)
    if _decodes_slowly(image):
        check_size(*image.size, MAX_SLOW_PIXELS)
    try:
        correct_planes(image)
        if file is None:
            image.load()
        else:
            limit_memory(image, file, max_pixels)
        if file and has_deep_colour(image):
            keep_deep_colour(image, lambda: open_picture(_rewound(file), max_pixels))
        return finish(image, file)
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except MemoryError:
        raise ValueError(f"too little memory to decode {image.width}x{image.height} pixels") from None
    except Exception as error:  # broken content makes Pillow's plugins raise almost any type
        raise ValueError(" ".join(f"broken picture data: {error}".split())) from None


def _decodes_slowly(image: Image.Image) -> bool:
    return any(tile.codec_name in SLOW_DECODERS for tile in getattr(image, "tile", [])[:1])  # empty once decoded


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _to_picture(image: Image.Image, file: BinaryIO | None, shape: tuple[int, int] = IMAGE_SIZE) -> Picture:
    size, orientation = image.size, load_orientation(image)
    pixels, larger = _resized(image, file, shape if orientation >= 5 else shape[::-1])
    upright = size[::-1] if orientation >= 5 else size
    turned = turn(larger, orientation) if larger else None
    content = None
    if larger is None and image.format == "JPEG" and isinstance(file, BytesIO) and has_more(size, shape):
        content = file.getvalue()
    return Picture(
        to_array(turn(pixels, orientation)), upright, count_pages(image, file), larger=turned, content=content
    )


def _to_photograph(image: Image.Image, file: BinaryIO | None, longest: int | None) -> Photograph:
    size, orientation = image.size, load_orientation(image)  # which may decode it at half its size
    size = size[::-1] if orientation >= 5 else size
    image.draft("RGB", _wanted(image.size, longest))
    upright = turn(to_rgb(image), orientation)
    upright.load()  # of a JPEG in RGB nothing has been decoded yet
    return Photograph(upright, size, count_pages(image, file))


def _resized(
    image: Image.Image, file: BinaryIO | None, size: tuple[int, int]
) -> tuple[Image.Image, Image.Image | None]:
    """Decode an opened picture; return it in RGB at `size` (width, height), and larger if it has more pixels."""
    wanted, factor = plan_decoding(image.size, size)
    decoded = None
    if image.format == "JPEG" and image.mode == "RGB" and isinstance(file, BytesIO):
        decoded = jpeg.decode_shrunk(file.getvalue(), image.size, wanted)
    if decoded is None:
        before = image.size
        image.draft("RGB", wanted)  # decodes a JPEG at half its size or less; does nothing once an image is loaded
        factor = 1 if image.size == before else factor
    return shrink(decoded or image, size, factor)
