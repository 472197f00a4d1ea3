"""Small files that would take minutes or gigabytes: each is refused in one line, or read because it can be.

None of them is decoded in these tests. How long the whole lot took was measured by hand; a test with a clock would
fail on slow machines.
"""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from handmade import FACE, bitmap, box, chunk, encode, icon, jpeg, jpeg2000, png, segment, tiff
from PIL import Image

from gender_recognizer.pictures.loading import load_image, load_or_reason, read_picture
from gender_recognizer.pictures.opening import has_picture_header, open_regular
from gender_recognizer.pictures.pages import MAX_PAGES


def scans(count, mode="L", between=b"", size=(900, 900)):
    """Return a progressive JPEG whose last scan comes again and again."""
    content = encode(Image.new(mode, size, "grey"), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + (between + content[last:-2]) * count + content[-2:]


def with_size(content, width, height):
    """Return an AVIF or HEIF that claims another size."""
    at = content.index(b"ispe") + 8
    return content[:at] + struct.pack(">II", width, height) + content[at + 8 :]


def webp(kind, head):
    """Return the beginning of a WebP."""
    data = kind + struct.pack("<I", len(head)) + head
    return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data


def header_of(width, height):
    """Return the header chunk of a PNG."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))


def large_png(width, height):
    return (
        b"\x89PNG\r\n\x1a\n"
        + header_of(width, height)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def gif_with(extension):
    content = encode(FACE.quantize(16), "GIF")
    start = 13 + (3 << (1 + (content[10] & 7)))
    return content[:start] + extension + content[start:]


AVIF = encode(FACE, "AVIF")
SIZE = "is more than 50,000,000 pixels"
SLOW = "is more than 3,000,000 pixels"
EMPTY_STRIP = [(257, 4, 1), (278, 4, 1)]

REFUSED = {
    "scans.jpg": (lambda: scans(500), "more than 100 scans"),
    "colour_scans.jpg": (lambda: scans(150, "RGB"), "more than 100 scans"),
    "scans_of_many_pixels.jpg": (lambda: scans(60, size=(7000, 7000)), "7000x7000 pixels in 65 scans"),
    "hidden_scans.jpg": (lambda: scans(150, between=segment(0xFE, b"\xff\xd9")), "more than 100 scans"),
    "tables_between_scans.jpg": (
        lambda: scans(101, between=segment(0xFE, b"\xff\xda") * 100),
        "more than 2,000 segments",
    ),
    "padding.jpg": (lambda: jpeg(b"\xff" * 3_000_000), "more than 65,536 bytes of padding"),
    "padding_in_pieces.jpg": (lambda: jpeg((b"\xff" * 1000 + segment(0xFE, b"")) * 100), "65,536 bytes of padding"),
    "nonsense_between.jpg": (lambda: jpeg(segment(0xFE, b"") + b"x" * 3_000_000), "more than 65,536 bytes of padding"),
    "comments.jpg": (lambda: jpeg(segment(0xFE, b"") * 500_000), "more than 2,000 segments"),
    "applications.jpg": (
        lambda: jpeg(segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 9) * 9000),
        "more than 2,000 segments",
    ),
    "large.jpg": (lambda: encode(FACE, "JPEG").replace(struct.pack(">HH", *FACE.size[::-1]), b"\x1f\xf0" * 2), SIZE),
    "large.png": (lambda: large_png(9000, 9000), SIZE),
    "very_large.png": (lambda: large_png(60_000, 60_000), "Pillow's limit"),
    "texts.png": (lambda: png(chunk(b"tEXt", b"a\0b") * 101_000), "more than 100,000 chunks"),
    "texts_at_the_end.png": (lambda: png(after=chunk(b"tEXt", b"a\0b") * 101_000), "more than 100,000 chunks"),
    "empty_pixels.png": (lambda: png(chunk(b"IDAT", b"") * 101_000), "more than 100,000 chunks"),
    "canvas.webp": (lambda: webp(b"VP8X", b"\x10\0\0\0" + b"\xff\xff\0" * 2), "65536x65536 " + SIZE),
    "lossless.webp": (lambda: webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9)), "16384x16384 " + SIZE),
    "lossy.webp": (lambda: webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(9)), "16383x16383 " + SIZE),
    "claim.avif": (lambda: with_size(AVIF, 30_000, 30_000), "30000x30000 " + SIZE),
    "strip.avif": (lambda: with_size(AVIF, 1 << 31, 9), SIZE),
    "metadata.avif": (lambda: AVIF[:32] + box(b"meta", bytes(9_000_000)), "bytes of metadata"),
    "boxes.avif": (lambda: AVIF[:32] + box(b"free", b"") * 20_000 + AVIF[32:], "more than 10,000 boxes"),
    "track.avif": (
        lambda: box(b"ftyp", b"avis\0\0\0\0avis") + box(b"moov", b"av01" + bytes(24) + b"\xff\xff\xff\xff"),
        "65535x65535 " + SIZE,
    ),
    "claim.heic": (
        lambda: box(b"ftyp", b"heic\0\0\0\0mif1") + box(b"meta", b"ispe\0\0\0\0" + struct.pack(">II", 20_000, 20_000)),
        "20000x20000 " + SIZE,
    ),
    "large.tif": (lambda: tiff(bytes(9), (60_000, 1000), [8]), SIZE),
    "strips.tif": (
        lambda: tiff(bytes(4), (9000, 1), [8], tags=[(273, 4, (90_000_000, 8))]),
        "tag 273 has 90,000,000 values",
    ),
    "depths.tif": (lambda: tiff(bytes(4), (9, 9), [8], tags=[(258, 3, (3_000_000, 8))], order=">"), "tag 258 has"),
    "before.gif": (lambda: gif_with(b"!\xfe" + b"\1x" * 150_000 + b"\0"), "very much before its first picture"),
    "extensions.gif": (lambda: gif_with(b"!\xff\0" * 150_000), "very much before its first picture"),
    "wide.gif": (lambda: b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\1\0\0;", SIZE + "|Pillow's limit"),
    "runs.bmp": (lambda: bitmap(b"\1\0" * 1000, (9000, 5000), 8, 1), "9000x5000 " + SLOW),
    "lines.bmp": (lambda: bitmap(b"\0\0" * 9, (40_000_000, 1), 8, 1), SLOW),
    "large.bmp": (lambda: bitmap(b"", (60_000, 1000), 24), SIZE),
    "inside.ico": (lambda: icon(large_png(20_000, 20_000)), "20000x20000 " + SIZE),
    "bitmap.ico": (lambda: icon(bitmap(b"", (9000, 18_000))[14:]), "9000x9000 " + SLOW),
    "texts.ico": (lambda: icon(png(chunk(b"tEXt", b"a\0b") * 1000)), "very much metadata"),
    "tiles.jp2": (lambda: jpeg2000((5000, 5000), (20, 20)), "62,500 tiles"),
    "layers.jp2": (lambda: jpeg2000((2000, 2000), (64, 64), layers=65_535), "packets"),
    "precincts.jp2": (lambda: jpeg2000((6000, 6000), (6000, 6000), precincts=b"\x11" * 6), "packets"),
    "large.jp2": (lambda: jpeg2000((60_000, 60_000), (60_000, 60_000)), SIZE),
    "comment.ppm": (lambda: b"P6\n#" + b"x" * 3_000_000 + b"\n9 9\n255\n" + bytes(243), "first 65,536 bytes"),
    "spaces.ppm": (lambda: b"P6" + b" " * 3_000_000 + b"9 9\n255\n" + bytes(243), "first 65,536 bytes"),
    "comments.ppm": (lambda: b"P3\n9 9\n255\n" + b"#\n1 " * 3000, "more than 1,000 comments"),
    "python.ppm": (lambda: b"P6\n3000 3000\n254\n", "3000x3000 " + SLOW),
    "plain.pgm": (lambda: b"P2\n3000 3000\n255\n1 1 1", SLOW),
    "runs.qoi": (lambda: b"qoif" + struct.pack(">IIBB", 9000, 5000, 3, 0) + b"\xfd" * 800_000, "9000x5000 " + SLOW),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_take_long_is_refused_in_one_line(tmp_path, name):
    make, reason = REFUSED[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(ValueError, match=reason) as error:
        load_image(tmp_path / name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


READ = {  # name: (how it is made, pages)
    "pages.tif": (lambda: tiff(bytes(8100), (90, 90), [8], pages=3001), 3001),
    "many_pages.tif": (lambda: tiff(bytes(8100), (90, 90), [8], pages=100_000, order=">"), MAX_PAGES),
    "frames.gif": (lambda: many_frames(20_000), MAX_PAGES),
    "claimed.png": (lambda: png(chunk(b"acTL", struct.pack(">II", 1 << 31, 0))), MAX_PAGES),
    "scans.jpg": (lambda: encode(FACE, "JPEG", progressive=True), 1),
    "texts.png": (lambda: png(chunk(b"tEXt", b"a\0b") * 50_000), 1),
    "entries.ico": (lambda: icon(encode(FACE.resize((64, 64)), "PNG"), count=2000), 1),
}


def many_frames(count):
    content = encode(FACE.quantize(16), "GIF")
    start = content.index(b",", 13 + (3 << (1 + (content[10] & 7))))
    return content[:start] + content[start:-1] + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0" * (count - 1) + b";"


@pytest.mark.parametrize("name", READ)
def test_what_only_looks_long_is_read(name):
    make, pages = READ[name]
    picture = read_picture(io.BytesIO(make()))
    assert picture.pixels.shape == (100, 80, 3)
    assert picture.pages == pages


def test_pages_that_lead_in_a_circle_are_counted_once():
    content = bytearray(tiff(bytes(8100), (90, 90), [8], pages=3))
    content[-4:] = content[4:8]
    assert read_picture(io.BytesIO(content)).pages == 3


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.write(encode(FACE, "JPEG"))
        file.truncate(10_000_000_000)
    assert (
        load_or_reason(tmp_path / "sparse.jpg")
        == "the file has 10,000,000,000 bytes, more than max_file_size=100,000,000"
    )
    assert not has_picture_header(tmp_path / "sparse.jpg")


def test_the_largest_file_is_a_parameter(tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes(1001))
    with pytest.raises(ValueError, match=r"1,001 bytes, more than max_file_size=1,000"):
        open_regular(tmp_path / "a.jpg", 1000)
    open_regular(tmp_path / "a.jpg", 1001)[0].close()


@pytest.mark.parametrize("name", ["load", "open"])
def test_too_little_memory_is_a_reason_in_words(monkeypatch, name):
    def fail(*arguments, **options):
        raise MemoryError

    if name == "load":
        monkeypatch.setattr(Image.Image, "resize", fail)
    else:
        monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ValueError, match="too little memory"):
        read_picture(io.BytesIO(encode(FACE, "PNG")))


def test_sizes_are_checked_against_the_limit_of_the_call():
    with pytest.raises(ValueError, match=rf"{FACE.width}x{FACE.height} is more than 99 pixels"):
        read_picture(io.BytesIO(encode(FACE, "WEBP")), max_pixels=99)
    with pytest.raises(ValueError, match="64x64 is more than 99 pixels"):
        read_picture(io.BytesIO(icon(encode(FACE.resize((64, 64)), "PNG"))), max_pixels=99)


def test_a_named_pipe_is_no_picture_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not has_picture_header(tmp_path / "pipe")


def test_a_large_file_is_looked_through_without_holding_it(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (2600, 2600, 3), dtype=np.uint8)
    (tmp_path / "a.jpg").write_bytes(jpeg(image=Image.fromarray(noise), quality=100, subsampling=0))
    assert (tmp_path / "a.jpg").stat().st_size > 16_000_000
    assert load_image(tmp_path / "a.jpg").shape == (100, 80, 3)
