"""How much memory decoding a picture takes, told by its header: what takes too much is decoded smaller or refused.

Most formats take 4 bytes a pixel or less besides the file; others keep planes, canvases or coefficients meanwhile.
Bytes a pixel were measured with Pillow 13 and pillow-heif 1.8 on pictures of 7000x7000, as the largest resident set
of a process less what it had before.
"""

import re
from typing import BinaryIO

from PIL import Image

from gender_recognizer.pictures.depth import BITS, tags_of
from gender_recognizer.pictures.headers import can_be_halved, read_metadata

BYTES_A_PIXEL = 7.7
"""Memory that decoding may take for each pixel that the caller allows: 385 MB for 50 million."""

MIN_MEMORY = 385_000_000
"""Bytes that decoding may take even where the caller allows fewer pixels."""

_WEBP = 15.5  # two canvases, a copy and the picture; and the file
_AVIF = {"RGB": (11, 14), "RGBA": (13.5, 18)}  # plain and with more, see `_MORE`: planes, a copy, the picture
_HEIF = {"RGB": (7.5, 10), "RGBA": (9, 12.5)}
_JPEG2000 = {"L": 6, "P": 6, "I;16": 8, "LA": 16, "RGB": 22, "RGBA": 28, "YCbCr": 22, "CMYK": 28}
_JPEG_COEFFICIENT = 2  # for each pixel and channel of a JPEG in several scans, with nothing subsampled

_COMPRESSION, _CHANNELS, _ROWS, _PLANES, _TILE_WIDTH, _TILE_HEIGHT = 259, 277, 278, 284, 322, 323  # tags of a TIFF
# Values of more than 8 bits or, of HEIF, colours at full resolution.
_MORE = re.compile(rb"av1C..[\x40-\x7f\xc0-\xff]|hvcC.{16}(?:[\xfe\xff]|.[^\xf8])|pixi....[\1-\4][^\0-\x08]", re.DOTALL)


def limit_memory(image: Image.Image, file: BinaryIO, max_pixels: int) -> None:
    """Let a picture be decoded in little memory: a large JPEG 2000 at half its width and height.

    Args:
        image: opened, not yet decoded.
        file: where it was opened from; its position does not change.
        max_pixels: largest width x height that is decoded of what takes no more memory than usual.

    Raises:
        ValueError: decoding it takes too much.
    """
    most = max(MIN_MEMORY, BYTES_A_PIXEL * max_pixels)
    position = file.tell()
    needed = _find_need(image, file)
    if image.format == "JPEG2000" and needed > most and can_be_halved(file):
        image.reduce = 1  # type: ignore[method-assign, assignment]
        needed /= 4
    file.seek(position)
    if needed > most:
        raise ValueError(
            f"decoding {image.width}x{image.height} pixels of this kind of {image.format} takes {needed / 1e6:,.0f} MB,"
            f" more than {most / 1e6:,.0f} MB; shrink the picture or save it as a plain JPEG"
        )


def _find_need(image: Image.Image, file: BinaryIO) -> float:
    """Return about how many bytes decoding takes, where that may be more than usual; else 0."""
    pixels = image.width * image.height
    if image.format == "WEBP":
        return _WEBP * pixels + file.seek(0, 2)
    if image.format in ("AVIF", "HEIF"):
        costs = (_AVIF if image.format == "AVIF" else _HEIF).get(image.mode, (0, 0))
        return pixels * costs[any(_MORE.search(content) for _, content in read_metadata(file))]
    if image.format == "JPEG2000":
        return _JPEG2000.get(image.mode, 28) * pixels
    if image.format in ("JPEG", "MPO") and "progressive" in image.info:
        return _JPEG_COEFFICIENT * len(image.getbands()) * pixels
    if image.format == "TIFF":
        return _find_need_of_tiff(image)
    return 0


def _find_need_of_tiff(image: Image.Image) -> float:
    """Return the bytes of a compressed TIFF's picture and of its largest strip or tile, which is unpacked whole."""
    tags = tags_of(image)
    if tags.get(_COMPRESSION, 1) == 1:
        return 0
    width = tags.get(_TILE_WIDTH, image.width)
    height = tags.get(_TILE_HEIGHT, min(tags.get(_ROWS, image.height), image.height))
    channels = 1 if tags.get(_PLANES) == 2 else tags.get(_CHANNELS, 1)
    unpacked = width * height * channels * max(tags.get(BITS, (1,))) / 8
    return image.width * image.height * (4 if len(image.getbands()) > 1 or image.mode in "IF" else 2) + unpacked
