import csv
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import BLUE, RED, make_colour_data, save_picture

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.data.datamodule import PARTS, FaceDataModule
from gender_recognizer.data.split import read_split


@pytest.fixture
def build(colour_data, cache_dir):
    def build(root=colour_data, **options):
        data = FaceDataModule(root, cache_dir, **options)
        data.prepare_data()
        data.setup()
        return data

    return build


def names(data):
    return {part: [path.as_posix() for path in data.files[part]] for part in PARTS}


def test_parts_are_disjoint_and_complete_in_the_wanted_shares(build):
    data = build(split_fractions=(0.5, 0.25, 0.25))
    assert [len(data.parts[part]) for part in PARTS] == [40, 20, 20]
    assert len({name for part in names(data).values() for name in part}) == 80


def test_split_is_the_same_for_another_call_and_another_seed_but_not_another_split_seed(build):
    data = build()
    first = names(data)
    data.setup()
    assert names(data) == first
    assert names(build(seed=5)) == first
    assert names(build(split_seed=5)) != first


def test_split_is_the_same_in_another_process(build, colour_data, cache_dir):
    code = (
        "import sys, pathlib; from gender_recognizer.data.datamodule import FaceDataModule as F;"
        "data = F(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])); data.setup();"
        "print(*data.files['validation'], sep='\\n')"
    )
    command = [sys.executable, "-c", code, str(colour_data), str(cache_dir)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == names(build())["validation"]


def test_copies_stay_in_one_part(tmp_path, build):
    root = make_colour_data(tmp_path / "data", count=20, wrong=0)
    for index in range(10):
        copy = root / "female" / f"copy_{index}.png"
        copy.write_bytes((root / "female" / f"red_{index:03}.png").read_bytes())
    part_of = {path.name: part for part, paths in build(root).files.items() for path in paths}
    assert all(part_of[f"copy_{index}.png"] == part_of[f"red_{index:03}.png"] for index in range(10))
    part_of = {path.name: part for part, paths in build(root, split="random").files.items() for path in paths}
    assert any(part_of[f"copy_{index}.png"] != part_of[f"red_{index:03}.png"] for index in range(10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "stratified"}, "data.split is 'stratified'"),
        ({"split_fractions": (0.8, 0.1, 0.2)}, "add up to 1"),
        ({"split_fractions": (0.9, 0.1)}, "three shares"),
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"num_workers": -1}, "data.num_workers is -1"),
        ({"classes": ["female"]}, "data.classes is .*; expected two or more"),
        ({"classes": ["female", "female"]}, "data.classes has 'female' twice"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        FaceDataModule(tmp_path, tmp_path, **options)


def test_unreadable_files_are_left_out_and_listed_with_the_metadata(tmp_path, build, caplog):
    root = make_colour_data(tmp_path / "data", count=10, wrong=0)
    (root / "male" / "broken.jpg").write_bytes(b"")
    (root / "metadata.csv").write_text("file_name,label,age\nfemale/red_000.png,female,20-29\n")
    data = build(root)
    assert "broken.jpg: empty file" in caplog.text
    data.save_split(tmp_path / "split.csv")
    with (tmp_path / "split.csv").open() as file:
        rows = {row["file_name"]: row for row in csv.DictReader(file)}
    assert len(rows) == 21
    assert rows["male/broken.jpg"]["part"] == "unreadable"
    assert rows["male/broken.jpg"]["reason"] == "empty file"
    assert rows["female/red_000.png"]["age"] == "20-29"
    assert rows["female/red_000.png"]["label"] == "female"


def test_class_without_a_readable_picture_is_an_error(tmp_path, build):
    save_picture(tmp_path / "data/female/a.png", RED, 0)
    (tmp_path / "data/male").mkdir()
    (tmp_path / "data/male/a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the pictures in '.*male' can be read"):
        build(tmp_path / "data")


def test_test_root_takes_the_place_of_the_test_part(tmp_path, build):
    other = make_colour_data(tmp_path / "other", count=3, wrong=0)
    data = build(test_root=other)
    assert [len(data.parts[part]) for part in PARTS] == [72, 8, 6]
    assert all(path.is_relative_to(other) for path in data.files["test"])


def test_batches_are_uint8_with_their_targets(build):
    data = build(batch_size=8)
    images, targets = next(iter(data.val_dataloader()))
    assert images.shape == (8, 3, 100, 80)
    assert images.dtype == torch.uint8
    assert targets.tolist() == data.parts["validation"].targets.tolist()[:8]


def test_only_training_batches_are_augmented(build):
    data = build(augmentation=Augmentation())
    batch = next(iter(data.train_dataloader()))
    data.trainer = SimpleNamespace(training=False, world_size=1, global_rank=0)
    assert data.on_after_batch_transfer(batch, 0)[0] is batch[0]
    data.trainer.training = True
    assert data.on_after_batch_transfer(batch, 0)[0].dtype == torch.float32


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_images_have_the_size_that_the_network_wants(tmp_path, augmentation):
    root = make_colour_data(tmp_path / "data", count=6, wrong=0)
    data = FaceDataModule(root, tmp_path / "cache", test_root=root, augmentation=augmentation, batch_size=4)
    data.image_size = (64, 48)
    data.prepare_data()
    data.setup()
    data.trainer = SimpleNamespace(training=True, world_size=1, global_rank=0)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch[0].shape == (4, 3, 64, 48)
    assert next(iter(data.val_dataloader()))[0].shape[1:] == (3, 64, 48)
    assert next(iter(data.test_dataloader()))[0].shape[1:] == (3, 64, 48)


def seen(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return torch.cat([images.flatten(1).sum(1) for images, _ in loader]).tolist()


def test_training_order_depends_on_seed_and_epoch_alone(build):
    first = seen(build(seed=1).train_dataloader(), epoch=3)
    assert seen(build(seed=1, num_workers=1).train_dataloader(), epoch=3) == first
    assert seen(build(seed=1).train_dataloader(), epoch=4) != first
    assert seen(build(seed=2).train_dataloader(), epoch=3) != first
    assert seen(build(shuffle=False).train_dataloader(), 0) == seen(build(shuffle=False).train_dataloader(), 1)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_two_processes_see_each_sample_once(build, part):
    data = build()
    parts = []
    for rank in range(2):
        data.trainer = SimpleNamespace(world_size=2, global_rank=rank)
        parts.append(seen(getattr(data, f"{part}_dataloader")()))
    data.trainer = None
    assert sorted(parts[0] + parts[1]) == sorted(seen(getattr(data, f"{part}_dataloader")()))
    assert abs(len(parts[0]) - len(parts[1])) <= 1


def test_unbalanced_training_part_is_warned_of(tmp_path, build, caplog):
    root = make_colour_data(tmp_path / "data", count=10, wrong=0)
    for index in range(15):
        save_picture(root / "male" / f"more_{index}.png", BLUE, 50 + index)
    build(root)
    assert "of the pictures are 'male'" in caplog.text


def make_parts(root, **counts):
    for seed, (part, count) in enumerate(counts.items()):
        for index in range(count):
            save_picture(root / part / "female" / f"{index}.png", RED, 100 * seed + index)
            save_picture(root / part / "Male" / f"{index}.png", BLUE, 1000 + 100 * seed + index)
    return root


def test_ready_parts_are_trained_with_as_they_are(tmp_path, build):
    data = build(make_parts(tmp_path / "data", Training=6, Validation=3, TEST=2))
    assert data.counts() == {
        "train": {"female": 6, "male": 6},
        "validation": {"female": 3, "male": 3},
        "test": {"female": 2, "male": 2},
    }
    assert {path.relative_to(tmp_path / "data").parts[0] for path in data.files["validation"]} == {"Validation"}
    data.save_split(tmp_path / "split.csv")
    split = read_split(tmp_path / "split.csv", tmp_path / "data")
    assert split.parts["Validation/Male/0.png"] == "validation"


def test_ready_parts_without_one_to_test_or_to_validate_on(tmp_path, build):
    data = build(make_parts(tmp_path / "two", train=6, val=3))
    assert [len(data.parts[part]) for part in PARTS] == [12, 6, 0]
    data = build(make_parts(tmp_path / "others", train=18, test=3))
    assert [len(data.parts[part]) for part in PARTS] == [32, 4, 6]
    assert not {*data.files["test"]} - {*(tmp_path / "others/test").rglob("*.png")}


def test_copies_across_ready_parts_are_warned_of(tmp_path, build, caplog):
    root = make_parts(tmp_path / "data", train=6, val=3)
    (root / "val/female/0.png").write_bytes((root / "train/female/1.png").read_bytes())
    build(root)
    assert "1 pictures to validate or test on are near copies of training pictures" in caplog.text


def test_ready_parts_that_cannot_be_used_are_refused(tmp_path, build):
    root = make_parts(tmp_path / "data", train=2, test=2)
    with pytest.raises(ValueError, match=r"has a test part of its own; leave data.test_root out"):
        build(root, test_root=make_parts(tmp_path / "other", a=2) / "a")
    for path in (root / "train/Male").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="the training part has no picture of class 'male'"):
        build(root, split_fractions=(1.0, 0.0, 0.0))


def test_a_class_that_a_part_lacks_is_warned_of(tmp_path, build, caplog):
    root = make_colour_data(tmp_path / "data", count=10, wrong=0)
    for path in sorted((root / "male").iterdir())[2:]:
        path.unlink()
    build(root)
    assert "test: no picture of male" in caplog.text


def test_another_programs_metadata_does_not_stop_a_training(tmp_path, build, caplog):
    root = make_colour_data(tmp_path / "data", count=10, wrong=0)
    (root / "metadata.csv").write_bytes("id;\u0433\u043e\u0440\u043e\u0434\r\n1;\u041c\r\n".encode("cp1251"))
    build(root).save_split(tmp_path / "split.csv")
    assert len(read_split(tmp_path / "split.csv", root).parts) == 20
    assert "the table is not used" in caplog.text


def test_exclude_from_windows_leaves_pictures_out(tmp_path, build):
    root = make_colour_data(tmp_path / "data", count=10, wrong=0)
    (tmp_path / "exclude.txt").write_bytes("female\\red_000.png\r\nmale\\blue_001.png\r\n".encode("utf-16"))
    data = build(root, exclude=tmp_path / "exclude.txt")
    assert [path.name for path in data.excluded] == ["red_000.png", "blue_001.png"]
    assert sum(map(len, data.parts.values())) == 18


@pytest.mark.parametrize("fault", ["tiny", "none"])
def test_without_shared_memory_batches_are_read_in_this_process(tmp_path, build, monkeypatch, caplog, fault):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    if fault == "none":
        monkeypatch.setattr("multiprocessing.Lock", refuse)
    else:
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**20))
    data = build(make_colour_data(tmp_path / "data", count=10, wrong=0), num_workers=2)
    assert len(next(iter(data.train_dataloader()))[1]) == 16
    assert data.train_dataloader().num_workers == 0
    assert "data.num_workers=2 needs shared memory" in caplog.text
    assert "reading in this process" in caplog.text


def test_many_unreadable_files_and_files_with_other_endings_are_told_in_a_few_lines(tmp_path, build, caplog):
    root = make_colour_data(tmp_path / "data", count=10, wrong=0)
    for number in range(30):
        (root / "male" / f"broken_{number}.jpg").write_bytes(b"")
        (root / "female" / f"{number}.psd2").write_bytes(b"x")
    data = build(root)
    assert caplog.text.count("left out, cannot be read") == 21
    assert "10 more, which split.csv lists" in caplog.text
    assert "ignored because their endings are not those of pictures" in caplog.text
    assert ".psd2" in caplog.text
    assert len(data.unreadable) == 30
