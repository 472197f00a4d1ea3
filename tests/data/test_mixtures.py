import numpy as np
import torch

from gender_recognizer.data.dataset import NO_LABEL, FaceDataset
from gender_recognizer.data.mixtures import draw_mixtures

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 100, 80, 3), dtype=np.uint8)
ROWS = np.array([6, 1, 3, 4])


def test_mixtures_are_at_least_half_of_their_picture_and_the_rest_is_another():
    mixtures = draw_mixtures(ROWS, 50)
    which, places = (numbers.ravel() for numbers in np.indices((50, 4)))
    mixed = mixtures.mix(IMAGES, ROWS, which, places)
    assert mixed.shape == (200, 100, 80, 3)
    assert set(mixtures.others.ravel()) == set(ROWS)  # no picture of another part
    assert mixtures.shares.min() >= 0.5
    assert 0.7 < mixtures.shares.mean() < 0.8
    for number in (0, 3, 77):
        share, other = (
            mixtures.shares[which[number], places[number]],
            IMAGES[mixtures.others[which[number], places[number]]],
        )
        other = other[:, ::-1] if mixtures.mirrored[which[number], places[number]] else other
        expected = share * IMAGES[ROWS[places[number]]] + (1 - share) * other
        assert np.abs(mixed[number] - expected).max() <= 0.5 + 1e-3


def test_mixtures_are_the_same_for_the_same_pictures():
    for first, second in zip(draw_mixtures(ROWS, 2), draw_mixtures(ROWS, 2), strict=True):
        np.testing.assert_array_equal(first, second)


def test_every_second_picture_of_a_batch_is_a_mixture_with_its_own_guidance_and_no_label():
    torch.manual_seed(0)
    mixtures = draw_mixtures(ROWS, 3)
    guidance = np.arange(4, dtype=np.float16)[:, None]
    answers = (10 + np.arange(12, dtype=np.float16)).reshape(3, 4, 1)
    data = FaceDataset(IMAGES, ROWS, np.array([0, 1, 0, 1]), guidance, (mixtures, answers))
    before = IMAGES.copy()
    images, targets, theirs = data.__getitems__([3, 0, 2, 1, 0])
    np.testing.assert_array_equal(images[::2].permute(0, 2, 3, 1), IMAGES[ROWS[[3, 2, 0]]])
    assert targets.tolist() == [1, NO_LABEL, 0, NO_LABEL, 0]
    assert theirs[::2, 0].tolist() == [3, 2, 0]
    for position, place in ((1, 0), (3, 1)):
        which, of = divmod(int(theirs[position, 0]) - 10, 4)
        assert of == place
        (expected,) = mixtures.mix(IMAGES, ROWS, np.array([which]), np.array([place]))
        np.testing.assert_array_equal(images[position].permute(1, 2, 0), expected)
    np.testing.assert_array_equal(IMAGES, before)
    assert data.targets.tolist() == [0, 1, 0, 1]
