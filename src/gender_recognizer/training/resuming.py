"""Resume an earlier run: find its folder and checkpoint, and check what must not have changed.

Contract: nothing here writes, so that a mistake leaves the earlier run untouched.
"""

import csv
import logging
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.models.model_file import best_checkpoint, load_classifier, newest_run
from gender_recognizer.training.settings import TrainSettings

logger = logging.getLogger(__name__)

SPLIT_OPTIONS = "data.split, data.split_fractions, data.split_seed, data.test_root and data.exclude"


def choose_run_dir(settings: TrainSettings) -> Path:
    """Return the folder of a run: the one that is given, that of the checkpoint to resume from, or a new one.

    Raises:
        ValueError: there is no run to resume.
    """
    if settings.run_dir is not None:
        return settings.run_dir
    if settings.ckpt_path is None:
        return settings.outputs / time.strftime(f"%Y-%m-%d_%H-%M-%S_{os.getpid()}")
    if settings.ckpt_path == "last":
        return newest_run(settings.outputs)
    return Path(settings.ckpt_path).absolute().parents[1]


def find_checkpoint(settings: TrainSettings, run_dir: Path) -> Path | None:
    """Return the checkpoint to resume from, if any.

    Raises:
        ValueError: there is no such file, or it holds another network or other classes.
    """
    if settings.ckpt_path is None:
        return None
    path = run_dir / "checkpoints" / "last.ckpt" if settings.ckpt_path == "last" else Path(settings.ckpt_path)
    if not path.is_file():
        raise ValueError(f"ckpt_path '{path}' does not exist")
    made_for = load_classifier(path)[0].hparams
    if not same_network(made_for["network"], settings.model) or made_for["classes"] != settings.data.classes:
        raise ValueError(
            f"ckpt_path '{path}' is a {made_for['network']} for {made_for['classes']}; continue with the same options"
        )
    return path


def same_network(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two descriptions are of the same network; whether they ask for pretrained weights is ignored."""
    first, second = (
        {key: value for key, value in network.items() if value is not None and key != "pretrained"}
        for network in (one, other)
    )
    return first == second


def scheduled_steps(ckpt_path: Path) -> int:
    """Return the number of steps of the whole run that a checkpoint is part of.

    Raises:
        ValueError: the checkpoint is only for labelling and does not hold it.
    """
    checkpoint = torch.load(ckpt_path, map_location="cpu", weights_only=True)
    if not checkpoint.get("lr_schedulers"):
        raise ValueError(f"ckpt_path '{ckpt_path}' is a model without the state of its training; use init_from instead")
    return int(checkpoint["lr_schedulers"][0]["total_steps"])


class Split(NamedTuple):
    """The part of each picture according to a run's split.csv.

    Attributes:
        root: folder of the pictures.
        test_root: folder of the test pictures, where they have one of their own.
        places: part and label by folder (`root` or `test_root`) and name in it.
    """

    root: str
    test_root: str | None
    places: dict[tuple[str, str], tuple[str, str]]


def check_same_pictures(data: FaceDataModule, run_dir: Path) -> None:
    """Compare the pictures and their split with those in the split.csv of the run to resume, if it has one.

    A folder that is no longer there was moved, perhaps from another machine: then the names of its pictures are
    compared.

    Raises:
        ValueError: they differ.
    """
    if not (run_dir / "split.csv").is_file():
        return
    with TemporaryDirectory() as folder:
        data.save_split(Path(folder) / "split.csv")
        now = _read_split(Path(folder) / "split.csv")
    then = _read_split(run_dir / "split.csv")
    for option in ("root", "test_root"):
        _check_folder(option, getattr(then, option), getattr(now, option), run_dir)
    _check_places(then.places, now.places, run_dir)


def _read_split(path: Path) -> Split:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    root = next(row["root"] for row in rows if row["part"] == "train")
    others = [row["root"] for row in rows if row["root"] != root]
    options = {root: "root"} | dict.fromkeys(others, "test_root")
    places = {(options[row["root"]], row["file_name"]): (row["part"], row.get("label", "")) for row in rows}
    return Split(root, others[0] if others else None, places)


def _check_folder(option: str, then: str | None, now: str | None, run_dir: Path) -> None:
    """Refuse a folder other than the run's, unless that one no longer exists."""
    if then == now:
        return
    if then is None or now is None or Path(then).is_dir():
        then, now = then or "null", now or "null"
        raise ValueError(f"the run '{run_dir}' began with data.{option}={then}, not {now}; continue with that")
    logger.info("data.%s is %s now, and was %s when the run began", option, now, then)


def _check_places(
    then: dict[tuple[str, str], tuple[str, str]], now: dict[tuple[str, str], tuple[str, str]], run_dir: Path
) -> None:
    """Refuse if pictures were added or removed, or changed their part or label, since the run began."""
    new, gone = sorted(now.keys() - then.keys()), sorted(then.keys() - now.keys())
    if new or gone:
        raise ValueError(
            f"since the run '{run_dir}' began, {len(new)} pictures were added and {len(gone)} removed, the first "
            f"'{(new + gone)[0][1]}'; start a new run from its weights: init_from={_best(run_dir)}"
        )
    if changed := sorted(place for place in now if now[place] != then[place]):
        (_, name), was, is_now = changed[0], then[changed[0]], now[changed[0]]
        raise ValueError(
            f"'{name}' was in the {was[0]} part of the run '{run_dir}' and would be in the {is_now[0]} part; "
            f"continue with the same {SPLIT_OPTIONS}"
        )


def _best(run_dir: Path) -> Path:
    """Return the checkpoint that a new run would start from."""
    try:
        return best_checkpoint(run_dir)
    except ValueError:
        return run_dir / "checkpoints" / "last.ckpt"
