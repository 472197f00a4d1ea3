import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import BLUE, RED, save_picture

from gender_recognizer.data import cache as cache_module
from gender_recognizer.data.cache import ImageCache, larger, open_pictures, read_blocks
from gender_recognizer.data.duplicates import near_duplicate_groups
from gender_recognizer.pictures.loading import IMAGE_SIZE, load_image, load_or_reason

LARGE = larger(IMAGE_SIZE)

CLASSES = ("female", "male")


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
    monkeypatch.setattr(cache_module, "load_or_reason", lambda path: pytest.fail("decoded again"))
    ImageCache(paths, tmp_path / "cache")
    monkeypatch.undo()
    save_picture(paths[0], BLUE, 99)
    cache = ImageCache(paths, tmp_path / "cache")
    assert np.array_equal(cache.images[0], load_image(paths[0]))


def test_large_images_hold_what_the_loader_returns_and_are_made_again_with_the_cache(paths, tmp_path):
    for colour in (RED, BLUE):
        save_picture(paths[0], colour, 99)
        large = ImageCache(paths, tmp_path / "cache").images_of(LARGE)
        assert large.shape == (6, 125, 100, 3)
        assert not large[2].any()  # unreadable
        for row in (0, 1, 3, 4, 5):
            assert np.array_equal(large[row], load_image(paths[row], LARGE))


def test_what_is_remembered_is_computed_once_and_anew_when_a_picture_changes(paths, tmp_path):
    asked = []

    def mean(images):
        asked.append(len(images))
        return images.mean(axis=(1, 2, 3))

    first = ImageCache(paths, tmp_path / "cache").remember("mean", mean)
    np.testing.assert_array_equal(ImageCache(paths, tmp_path / "cache").remember("mean", mean), first)
    assert asked == [6]
    save_picture(paths[0], BLUE, 99)
    assert ImageCache(paths, tmp_path / "cache").remember("mean", mean)[0] != first[0]
    assert asked == [6, 6]


def show_the_same(images, paths, shape):
    return len(images) == len(paths) and all(
        np.array_equal(image, load_image(path, shape)) for image, path in zip(images, paths, strict=True)
    )


def test_a_run_keeps_its_own_list_when_pictures_are_added_and_another_run_builds_anew(tmp_path):
    for number in range(3):
        for name in CLASSES:
            save_picture(tmp_path / f"data/{name}/{number + 1}.png", RED, 10 * number + len(name))
    first, first_paths, _ = open_pictures(tmp_path / "data", CLASSES, tmp_path / "cache")
    for name in CLASSES:
        save_picture(tmp_path / f"data/{name}/0.png", BLUE, len(name))
    second, second_paths, _ = open_pictures(tmp_path / "data", CLASSES, tmp_path / "cache")
    means = [cache.remember("mean", lambda images: images.mean(axis=(1, 2, 3))) for cache in (first, second)]
    later, later_paths, _ = open_pictures(tmp_path / "data", CLASSES, tmp_path / "cache")
    assert later_paths == second_paths != first_paths
    for cache, paths, mean in (
        (first, first_paths, means[0]),
        (second, second_paths, means[1]),
        (later, later_paths, means[1]),
    ):
        assert show_the_same(cache.images, paths, (100, 80))
        assert show_the_same(np.concatenate([*read_blocks(cache.images, 2)]), paths, (100, 80))
        assert show_the_same(cache.images_of(LARGE), paths, LARGE)
        np.testing.assert_array_equal(cache.remember("mean", lambda images: pytest.fail("computed again")), mean)


def test_only_the_wanted_pictures_are_decoded_at_another_size(paths, tmp_path, monkeypatch):
    paths = [path for path in paths if path.name != "broken.png"]
    cache, read = ImageCache(paths, tmp_path / "cache"), []
    load = cache_module.load_or_reason

    def note_and_load(path, shape):
        read.append(path)
        return load(path, shape)

    monkeypatch.setattr(cache_module, "load_or_reason", note_and_load)
    rows = np.array([len(paths) - 1, 1])
    for _ in range(2):
        images = cache.images_of(LARGE, rows)
        assert images.shape == (len(paths), *LARGE, 3)
        assert show_the_same(images[rows], [paths[row] for row in rows], LARGE)
        assert not images[0].any()
        assert sorted(read) == sorted(paths[row] for row in rows)
    assert show_the_same(cache.images_of(LARGE, rows[:1])[rows[:1]], [paths[rows[0]]], LARGE)
    assert show_the_same(cache.images_of(LARGE), paths, LARGE)
    read.clear()
    assert show_the_same(cache.images_of(LARGE, rows[1:]), paths, LARGE)
    assert not read


def test_pictures_of_which_none_is_wanted_take_no_room(paths, tmp_path):
    cache = ImageCache(paths, tmp_path / "cache")
    before = sorted(cache.folder.iterdir())
    images = cache.images_of(LARGE, np.array([], dtype=np.int64))
    assert images.shape == (len(paths), *LARGE, 3)
    assert sorted(cache.folder.iterdir()) == before


def test_a_run_whose_pictures_are_changed_before_it_has_read_them_all_ends(paths, tmp_path):
    cache = ImageCache(paths, tmp_path / "cache")
    save_picture(paths[0], BLUE, 99)
    with pytest.raises(ValueError, match="changed or removed while this run was reading them; start it again"):
        cache.images_of(LARGE)
    assert np.array_equal(ImageCache(paths, tmp_path / "cache").images_of(LARGE)[0], load_image(paths[0], LARGE))


def use_and_stop(paths, folder, how):
    cache = ImageCache(paths, folder)
    cache.images_of(LARGE)
    how(cache)


def test_pictures_of_earlier_lists_do_not_pile_up(paths, tmp_path):
    context = multiprocessing.get_context("fork")
    for seed in range(3):
        save_picture(paths[0], BLUE, 99 + seed)
        process = context.Process(target=use_and_stop, args=(paths, tmp_path / "cache", lambda cache: None))
        process.start()
        process.join()
        assert process.exitcode == 0
    assert len([*(tmp_path / "cache").rglob("images.npy")]) == 1
    assert len([*(tmp_path / "cache").rglob("images-125x100.npy")]) == 1


def test_groups_are_made_again_with_the_cache(paths, tmp_path):
    before = ImageCache(paths, tmp_path / "cache").remember("groups", near_duplicate_groups)
    paths[1].write_bytes(paths[0].read_bytes())
    after = ImageCache(paths, tmp_path / "cache").remember("groups", near_duplicate_groups)
    assert before[0] != before[1]
    assert after[0] == after[1]


def slow_build(paths, folder, started):
    def slow_load(path, **options):
        started.set()
        time.sleep(0.3)
        return load_or_reason(path, **options)

    cache_module.load_or_reason = slow_load
    ImageCache(paths, folder)


def test_cache_killed_half_way_is_built_anew(paths, tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=slow_build, args=(paths, tmp_path / "cache", started))
    process.start()
    assert started.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not [*(tmp_path / "cache").rglob("index.json")]
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
    (index,) = (tmp_path / "cache").rglob("index.json")
    assert json.loads(index.read_text())["unreadable"].keys() == {"2"}


def test_full_disk_is_refused_before_decoding(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda folder: Usage())
    with pytest.raises(OSError, match="0 MB free"):
        ImageCache(paths, tmp_path / "cache")


class Usage:
    free = 10


def test_a_folder_is_decoded_once_however_it_is_named(tmp_path, monkeypatch):
    for number, name in enumerate(CLASSES):
        save_picture(tmp_path / "data" / name / "1.png", RED, number)
    open_pictures(tmp_path / "data", CLASSES, tmp_path / "cache")
    monkeypatch.setattr(cache_module, "load_or_reason", lambda *_, **__: pytest.fail("decoded again"))
    monkeypatch.chdir(tmp_path)
    open_pictures(Path("data"), CLASSES, Path("cache"))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b'{"key": ', b"\xff\xfe"])
def test_a_cache_with_a_damaged_index_is_built_anew(paths, tmp_path, content):
    ImageCache(paths, tmp_path / "cache")
    (index,) = (tmp_path / "cache").rglob("index.json")
    index.write_bytes(content)
    assert np.array_equal(ImageCache(paths, tmp_path / "cache").images[0], load_image(paths[0]))


def test_the_same_pictures_at_other_sizes_share_one_cache(paths, tmp_path):
    cache = ImageCache(paths, tmp_path / "cache")
    for size in ((128, 128), (64, 48), IMAGE_SIZE):
        images = cache.images_of(size)
        assert images.shape == (6, *size, 3)
        assert np.array_equal(images[0], load_image(paths[0], size))
        assert not images[2].any()
    assert ImageCache(paths, tmp_path / "cache").folder == cache.folder
    assert (cache.folder / "images-128x128.npy").exists()
