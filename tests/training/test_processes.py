"""Training in two processes, as a user starts them."""

import json

import pytest
import torch
from conftest import PROJECT, SMALL_RUN, make_colour_data, run

from gender_recognizer.data.cache import open_pictures
from gender_recognizer.models.model_file import load_classifier


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with data/, two/ (the run's outputs) and the records of both processes."""
    folder = tmp_path_factory.mktemp("processes")
    make_colour_data(folder / "data", count=25, wrong=2)
    min((folder / "data/female").iterdir()).unlink()  # so that two processes cannot share the validation part evenly
    done = run(
        PROJECT / "tests/training/record_processes.py", *SMALL_RUN, f"data.root={folder}/data", "trainer.max_epochs=2",
        f"outputs={folder}/two", "trainer=ddp", "trainer.devices=2", "data.split=random", "data.augmentation=null",
        "data.split_fractions=[0.82,0.14,0.04]", "data.batch_size=8", cwd=folder, RECORDS=str(folder),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def records(folder):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def pictures_of(folder, part):
    """Return images and targets of a part of the run's split."""
    cache, paths, targets = open_pictures(folder / "data", ["female", "male"], folder / "two/cache")
    (split,) = (folder / "two").glob("*/split.csv")
    names = {line.split(",")[1] for line in split.read_text().splitlines() if line.startswith(part)}
    rows = [row for row, path in enumerate(paths) if path.relative_to(folder / "data").as_posix() in names]
    return torch.from_numpy(cache.images[rows]).permute(0, 3, 1, 2), torch.from_numpy(targets[rows])


def test_each_picture_is_seen_once_an_epoch_by_one_of_the_processes(folder, records):
    counts = {"train": len(pictures_of(folder, "train")[0]), "val": len(pictures_of(folder, "validation")[0])}
    assert counts == {"train": 40, "val": 7}
    for epoch in (0, 1):
        for stage, count in counts.items():
            seen = [set(record["seen"][f"{stage} {epoch}"]) for record in records]
            assert sum(len(record["seen"][f"{stage} {epoch}"]) for record in records) == count
            assert len(seen[0] | seen[1]) == count


def test_both_processes_take_the_same_steps_to_the_same_weights(records):
    assert records[0]["steps"] == records[1]["steps"] == 2 * 3  # 20 pictures each, in batches of 8
    assert records[0]["weights"] == records[1]["weights"]


def test_metrics_are_those_of_all_pictures_in_one_process(folder):
    (run_dir,) = (path for path in (folder / "two").iterdir() if path.name != "cache")
    (best,) = (run_dir / "checkpoints").glob("model_state-*.ckpt")
    classifier, info = load_classifier(best)
    images, targets = pictures_of(folder, "validation")
    with torch.no_grad():
        logits = info.scaling(classifier(images))
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["val/acc"] == pytest.approx((logits.argmax(dim=1) == targets).double().mean().item(), abs=1e-6)
    loss = torch.nn.functional.cross_entropy(logits, targets).item()
    assert metrics["val/loss"] == pytest.approx(loss, abs=1e-3)


def test_one_process_writes(folder):
    assert {path.name for path in folder.iterdir()} == {"data", "two", "0.json", "1.json"}
    assert len(list((folder / "two").rglob("events.out.tfevents.*"))) >= 1
    assert len({path.name.split(".")[-2] for path in (folder / "two").rglob("events.out.tfevents.*")}) == 1
