import json
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest
from conftest import BLUE, RED, save_picture

from gender_recognizer.data import dataset
from gender_recognizer.data.dataset import LARGE_SIZE, FaceDataset, ImageCache, list_samples, read_metadata
from gender_recognizer.pictures.loading import load_image, load_or_reason

CLASSES = ("female", "male")


def test_samples_are_sorted_by_class_and_path_from_nested_folders(tmp_path):
    for name in ("male/b.png", "female/z.PNG", "female/deep/er/a.png", "male/a.png"):
        save_picture(tmp_path / name.lower(), RED, 0).rename(tmp_path / name)
    samples = [
        (sample.path.relative_to(tmp_path).as_posix(), sample.target) for sample in list_samples(tmp_path, CLASSES)
    ]
    assert samples == [("female/deep/er/a.png", 0), ("female/z.PNG", 0), ("male/a.png", 1), ("male/b.png", 1)]


def test_missing_class_folder_is_named(tmp_path):
    save_picture(tmp_path / "female/a.png", RED, 0)
    with pytest.raises(ValueError, match=r"no folder '.*male'"):
        list_samples(tmp_path, CLASSES)


def test_empty_class_folder_is_named(tmp_path):
    save_picture(tmp_path / "female/a.png", RED, 0)
    (tmp_path / "male").mkdir()
    with pytest.raises(ValueError, match=r"no pictures in '.*male'"):
        list_samples(tmp_path, CLASSES)


def test_metadata_by_file_name(tmp_path):
    assert read_metadata(tmp_path) == {}
    (tmp_path / "metadata.csv").write_text("file_name,label,age\nfemale/a.png,female,20-29\n")
    assert read_metadata(tmp_path)["female/a.png"]["age"] == "20-29"


def test_metadata_without_file_name_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_text("file,label\n")
    with pytest.raises(ValueError, match="no column 'file_name'"):
        read_metadata(tmp_path)


@pytest.fixture
def paths(tmp_path):
    pictures = [save_picture(tmp_path / f"{index}.png", RED, index) for index in range(5)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    return [*pictures[:2], broken, *pictures[2:]]


def test_cache_holds_what_the_loader_returns_and_never_a_neighbour(paths, tmp_path):
    cache = ImageCache(paths, tmp_path / "cache")
    assert list(cache.unreadable) == [2]
    assert "not a picture" in cache.unreadable[2]
    assert not cache.images[2].any()
    for row in (0, 1, 3, 4, 5):
        assert np.array_equal(cache.images[row], load_image(paths[row]))


def test_cache_is_used_again_and_rebuilt_when_a_file_changes(paths, tmp_path, monkeypatch):
    ImageCache(paths, tmp_path / "cache")
    monkeypatch.setattr(dataset, "load_or_reason", lambda path: pytest.fail("decoded again"))
    ImageCache(paths, tmp_path / "cache")
    monkeypatch.undo()
    save_picture(paths[0], BLUE, 99)
    cache = ImageCache(paths, tmp_path / "cache")
    assert np.array_equal(cache.images[0], load_image(paths[0]))


def test_large_images_hold_what_the_loader_returns_and_are_made_again_with_the_cache(paths, tmp_path):
    for colour in (RED, BLUE):
        save_picture(paths[0], colour, 99)
        large = ImageCache(paths, tmp_path / "cache").large_images()
        assert large.shape == (6, 125, 100, 3)
        assert not large[2].any()  # unreadable
        for row in (0, 1, 3, 4, 5):
            assert np.array_equal(large[row], load_image(paths[row], LARGE_SIZE))


def test_groups_are_made_again_with_the_cache(paths, tmp_path):
    before = ImageCache(paths, tmp_path / "cache").near_duplicate_groups()
    paths[1].write_bytes(paths[0].read_bytes())
    after = ImageCache(paths, tmp_path / "cache").near_duplicate_groups()
    assert before[0] != before[1]
    assert after[0] == after[1]


def slow_build(paths, folder, started):
    def slow_load(path, **options):
        started.set()
        time.sleep(0.3)
        return load_or_reason(path, **options)

    dataset.load_or_reason = slow_load
    ImageCache(paths, folder)


def test_cache_killed_half_way_is_built_anew(paths, tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=slow_build, args=(paths, tmp_path / "cache", started))
    process.start()
    assert started.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "cache" / "index.json").exists()
    assert np.array_equal(ImageCache(paths, tmp_path / "cache").images[0], load_image(paths[0]))


def test_two_processes_at_once_build_once_and_agree(paths, tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=slow_build, args=(paths, tmp_path / "cache", started))
    process.start()
    assert started.wait(30)
    cache = ImageCache(paths, tmp_path / "cache")  # waits for the other
    process.join()
    assert process.exitcode == 0
    assert np.array_equal(cache.images[0], load_image(paths[0]))
    assert json.loads((tmp_path / "cache" / "index.json").read_text())["unreadable"].keys() == {"2"}


def test_full_disk_is_refused_before_decoding(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset.shutil, "disk_usage", lambda folder: Usage())
    with pytest.raises(OSError, match="0 MB free"):
        ImageCache(paths, tmp_path / "cache")


class Usage:
    free = 10


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


def test_dataset_goes_to_another_process_without_its_pictures(paths, tmp_path):
    images = ImageCache(paths, tmp_path / "cache").images
    data = FaceDataset(images, np.array([0, 3]), np.array([0, 1]))
    sent = pickle.dumps(data)
    assert len(sent) < 24_000
    assert np.array_equal(pickle.loads(sent)[1][0], data[1][0])
