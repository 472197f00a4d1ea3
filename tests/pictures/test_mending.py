"""Files that every viewer shows whole, though something that touches no pixel is broken, missing or very long."""

import io
import struct
import zlib

import numpy as np
import pytest
from conftest import PROJECT
from handmade import FACE, chunk, encode, jpeg, png, segment, tiff
from PIL import Image

from gender_recognizer import Recognizer
from gender_recognizer.pictures.loading import load_or_reason, read_picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of metadata
FILE = (PROJECT / "data/sample/female/001.jpg").read_bytes()
END = b"\xff\xd9"
PNG = encode(FACE, "PNG")
LONG = b"x" * 2_000_000


def pixels(content, **options):
    return read_picture(io.BytesIO(content), **options).pixels


def without_end(**options):
    return encode(FACE, "JPEG", **options).removesuffix(END)


WITHOUT_END = {
    "colour": {},
    "progressive": {"progressive": True},
    "turned": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"},
    "restarts": {"restart_marker_blocks": 3},
    "large": {"quality": 100, "subsampling": 0},
}


@pytest.mark.parametrize("name", WITHOUT_END)
@pytest.mark.parametrize("left", [0, 1])
def test_a_jpeg_that_lacks_its_end_marker_is_whole(name, left):
    whole = encode(FACE, "JPEG", **WITHOUT_END[name])
    cut = whole[: len(whole) - 2 + left]
    picture = read_picture(io.BytesIO(cut))
    assert np.array_equal(picture.pixels, pixels(whole))
    assert not picture.truncated
    assert not read_picture(io.BytesIO(cut), allow_truncated=True).truncated


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_may_lack_their_end_marker_too(mode):
    whole = encode(FACE.convert(mode), "JPEG")
    assert np.array_equal(pixels(whole.removesuffix(END)), pixels(whole))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("missing", [3, 4, 10, 200])
def test_a_jpeg_that_lacks_pixels_is_refused(options, missing):
    with pytest.raises(ValueError, match="broken picture data"):
        pixels(encode(FACE, "JPEG", **options)[:-missing])


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused():
    whole = encode(FACE, "JPEG", progressive=True)
    starts = [at for at in range(len(whole)) if whole.startswith(b"\xff\xc4", at)]
    for start in starts[1:]:
        with pytest.raises(ValueError, match="broken picture data"):
            pixels(whole[:start])


def test_without_end_marker_a_file_has_the_probability_of_the_whole(tmp_path):
    (tmp_path / "whole.jpg").write_bytes(FILE)
    (tmp_path / "cut.jpg").write_bytes(FILE.removesuffix(END))
    whole, cut = Recognizer().label([tmp_path / "whole.jpg", tmp_path / "cut.jpg"])
    allowed = Recognizer(allow_truncated=True).label(tmp_path / "cut.jpg")
    assert cut.status == "labelled"
    assert (cut.probability, cut.label) == (whole.probability, whole.label) == (allowed.probability, allowed.label)


ODD_PNGS = {
    "long zTXt": (chunk(b"zTXt", b"prompt\0\0" + zlib.compress(LONG)),),
    "long iTXt": (chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(LONG)),),
    "long tEXt": (chunk(b"tEXt", b"prompt\0" + LONG * 3),),
    "long iCCP": (chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(range(256)) * 8000)),),
    "many long zTXt": (chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * 1_000_000)) * 70,),
    "unknown compression": (chunk(b"zTXt", b"prompt\0\7x"),),
    "bad checksum of tEXt": (chunk(b"tEXt", b"a\0b", checksum=0),),
    "bad checksum of a private chunk": (chunk(b"abCd", b"x", checksum=0),),
    "short tRNS": (chunk(b"tRNS", b"\0"),),
    "short gAMA": (chunk(b"gAMA", b"\0"),),
    "short cHRM": (chunk(b"cHRM", b"\0"),),
    "short pHYs": (chunk(b"pHYs", b"\0"),),
    "empty iCCP": (chunk(b"iCCP", b""),),
    "short acTL": (chunk(b"acTL", b"\0"),),
    "pages out of order": (chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"fcTL", b"\7" * 26)),
    "many texts": (chunk(b"tEXt", b"a\0b") * 30_000,),
}


@pytest.mark.parametrize("name", ODD_PNGS)
def test_a_png_with_odd_metadata_shows_its_pixels(name):
    assert np.array_equal(pixels(png(*ODD_PNGS[name])), pixels(PNG))


def test_a_png_with_odd_metadata_is_labelled_like_its_plain_twin(tmp_path):
    (tmp_path / "a.png").write_bytes(png(*ODD_PNGS["long zTXt"], *ODD_PNGS["short tRNS"]))
    (tmp_path / "b.png").write_bytes(PNG)
    first, second = Recognizer().label([tmp_path / "a.png", tmp_path / "b.png"])
    assert (first.label, first.probability) == (second.label, second.probability)


def test_what_matters_in_a_png_with_odd_metadata_is_kept():
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = encode(FACE, "PNG", exif=exif)
    odd = chunk(b"gAMA", b"\0")
    assert np.array_equal(pixels(turned[:33] + odd + turned[33:]), pixels(turned))
    palette = encode(FACE.quantize(16), "PNG", transparency=bytes([0, 255] * 8))
    assert np.array_equal(pixels(palette[:33] + odd + palette[33:]), pixels(palette))
    album = encode(FACE, "PNG", save_all=True, append_images=[FACE.rotate(90)])
    picture = read_picture(io.BytesIO(album[:33] + odd + album[33:]))
    assert picture.pages == 2
    assert np.array_equal(picture.pixels, pixels(album))


def test_pngs_without_their_end_are_whole_and_with_fewer_pixels_are_not():
    assert np.array_equal(pixels(PNG[:-12]), pixels(PNG))
    for content in (PNG[:-40], PNG[: len(PNG) // 2], png(chunk(b"gAMA", b"\0"))[:-40]):
        with pytest.raises(ValueError, match=r"broken"):
            pixels(content)


def test_a_bad_checksum_of_the_palette_is_no_small_thing():
    content = encode(FACE.quantize(16), "PNG")
    at = content.index(b"PLTE")
    with pytest.raises(ValueError, match="bad header checksum in b'PLTE'"):
        pixels(content[: at + 5] + bytes([content[at + 5] ^ 255]) + content[at + 6 :])


ODD_JPEGS = {
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "wrong count of profiles": segment(0xE2, b"ICC_PROFILE\0\7\7x"),
    "short Adobe": segment(0xEE, b"Adobe\0"),
    "short Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\1x"),
    "half a list of pictures": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x03"),
    "broken EXIF": segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "long comments": segment(0xFE, b"x" * 60_000) * 40,
    "padding": b"\xff" * 1000,
    "nonsense": segment(0xFE, b"x") + b"nonsense" * 10,
}


@pytest.mark.parametrize("name", ODD_JPEGS)
@pytest.mark.parametrize("end", [True, False])
def test_a_jpeg_with_odd_metadata_shows_its_pixels(name, end):
    content = jpeg(ODD_JPEGS[name])
    assert np.array_equal(pixels(content if end else content[:-2]), pixels(encode(FACE, "JPEG")))


def test_the_turn_of_a_jpeg_with_odd_metadata_is_kept():
    turned = encode(FACE, "JPEG", **WITHOUT_END["turned"])
    assert not np.array_equal(pixels(turned), pixels(encode(FACE, "JPEG")))
    odd = turned[:2] + ODD_JPEGS["short profile"] + turned[2:]
    assert np.array_equal(pixels(odd), pixels(turned))


@pytest.mark.parametrize("tag", [34665, 34853, 700, 34377, 33723, 34675, 270])
@pytest.mark.parametrize("value", [(1, 0xFFFFFFF0), (5000, 9), (0, 0)])
def test_a_tiff_with_broken_metadata_shows_its_pixels(tag, value):
    data = np.asarray(FACE).tobytes()
    broken = tiff(data, FACE.size, [8] * 3, 2, tags=[(tag, 4, value)])
    assert np.array_equal(pixels(broken), pixels(PNG))


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("added", [-2, 1, 1000])
def test_a_webp_that_tells_a_wrong_length_shows_its_pixels(lossless, added):
    content = encode(FACE, "WEBP", lossless=lossless)
    told = int.from_bytes(content[4:8], "little") + added
    assert np.array_equal(pixels(content[:4] + told.to_bytes(4, "little") + content[8:]), pixels(content))


@pytest.mark.parametrize(("format", "missing"), [("GIF", 1), ("QOI", 8), ("JPEG2000", 2), ("BMP", 0)])
def test_what_lacks_only_its_end_mark_is_whole(format, missing):
    content = encode(FACE, format)
    assert np.array_equal(pixels(content[: len(content) - missing] if missing else content), pixels(content))


@pytest.mark.parametrize("missing", [3, 4, 50, 1000])
def test_a_jpeg_2000_that_lacks_pixels_is_refused(missing):
    with pytest.raises(ValueError, match="broken picture data"):
        pixels(encode(FACE, "JPEG2000")[:-missing])


def test_a_gif_with_a_long_comment_shows_its_pixels():
    content = encode(FACE.quantize(16), "GIF")
    start = 13 + (3 << (1 + (content[10] & 7)))
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * 8000 + b"\0"
    assert np.array_equal(pixels(content[:start] + comment + content[start:]), pixels(content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PNG[:20], r"PNG: .*"),
        (encode(FACE, "TIFF")[:60], r"TIFF: .*"),
        (encode(FACE, "BMP")[:14] + b"\7\0\0\0", r"BMP: "),
        (encode(FACE, "GIF")[:9], r"GIF: "),
    ],
    ids=["PNG", "TIFF", "BMP", "GIF"],
)
def test_a_broken_header_has_the_format_and_the_readers_words_in_its_reason(content, reason):
    with pytest.raises(ValueError, match=r"its header is broken \(" + reason):
        pixels(content)


@pytest.mark.parametrize("error", [ValueError("first\n  second"), OSError("first\r\nsecond")])
def test_a_reason_is_one_line_whatever_a_reader_says(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(Image.Image, "resize", fail)
    with pytest.raises(ValueError, match=r"first second$"):
        pixels(PNG)


@pytest.mark.parametrize("first", [chunk(b"tRNS", b"\0\1"), chunk(b"IDAT", b""), chunk(b"tEXt", b"a", checksum=0)])
def test_a_png_may_have_a_chunk_before_its_header(first):
    assert np.array_equal(pixels(PNG[:8] + first + PNG[8:]), pixels(PNG))


@pytest.mark.parametrize(
    "content",
    [
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
        b"MM\0+\0\x08\0\0" + b"\x7f" * 8,
        b"\0\0\1\0\1\0" + bytes(8) + b"\xff" * 8,
        b"\xff\xd8\xff\xda\0\0",
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\1jp2c" + b"\xff" * 8,
        b"\0\0\0\1ftypavif" + b"\xff" * 40,
        b"\0\0\0\1ftypheic" + b"\xff" * 40,
        b"RIFF\0\0\0\0WEBPVP8X",
        b"GIF89a" + b"\xff" * 7,
        b"P6 ",
        b"qoif",
        b"BM",
    ],
    ids=range(12),
)
def test_headers_that_point_nowhere_are_refused(content, tmp_path):
    with pytest.raises(ValueError, match=r"broken|HEIC"):
        pixels(content)
    (tmp_path / "large.bin").write_bytes(content + bytes(16_000_001))  # read from the disk, not from memory
    assert isinstance(load_or_reason(tmp_path / "large.bin"), str)
