import io
import os

import numpy as np
import pytest
from PIL import Image

from gender_recognizer.pictures import loading, opening
from gender_recognizer.pictures.loading import load_image, read_photograph, read_picture
from gender_recognizer.pictures.opening import open_regular


def picture(width=90, height=120, seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def save(path, image, **options):
    image.save(path, **options)
    return path


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).mean()


def test_returns_uint8_rgb_of_fixed_size(tmp_path):
    image = load_image(save(tmp_path / "a.png", picture()))
    assert image.shape == (100, 80, 3)
    assert image.dtype == np.uint8
    assert difference(image, np.asarray(picture().resize((80, 100), Image.Resampling.BILINEAR))) == 0


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "avif", "gif", "bmp", "tiff", "jp2", "ppm", "qoi"])
def test_formats_give_the_same_picture(tmp_path, extension):
    path = save(tmp_path / f"a.{extension}", picture())
    tolerance = 12 if extension in ("jpg", "gif", "avif", "webp", "jp2") else 0.5
    assert difference(load_image(path), load_image(save(tmp_path / "b.png", picture()))) <= tolerance


def test_format_is_told_by_content_not_name(tmp_path):
    reference = load_image(save(tmp_path / "a.png", picture()))
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    assert difference(load_image(tmp_path / "b.jpg"), reference) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn_is_applied(tmp_path, orientation):
    turned_back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = picture() if turned_back is None else picture().transpose(Image.Transpose(turned_back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", image, exif=exif)
    assert difference(load_image(path), load_image(save(tmp_path / "upright.png", picture()))) < 0.6


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("longest", [None, 300, 2000])
def test_a_photograph_is_the_same_picture_before_it_is_resized(tmp_path, orientation, longest):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", picture(900, 1200), exif=exif, quality=95)
    with path.open("rb") as file:
        photograph = read_photograph(file, longest)
    upright = (1200, 900) if orientation in (6, 8) else (900, 1200)
    assert photograph.size == upright
    assert photograph.image.size == (tuple(side // 4 for side in upright) if longest == 300 else upright)
    small = photograph.image.resize((80, 100), Image.Resampling.BILINEAR, reducing_gap=3.0)
    assert difference(np.asarray(small), load_image(path)) < 2


def test_a_photograph_has_the_limits_and_colours_of_a_picture(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.full((50, 60), 257 * 99, np.uint16)))
    with path.open("rb") as file:
        assert np.unique(np.asarray(read_photograph(file).image)) == [99]
    with path.open("rb") as file, pytest.raises(ValueError, match="60x50 is more than 2,999 pixels"):
        read_photograph(file, max_pixels=2999)
    whole = save(tmp_path / "b.jpg", picture(400, 300)).read_bytes()
    with pytest.raises(ValueError, match="broken picture data"):
        read_photograph(io.BytesIO(whole[:-2000]))
    cut = read_photograph(io.BytesIO(whole[:-2000]), allow_truncated=True)
    assert (cut.truncated, cut.size) == (True, (400, 300))


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", "turn 99"])
def test_odd_exif_is_ignored(tmp_path, exif):
    if exif == "turn 99":
        exif = Image.Exif()
        exif[0x0112] = 99
    path = save(tmp_path / "a.jpg", picture(), exif=exif)
    assert difference(load_image(path), load_image(save(tmp_path / "b.jpg", picture()))) == 0


def test_16_bit_grey_keeps_its_greys(tmp_path):
    grey = np.asarray(picture().convert("L"))
    path = save(tmp_path / "a.png", Image.fromarray(grey.astype(np.uint16) * 257))
    assert difference(load_image(path), load_image(save(tmp_path / "b.png", Image.fromarray(grey)))) < 0.1


def test_float_tiff_between_0_and_1_keeps_its_greys(tmp_path):
    grey = np.asarray(picture().convert("L"))
    path = save(tmp_path / "a.tiff", Image.fromarray(grey.astype(np.float32) / 255))
    assert difference(load_image(path), load_image(save(tmp_path / "b.png", Image.fromarray(grey)))) < 0.1


def test_float_tiff_of_unknown_range_is_refused(tmp_path):
    values = np.linspace(-5, 1000, 9000, dtype=np.float32).reshape(100, 90)
    with pytest.raises(ValueError, match=r"unsupported depth: grey values from -5 to 1000"):
        load_image(save(tmp_path / "a.tiff", Image.fromarray(values)))


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "P"])
def test_colour_modes_become_rgb(tmp_path, mode):
    path = save(tmp_path / "a.tiff", picture().convert(mode))
    reference = picture().convert(mode).convert("RGB")
    assert difference(load_image(path), load_image(save(tmp_path / "b.png", reference))) < 3


def test_transparency_is_laid_on_grey_not_shown_through(tmp_path):
    hidden = picture().convert("RGBA")
    hidden.putalpha(0)
    assert np.unique(load_image(save(tmp_path / "a.png", hidden))).tolist() == [127]


@pytest.mark.parametrize("kind", [int, bytes])
def test_transparent_palette_colours_are_laid_on_grey(tmp_path, kind, recwarn):
    palette = Image.new("P", (80, 100), 3)
    palette.putpalette([200, 0, 0] * 4)
    path = save(tmp_path / "a.png", palette, transparency=3 if kind is int else bytes([255, 255, 255, 0]))
    assert np.unique(load_image(path)).tolist() == [127]
    assert not list(recwarn)


def test_first_of_several_frames_is_taken(tmp_path):
    path = save(tmp_path / "a.gif", picture(), save_all=True, append_images=[picture(seed=1)])
    assert difference(load_image(path), load_image(save(tmp_path / "b.gif", picture()))) < 1


def jpeg_bytes():
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html>", "not a picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (jpeg_bytes()[:20], "not a picture"),
        (jpeg_bytes()[: len(jpeg_bytes()) // 2], "broken picture data"),
    ],
)
def test_unusable_content_is_refused_with_its_reason(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        load_image(path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", picture())
    monkeypatch.setattr(loading, "_resized", lambda image: pytest.fail("decoded"))
    with path.open("rb") as file, pytest.raises(ValueError, match="90x120 is more than 10,799 pixels"):
        read_picture(file, max_pixels=90 * 120 - 1)


def test_named_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="not a regular file"):
        load_image(tmp_path / "a.jpg")


def test_file_that_grows_while_it_is_read_is_refused():
    with pytest.raises(OSError, match="changed while it was read"):
        open_regular("/proc/self/status")  # says that it is empty, and is not


def test_file_that_comes_in_pieces_is_read_whole(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", picture())
    at_once, read = load_image(path), os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: read(descriptor, min(count, 100)))
    assert difference(load_image(path), at_once) == 0


def test_large_file_is_read_piece_by_piece_with_the_same_result(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", picture())
    at_once = load_image(path)
    monkeypatch.setattr(opening, "_READ_AT_ONCE", 10)
    file, status = open_regular(path)
    assert file.name != path
    assert status.st_size == path.stat().st_size
    assert difference(read_picture(file).pixels, at_once) == 0
    file.close()


def test_png_with_a_flipped_byte_is_not_taken_for_a_black_picture(tmp_path):
    path = save(tmp_path / "a.png", picture())
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken picture data"):
        load_image(path)
