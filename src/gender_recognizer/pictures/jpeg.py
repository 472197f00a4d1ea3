"""Colour JPEGs, decoded by one call of libjpeg-turbo.

Contract: the pixels are Pillow's, which calls the same library row by row; on crops of 144 px that takes a third
longer, headers included. What the library as much as warns of, what it decodes to another size than Pillow would,
and what may take long is left to Pillow and its checks: these functions return None.
"""

import struct

import numpy as np
from PIL import Image
from simplejpeg import decode_jpeg

from gender_recognizer.pictures.jpeg_segments import FEW_SCANS

SHRINKS = (8, 4, 2)
"""By what libjpeg shrinks in decoding."""

_SEGMENT = struct.Struct(">BH")  # marker, length
_FRAME = struct.Struct(">HHB")  # height, width, components
_PROGRESSIVE = 0xC2
_FRAMES = (0xC0, 0xC1, _PROGRESSIVE)  # baseline, extended, progressive
_SCAN = 0xDA
_APP1 = 0xE1  # holds EXIF or XMP, either of which may tell a turn
_MANY = 200  # segments, of which a usual file has 10


def read_plain_header(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a colour JPEG that has neither EXIF data nor further pictures, or None."""
    size, frame, start, count = None, _PROGRESSIVE, 2, 0
    try:
        while content.startswith(b"\xff", start) and (count := count + 1) < _MANY:
            marker, length = _SEGMENT.unpack_from(content, start + 1)
            if marker == _SCAN:
                one_scan = frame != _PROGRESSIVE and content[start + 4] == 3  # of all components
                return size if one_scan or content.count(b"\xff\xda", start) <= FEW_SCANS else None
            if marker in _FRAMES:
                height, width, components = _FRAME.unpack_from(content, start + 5)
                size, frame = (width, height) if components == 3 else None, marker
            elif marker == _APP1 or content.startswith(b"MPF\0", start + 4):
                return None
            start += 2 + length
    except (struct.error, IndexError):  # it ends too early
        pass
    return None


def choose_shrink(size: tuple[int, int], target: tuple[int, int]) -> int:
    """Return by how much a JPEG of this width and height is shrunk in decoding, so that it is not below the target."""
    scale = min(size[0] // target[0], size[1] // target[1])
    return next((shrink for shrink in SHRINKS if scale >= shrink), 1)


def decode_shrunk(content: bytes, size: tuple[int, int], target: tuple[int, int]) -> Image.Image | None:
    """Return the picture in a colour JPEG, mode RGB, at the size that Pillow's `draft` chooses for `target`, or None.

    Args:
        content: of the file.
        size: width and height of the picture.
        target: width and height, both of which the shrunk picture has at least.
    """
    shrink = choose_shrink(size, target)
    width, height = (-(-side // shrink) for side in size)
    try:
        buffer = _buffer(width * height * 4)
        pixels = decode_jpeg(content, "RGBX", min_width=width, min_height=height, buffer=buffer)
    except ValueError:
        return None
    if pixels.shape != (height, width, 4):
        return None
    image = Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1)
    return Image.fromarrow(image, "RGB", image.size)  # the same memory; three channels are resized faster than four


def _buffer(size: int) -> np.ndarray:
    """Return memory, uint8 `(size,)`, that begins 16 bytes beyond a multiple of 64.

    Rows that begin at a multiple of 32 libjpeg-turbo writes past the processor's cache: up to twice the time.
    """
    memory = np.empty(size + 64, np.uint8)
    start = (16 - memory.__array_interface__["data"][0]) % 64
    return memory[start : start + size]
