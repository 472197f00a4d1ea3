import numpy as np
import pytest
from conftest import BLUE, RED, Redness, save_picture
from PIL import Image

from gender_recognizer.evaluation.robustness import (
    CHANGES,
    changed_blocks,
    crop_centre,
    measure_robustness,
    paste,
    rotate,
    shift,
)
from gender_recognizer.pictures.loading import load_image


@pytest.fixture
def pictures(tmp_path):
    colours = [RED, BLUE] * 4
    return [save_picture(tmp_path / f"{index}.png", colour, index) for index, colour in enumerate(colours)]


def pixels(paths, name):
    """Return what the network sees of pictures after a change."""
    (block,) = changed_blocks(paths, name)
    return np.stack([picture.pixels for picture in block])


def test_every_change_gives_each_picture_the_same_again(pictures):
    for name in CHANGES:
        first, second = (pixels(pictures, name) for _ in range(2))
        assert first.shape == (8, 100, 80, 3)
        np.testing.assert_array_equal(first, second)
        fewer = pixels(pictures[:1] + pictures[4:5], name)  # its partner is another, its change the same
        if not name.startswith("pasted"):
            np.testing.assert_array_equal(fewer[0], first[0])


def test_as_they_come_is_what_the_loader_makes(pictures):
    for seen, path in zip(pixels(pictures, "as they come"), pictures, strict=True):
        np.testing.assert_array_equal(seen, load_image(path))


def test_deep_grey_pictures_are_read_as_in_labelling(tmp_path):
    values = np.linspace(0, 65535, 120 * 90).reshape(120, 90).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")  # Pillow itself makes it white
    block = pixels([tmp_path / "deep.png"], "as they come")
    np.testing.assert_array_equal(block[0], load_image(tmp_path / "deep.png"))
    assert block.std() > 50


def test_all_others_change_pictures(pictures):
    plain = pixels(pictures, "as they come").astype(float)
    for name in list(CHANGES)[1:]:
        assert np.abs(pixels(pictures, name) - plain).mean() > 0.5, name


def gradient(width=90, height=120):
    """Return a picture whose red is its column and whose green is its row."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns, rows, np.full_like(rows, 7)], axis=2).astype(np.uint8))


def test_framings_take_the_share_that_they_name():
    rng, image = np.random.default_rng(0), gradient()
    assert crop_centre(image, image, rng, 0.7).size == pytest.approx((63, 84), abs=1)
    pasted = np.asarray(paste(image, gradient(30, 30), rng, 0.45)).astype(int)
    assert pasted.shape[:2] == (267, 200)
    row, column = next(  # of the corner of the picture, which is on the canvas as it was
        (row, column)
        for row in range(pasted.shape[0] - 119)
        for column in range(pasted.shape[1] - 89)
        if (pasted[row, column] == (0, 0, 7)).all() and (pasted[row + 119, column + 89] == (89, 119, 7)).all()
    )
    np.testing.assert_array_equal(pasted[row : row + 120, column : column + 90], np.asarray(image))


def test_moves_go_on_with_the_edge():
    rng, image = np.random.default_rng(1), gradient()
    moved = np.asarray(shift(image, image, rng, 0.15)).astype(int)
    across, down = (moved[60, 45, :2] - (45, 60)) / (90, 120)
    assert np.hypot(across * 1.0, down * 1.0) == pytest.approx(0.15, abs=0.03)
    turned = np.asarray(rotate(image, image, rng, 15.0)).astype(int)
    assert abs(turned[60, 45, :2] - (45, 60)).max() <= 1
    assert (turned[..., 2] == 7).all()  # nothing black came in


def test_numbers_are_those_of_the_predictor(pictures):
    rows = measure_robustness(Redness(), pictures, np.array([0, 1] * 4), num_draws=100)
    by_name = {row["change"]: row for row in rows}
    assert list(by_name) == list(CHANGES)
    accuracy = by_name["as they come"]["accuracy"]
    assert (accuracy["value"], accuracy["high"]) == (1.0, 1.0)
    assert accuracy["low"] == pytest.approx(8 / (8 + 1.96**2), abs=1e-3)  # Wilson's, of 8 of 8 pictures
    grey = by_name["without colour"]
    assert grey["accuracy"]["value"] == 0.5  # grey pictures are never redder than half
    assert grey["less"]["value"] == 0.5
    assert grey["accuracy"]["low"] < 0.5 < grey["accuracy"]["high"]
    assert 0 < grey["less"]["low"] < 0.5 < grey["less"]["high"]
    assert by_name["turned by 15 degrees"]["less"] == {"value": 0.0, "low": None, "high": None}
