import numpy as np
from PIL import Image

from gender_recognizer.data.duplicates import (
    equal_groups,
    join_pairs,
    near_copies,
    near_duplicate_groups,
    pixel_digests,
)


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
    monkeypatch.setattr("gender_recognizer.data.duplicates._BLOCK", 3)
    images = pictures(8)
    images[7] = images[0]
    assert near_duplicate_groups(images).tolist() == [0, 1, 2, 3, 4, 5, 6, 0]


def test_pairs_between_two_sets_name_a_row_of_each():
    images, others = pictures(5), pictures(4, seed=1)
    others[2] = images[3] // 2
    pairs = near_copies(images, others)
    assert pairs.rows.tolist() == [[3, 2]]
    assert pairs.correlations[0] > 0.9


def test_a_whole_memory_map_is_compared_like_an_array(tmp_path):
    images = np.concatenate([pictures(3), pictures(3)[:1]])
    np.save(tmp_path / "images.npy", images)
    for source in (images, np.load(tmp_path / "images.npy", mmap_mode="r")):
        assert near_copies(source).rows.tolist() == [[0, 3]]
        assert near_duplicate_groups(source[1:]).tolist() == [0, 1, 2]
        assert equal_groups(pixel_digests(source)) == [[0, 3]]


def test_chains_join_and_none_equals_nothing():
    assert join_pairs([(3, 4), (1, 3), (0, 2)], 6).tolist() == [0, 1, 0, 1, 1, 5]
    assert equal_groups(["a", None, "b", None, "a", "b", "a"]) == [[0, 4, 6], [2, 5]]
