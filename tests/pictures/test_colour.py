"""The picture that a viewer shows is the picture that is labelled, whatever depth, white and alpha its file has."""

import io
import struct

import numpy as np
import pytest
from handmade import FACE, GREY, bitmap, chunk, encode, icon, png, tiff
from PIL import Image

from gender_recognizer import Recognizer
from gender_recognizer.pictures.loading import convert_picture, load_or_reason, read_picture

SIZE = FACE.size
TWIN = encode(Image.fromarray(GREY), "PNG")
COLOURS = np.asarray(FACE)
PREMULTIPLIED, ALPHA = 1, 2


def pixels(content, **options):
    return read_picture(io.BytesIO(content), **options).pixels


def difference(content, twin=TWIN):
    """Return the mean difference of two files' pixels."""
    return np.abs(pixels(content).astype(int) - pixels(twin)).mean()


def grey_tiff(values, bits=16, **options):
    return tiff(values.tobytes(), SIZE, [bits], **options)


def saved(values, format="TIFF"):
    return encode(Image.fromarray(values), format)


def packed(values):
    """Return 12-bit values, two in three bytes."""
    first, second = values.reshape(-1, 2).astype(np.uint16).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)


DEEP = {
    "white is zero": lambda: grey_tiff(65535 - GREY.astype("<u2") * 257, photometric=0),
    "white is zero, big-endian": lambda: grey_tiff(65535 - GREY.astype(">u2") * 257, photometric=0, order=">"),
    "white is zero, 10 bits": lambda: grey_tiff(1023 - GREY.astype("<u2") * 4, photometric=0),
    "white is zero, 8 bits": lambda: tiff((255 - GREY).tobytes(), SIZE, [8], photometric=0),
    "white is zero, float": lambda: grey_tiff(1 - GREY.astype("<f4") / 255, 32, photometric=0, tags=[(339, 3, 3)]),
    "white is zero, 12 bits": lambda: tiff(packed(4095 - GREY.astype(int) * 16).tobytes(), SIZE, [12], photometric=0),
    "8 of 16 bits": lambda: grey_tiff(GREY.astype("<u2")),
    "10 of 16 bits": lambda: grey_tiff(GREY.astype("<u2") << 2),
    "10 of 16 bits, rounded": lambda: grey_tiff(np.round(GREY * (1023 / 255)).astype("<u2")),
    "12 of 16 bits": lambda: grey_tiff(GREY.astype("<u2") << 4),
    "12 of 16 bits, big-endian": lambda: grey_tiff((GREY.astype("<u2") << 4).astype(">u2"), order=">"),
    "14 of 16 bits": lambda: grey_tiff(GREY.astype("<u2") << 6),
    "8 of 16 bits, PNG": lambda: saved(GREY.astype(np.uint16), "PNG"),
    "12 of 16 bits, PNG": lambda: saved(GREY.astype(np.uint16) << 4, "PNG"),
    "8 of 32 bits": lambda: saved(GREY.astype(np.int32)),
    "10 of 32 bits": lambda: saved(GREY.astype(np.int32) << 2),
    "16 of 32 bits": lambda: saved(GREY.astype(np.int32) * 257),
    "all of 32 bits": lambda: grey_tiff(GREY.astype("<u4") * 0x1010101, 32),
    "12 bits": lambda: tiff(packed(GREY.astype(int) << 4).tobytes(), SIZE, [12]),
    "12 bits, big-endian": lambda: tiff(packed(GREY.astype(int) << 4).tobytes(), SIZE, [12], order=">"),
    "float, 0 to 1": lambda: saved(GREY.astype(np.float32) / 255),
    "float, whole numbers": lambda: saved(GREY.astype(np.float32)),
    "float, 16 bits": lambda: saved(GREY.astype(np.float32) * 257),
    "PGM of 10 bits": lambda: b"P5\n%d %d\n1023\n" % SIZE + (GREY.astype("<u2") << 2).astype(">u2").tobytes(),
}


@pytest.fixture(scope="module")
def twin_label():
    return Recognizer().label(Image.fromarray(GREY))


@pytest.mark.parametrize("name", DEEP)
def test_deep_greys_are_those_of_the_8_bit_twin(name):
    assert difference(DEEP[name]()) <= 1


def test_the_largest_value_that_a_tag_names_says_the_depth():
    dark = (GREY // 8).astype("<u2")
    assert difference(grey_tiff(dark, tags=[(281, 3, 1023)]), encode(Image.fromarray(GREY // 32), "PNG")) < 1
    assert difference(grey_tiff(dark), encode(Image.fromarray(GREY // 8), "PNG")) < 1


@pytest.mark.parametrize("name", ["white is zero", "8 of 16 bits", "10 of 16 bits", "8 of 32 bits", "12 bits"])
def test_deep_greys_have_the_label_of_the_8_bit_twin(tmp_path, name, twin_label):
    (tmp_path / "a.tif").write_bytes(DEEP[name]())
    record = Recognizer().label(tmp_path / "a.tif")
    assert (record.status, record.label) == ("labelled", twin_label.label)
    assert record.probability == pytest.approx(twin_label.probability, abs=0.02)


def deep_colour(shift, order=">"):
    """Return a 16-bit RGB TIFF or PNG whose values were shifted to the left."""
    values = (COLOURS.astype(np.uint16) << shift).astype(order + "u2")
    return tiff(values.tobytes(), SIZE, [16] * 3, photometric=2, order=order)


def deep_png(values, kind):
    """Return a 16-bit PNG of values `(H, W, channels)`; `kind` is its colour type."""
    import zlib

    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", *SIZE, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shift", [0, 2, 4, 6])
@pytest.mark.parametrize("kind", ["<", ">", "png", "png with alpha"])
def test_deep_colours_that_use_fewer_bits_are_those_of_8_bits(shift, kind):
    values = COLOURS.astype(np.uint16) << shift
    if kind == "png":
        content = deep_png(values, 2)
    elif kind == "png with alpha":
        content = deep_png(np.dstack([values, np.full(values.shape[:2], (256 << shift) - 1)]), 6)
    else:
        content = deep_colour(shift, kind)
    assert difference(content, encode(FACE, "PNG")) < 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_colours_that_use_all_bits_are_as_before(order):
    content = tiff((COLOURS.astype(order + "u2") * 257).tobytes(), SIZE, [16] * 3, photometric=2, order=order)
    assert difference(content, encode(FACE, "PNG")) == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_colours_one_plane_after_the_other(order):
    planes = np.moveaxis(COLOURS.astype(order + "u2") * 257, 2, 0)
    length = planes[0].nbytes
    offsets = struct.pack(order + "3I", *(8 + 6 + 12 + index * length for index in range(3)))
    content = tiff(
        offsets + planes.tobytes(),
        SIZE,
        [16] * 3,
        photometric=2,
        order=order,
        tags=[(284, 3, 2), (273, 4, (3, 14))],
    )
    assert difference(content, encode(FACE, "PNG")) == 0


@pytest.mark.parametrize(
    "greys", [GREY.astype(np.float32) * 3.3, GREY.astype(np.float32) - 300, GREY * np.float32("nan")]
)
def test_floats_of_unknown_range_are_refused(greys):
    with pytest.raises(ValueError, match="unsupported depth: grey values from"):
        pixels(saved(greys))


def test_arrays_are_treated_like_files():
    assert np.array_equal(convert_picture(Image.fromarray(GREY.astype(np.uint16) << 2)).pixels, pixels(TWIN))


def with_fourth(value):
    """Return the face as BGRA, lowest row first."""
    fourth = np.full(GREY.shape, value, np.uint8)
    return np.dstack([COLOURS[::-1, :, ::-1], fourth]).tobytes()


MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
WITHOUT_MEANING = {
    "BMP whose alpha is zero": lambda: bitmap(with_fourth(0), SIZE, 32, 3, MASKS, header=108),
    "BMP whose fourth byte is zero": lambda: bitmap(with_fourth(0), SIZE),
    "BMP whose alpha is full": lambda: bitmap(with_fourth(255), SIZE, 32, 3, MASKS, header=108),
    "TIFF that says nothing of its fourth channel": lambda: tiff(
        np.dstack([COLOURS, GREY * 0]).tobytes(), SIZE, [8] * 4, photometric=2
    ),
    "TIFF whose fourth channel is no alpha": lambda: tiff(
        np.dstack([COLOURS, GREY]).tobytes(), SIZE, [8] * 4, photometric=2, tags=[(338, 3, 0)]
    ),
}


@pytest.mark.parametrize("name", WITHOUT_MEANING)
def test_alpha_that_means_nothing_is_left_out(name):
    assert difference(WITHOUT_MEANING[name](), encode(FACE, "PNG")) == 0


def test_the_alpha_of_an_icon_that_is_zero_means_nothing():
    small = FACE.resize((64, 64))
    rows = np.dstack([np.asarray(small)[::-1, :, ::-1], np.zeros((64, 64), np.uint8)]).tobytes()
    content = icon(bitmap(rows + bytes(64 * 8), (64, 128))[14:])
    assert difference(content, encode(small, "PNG")) == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_associated_alpha_is_taken_for_what_it_is(order):
    alpha = np.full_like(GREY, 128)
    alpha[: len(alpha) // 2] = 255
    image = FACE.copy()
    image.putalpha(Image.fromarray(alpha))
    scaled = (COLOURS.astype(int) * alpha[..., None] // 255).astype(np.uint8)
    content = tiff(np.dstack([scaled, alpha]).tobytes(), SIZE, [8] * 4, 2, tags=[(338, 3, PREMULTIPLIED)], order=order)
    assert difference(content, encode(image, "PNG")) < 2
    grey = (GREY.astype(int) * alpha // 255).astype(np.uint8)
    content = tiff(np.dstack([grey, alpha]).tobytes(), SIZE, [8] * 2, tags=[(338, 3, PREMULTIPLIED)], order=order)
    assert difference(content, encode(Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha))), "PNG")) < 2


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "ICO"])
def test_what_is_really_transparent_stays_so(format):
    image = FACE.resize((64, 64))
    image.putalpha(0)
    assert np.unique(pixels(encode(image, format))).tolist() == [127]


def test_a_twelve_bit_jpeg_is_refused_with_its_reason(tmp_path):
    content = encode(FACE, "JPEG")
    at = content.index(b"\xff\xc0") + 4
    (tmp_path / "a.jpg").write_bytes(content[:at] + b"\x0c" + content[at + 1 :])
    assert "cannot handle 12-bit layers" in load_or_reason(tmp_path / "a.jpg")


def test_grey_png_with_text_still_tells_its_depth():
    content = saved(GREY.astype(np.uint16) << 2, "PNG")
    assert difference(content[:33] + chunk(b"tEXt", b"a\0b") * 600 + content[33:]) == 0
    assert difference(png(image=Image.fromarray(GREY))) == 0
