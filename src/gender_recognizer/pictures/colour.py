"""Any colour mode and depth as 8-bit RGB: what a viewer shows of the picture.

Pillow's own `convert` clips 16-bit and float values to white or black and takes no notice of what a TIFF says of
its white; what it does right is left to it.
"""

import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from PIL import Image, TiffImagePlugin

from gender_recognizer.pictures.depth import BITS, DEPTHS, find_depth, find_scale, is_deep_grey, tags_of
from gender_recognizer.pictures.headers import check_size
from gender_recognizer.pictures.strips import PART, Box, split

_BACKGROUND = (127, 127, 127, 255)
_GAP = 3.0  # of Pillow's `resize`: a picture is reduced by whole numbers first, to 3 times its new size or more
MAX_DEEP_PIXELS = 40_000_000
"""Largest width x height of colours that use 14 or fewer of 16 bits: decoded twice, at 8 bytes a pixel together."""

_DEEP = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
"""Pillow's ways to unpack 16-bit colours: it keeps the first byte of each value; the second way keeps the other."""

_PLANES, _EXTRA_SAMPLES = 284, 338  # TIFF's tags
_PNG = b"\x89PNG"

# Grey TIFFs with more than 8 bits of which Pillow reads the twin in the other byte order or with the other white.
for _key, _mode in {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"MM", 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"II", 0, (1,), 1, (32,), ()): ("I", "I;32N"),
    (b"MM", 1, (1,), 1, (32,), ()): ("I", "I;32BS"),
    (b"MM", 0, (1,), 1, (32,), ()): ("I", "I;32BS"),
}.items():
    TiffImagePlugin.OPEN_INFO.setdefault(_key, _mode)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture in 8-bit RGB, transparency laid on mid grey.

    Raises:
        ValueError: the range of its values is unknown, and so what is white.
    """
    if _is_rgb(image):
        return image
    convert = _find_conversion(image)
    if image.width * image.height <= PART:
        return convert(image)
    whole = Image.new("RGB", image.size)
    for box in split(image.size):
        whole.paste(convert(image.crop(box)), box[:2])
    return whole


def shrink_to_rgb(
    image: Image.Image, size: tuple[int, int], factor: int = 1, extent: tuple[float, float] | None = None
) -> Image.Image:
    """Return the picture resized to `size` (width, height) in 8-bit RGB, by whole numbers first.

    Args:
        image: the picture.
        size: width and height.
        factor: by which it is reduced at least.
        extent: width and height of what it shows, if its last column and row show less than the others.

    Raises:
        ValueError: the range of its values is unknown, and so what is white.
    """
    across, down = (
        factor * (int(length / side / factor / _GAP) or 1) for length, side in zip(image.size, size, strict=True)
    )
    width, height = extent or image.size
    box = (0, 0, width / across, height / down)
    return reduce_to_rgb(image, (across, down)).resize(size, Image.Resampling.BILINEAR, box)


def reduce_to_rgb(image: Image.Image, factors: tuple[int, int]) -> Image.Image:
    """Return the picture in 8-bit RGB, reduced by whole numbers across and down.

    A large picture is never converted whole: its parts are reduced before they are put together.

    Raises:
        ValueError: the range of its values is unknown, and so what is white.
    """
    if factors == (1, 1):
        return to_rgb(image)
    if _is_rgb(image) or image.width * image.height <= PART:
        return to_rgb(image).reduce(factors)
    return _reduce_parts(image, factors)


def _reduce_parts(image: Image.Image, factors: tuple[int, int]) -> Image.Image:
    """Return the picture in RGB, reduced by these factors."""
    convert = _find_conversion(image)
    reduced = Image.new("RGB", (-(-image.width // factors[0]), -(-image.height // factors[1])))
    for box in split(image.size, factors):
        part = convert(image.crop(box)).reduce(factors)
        reduced.paste(part, (box[0] // factors[0], box[1] // factors[1]))
    return reduced


def _is_rgb(image: Image.Image) -> bool:
    return image.mode == "RGB" and "transparency" not in image.info


def _find_conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return what makes RGB of the whole of a picture or of any part of it."""
    if is_deep_grey(image):
        scale = find_scale(image)
        return lambda part: scale(part).convert("RGB")
    if not image.has_transparency_data or (_may_lack_alpha(image) and image.getchannel("A").getextrema() == (0, 0)):
        return lambda part: part.convert("RGB")
    return _lay_on_grey


def _lay_on_grey(image: Image.Image) -> Image.Image:
    """Return a picture with transparency in RGB, on mid grey."""
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # La: associated alpha
    return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image).convert("RGB")


def _may_lack_alpha(image: Image.Image) -> bool:
    """Say whether a fourth channel full of zeros means nothing, because the format often fills it up with them."""
    if image.mode != "RGBA":
        return False
    if image.format == "TIFF":  # 1 and 2: associated and unassociated alpha
        return not {1, 2} & set(tags_of(image).get(_EXTRA_SAMPLES, ()))
    if image.format == "ICO":
        icon = image.ico  # type: ignore[attr-defined]
        icon.buf.seek(icon.entry[0].offset)
        return icon.buf.read(4) != _PNG
    return image.format == "BMP"


def correct_planes(image: Image.Image) -> None:
    """Make an opened TIFF that stores 16-bit colours one after the other be read so; Pillow takes them for 8-bit."""
    tags = tags_of(image)
    if tags.get(_PLANES) == 2 and tags.get(BITS, ())[:1] == (16,) and image.mode in ("RGB", "RGBA", "CMYK"):
        end = ";16L" if getattr(tags, "prefix", b"") == b"II" else ";16B"
        tiles = getattr(image, "tile", [])
        tiles[:] = [
            tile._replace(args=(tile.args[0] + end, *tile.args[1:])) if len(tile.args[0]) == 1 else tile
            for tile in tiles
        ]


def has_deep_colour(image: Image.Image) -> bool:
    """Say whether an opened picture, not yet decoded, has colours of 16 bits, of which Pillow keeps the upper 8."""
    return image.mode in ("RGB", "RGBA") and any(_find_deep(tile.args) for tile in getattr(image, "tile", ())[:1])


def keep_deep_colour(image: Image.Image, reopen: Callable[[], Image.Image]) -> None:
    """Decode a picture that has deep colour; values that use 14 or fewer of the 16 bits are brought to 8 bits.

    Args:
        image: opened; changed in place.
        reopen: opens it anew.

    Raises:
        ValueError: it has to be decoded twice and is too large for that.
    """
    image.load()
    extrema = cast("tuple[tuple[int, int], ...]", image.getextrema())
    if max(high for _, high in extrema[:3]) >= 1 << (DEPTHS[-2] - 8):
        return
    check_size(*image.size, MAX_DEEP_PIXELS)
    lower = reopen()
    correct_planes(lower)
    tiles = getattr(lower, "tile", [])
    tiles[:] = [tile._replace(args=_other_bytes(tile.args)) for tile in tiles]
    boxes = list(split(image.size))
    highest = max(int(_deep_values(image, lower, box)[..., :3].max()) for box in boxes)
    shift = find_depth(highest, {}) - 8
    for box in boxes:
        values = np.minimum(_deep_values(image, lower, box) >> shift, 255).astype(np.uint8)
        image.paste(Image.fromarray(values), box[:2])


def _deep_values(upper: Image.Image, lower: Image.Image, box: Box) -> np.ndarray:
    """Return the colours in a box as uint16, of two pictures that hold the upper and the lower bytes."""
    return np.asarray(upper.crop(box)).astype(np.uint16) << 8 | np.asarray(lower.crop(box))


def _find_deep(args: Any) -> str | None:
    """Return the end of the name of the way in which a tile's 16-bit values are unpacked."""
    rawmode = args[0] if isinstance(args, tuple) and args else args
    return next((end for end in _DEEP if str(rawmode).endswith(end)), None)


def _other_bytes(args: Any) -> Any:
    """Return a tile's arguments so that of each 16-bit value the other byte is kept."""
    if end := _find_deep(args):
        rawmode = args if isinstance(args, str) else args[0]
        rawmode = rawmode.removesuffix(end) + _DEEP[end]
        return rawmode if isinstance(args, str) else (rawmode, *args[1:])
    return args
