"""The one way in which a file becomes pixels, shared by training, evaluation and labelling.

Contract: the same file gives the same `(100, 80, 3)` uint8 array everywhere. Raise `LOADER_VERSION` with any
change that alters a single pixel; caches are rebuilt and models made for another version are refused.
"""

import math
import os
import threading
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile

from gender_recognizer.pictures import jpeg
from gender_recognizer.pictures.opening import open_picture, open_regular

LOADER_VERSION = 1
IMAGE_SIZE = (100, 80)
"""Height and width, in pixels, of every picture that a network sees."""

MAX_PIXELS = 50_000_000
"""Largest width x height that is decoded; checked in the header, before any pixel is."""

_BACKGROUND = (127, 127, 127, 255)
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_truncated_lock = threading.Lock()

# Pillow warns about odd metadata and about sizes that are refused below anyway.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Photograph(NamedTuple):
    """A picture decoded whole, to find faces in.

    Attributes:
        image: RGB and upright, at the original's size or, of a JPEG, a fraction of it.
        size: width and height of the upright original, in pixels.
        frames: how many frames or pages the file has; `image` is the first.
        truncated: the file ends too early and the rest of the picture is grey.
    """

    image: Image.Image
    size: tuple[int, int]
    frames: int = 1
    truncated: bool = False


class Picture(NamedTuple):
    """A decoded picture and what its file says of it.

    Attributes:
        pixels: uint8 RGB `(100, 80, 3)`, unless another shape was asked for.
        size: width and height of the original, in pixels.
        frames: how many frames or pages the file has; `pixels` are the first.
        truncated: the file ends too early and the rest of the picture is grey.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    frames: int = 1
    truncated: bool = False


T = TypeVar("T", Picture, Photograph)


def load_image(path: str | os.PathLike[str], shape: tuple[int, int] = IMAGE_SIZE) -> np.ndarray:
    """Return the picture in a file as uint8 RGB of shape (100, 80, 3), or of another height and width.

    The whole picture is resized, its EXIF turn applied, transparency laid on mid grey, the first frame of
    several taken, and 16-bit and float values scaled to 8 bits.

    Raises:
        OSError: the file cannot be opened or is not a regular file.
        ValueError: its content is not a whole picture of one of `opening.FORMATS` with at most `MAX_PIXELS` pixels.
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
        ValueError: the content is not a whole picture of one of `opening.FORMATS` with at most `max_pixels` pixels.
    """
    content = file.getvalue() if isinstance(file, BytesIO) else b""
    size = jpeg.read_plain_header(content)
    if size and size[0] * size[1] <= max_pixels and (image := jpeg.decode_shrunk(content, size, shape[::-1])):
        return Picture(_pixels(_shrunk(image, shape[::-1])), size)
    return _read(file, max_pixels, allow_truncated, lambda image: _to_picture(image, shape=shape))


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
    return _read(file, max_pixels, allow_truncated, lambda image: _to_photograph(image, longest))


def convert_picture(image: Image.Image) -> Picture:
    """Return an opened Pillow image, resized as `load_image` does; an image not yet loaded is loaded whole.

    Raises:
        ValueError: its content is broken, or it has more than `MAX_PIXELS` pixels.
    """
    return _decode(image, MAX_PIXELS, lambda image: _to_picture(image, draft=False), draft=False)


def convert_photograph(image: Image.Image) -> Photograph:
    """Return an opened Pillow image whole; raises what `convert_picture` raises."""
    return _decode(image, MAX_PIXELS, lambda image: _to_photograph(image, None), draft=False)


def _read(file: BinaryIO, max_pixels: int, allow_truncated: bool, finish: Callable[[Image.Image], T]) -> T:
    if not allow_truncated:
        return _decode(open_picture(file), max_pixels, finish)
    with _truncated_lock:
        try:
            return _decode(open_picture(file), max_pixels, finish)
        except ValueError:
            file.seek(0)
            ImageFile.LOAD_TRUNCATED_IMAGES = True  # Pillow knows no switch for a single picture
            try:
                return _decode(open_picture(file), max_pixels, finish)._replace(truncated=True)
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False


def _decode(image: Image.Image, max_pixels: int, finish: Callable[[Image.Image], T], draft: bool = True) -> T:
    """Check the size in an opened picture's header, then decode it; without `draft` as it is before `finish`."""
    width, height = image.size
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} is more than {max_pixels:,} pixels; shrink the picture first")
    try:
        if not draft:
            image.load()
        return finish(image)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # broken content makes Pillow's plugins raise almost any type
        raise ValueError(f"broken picture data: {error}") from None


def _to_picture(image: Image.Image, draft: bool = True, shape: tuple[int, int] = IMAGE_SIZE) -> Picture:
    size = image.size
    return Picture(_pixels(_resized(image, draft, shape)), size, _count_frames(image))


def _to_photograph(image: Image.Image, longest: int | None) -> Photograph:
    orientation = _load_orientation(image)
    width, height = image.size
    share = longest / max(width, height) if longest else 1
    image.draft("RGB", (math.ceil(width * share), math.ceil(height * share)))
    upright = _turn(_to_rgb(image), orientation)
    upright.load()  # of a JPEG in RGB nothing has been decoded yet
    size = (height, width) if orientation >= 5 else (width, height)
    return Photograph(upright, size, _count_frames(image))


def _count_frames(image: Image.Image) -> int:
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # the later frames may be broken, the first is not
        return 1


def _resized(image: Image.Image, draft: bool, shape: tuple[int, int]) -> Image.Image:
    """Decode an opened picture and bring it to `shape` (height, width) in RGB, upright."""
    orientation = _load_orientation(image)
    size = shape if orientation >= 5 else shape[::-1]  # Pillow's order: width, height
    decoded = None
    if draft and image.format == "JPEG" and image.mode == "RGB" and isinstance(image.fp, BytesIO):
        decoded = jpeg.decode_shrunk(image.fp.getvalue(), image.size, size)
    if decoded is None:
        image.draft("RGB", size)  # decodes a JPEG at half its size or less; does nothing once an image is loaded
        decoded = _to_rgb(image)
    return _turn(_shrunk(decoded, size), orientation)


def _shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def _pixels(image: Image.Image) -> np.ndarray:
    """Return uint8 `(H, W, 3)` of a picture in RGB."""
    return np.frombuffer(image.tobytes("raw", "RGB"), np.uint8).reshape(image.height, image.width, 3).copy()


def _load_orientation(image: Image.Image) -> int:
    """Return the EXIF turn of an opened picture, which is then loaded unless it is a JPEG."""
    if image.format not in ("JPEG", "MPO"):
        image.load()  # reading the EXIF data of a PNG would do so, and swallow its errors
    return _orientation(image)


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # unreadable EXIF is ignored, the picture is not
        return 1
    return orientation if orientation in _TURNS else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture in 8-bit RGB; Pillow's own `convert` clips 16-bit and float values to white or black."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """Scale grey values to uint8: floats in 0..1 by 255, integers in 0..65535 by 1/257."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0.0 and high <= 1.0:
        return np.round(values * 255).astype(np.uint8)
    if values.dtype.kind == "i" and low >= 0 and high <= 65535:
        return (values // 257).astype(np.uint8)
    raise ValueError(f"unsupported depth: grey values from {low:g} to {high:g}; save it with 8 or 16 bits")
