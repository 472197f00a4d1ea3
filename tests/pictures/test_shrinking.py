"""What the loader keeps of a picture beside the 100x80 pixels."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from gender_recognizer.pictures.loading import read_picture


def content(size, format_, **options):
    """Return a file with a smooth picture that is red above, and green to the right."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([255 - 255 * rows // size[1], 255 * columns // size[0], np.full_like(rows, 60)], axis=2)
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, format_, **options)
    return BytesIO(file.getvalue())


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(330, 410), (640, 480), (1300, 900), (2000, 2600), (2400, 400), (400, 2400)])
def test_of_a_large_picture_some_pixels_more_are_kept_as_wide_as_high(format_, size):
    picture = read_picture(content(size, format_))
    width, height = picture.larger.size
    assert min(width / 80, height / 100) >= 1.9
    assert min(width / 80, height / 100) <= 8
    assert width / size[0] == pytest.approx(height / size[1], rel=0.01)
    assert picture.as_photograph().size == size
    small = np.asarray(picture.larger.resize((80, 100), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - picture.pixels).max() <= 6


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(800, 640), (1155, 866), (1600, 1200), (4000, 3000)])
def test_of_a_photograph_wider_than_high_enough_is_kept_to_search_it(format_, size):
    picture = read_picture(content(size, format_))
    assert 400 <= picture.larger.width <= 800


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_of_a_very_long_strip_nothing_more_is_kept(mode):
    file = BytesIO()
    Image.new(mode, (9000, 300)).save(file, "PNG")
    assert read_picture(BytesIO(file.getvalue())).as_photograph() is None


@pytest.mark.parametrize("size", [(80, 100), (100, 110)])
def test_of_a_small_picture_nothing_more_is_kept(size):
    assert read_picture(content(size, "PNG")).more_pixels() is None


@pytest.mark.parametrize("orientation", [None, 6])
def test_of_a_jpeg_of_twice_the_size_the_content_is_kept(orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    picture = read_picture(content((225, 275), "JPEG", exif=exif))
    assert picture.larger is None
    assert picture.more_pixels().size == picture.size == ((225, 275) if orientation is None else (275, 225))
    small = np.asarray(picture.more_pixels().resize((80, 100), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - picture.pixels).mean() < 2


@pytest.mark.parametrize("size", [(330, 410), (1300, 900), (2000, 2600)])
@pytest.mark.parametrize("options", [{}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])  # with it Pillow decodes
def test_a_jpeg_looks_as_if_all_of_it_had_been_decoded(size, options):
    picture = read_picture(content(size, "JPEG", quality=95, **options))
    whole = Image.open(content(size, "JPEG", quality=95)).convert("RGB").resize((80, 100), Image.Resampling.BOX)
    assert np.abs(np.asarray(whole).astype(int) - picture.pixels).mean() < 2


def test_a_turned_picture_is_kept_upright_and_its_size_is_that_of_the_upright_one():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read_picture(content((640, 480), "JPEG", exif=exif))
    assert picture.size == (480, 640)
    assert picture.larger.width < picture.larger.height
    assert picture.larger.getpixel((picture.larger.width - 1, 5))[0] > 200  # what was the top is at the right
    assert picture.pixels[5, -3, 0] > 200
