"""Files that every viewer shows, though something in them is broken or missing: nothing that touches the pixels."""

from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, Literal

from gender_recognizer.pictures import jpeg_segments, png
from gender_recognizer.pictures.formats import find_format

_METADATA_TAGS = frozenset(
    (270, 305, 306, 315, 700, 33432, 33723, 34377, 34665, 34675, 34853, 37724, 40965, 50838, 50839)
)
"""TIFF's description, software, date, artist, XMP, copyright, IPTC, Photoshop, EXIF, ICC, GPS and ImageJ."""


def mend(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield what a picture that cannot be decoded may be without what is broken: whole as far as it shows anything.

    Args:
        file: of any format, or of none; nothing is yielded where nothing can be done.
    """
    file.seek(0)
    format = find_format(file.read(64))
    if format == "PNG":
        candidates = [png.without_metadata(file, animated) for animated in (True, False)]
        yield from (candidate for candidate in candidates if candidate)
    elif format in _MENDERS:
        file.seek(0)
        content = file.read()
        yield from (BytesIO(mended) for mend in _MENDERS[format] if (mended := mend(content)))


def _correct_length(content: bytes) -> bytes | None:
    """Return a WebP whose header tells another length than the file has with the right one."""
    length = len(content) - 8
    return (
        None
        if int.from_bytes(content[4:8], "little") == length
        else content[:4] + length.to_bytes(4, "little") + content[8:]
    )


def _drop_tags(content: bytes) -> bytes | None:
    """Return a TIFF (not a BigTIFF) whose first page has no metadata: their tags are made such that none reads them."""
    order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"
    changed = bytearray(content)
    start = int.from_bytes(content[4:8], order)
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(content[start : start + 2], order), 12):
        if int.from_bytes(content[entry : entry + 2], order) in _METADATA_TAGS:
            changed[entry : entry + 12] = b"".join(value.to_bytes(size, order) for value, size in _NOTHING)
    return None if changed == content else bytes(changed)


def _complete_without_metadata(content: bytes) -> bytes | None:
    bare = jpeg_segments.without_metadata(content)
    return bare and jpeg_segments.complete(bare)


def _end(content: bytes) -> bytes | None:
    """Return a JPEG 2000 with its end marker."""
    return None if content.endswith(_END_MARKER) else content.removesuffix(_END_MARKER[:1]) + _END_MARKER


_END_MARKER = b"\xff\xd9"
_NOTHING = ((65000, 2), (1, 2), (1, 4), (0, 4))  # a private tag with one byte, 0
_MENDERS = {
    "JPEG": (jpeg_segments.complete, jpeg_segments.without_metadata, _complete_without_metadata),
    "JPEG2000": (_end,),
    "WEBP": (_correct_length,),
    "TIFF": (_drop_tags,),
}
