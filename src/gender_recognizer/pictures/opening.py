"""A file as an opened Pillow image: what is opened, told by its content, and what a file is that is not."""

import os
import stat
from io import BytesIO
from typing import BinaryIO

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "ICO", "QOI")
"""Pillow's names of the formats that are opened, by content. EPS is absent on purpose: it starts Ghostscript."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_READ_AT_ONCE = 16_000_000


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


def open_picture(file: BinaryIO) -> Image.Image:
    """Return the picture in an open binary file, of which only the header is read yet.

    Raises:
        ValueError: the content does not begin like a picture of one of `FORMATS`.
    """
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


def read_size(file: BinaryIO) -> tuple[int, int]:
    """Return width and height of the picture in an open binary file, as its header says, in pixels.

    Raises:
        ValueError: the content does not begin like a picture of one of `FORMATS`.
    """
    return open_picture(file).size


def has_picture_header(path: str | os.PathLike[str]) -> bool:
    """Say whether a file begins like a picture of one of `FORMATS`."""
    try:
        with open_regular(path)[0] as file:
            open_picture(file)
    except (OSError, ValueError):
        return False
    return True


def _why_not_an_image(head: bytes) -> str:
    """Say what a file that Pillow cannot open seems to be, from its first bytes."""
    if not head:
        return "empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the picture; run 'git lfs pull'"
    return "not a picture in a supported format, or its header is broken"
