"""The turn that EXIF data tell: how a camera was held."""

from PIL import Image

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_orientation(image: Image.Image) -> int:
    """Return the EXIF turn of an opened picture, which is then loaded unless it is a JPEG."""
    if image.format not in ("JPEG", "MPO"):
        image.load()  # reading the EXIF data of a PNG would do so, and swallow its errors
    if image.format == "JPEG2000":
        image.reduce = 0  # type: ignore[method-assign, assignment]  # any other number hides Pillow's `reduce`
    return _orientation(image)


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Return the picture upright."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # unreadable EXIF is ignored, the picture is not
        return 1
    return orientation if orientation in _TURNS else 1
