"""How many pages a file has: frames of a GIF, pages of a TIFF, pictures of an album."""

import struct
from io import BytesIO
from typing import BinaryIO

from PIL import Image

MAX_PAGES = 10_000
"""Pages that are counted; this number stands for so many or more."""

_MAX_GIF_BLOCKS = 200_000
_COLOUR_TABLE = 0x80  # flag: a table of 3 * 2 ** (1 + last three bits) bytes follows


def count_pages(image: Image.Image, file: BinaryIO | None) -> int:
    """Return how many pages an opened picture has, 1 to `MAX_PAGES`, without decoding any.

    Args:
        image: of a file of any format.
        file: where it was opened from, if that is known.
    """
    try:
        if file and image.format in ("TIFF", "GIF"):  # Pillow goes through all pages with their tags or pixels
            pages = _count_tiff(file) if image.format == "TIFF" else _count_gif(file)
        else:
            pages = getattr(image, "n_frames", 1)
    except Exception:  # the later pages may be broken, the first is not
        return 1
    return max(1, min(pages, MAX_PAGES))


def _count_tiff(file: BinaryIO) -> int:
    """Return the number of directories of a TIFF or BigTIFF, each counted once."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head.startswith(b"II") else ">"
    big = 43 in head[2:4]
    count_format, offset_format, entry = (order + "Q", order + "Q", 20) if big else (order + "H", order + "I", 12)
    (position,) = struct.unpack_from(offset_format, head, 8 if big else 4)
    seen: set[int] = set()
    while position and position not in seen and len(seen) < MAX_PAGES:
        file.seek(position)
        (count,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
        seen.add(position)
        file.seek(count * entry, 1)
        following = file.read(struct.calcsize(offset_format))
        if len(following) < struct.calcsize(offset_format):
            break
        (position,) = struct.unpack(offset_format, following)
    return len(seen)


def _count_gif(file: BinaryIO) -> int:
    """Return the number of pictures of a GIF, or of those in its first `_MAX_GIF_BLOCKS` blocks."""
    file.seek(0)
    content = file.getvalue() if isinstance(file, BytesIO) else file.read()
    pages, position = 0, 13 + _table_size(content[10])
    for _ in range(_MAX_GIF_BLOCKS):
        kind = content[position : position + 1]
        if kind == b"," and pages < MAX_PAGES:
            pages += 1
            position += 11 + _table_size(content[position + 9])
        elif kind == b"!":
            position += 2
        else:
            break
        position = _skip_blocks(content, position)
    return pages


def _table_size(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & _COLOUR_TABLE else 0


def _skip_blocks(content: bytes, position: int) -> int:
    """Return where the blocks that begin at `position` end; an index error if they do not."""
    while length := content[position]:
        position += 1 + length
    return position + 1
