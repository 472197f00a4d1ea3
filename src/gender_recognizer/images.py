"""The one way in which a file becomes pixels, shared by training, evaluation and labelling.

Contract: the same file gives the same `(100, 80, 3)` uint8 array everywhere. Raise `LOADER_VERSION` with any
change that alters a single pixel; caches are rebuilt and models made for another version are refused.
"""

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

LOADER_VERSION = 1
IMAGE_SIZE = (100, 80)
"""Height and width, in pixels, of every picture that a network sees."""

MAX_PIXELS = 50_000_000
"""Largest width x height that is decoded; checked in the header, before any pixel is."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "QOI")
"""Pillow's names of the formats that are opened, by content. EPS is absent on purpose: it starts Ghostscript."""

EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".avif",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".mpo",
        ".jp2",
        ".pgm",
        ".ppm",
        ".ico",
        ".qoi",
        ".heic",
        ".heif",
    ]
)
"""File names with these endings (any case) are taken for pictures when a folder is listed."""

_BACKGROUND = (127, 127, 127, 255)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
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

# Pillow warns about odd metadata and about sizes that are refused below anyway.
warnings.filterwarnings("ignore", module=r"PIL\.")


def load_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the picture in a file as uint8 RGB of shape (100, 80, 3).

    The whole picture is resized, its EXIF turn applied, transparency laid on mid grey, the first frame of
    several taken, and 16-bit and float values scaled to 8 bits.

    Raises:
        OSError: the file cannot be opened or is not a regular file.
        ValueError: its content is not a whole picture of one of `FORMATS` with at most `MAX_PIXELS` pixels.
    """
    # Without O_NONBLOCK, opening a named pipe waits for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        return decode_image(file)


def load_or_reason(path: Path) -> np.ndarray | str:
    """Return the picture in a file as `load_image` does or, when that fails, the reason."""
    try:
        return load_image(path)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def decode_image(file: BinaryIO) -> np.ndarray:
    """Return the picture in an open binary file as uint8 RGB of shape (100, 80, 3), as `load_image` does.

    Raises:
        ValueError: the content is not a whole picture of one of `FORMATS` with at most `MAX_PIXELS` pixels.
    """
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(f"more than {MAX_PIXELS:,} pixels; shrink the picture first") from None
    except Exception:  # the header of a broken file can raise anything
        raise ValueError(_why_not_an_image(file)) from None
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} is more than {MAX_PIXELS:,} pixels; shrink the picture first")
    try:
        return _resized(image)
    except ValueError:
        raise
    except Exception as error:  # broken content makes Pillow's plugins raise almost any type
        raise ValueError(f"broken picture data: {error}") from None


def _resized(image: Image.Image) -> np.ndarray:
    """Decode an opened picture and bring it to (100, 80, 3) uint8 RGB, upright."""
    orientation = _orientation(image)
    size = IMAGE_SIZE if orientation >= 5 else IMAGE_SIZE[::-1]  # Pillow's order: width, height
    image.draft("RGB", size)
    image = _to_rgb(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    return np.array(image)


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


def _why_not_an_image(file: BinaryIO) -> str:
    """Say what a file that Pillow cannot open seems to be, from its first bytes."""
    file.seek(0)
    head = file.read(64)
    if not head:
        return "empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the picture; run 'git lfs pull'"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "HEIC pictures are not supported; convert it to JPEG"
    return "not a picture in a supported format, or its header is broken"


def find_images(folder: Path) -> Iterator[Path]:
    """Yield the pictures below a folder, by their names' endings, each folder's files before its folders', sorted.

    Hidden files and folders are left out; links to folders are not followed.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield Path(parent, name)
