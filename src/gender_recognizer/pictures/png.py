"""The chunks of a PNG: those that do not touch the pixels can be left out, however many or broken they are."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, NamedTuple

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = b"IDAT"
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_MAX_CHUNKS = 100_000  # a picture of 100 MB in chunks of 1 kB; Pillow takes half a second for so many
_FEW_CHUNKS, _FEW_BYTES = 500, 4_000_000  # of metadata, which Pillow reads in no time

_LENGTHS = {b"acTL": range(8, 9), b"fcTL": range(26, 27), b"tRNS": range(1, 257), b"eXIf": range(8, 1 << 20)}
"""Chunks beside the critical ones that matter for the first picture, and how many bytes they may have."""

_ANIMATION = (b"acTL", b"fcTL")
_SHORTEST_TRANSPARENCY = {b"\0": 2, b"\2": 6, b"\3": 1}  # by colour type; other types have none


class Chunk(NamedTuple):
    """A chunk and where its content lies in the file."""

    name: bytes
    start: int
    length: int


def check_chunks(file: BinaryIO, start: int = 0) -> bool:
    """Return whether there is so much metadata in the PNG that begins at `start` that it is better left out.

    Raises:
        ValueError: it has so many chunks that reading them takes long.
    """
    count = size = 0
    for chunk in _read_chunks(file, start):
        if chunk.name not in (_PIXELS, b"fdAT"):
            count, size = count + 1, size + chunk.length
    return count > _FEW_CHUNKS or size > _FEW_BYTES


def without_metadata(file: BinaryIO, animated: bool) -> BinaryIO | None:
    """Return the PNG without the chunks that do not touch its pixels; None if its pixels do not end.

    Args:
        file: the PNG.
        animated: keep what says that further pages follow, which may be broken as well.
    """
    parts, seen, whole = [_SIGNATURE], False, False
    for chunk in _read_chunks(file, 0):
        whole = whole or (seen and chunk.name != _PIXELS)
        if chunk.name == _PIXELS or (not seen and _matters(file, chunk, parts, animated)):
            parts.append(_read(file, chunk))
        seen = seen or chunk.name == _PIXELS
    return BytesIO(b"".join((*parts, _END))) if whole else None


def _read_chunks(file: BinaryIO, start: int) -> Iterator[Chunk]:
    """Yield the chunks up to the end or to one that is not whole."""
    end = file.seek(0, 2)
    position = start + len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        length, name = struct.unpack(">I4s", head)
        position += length + 12
        if position > end:
            return
        yield Chunk(name, position - length - 4, length)
        if name == b"IEND":
            return
    raise ValueError(f"a PNG with more than {_MAX_CHUNKS:,} chunks; save it anew with another program")


def _matters(file: BinaryIO, chunk: Chunk, parts: list[bytes], animated: bool) -> bool:
    """Say whether a chunk before the pixels is needed to read them and, if it is one of several kinds, is whole."""
    if not chunk.name[0] & 32:  # critical, by the case of its first letter
        return True
    if chunk.length not in _LENGTHS.get(chunk.name, ()) or (chunk.name in _ANIMATION and not animated):
        return False
    if chunk.name == b"tRNS" and chunk.length < _SHORTEST_TRANSPARENCY.get(b"".join(parts[1:2])[17:18], 257):
        return False
    data = _read(file, chunk)
    return zlib.crc32(data[4:-4]) == int.from_bytes(data[-4:], "big")


def _read(file: BinaryIO, chunk: Chunk) -> bytes:
    """Return a chunk with its length, name and checksum."""
    file.seek(chunk.start - 8)
    return file.read(chunk.length + 12)
