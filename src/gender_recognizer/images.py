"""The one way in which a file becomes pixels, shared by training, evaluation and labelling.

Contract: the same file gives the same `(100, 80, 3)` uint8 array everywhere. Raise `LOADER_VERSION` with any
change that alters a single pixel; caches are rebuilt and models made for another version are refused.
"""

import os
import stat
import threading
import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from gender_recognizer import jpeg

LOADER_VERSION = 1
IMAGE_SIZE = (100, 80)
"""Height and width, in pixels, of every picture that a network sees."""

MAX_PIXELS = 50_000_000
"""Largest width x height that is decoded; checked in the header, before any pixel is."""

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "QOI")
"""Pillow's names of the formats that are opened, by content. EPS is absent on purpose: it starts Ghostscript."""

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

_READ_AT_ONCE = 16_000_000
_truncated_lock = threading.Lock()

# Pillow warns about odd metadata and about sizes that are refused below anyway.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Picture(NamedTuple):
    """A decoded picture and what its file says of it.

    Attributes:
        pixels: uint8 RGB `(100, 80, 3)`.
        size: width and height of the original, in pixels.
        frames: how many frames or pages the file has; `pixels` are the first.
        truncated: the file ends too early and the rest of the picture is grey.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    frames: int = 1
    truncated: bool = False


def load_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the picture in a file as uint8 RGB of shape (100, 80, 3).

    The whole picture is resized, its EXIF turn applied, transparency laid on mid grey, the first frame of
    several taken, and 16-bit and float values scaled to 8 bits.

    Raises:
        OSError: the file cannot be opened or is not a regular file.
        ValueError: its content is not a whole picture of one of `FORMATS` with at most `MAX_PIXELS` pixels.
    """
    with open_regular(path)[0] as file:
        return read_picture(file).pixels


def load_or_reason(path: Path) -> np.ndarray | str:
    """Return the picture in a file as `load_image` does or, when that fails, the reason."""
    try:
        return load_image(path)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def open_regular(path: str | os.PathLike[str]) -> tuple[BinaryIO, os.stat_result]:
    """Open a file for reading, and return it with its status; never waits, as opening a named pipe does.

    A file of up to 16 MB is read at once: two threads decode a fifth more pictures a second from memory than from
    open files, where each small read hands Python's lock to the other (crops of 144 px, medians of 6 rounds).

    Raises:
        OSError: the file cannot be opened, is not a regular file, or was written to while it was read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > _READ_AT_ONCE:
            return open(os.dup(descriptor), "rb"), status
        content = os.read(descriptor, status.st_size + 1)
        while len(content) < status.st_size and (more := os.read(descriptor, status.st_size)):
            content += more  # some network file systems hand out a file in pieces
        if len(content) != status.st_size:
            raise OSError("the file changed while it was read")
        return BytesIO(content), status
    finally:
        os.close(descriptor)


def read_picture(file: BinaryIO, max_pixels: int = MAX_PIXELS, allow_truncated: bool = False) -> Picture:
    """Return the picture in an open binary file, decoded as `load_image` does.

    Args:
        file: at its beginning.
        max_pixels: largest width x height that is decoded.
        allow_truncated: take what there is of a file that ends too early.

    Raises:
        ValueError: the content is not a whole picture of one of `FORMATS` with at most `max_pixels` pixels.
    """
    if not allow_truncated:
        return _read(file, max_pixels)
    with _truncated_lock:
        try:
            return _read(file, max_pixels)
        except ValueError:
            file.seek(0)
            ImageFile.LOAD_TRUNCATED_IMAGES = True  # Pillow knows no switch for a single picture
            try:
                return _read(file, max_pixels)._replace(truncated=True)
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False


def convert_picture(image: Image.Image) -> Picture:
    """Return an opened Pillow image, resized as `load_image` does; an image not yet loaded is loaded whole.

    Raises:
        ValueError: its content is broken, or it has more than `MAX_PIXELS` pixels.
    """
    return _decode(image, MAX_PIXELS, draft=False)


def read_size(file: BinaryIO) -> tuple[int, int]:
    """Return width and height of the picture in an open binary file, as its header says, in pixels.

    Raises:
        ValueError: the content does not begin like a picture of one of `FORMATS`.
    """
    return _open(file).size


def has_picture_header(path: str | os.PathLike[str]) -> bool:
    """Say whether a file begins like a picture of one of `FORMATS`."""
    try:
        with open_regular(path)[0] as file:
            _open(file)
    except (OSError, ValueError):
        return False
    return True


def _read(file: BinaryIO, max_pixels: int) -> Picture:
    content = file.getvalue() if isinstance(file, BytesIO) else b""
    size = jpeg.read_plain_header(content)
    if size and size[0] * size[1] <= max_pixels and (image := jpeg.decode_shrunk(content, size, IMAGE_SIZE[::-1])):
        return Picture(_pixels(_shrunk(image, IMAGE_SIZE[::-1])), size)
    return _decode(_open(file), max_pixels)


def _open(file: BinaryIO) -> Image.Image:
    """Read the header of a picture."""
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(
            f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, Pillow's limit; shrink the picture"
        ) from None
    except Exception:  # the header of a broken file can raise anything
        file.seek(0)
        head = file.read(64)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return _open_heif(file)
    raise ValueError(_why_not_an_image(head))


def _open_heif(file: BinaryIO) -> Image.Image:
    """Open a HEIC picture with the plugin of the extra `heic`, which turns it upright by itself."""
    try:
        import pillow_heif
    except ImportError:
        raise ValueError("HEIC pictures need the extra heic: pip install pillow-heif; or convert it to JPEG") from None
    pillow_heif.register_heif_opener()
    file.seek(0)
    try:
        return Image.open(file, formats=("HEIF",))
    except Exception:  # as above
        raise ValueError("its HEIC header is broken") from None


def _decode(image: Image.Image, max_pixels: int, draft: bool = True) -> Picture:
    """Check the size in an opened picture's header, then decode it."""
    size = image.size
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"{size[0]}x{size[1]} is more than {max_pixels:,} pixels; shrink the picture first")
    try:
        if not draft:
            image.load()
        return Picture(_pixels(_resized(image, draft)), size, _count_frames(image))
    except ValueError:
        raise
    except Exception as error:  # broken content makes Pillow's plugins raise almost any type
        raise ValueError(f"broken picture data: {error}") from None


def _count_frames(image: Image.Image) -> int:
    try:
        return getattr(image, "n_frames", 1)
    except Exception:  # the later frames may be broken, the first is not
        return 1


def _resized(image: Image.Image, draft: bool) -> Image.Image:
    """Decode an opened picture and bring it to 80 x 100 RGB, upright."""
    if image.format not in ("JPEG", "MPO"):
        image.load()  # reading the EXIF data of a PNG would do so, and swallow its errors
    orientation = _orientation(image)
    size = IMAGE_SIZE if orientation >= 5 else IMAGE_SIZE[::-1]  # Pillow's order: width, height
    decoded = None
    if draft and image.format == "JPEG" and image.mode == "RGB" and isinstance(image.fp, BytesIO):
        decoded = jpeg.decode_shrunk(image.fp.getvalue(), image.size, size)
    if decoded is None:
        image.draft("RGB", size)  # decodes a JPEG at half its size or less; does nothing once an image is loaded
        decoded = _to_rgb(image)
    image = _shrunk(decoded, size)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    return image


def _shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def _pixels(image: Image.Image) -> np.ndarray:
    """Return uint8 `(100, 80, 3)` of a picture of that size in RGB."""
    return np.frombuffer(image.tobytes("raw", "RGB"), np.uint8).reshape(*IMAGE_SIZE, 3).copy()


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


def _why_not_an_image(head: bytes) -> str:
    """Say what a file that Pillow cannot open seems to be, from its first bytes."""
    if not head:
        return "empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the picture; run 'git lfs pull'"
    return "not a picture in a supported format, or its header is broken"
