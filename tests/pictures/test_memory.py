"""Large pictures take little memory: they become RGB in parts, and what takes too much all the same is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from handmade import FACE, encode, tiff
from PIL import Image
from test_colour import deep_png

from gender_recognizer.pictures import colour, memory, strips
from gender_recognizer.pictures.loading import read_photograph, read_picture

LARGE = FACE.resize((603, 801))
GREY = LARGE.convert("L")
GREYS = np.asarray(GREY)
CLEAR = GREY.transpose(Image.Transpose.ROTATE_180)


def with_alpha(mode):
    image = LARGE.convert(mode.removesuffix("A"))
    image.putalpha(CLEAR)
    return image


def associated(mode, photometric):
    data = with_alpha(mode).convert(mode.replace("A", "a")).tobytes()
    return tiff(data, LARGE.size, [8] * len(mode), photometric, tags=[(338, 3, 1)])


def deep(shift, channels):
    values = np.dstack([np.asarray(FACE), np.asarray(FACE)[..., 0]]).astype(np.uint16)[..., :channels]
    return deep_png(values << shift, 2 if channels == 3 else 6)


PICTURES = {
    "RGBA": lambda: encode(with_alpha("RGBA"), "PNG"),
    "LA": lambda: encode(with_alpha("LA"), "PNG"),
    "LA, associated": lambda: associated("LA", 1),
    "RGBA, associated": lambda: associated("RGBA", 2),
    "one transparent colour": lambda: encode(LARGE, "PNG", transparency=LARGE.getpixel((99, 99))),
    "palette": lambda: encode(LARGE.quantize(64), "PNG"),
    "palette, transparent": lambda: encode(LARGE.quantize(64), "PNG", transparency=bytes(range(64))),
    "two colours": lambda: encode(LARGE.convert("1"), "PNG"),
    "L": lambda: encode(GREY, "PNG"),
    "CMYK": lambda: encode(LARGE.convert("CMYK"), "TIFF"),
    "16 bits": lambda: encode(Image.fromarray(GREYS.astype(np.uint16) << 3), "PNG"),
    "32 bits": lambda: encode(Image.fromarray(GREYS.astype(np.int32) << 2), "TIFF"),
    "float": lambda: encode(Image.fromarray(GREYS.astype(np.float32) / 255), "TIFF"),
    "float, whole numbers": lambda: encode(Image.fromarray(GREYS.astype(np.float32) * 3), "TIFF"),
    "deep colour": lambda: deep(2, 3),
    "deep colour with alpha": lambda: deep(4, 4),
    "wide": lambda: encode(with_alpha("RGBA").resize((140_001, 3)), "PNG"),
    "high": lambda: encode(with_alpha("RGBA").resize((2, 70_001)), "PNG"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_the_same_whole_and_in_parts(monkeypatch, name):
    content = PICTURES[name]()
    shapes = [(100, 80), (17, 900), (1000, 12)]
    whole = [read_picture(io.BytesIO(content), shape=shape).pixels for shape in shapes]
    photograph = read_photograph(io.BytesIO(content)).image
    twin = photograph.resize((80, 100), Image.Resampling.BILINEAR, reducing_gap=3.0)
    assert np.array_equal(whole[0], np.asarray(twin))
    for module in (colour, strips):
        monkeypatch.setattr(module, "PART", 9000)
    for shape, pixels in zip(shapes, whole, strict=True):
        assert np.array_equal(read_picture(io.BytesIO(content), shape=shape).pixels, pixels)
    assert read_photograph(io.BytesIO(content)).image.tobytes() == photograph.tobytes()


def test_floats_of_unknown_range_are_refused_wherever_they_are(monkeypatch):
    for module in (colour, strips):
        monkeypatch.setattr(module, "PART", 9000)
    for value in (np.nan, 70_000, 3.5, -1):
        values = GREYS.astype(np.float32)
        values[-1, -1] = value
        with pytest.raises(ValueError, match="unsupported depth: grey values from"):
            read_picture(io.BytesIO(encode(Image.fromarray(values), "TIFF")))


@pytest.mark.parametrize(("size", "factors"), [((7, 5), (1, 1)), ((90_000, 2), (7, 3)), ((1_100_000, 2), (70_000, 1))])
def test_parts_cover_a_picture_once(size, factors):
    seen = np.zeros(size[::-1], np.uint8)
    for left, top, right, bottom in strips.split(size, factors):
        assert (left % factors[0], top % factors[1]) == (0, 0)
        seen[top:bottom, left:right] += 1
    assert (seen == 1).all()


def deflated(mode, rows):
    """Return a compressed TIFF of which so many rows are unpacked at once."""
    return encode(
        LARGE.convert(mode), "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: rows}, strip_size=1 << 30
    )


HUNGRY = {
    "WEBP": lambda: encode(LARGE, "WEBP"),
    "WEBP without loss": lambda: encode(with_alpha("RGBA"), "WEBP", lossless=True),
    "AVIF": lambda: encode(LARGE, "AVIF"),
    "AVIF with alpha": lambda: encode(with_alpha("RGBA"), "AVIF"),
    "progressive JPEG of four colours": lambda: encode(LARGE.convert("CMYK"), "JPEG", progressive=True),
    "TIFF in one strip": lambda: deflated("RGBA", 801),
    "JPEG 2000 of one size": lambda: encode(LARGE, "JPEG2000", num_resolutions=1),
}


@pytest.mark.parametrize("name", HUNGRY)
def test_what_takes_too_much_memory_is_refused_in_one_line(monkeypatch, name):
    content = HUNGRY[name]()
    pixels = LARGE.width * LARGE.height
    assert read_picture(io.BytesIO(content), pixels).size == LARGE.size
    monkeypatch.setattr(memory, "MIN_MEMORY", 0)
    with pytest.raises(ValueError, match=r"decoding 603x801 pixels of this kind of \w+ takes .* shrink the picture"):
        read_picture(io.BytesIO(content), pixels)
    assert read_picture(io.BytesIO(content), 4 * pixels).size == LARGE.size


@pytest.mark.parametrize(
    "content",
    [
        lambda: encode(LARGE, "PNG"),
        lambda: encode(LARGE, "JPEG", progressive=True),
        lambda: encode(with_alpha("RGBA"), "PNG"),
        lambda: deflated("RGBA", 8),
        lambda: encode(LARGE.convert("CMYK"), "TIFF"),
    ],
)
def test_what_takes_four_bytes_a_pixel_is_not(monkeypatch, content):
    monkeypatch.setattr(memory, "MIN_MEMORY", 0)
    assert read_picture(io.BytesIO(content()), LARGE.width * LARGE.height).size == LARGE.size


def test_a_heif_with_colours_at_full_resolution_takes_more(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    monkeypatch.setattr(memory, "MIN_MEMORY", 0)
    pixels, even = 600 * 800, LARGE.resize((600, 800))
    assert read_picture(io.BytesIO(encode(even, "HEIF")), pixels).size == even.size
    for image, options in ((even, {"chroma": 444}), (with_alpha("RGBA").resize(even.size), {})):
        with pytest.raises(ValueError, match="of this kind of HEIF"):
            read_picture(io.BytesIO(encode(image, "HEIF", **options)), pixels)


@pytest.mark.parametrize("format", ["AVIF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("rest", [b"x", bytes(9), b"\0\0\0\1free"])
def test_bytes_after_the_end_do_not_matter(monkeypatch, format, rest):
    monkeypatch.setattr(memory, "MIN_MEMORY", 10_000_000)
    content = encode(LARGE, format)
    assert np.array_equal(read_picture(io.BytesIO(content + rest)).pixels, read_picture(io.BytesIO(content)).pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_large_jpeg_2000_is_decoded_at_half_its_size(monkeypatch, mode):
    content = encode(LARGE if mode == "RGB" else with_alpha(mode), "JPEG2000")
    pixels = LARGE.width * LARGE.height
    whole = read_picture(io.BytesIO(content), pixels)
    monkeypatch.setattr(memory, "MIN_MEMORY", 0)
    half = read_picture(io.BytesIO(content), pixels)
    assert half.size == whole.size == LARGE.size
    assert np.abs(half.pixels.astype(int) - whole.pixels).mean() < 3
    photograph = read_photograph(io.BytesIO(content), max_pixels=pixels)
    assert (photograph.size, photograph.image.size) == (LARGE.size, (302, 401))


def test_colours_that_are_decoded_twice_have_a_lower_limit(monkeypatch):
    monkeypatch.setattr(colour, "MAX_DEEP_PIXELS", 99)
    with pytest.raises(ValueError, match="more than 99 pixels"):
        read_picture(io.BytesIO(deep(2, 3)))
    assert read_picture(io.BytesIO(deep(8, 3))).size == FACE.size


def peak_of(content):
    """Return the bytes that reading a picture takes for each of its pixels, at most."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        width, height = read_picture(io.BytesIO(content)).size
        return (resident("VmHWM") - before) / (width * height)
    except OSError:
        pytest.skip("this system does not tell the most memory that was taken")


def resident(name):
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0]) * 1024


@pytest.mark.parametrize("mode", ["RGBA", "LA", "F", "I;16"])
def test_large_pictures_take_little_more_memory_than_their_pixels(mode):
    side = 3000
    image = Image.new(mode, (side, side)) if mode in ("F", "I;16") else Image.new(mode, (side, side), "red")
    content = (
        encode(image, "TIFF", compression="tiff_adobe_deflate")
        if mode == "F"
        else encode(image, "PNG", compress_level=1)
    )
    del image
    assert peak_of(content) < 8
