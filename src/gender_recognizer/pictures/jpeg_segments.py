"""The segments of a JPEG: whether they can be read without great effort, and whether all of the picture is there."""

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import BinaryIO, NamedTuple

from simplejpeg import decode_jpeg

MAX_SCANS = 100
"""Scans of a progressive JPEG; encoders write 10 or so. Each costs as much time as the whole of a plain picture."""

FEW_SCANS = 16
_FEW_SEGMENTS = 100
_MAX_SCANNED = 1_500_000_000  # pixels x scans; 5 s in colour
_MAX_SEGMENTS = 2000
_MAX_PADDING = 65_536  # bytes between segments; Pillow skips them one by one
_CHUNK = 1 << 20  # bytes read at once

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither a stuffed 0xFF nor a restart marker
_ALONE = frozenset((0x01, *range(0xD0, 0xDA)))  # markers without content
_END, _SCAN, _APP0, _APP1, _APP14 = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_METADATA = frozenset((*range(0xE0, 0xF0), 0xFE))
_PIXEL_FORMATS = {1: "GRAY", 3: "RGB", 4: "CMYK"}


class Segment(NamedTuple):
    """A marker and where its content lies in the file, its two bytes of length left out."""

    marker: int
    start: int
    length: int


def check_segments(file: BinaryIO) -> None:
    """Look at the segments of a JPEG, without decoding any.

    Raises:
        ValueError: there are so many scans, segments or bytes of padding that reading them takes long.
    """
    if isinstance(file, BytesIO) and _is_plain(file.getvalue()):
        return
    header = list(_read_header(file))
    if not header or header[-1].marker != _SCAN or _count(file, b"\xff\xda") <= FEW_SCANS:
        return
    file.seek(0)
    content = file.read()
    scans = (segment for segment in _read_scans(content, header[-1]) if segment.marker == _SCAN)
    count = sum(1 for _ in islice(scans, MAX_SCANS + 1))
    width, height = _find_size(content, header)
    if count > MAX_SCANS:
        raise ValueError(_too_many(f"{MAX_SCANS} scans"))
    if count * width * height > _MAX_SCANNED and count > FEW_SCANS:
        raise ValueError(f"{width}x{height} pixels in {count} scans would take long to read; save it with fewer scans")


def _is_plain(content: bytes) -> bool:
    """Say quickly whether a JPEG has few segments, none between them, and only one scan."""
    start, frame, components = 2, 0, 0
    for _ in range(_FEW_SEGMENTS):
        if len(content) < start + 5 or content[start] != 0xFF:
            return False
        marker = content[start + 1]
        if marker == _SCAN:
            return frame in (0xC0, 0xC1) and content[start + 4] == components
        if marker in (0xC0, 0xC1) and len(content) > start + 9:
            frame, components = marker, content[start + 9]
        elif marker < 0xC0 or marker in _ALONE or marker == 0xFF or marker in _START_OF_FRAME:
            return False
        start += 2 + (content[start + 2] << 8 | content[start + 3])
    return False


def _find_size(content: bytes, header: list[Segment]) -> tuple[int, int]:
    """Return width and height, 0 where nothing tells them."""
    for segment in header:
        if segment.marker in _START_OF_FRAME and segment.length >= 5:
            height, width = struct.unpack_from(">HH", content, segment.start + 1)
            return width, height
    return 0, 0


def complete(content: bytes) -> bytes | None:
    """Return a JPEG that lacks only its end marker with that marker; None of one that lacks more, or nothing."""
    whole = content + bytes([0xFF, _END])
    try:
        header = list(_read_header(BytesIO(content)))
        frame = next(segment for segment in header if segment.marker in _START_OF_FRAME)
        if content.endswith(whole[-2:]) or not _has_all_scans(whole, frame, header[-1]):
            return None
        decode_jpeg(whole, _PIXEL_FORMATS[content[frame.start + 5]], min_width=1, min_height=1)
    except (ValueError, LookupError, StopIteration):  # the library raises ValueError where it only warns
        return None
    return whole


def without_metadata(content: bytes) -> bytes | None:
    """Return a JPEG without comments and data of applications, but for turn and colours; None if it has no scan."""
    try:
        header = list(_read_header(BytesIO(content)))
    except ValueError:
        return None
    if not header or header[-1].marker != _SCAN:
        return None
    kept = [segment for segment in header[:-1] if _matters(content, segment)]
    parts = [content[segment.start - 4 : segment.start + max(segment.length, 0)] for segment in kept]
    return b"".join((content[:2], *parts, content[header[-1].start - 4 :]))


def _matters(content: bytes, segment: Segment) -> bool:
    data = content[segment.start : segment.start + max(segment.length, 0)]
    return (
        segment.marker not in _METADATA
        or (segment.marker == _APP0 and data.startswith(b"JFIF") and len(data) >= 14)
        or (segment.marker == _APP1 and data.startswith((b"Exif\0\0", b"http://ns.adobe.com/xap")))
        or (segment.marker == _APP14 and data.startswith(b"Adobe") and len(data) >= 12)
    )


def _read_header(file: BinaryIO) -> Iterator[Segment]:
    """Yield the segments up to the first scan, with it.

    Raises:
        ValueError: there are too many of them, or too much between them.
    """
    position = padding = 0
    for _ in range(_MAX_SEGMENTS):
        marker = _find_marker(file, position)
        if marker is None or marker[0][1] == _END:
            return
        padding += marker.start()
        if padding > _MAX_PADDING:
            raise ValueError(_too_many(f"{_MAX_PADDING:,} bytes of padding"))
        position += marker.end()
        if marker[0][1] not in _ALONE:
            file.seek(position)
            length = int.from_bytes(file.read(2), "big")
            yield Segment(marker[0][1], position + 2, length - 2)
            if marker[0][1] == _SCAN:
                return
            position += max(length, 2)
    raise ValueError(_too_many(f"{_MAX_SEGMENTS:,} segments"))


def _find_marker(file: BinaryIO, position: int) -> re.Match[bytes] | None:
    for size in (4, _MAX_PADDING):
        file.seek(position)
        head = file.read(size)
        if (found := _MARKER.search(head)) or len(head) < size:
            return found
    raise ValueError(_too_many(f"{_MAX_PADDING:,} bytes of padding"))


def _read_scans(content: bytes, first: Segment) -> Iterator[Segment]:
    """Yield the first scan and all later segments of the picture.

    Raises:
        ValueError: there are too many of them.
    """
    yield first
    position = first.start + first.length
    for _ in range(_MAX_SEGMENTS):
        marker = _END_OF_SCAN.search(content, position)
        if marker is None or marker[0][1] == _END:
            return
        position = marker.end()
        if marker[0][1] not in _ALONE:
            length = int.from_bytes(content[position : position + 2], "big")
            yield Segment(marker[0][1], position + 2, length - 2)
            position += max(length, 2)
    raise ValueError(_too_many(f"{_MAX_SEGMENTS:,} segments"))


def _has_all_scans(content: bytes, frame: Segment, first: Segment) -> bool:
    """Say whether all bits of all coefficients have a scan: a progressive JPEG may end early between two of them."""
    count = content[frame.start + 5]
    components = {content[frame.start + 6 + 3 * index] for index in range(count)}
    missing = {(component, coefficient) for component in components for coefficient in range(64)}
    for scan in _read_scans(content, first):
        if scan.marker == _SCAN:
            parts = content[scan.start]
            low, high, bits = content[scan.start + 1 + 2 * parts : scan.start + 4 + 2 * parts]
            for part in range(parts if bits & 15 == 0 else 0):
                component = content[scan.start + 1 + 2 * part]
                missing -= {(component, coefficient) for coefficient in range(low, high + 1)}
    return not missing


def _count(file: BinaryIO, pattern: bytes) -> int:
    """Return how often two bytes occur in a file."""
    file.seek(0)
    count, last = 0, b""
    while chunk := file.read(_CHUNK):
        count += (last + chunk).count(pattern)
        last = chunk[-1:]
    return count


def _too_many(what: str) -> str:
    return f"a JPEG with more than {what}, which would take long to read; save it anew with another program"
