"""Small pictures made on the spot, and one small training run that many tests look at."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from filelock import FileLock
from lightning import Callback
from matplotlib.figure import Figure
from PIL import Image

from gender_recognizer.cli import main, read_settings
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.models.predictor import Prediction

torch.set_num_threads(1)
# For the commands that tests start:
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of them would compile torch anew, for seconds

# A shell that runs the tests in the background has it ignored, and so would they and the commands that they start:
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def heed_interrupts():
    """Undo what a command that was stopped leaves behind where tests run it in this process: it ignores Ctrl-C."""
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)


PROJECT = Path(__file__).resolve().parents[1]
RED, BLUE = (200, 40, 40), (40, 40, 200)


def save_picture(path, colour, seed, size=(60, 70)):
    """Save a noisy picture of one colour; `size` is (width, height)."""
    noise = np.random.default_rng(seed).normal(0, 25, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def make_colour_data(root, count=40, wrong=4):
    """Make `count` red pictures in female/ and blue ones in male/, the first `wrong` of each in the other's folder."""
    for index in range(count):
        female, male = ("male", "female") if index < wrong else ("female", "male")
        save_picture(root / female / f"red_{index:03}.png", RED, index)
        save_picture(root / male / f"blue_{index:03}.png", BLUE, 1000 + index)
    return root


def train_settings(*overrides, shrink=True):
    """Return the settings that `scripts/train.py` would get, those of a small run unless told otherwise."""
    return read_settings("train", [*(SMALL_RUN if shrink else []), *overrides])


SMALL_RUN = [
    "model.widths=[8,8]",
    "model.stem_width=8",
    "model.find_face=false",  # colours are no faces
    "data.augmentation.reframe=0",
    "data.batch_size=16",
    "trainer.accelerator=cpu",
]
"""Overrides that make a run of `scripts/train.py` small."""


class Redness:
    """A predictor that needs no training: the redder, the more female."""

    info = ModelInfo(("female", "male"))

    def predict(self, images):
        assert images.dtype == np.uint8
        female = images[..., 0].mean(axis=(1, 2)) / 255
        probabilities = np.stack([female, 1 - female], axis=1).astype(np.float32)
        return Prediction(probabilities, np.zeros((len(images), 4), np.float32), np.ones(len(images), np.float32))


def run(*arguments, cwd=PROJECT, timeout=120, **variables):
    """Run Python with these arguments."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class Done(NamedTuple):
    """What a command that was run in this process has left: its exit code and all that it printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(capsys):
    """Return a function that runs a command in this process, many times faster than in one of its own."""

    def run_command(name, *arguments):
        handlers, level = logging.root.handlers[:], logging.root.level
        capsys.readouterr()
        try:
            code = main(name, [str(argument) for argument in arguments])
        except SystemExit as exit_:  # of a sweep in which a run failed
            code = exit_.code
        finally:
            logging.root.handlers[:] = handlers  # Hydra sets its own
            logging.root.setLevel(level)
        return Done(code, *capsys.readouterr())

    return run_command


def process(*arguments, **options):
    """Run `scripts/process.py`."""
    return run(PROJECT / "scripts/process.py", *arguments, **options)


def start(*arguments, **options):
    """Start `scripts/process.py`."""
    command = [sys.executable, PROJECT / "scripts/process.py", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def is_running(pid):
    """Return whether a process is there and not just waiting for its parent to notice its end (Linux)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for_records(path, count, running):
    """Wait until a log has so many records; says whether the run was still going."""
    while running.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") > count:
            return True
        time.sleep(0.005)
    return False


def read_records(path):
    """Return the records of a `process_results.jsonl`, after its head."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory, worker_id):
    """Return a folder that all processes of a test run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def colour_data(shared_folder):
    with FileLock(shared_folder / "colour.lock"):
        root = shared_folder / "colour"
        return root if root.is_dir() else make_colour_data(root)


@pytest.fixture
def light_training(monkeypatch):
    """Leave out of training what takes most of its time and other tests look at: the export and the figures."""
    monkeypatch.setattr("gender_recognizer.training.run.export", lambda *_: None)
    monkeypatch.setattr("gender_recognizer.training.trainer.TensorBoardPictures", Callback)
    monkeypatch.setattr("gender_recognizer.training.run.class_balance_figure", lambda _: Figure())


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def colour_runs(shared_folder, colour_data, cache_dir):
    """Return run folders trained on red = female, blue = male, by the order of the classes; look, do not touch."""
    runs = {}
    for classes in (("female", "male"), ("male", "female")):
        runs[classes] = shared_folder / "-".join(classes)
        with FileLock(f"{runs[classes]}.lock"):
            if not runs[classes].is_dir():
                train_on_colours(runs[classes], colour_data, cache_dir, classes)
    return runs


def train_on_colours(run_dir, colour_data, cache_dir, classes):
    from gender_recognizer.training.run import train

    settings = train_settings(
        f"+run_dir={run_dir}",
        f"data.root={colour_data}",
        f"data.cache_dir={cache_dir}",
        f"data.classes=[{','.join(classes)}]",
        f"data.test_root={make_colour_data(run_dir / 'unseen', count=13, wrong=3)}",
        "data.split_fractions=[0.5,0.25,0.25]",
        "trainer.max_epochs=6",
        "classifier.lr=0.02",
    )
    train(settings)
