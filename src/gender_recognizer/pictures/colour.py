"""Any colour mode and depth as 8-bit RGB: what a viewer shows of the picture.

Pillow's own `convert` clips 16-bit and float values to white or black and takes no notice of what a TIFF says of
its white; what it does right is left to it.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from PIL import Image, TiffImagePlugin

_BACKGROUND = (127, 127, 127, 255)
_STRIP = 2_000_000  # pixels that are laid on grey at once; each takes 12 bytes
_DEPTHS = (8, 10, 12, 14, 16)
"""Bits of the values that cameras, scanners and programs write into files of 16 or 32 bits."""

_DEEP = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
"""Pillow's ways to unpack 16-bit colours: it keeps the first byte of each value; the second way keeps the other."""

_SCALED = ("JPEG2000", "PPM")  # their files say the depth, and Pillow has scaled it to 16 bits
_PHOTOMETRIC, _BITS, _MAX_VALUE, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 262, 258, 281, 284, 338, 339  # TIFF's tags
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
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_grey(np.asarray(image), _tags(image), image.format in _SCALED)).convert("RGB")
    if image.mode == "La":  # grey with associated alpha
        image = image.convert("LA")
    if not image.has_transparency_data or (_may_lack_alpha(image) and image.getchannel("A").getextrema() == (0, 0)):
        return image.convert("RGB")
    if image.width * image.height <= _STRIP:
        return _lay_on_grey(image)
    opaque = Image.new("RGB", image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        opaque.paste(_lay_on_grey(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return opaque


def _lay_on_grey(image: Image.Image) -> Image.Image:
    """Return a picture with transparency in RGB, on mid grey."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image).convert("RGB")


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of a TIFF; of another picture none."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def _may_lack_alpha(image: Image.Image) -> bool:
    """Say whether a fourth channel full of zeros means nothing, because the format often fills it up with them."""
    if image.mode != "RGBA":
        return False
    if image.format == "TIFF":  # 1 and 2: associated and unassociated alpha
        return not {1, 2} & set(_tags(image).get(_EXTRA_SAMPLES, ()))
    if image.format == "ICO":
        icon = image.ico  # type: ignore[attr-defined]
        icon.buf.seek(icon.entry[0].offset)
        return icon.buf.read(4) != _PNG
    return image.format == "BMP"


def _grey(values: np.ndarray, tags: Mapping[int, Any], scaled: bool) -> np.ndarray:
    """Return grey values `(H, W)` of more than 8 bits as uint8; `tags` say the depth and what is white, if anything."""
    if values.dtype.kind == "i" and tags.get(_SAMPLE_FORMAT, (1,)) == (1,) and tags:
        values = values.view(np.uint32)
    grey = _float_to_8_bits(values) if values.dtype.kind == "f" else _integers_to_8_bits(values, tags, scaled)
    return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey


def _float_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Return floats in 0..1, or whole numbers, as uint8."""
    low, high = float(values.min()), float(values.max())
    if low >= 0.0 and high <= 1.0:
        return np.round(values * 255).astype(np.uint8)
    if low >= 0.0 and high <= 65535 and not (values % 1).any():
        return _integers_to_8_bits(values.astype(np.int32), {}, False)
    raise _unsupported(low, high)


def _integers_to_8_bits(values: np.ndarray, tags: Mapping[int, Any], scaled: bool) -> np.ndarray:
    """Return whole numbers as uint8: of the depth in the file or else the smallest that holds them all."""
    low, high = int(values.min()), int(values.max())
    if values.dtype == np.uint32 and high >= 1 << 31:
        return (values >> 24).astype(np.uint8)
    if low < 0 or high > 65535:
        raise _unsupported(low, high)
    depth = 16 if scaled else _depth(high, tags)
    return (values // 257 if depth == 16 else values >> (depth - 8)).astype(np.uint8)


def _depth(high: int, tags: Mapping[int, Any]) -> int:
    """Return how many bits white has in a file whose largest value is `high`."""
    bits, largest = tags.get(_BITS, (16,))[0], tags.get(_MAX_VALUE, (high,))[0]
    if high < 1 << bits < 1 << 16:
        return int(bits)
    if high < largest <= 65535:
        high = largest
    return next(depth for depth in _DEPTHS if high < 1 << depth)


def _unsupported(low: float, high: float) -> ValueError:
    return ValueError(f"unsupported depth: grey values from {low:g} to {high:g}; save it with 8 or 16 bits")


def correct_planes(image: Image.Image) -> None:
    """Make an opened TIFF that stores 16-bit colours one after the other be read so; Pillow takes them for 8-bit."""
    tags = _tags(image)
    if tags.get(_PLANES) == 2 and tags.get(_BITS, ())[:1] == (16,) and image.mode in ("RGB", "RGBA", "CMYK"):
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
    """
    image.load()
    extrema = cast("tuple[tuple[int, int], ...]", image.getextrema())
    if max(high for _, high in extrema[:3]) >= 1 << (_DEPTHS[-2] - 8):
        return
    lower = reopen()
    correct_planes(lower)
    tiles = getattr(lower, "tile", [])
    tiles[:] = [tile._replace(args=_other_bytes(tile.args)) for tile in tiles]
    values = np.asarray(image).astype(np.uint16) << 8 | np.asarray(lower)
    depth = _depth(int(values[..., :3].max()), {})
    image.paste(Image.fromarray(np.minimum(values >> (depth - 8), 255).astype(np.uint8)))


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
