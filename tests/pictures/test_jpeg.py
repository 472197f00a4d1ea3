"""Whatever goes straight through libjpeg-turbo has the pixels of Pillow, and what Pillow refuses is refused."""

import io

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image
from test_nasty_inputs import mutated

from gender_recognizer.pictures import jpeg
from gender_recognizer.pictures.loading import read_picture

FACE = Image.open(PROJECT / "data/sample/female/001.jpg").convert("RGB")
SIZES = [
    (80, 100),
    (81, 101),
    (144, 144),
    (159, 200),
    (160, 200),
    (161, 203),
    (333, 417),
    (700, 900),
    (900, 90),
    (15, 15),
]


def encode(size=(144, 144), mode="RGB", **options):
    buffer = io.BytesIO()
    FACE.resize(size).convert(mode).save(buffer, options.pop("format", "JPEG"), **options)
    return buffer.getvalue()


def exif(turn):
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags


def outcome(content):
    """Return what a file's pixels, size and pages are, or why it has none."""
    try:
        picture = read_picture(io.BytesIO(content))
    except ValueError as error:
        return str(error)
    return picture.pixels.tobytes(), picture.size, picture.pages


@pytest.fixture
def pillow_outcome(monkeypatch):
    """Return `outcome` with Pillow decoding everything."""

    def function(content):
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "decode_shrunk", lambda *_: None)
            return outcome(content)

    return function


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_are_those_of_pillow(pillow_outcome, size, subsampling, progressive):
    content = encode(size, quality=85, subsampling=subsampling, progressive=progressive)
    assert jpeg.decode_shrunk(content, jpeg.read_plain_header(content), (80, 100)) is not None
    assert outcome(content) == pillow_outcome(content)


@pytest.mark.parametrize("turn", range(1, 9))
def test_turned_photos_take_the_short_way_as_well(pillow_outcome, turn):
    content = encode((300, 500), exif=exif(turn))
    assert jpeg.read_plain_header(content) is None
    assert outcome(content) == pillow_outcome(content)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "L"},
        {"mode": "CMYK"},
        {"keep_rgb": True},
        {"restart_marker_blocks": 3, "comment": b"\xff\xda\xff\xe1"},
        {"icc_profile": b"MPF\0" * 30_000},
        {"xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'},
        {"format": "MPO", "save_all": True, "append_images": [FACE]},
    ],
)
def test_unusual_files_are_those_of_pillow(pillow_outcome, options):
    content = encode(**options)
    assert outcome(content) == pillow_outcome(content)


def test_header_tells_what_only_pillow_may_open():
    assert jpeg.read_plain_header(encode((144, 99))) == (144, 99)
    assert jpeg.read_plain_header(encode(exif=exif(6))) is None
    assert jpeg.read_plain_header(encode(mode="L")) is None
    assert jpeg.read_plain_header(encode(format="PNG")) is None
    assert jpeg.read_plain_header(encode()[:100]) is None
    assert jpeg.read_plain_header(b"") is None


def test_what_the_library_warns_of_is_left_to_pillow(pillow_outcome):
    content = encode()
    for broken in (content[:-700], content[:900] + content[950:]):
        size = jpeg.read_plain_header(broken)
        assert size == (144, 144)
        assert jpeg.decode_shrunk(broken, size, (80, 100)) is None
        assert outcome(broken) == pillow_outcome(broken)


def test_mutated_files_have_the_same_outcome(pillow_outcome):
    rng = np.random.default_rng(0)
    seeds = [encode(quality=q, subsampling=s, progressive=p) for q in (30, 90) for s in (0, 2) for p in (False, True)]
    decoded = 0
    for _ in range(400):
        first, second = rng.integers(len(seeds), size=2)
        content = mutated(rng, seeds[first], seeds[second])
        decoded += isinstance(outcome(content), tuple)
        assert outcome(content) == pillow_outcome(content)
    assert 100 < decoded < 300
