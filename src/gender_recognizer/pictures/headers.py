"""What headers say of the work that a file makes, read before any decoder sees it.

Some decoders of Pillow take memory, or minutes, before they tell the size of the picture.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

from gender_recognizer.pictures.jpeg_segments import check_segments
from gender_recognizer.pictures.png import check_chunks

MAX_SLOW_PIXELS = 3_000_000
"""Largest width x height of what Pillow decodes in Python, at 1 to 2 µs a pixel: QOI, some PPM and run-length BMP."""

SLOW_DECODERS = frozenset(("qoi", "ppm", "ppm_plain", "bmp_rle"))
"""Pillow's names of the decoders that are written in Python."""

_MAX_METADATA = 8_000_000  # of AVIF and HEIF, in bytes
_MAX_BOXES = 10_000
_MAX_VALUES = 200_000  # of a tag of a TIFF: one strip for each row and colour, or small tiles, is far less
_MAX_COMMENTS = 1000
_MAX_TILES, _MAX_PACKETS = 10_000, 2_000_000  # of JPEG 2000
_CODING = 0x52  # its marker COD
_MAX_EXTENSION_BLOCKS = 100_000  # of a GIF, before its first picture
_NUMBERS = {
    3: 2,
    4: 4,
    5: 8,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}  # types of TIFF's numbers
_PPM_HEADER = re.compile(rb"P[0-9A-Za-z]{1,5}(?:\s|#[^\r\n]*[\r\n])+(?:\d+(?:\s|#[^\r\n]*[\r\n])+){2}")


def check_header(file: BinaryIO, format: str | None, max_pixels: int) -> None:
    """Look at the header of a file, whose position is 0 afterwards.

    Args:
        file: the file.
        format: its format, one of `formats.FORMATS`.
        max_pixels: largest width x height that is decoded.

    Raises:
        ValueError: it is larger, or the file is made so that reading it takes very long or very much memory.
    """
    file.seek(0)
    if format in _CHECKS:
        with suppress(
            struct.error, IndexError, OverflowError, OSError
        ):  # it points beyond its end; the decoder will say so
            _CHECKS[format](file, max_pixels)
        file.seek(0)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture with too many pixels.

    Raises:
        ValueError: it has.
    """
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} is more than {max_pixels:,} pixels; shrink the picture first")


def _check_jpeg(file: BinaryIO, max_pixels: int) -> None:
    check_segments(file)


def _check_webp(file: BinaryIO, max_pixels: int) -> None:
    head = file.read(30)
    if head[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(head[start : start + 3], "little") for start in (24, 27))
    elif head[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 26))
    check_size(width, height, max_pixels)


def _check_boxes(file: BinaryIO, max_pixels: int) -> None:
    """Check each size that an AVIF or HEIF tells: of its pictures, their tiles and their tracks."""
    for name, content in read_metadata(file):
        for found in re.finditer(rb"ispe....(........)", content, re.DOTALL):
            width, height = struct.unpack(">II", found[1])
            check_size(width, height, max_pixels)
        for found in re.finditer(rb"(?:av01|hvc1|hev1).{24}(....)", content, re.DOTALL):
            if name == b"moov":
                width, height = struct.unpack(">HH", found[1])
                check_size(width, height, max_pixels)


def read_metadata(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the boxes of an AVIF or HEIF that describe its pictures.

    Raises:
        ValueError: one of them is very long, or there are very many boxes.
    """
    for name, start, length in _read_boxes(file):
        if name not in (b"meta", b"moov"):
            continue
        if length > _MAX_METADATA:
            raise ValueError(f"more than {_MAX_METADATA:,} bytes of metadata; save it anew with another program")
        file.seek(start)
        yield name, file.read(length)


def _read_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and length of the content of each box of a file."""
    end = file.seek(0, 2)
    position = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        head = file.read(16)
        if len(head) < 16:  # the end, or bytes that nobody needs
            return
        length, name = struct.unpack_from(">I4s", head)
        start = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", head, 8)
            start += 8
        stop = position + length if length else end
        yield name, start, min(stop, end) - start
        if not position < stop < end:
            return
        position = stop
    raise ValueError(f"more than {_MAX_BOXES:,} boxes; save it anew with another program")


def _check_ico(file: BinaryIO, max_pixels: int) -> None:
    """Check the picture that Pillow takes from an icon, the largest: as it is inside, not as the table says."""
    (count,) = struct.unpack_from("<H", file.read(6), 4)
    entries = [struct.unpack("<4BHHII", file.read(16)) for _ in range(count)]
    largest = max((entry[0] or 256) * (entry[1] or 256) for entry in entries) if entries else 0
    for entry in entries:
        if (entry[0] or 256) * (entry[1] or 256) == largest:
            file.seek(entry[7])
            head = file.read(24)
            if head.startswith(b"\x89PNG"):
                width, height = struct.unpack_from(">II", head, 16)
                check_size(width, height, max_pixels)
                if check_chunks(file, entry[7]):
                    raise ValueError("an icon with very much metadata; save it anew with another program")
            else:
                width, height = struct.unpack_from("<Ii", head, 4)
                check_size(width, abs(height) // 2, min(max_pixels, MAX_SLOW_PIXELS))


def _check_tiff(file: BinaryIO, max_pixels: int) -> None:
    """Check how many values the tags of the first page have: Pillow makes a Python object of each."""
    head = file.read(16)
    order = "<" if head.startswith(b"II") else ">"
    big = 43 in head[2:4]
    (position,) = struct.unpack_from(order + "Q" if big else order + "I", head, 8 if big else 4)
    file.seek(position)
    (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    entry = struct.Struct(order + ("HHQQ" if big else "HHII"))
    for _ in range(min(count, 65536)):
        tag, kind, values, _ = entry.unpack(file.read(entry.size))
        if kind in _NUMBERS and values > _MAX_VALUES:
            raise ValueError(f"tag {tag} has {values:,} values; save it anew with another program")


def _check_jpeg2000(file: BinaryIO, max_pixels: int) -> None:
    """Check the numbers of tiles and packets, for each of which the decoder takes memory."""
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, count = _read_frame(file)
    check_size(width - left, height - top, max_pixels)
    tiles = -(-(width - tile_left) // max(tile_width, 1)) * -(-(height - tile_top) // max(tile_height, 1))
    if tiles > _MAX_TILES:
        raise ValueError(f"{tiles:,} tiles are more than {_MAX_TILES:,}; save it anew with another program")
    for marker, content in _read_codestream(file):
        if marker == _CODING:
            _check_packets(content, (width - left, height - top), count, tiles)


def can_be_halved(file: BinaryIO) -> bool:
    """Say whether a JPEG 2000 holds its picture at half its width and height as well."""
    try:
        _read_frame(file)
        return any(marker == _CODING and content[5] > 0 for marker, content in _read_codestream(file))
    except (struct.error, IndexError):
        return False


def _read_frame(file: BinaryIO) -> tuple[int, ...]:
    """Return the numbers of the segment SIZ of a JPEG 2000, up to the count of channels; the next segment follows."""
    file.seek(0)
    head, start = file.read(16), 0
    if head[4:8] == b"jP  ":
        start = next((start for name, start, _ in _read_boxes(file) if name == b"jp2c"), 0)
    file.seek(start + 8)
    numbers = struct.unpack(">8IH", file.read(34))
    file.seek(start + 42 + 3 * numbers[-1])
    return numbers


def _read_codestream(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments of the main header of JPEG 2000 from here on."""
    for _ in range(_MAX_BOXES):
        mark, marker, length = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF or marker == 0x90:  # the first tile
            return
        yield marker, file.read(max(length - 2, 0))


def _check_packets(content: bytes, size: tuple[int, int], components: int, tiles: int) -> None:
    """Check a segment COD: layers x components x precincts of all resolutions."""
    layers, levels = struct.unpack_from(">H", content, 2)[0], content[5]
    exponents = content[10 : 11 + levels] if content[0] & 1 else bytes([0xFF]) * (levels + 1)
    precincts = 0
    for level, exponent in enumerate(exponents):
        width, height = (-(-side >> (levels - level)) for side in size)
        precincts += max(-(-width >> (exponent & 15)) * -(-height >> (exponent >> 4)), tiles)
    if layers * components * precincts > _MAX_PACKETS:
        raise ValueError(f"more than {_MAX_PACKETS:,} packets; save it anew with another program")


def _check_ppm(file: BinaryIO, max_pixels: int) -> None:
    """Check that the header ends, and that a plain file is no heap of comments; Pillow goes through both in Python."""
    head = file.read(65_536)
    if len(head) == 65_536 and not _PPM_HEADER.match(head):
        raise ValueError("a PPM whose header does not end in its first 65,536 bytes")
    if head[1:2] in b"123":
        count = head.count(b"#")
        while chunk := file.read(1 << 20):
            count += chunk.count(b"#")
        if count > _MAX_COMMENTS:
            raise ValueError(f"a PPM with more than {_MAX_COMMENTS:,} comments; save it anew with another program")


def _check_gif(file: BinaryIO, max_pixels: int) -> None:
    """Check that the first picture comes soon: Pillow goes through what is before it in Python."""
    flags = file.read(13)[10]
    file.seek(3 << (1 + (flags & 7)) if flags & 0x80 else 0, 1)
    if sum(1 for _ in islice(_read_extensions(file), _MAX_EXTENSION_BLOCKS)) == _MAX_EXTENSION_BLOCKS:
        raise ValueError("a GIF with very much before its first picture; save it anew with another program")


def _read_extensions(file: BinaryIO) -> Iterator[int]:
    """Yield the length of each block of the extensions of a GIF that come next, 0 at the end of each extension."""
    while file.read(1) == b"!":
        file.seek(1, 1)
        length = -1
        while length:
            length = file.read(1)[0]
            file.seek(length, 1)
            yield length


_CHECKS = {
    "JPEG": _check_jpeg,
    "WEBP": _check_webp,
    "AVIF": _check_boxes,
    "HEIF": _check_boxes,
    "ICO": _check_ico,
    "TIFF": _check_tiff,
    "JPEG2000": _check_jpeg2000,
    "PPM": _check_ppm,
    "GIF": _check_gif,
}
