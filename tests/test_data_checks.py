import logging

import numpy as np
import pytest
from PIL import Image

from gender_recognizer.data_checks import class_counts, near_duplicate_groups, warn_if_unbalanced


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (count, 10, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((80, 100), Image.Resampling.BICUBIC)) for image in small])


def test_copies_darker_copies_and_slightly_cut_ones_share_a_group():
    images = pictures(6)
    cut = Image.fromarray(images[2]).crop((1, 1, 79, 99)).resize((80, 100))
    images = np.concatenate([images, images[:1], (images[1:2] * 0.7).astype(np.uint8), np.asarray(cut)[None]])
    assert near_duplicate_groups(images).tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]


def test_pictures_alike_only_in_light_and_dark_do_not():
    images = pictures(4).astype(float) * 0.25
    images[:, :, :40] += 190
    assert near_duplicate_groups(images.astype(np.uint8)).tolist() == [0, 1, 2, 3]


def test_blank_pictures_share_a_group():
    blank = np.full((3, 100, 80, 3), 9, dtype=np.uint8)
    assert near_duplicate_groups(np.concatenate([pictures(1), blank])).tolist() == [0, 1, 1, 1]


def test_pairs_are_found_across_blocks(monkeypatch):
    monkeypatch.setattr("gender_recognizer.data_checks._BLOCK", 3)
    images = pictures(8)
    images[7] = images[0]
    assert near_duplicate_groups(images).tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_class_counts_in_order_of_the_classes():
    assert class_counts(np.array([1, 1, 0, 1]), ["male", "female", "other"]) == {"male": 1, "female": 3, "other": 0}


@pytest.mark.parametrize(
    ("counts", "warned"), [({"female": 61, "male": 39}, True), ({"female": 60, "male": 40}, False)]
)
def test_more_than_60_percent_of_one_class_is_warned_of(caplog, counts, warned):
    with caplog.at_level(logging.WARNING):
        warn_if_unbalanced(counts)
    assert ("'female'" in caplog.text) == warned
