"""A file as an opened Pillow image: what is opened, told by its content, and what a file is that is not.

Contract: nothing is decoded yet, and nothing has taken long or much memory.
"""

import os
import stat
from io import BytesIO
from typing import BinaryIO

from PIL import Image

from gender_recognizer.extras import how_to_install
from gender_recognizer.pictures.formats import PILLOW_FORMATS, find_format
from gender_recognizer.pictures.headers import check_header
from gender_recognizer.pictures.png import check_chunks, without_metadata

MAX_PIXELS = 50_000_000
"""Largest width x height that is decoded; checked in the header, before any pixel is."""

MAX_FILE_SIZE = 100_000_000
"""Largest file that is opened, in bytes."""

_READ_AT_ONCE = 16_000_000


def open_regular(path: str | os.PathLike[str], max_file_size: int = MAX_FILE_SIZE) -> tuple[BinaryIO, os.stat_result]:
    """Open a file for reading, and return it with its status; never waits, as opening a named pipe does.

    A file of up to 16 MB is read at once: two threads decode a fifth more pictures a second from memory than from
    open files, where each small read hands Python's lock to the other (crops of 144 px, medians of 6 rounds).

    Args:
        path: of the file.
        max_file_size: bytes above which nothing is read.

    Raises:
        OSError: the file cannot be opened, is not a regular file, or was written to while it was read.
        ValueError: it is larger than `max_file_size`.
    """
    descriptor = _open_without_waiting(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > max_file_size:
            raise ValueError(f"the file has {status.st_size:,} bytes, more than max_file_size={max_file_size:,}")
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


def open_picture(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the picture in an open binary file at its beginning, of which only the header is read yet.

    Args:
        file: at its beginning.
        max_pixels: largest width x height, where the format makes it necessary to look before the file is opened.

    Raises:
        ValueError: the content does not begin like a picture of one of `formats.FORMATS`, or decoding it would take
            very long or very much memory.
    """
    head = file.read(64)
    format = find_format(head)
    check_header(file, format, max_pixels)
    if format == "PNG" and check_chunks(file):
        file = without_metadata(file, animated=True) or file
    file.seek(0)
    try:
        return Image.open(file, formats=PILLOW_FORMATS)
    except Image.DecompressionBombError:
        raise ValueError(
            f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, Pillow's limit; shrink the picture"
        ) from None
    except MemoryError:
        raise ValueError("too little memory to open the picture") from None
    except Exception:  # the header of a broken file can raise anything
        pass
    if format == "HEIF":
        return _open_heif(file)
    raise ValueError(_why_not_an_image(head) + _find_detail(file, format))


def _open_heif(file: BinaryIO) -> Image.Image:
    """Open a HEIC picture with the plugin of the extra `heic`, which turns it upright by itself."""
    try:
        import pillow_heif
    except ImportError:
        message = f"HEIC pictures need the extra heic: {how_to_install('heic')}; or convert it to JPEG"
        raise ValueError(message) from None
    pillow_heif.register_heif_opener()
    file.seek(0)
    try:
        return Image.open(file, formats=("HEIF",))
    except Exception:  # as above
        raise ValueError("its HEIC header is broken") from None


def read_size(file: BinaryIO) -> tuple[int, int]:
    """Return width and height of the picture in an open binary file, as its header says, in pixels.

    Raises:
        ValueError: the content does not begin like a picture of one of `formats.FORMATS`.
    """
    return open_picture(file).size


def has_picture_header(path: str | os.PathLike[str]) -> bool:
    """Say whether a file begins like a picture of one of `formats.FORMATS`."""
    try:
        with open(_open_without_waiting(path), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or find_format(file.read(64)) is None:
                return False
        with open_regular(path)[0] as file:
            open_picture(file)
    except (OSError, ValueError):
        return False
    return True


def _open_without_waiting(path: str | os.PathLike[str]) -> int:
    """Return the descriptor of a file that is opened for reading; a named pipe does not make it wait."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def _why_not_an_image(head: bytes) -> str:
    """Say what a file that Pillow cannot open seems to be, from its first bytes."""
    if not head:
        return "empty file"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the picture; run 'git lfs pull'"
    return "not a picture in a supported format, or its header is broken"


def _find_detail(file: BinaryIO, format: str | None) -> str:
    """Return in brackets what Pillow's reader of a format says of a file that it does not open, or nothing."""
    if format not in PILLOW_FORMATS:
        return ""
    file.seek(0)
    try:
        Image.OPEN[format][0](file, "")
    except Exception as error:
        return f" ({format}: {' '.join(str(error).split())})" if str(error) else ""
    return ""
