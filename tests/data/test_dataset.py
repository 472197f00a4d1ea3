import pickle

import numpy as np
from conftest import RED, save_picture

from gender_recognizer.data.cache import ImageCache
from gender_recognizer.data.dataset import FaceDataset


def test_dataset_reads_single_samples_and_whole_batches_alike():
    images = np.random.default_rng(0).integers(0, 255, (6, 100, 80, 3), dtype=np.uint8)
    data = FaceDataset(images, np.array([5, 0, 3]), np.array([1, 0, 1]))
    batch, targets = data.__getitems__([2, 0])
    assert batch.shape == (2, 3, 100, 80)
    assert targets.tolist() == [1, 1]
    for position, index in enumerate((2, 0)):
        image, target = data[index]
        assert np.array_equal(image.permute(1, 2, 0), images[data.rows[index]])
        assert np.array_equal(image, batch[position])
        assert target == targets[position]


def test_dataset_goes_to_another_process_without_its_pictures(tmp_path):
    paths = [save_picture(tmp_path / f"{index}.png", RED, index) for index in range(5)]
    images = ImageCache(paths, tmp_path / "cache").images
    data = FaceDataset(images, np.array([0, 3]), np.array([0, 1]))
    sent = pickle.dumps(data)
    assert len(sent) < 24_000
    assert np.array_equal(pickle.loads(sent)[1][0], data[1][0])
