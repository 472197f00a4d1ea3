"""The end of a training: the table, the advice, the next commands."""

import io
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import PROJECT, train_settings
from rich.console import Console

from gender_recognizer.arguments import read_arguments
from gender_recognizer.cli import settings_class
from gender_recognizer.models.comparing import share_interval
from gender_recognizer.training.next_commands import command_line, without_options
from gender_recognizer.training.verdict import Comparison, advice, compare_with_bundled, next_commands, result_table

TARGETS = np.array([0, 1] * 20)


def found(own_wrong, bundled_wrong, targets=TARGETS):
    """Return a comparison in which the models are wrong on the first pictures, and on the last."""
    own, bundled = targets.copy(), targets.copy()
    own[:own_wrong] = 1 - own[:own_wrong]
    bundled[len(targets) - bundled_wrong :] = 1 - bundled[len(targets) - bundled_wrong :]
    return Comparison("test", ["female", "male"], targets, own, bundled)


RANDOM, TRAINED = train_settings(), train_settings("init_from=bundled")


@pytest.mark.parametrize(
    ("comparison", "settings", "pictures", "says", "names_the_start"),
    [
        (found(1, 12), RANDOM, 400, "Use this model, it is better", True),
        (found(1, 12), TRAINED, 400, "Use this model, it is better", False),
        (found(12, 1), RANDOM, 400, "Use the bundled model, it is better", True),
        (found(12, 1), RANDOM, 10_000, "Use the bundled model, it is better", False),
        (found(12, 1), TRAINED, 400, "Use the bundled model, it is better", False),
        (found(3, 2), RANDOM, 400, "40 pictures do not show which model is better", True),
        (found(3, 2), TRAINED, 400, "Starting from trained weights has gained nothing", False),
        (found(0, 0), TRAINED, 400, "40 pictures do not show which", False),
        (found(3, 2)._replace(bundled=None), RANDOM, 400, "The bundled model has other classes", False),
    ],
)
def test_advice_follows_from_the_comparison(comparison, settings, pictures, says, names_the_start):
    text = advice(comparison, settings, pictures)
    assert says in text
    assert ("init_from=bundled" in text) == names_the_start


def show(table):
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return console.file.getvalue()


def test_the_table_fits_80_columns_and_a_class_without_pictures_has_a_dash():
    text = show(result_table(found(4, 0, np.zeros(20, int))))
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:4]]
        for line in text.splitlines()
        if "│" in line
    }
    assert rows["accuracy"] == ["80.0 % (58.4 to 91.9)", "100.0 % (83.9 to 100.0)"]  # Wilson's intervals
    assert rows["balanced accuracy"] == ["80.0 %", "100.0 %"]
    assert rows["male"] == ["-", "-"]
    assert "…" not in text


def test_class_names_are_shown_as_they_are():
    text = show(result_table(found(1, 1)._replace(classes=["[red]f[/red]", "m"], bundled=None)))
    assert "[red]f[/red]" in text
    assert "bundled" not in text


def test_an_interval_is_honest_about_few_pictures():
    low, high = share_interval(10, 10)
    assert (low, high) == (pytest.approx(0.722, abs=1e-3), pytest.approx(1.0))


def test_class_order_does_not_matter_to_the_comparison(colour_runs):
    labels = []
    for classes, run_dir in colour_runs.items():
        (checkpoint,) = (run_dir / "checkpoints").glob("model_state-*")
        images = np.stack([np.full((100, 80, 3), colour, np.uint8) for colour in ((200, 40, 40), (40, 40, 200))])
        pictures = SimpleNamespace(images=images, rows=np.arange(2), targets=np.arange(2))
        part = type("Part", (), vars(pictures) | {"__len__": lambda self: 2})()
        empty = type("Part", (), {"__len__": lambda self: 0})()
        caches = {"validation": SimpleNamespace(images_of=lambda size, images=images: images)}
        data = SimpleNamespace(parts={"test": empty, "validation": part}, caches=caches, classes=list(classes))
        comparison = compare_with_bundled(checkpoint, data, "cpu")
        assert comparison.part == "validation"
        assert comparison.bundled is not None
        labels.append([[classes[index] for index in both] for both in (comparison.own, comparison.bundled)])
    assert labels[0] == labels[1]
    assert labels[0][0] == ["female", "male"]


def data_of(root, pictures=400, test_root=None):
    return SimpleNamespace(root=root, test_root=test_root, parts={"train": range(pictures)})


@pytest.mark.parametrize("comparison", [found(1, 12), found(12, 1), found(3, 2)._replace(bundled=None)])
@pytest.mark.parametrize("pictures", [400, 20_000])
def test_next_commands_are_understood_whatever_the_paths_hold(tmp_path, monkeypatch, comparison, pictures):
    monkeypatch.setattr(sys, "argv", [str(PROJECT / "scripts/train.py")])
    root = tmp_path / "my pictures (1), it's [here]"
    checkpoint = tmp_path / "out $1" / "run" / "checkpoints" / "best.ckpt"
    settings = train_settings()
    settings.typed = [f"data.root={root}", "seed=1", "classifier.lr=0.001", "model=smallcnn", "model.width=24"]
    lines = next_commands(comparison, settings, checkpoint, data_of(root, pictures))
    assert len(lines) == 3
    names = {"process": "label", "evaluate": "evaluate", "train": "train", "check_data": "check"}
    overrides = {}
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "python"
        assert Path(words[1]).is_file()
        name = names[Path(words[1]).stem]
        overrides[name] = words[2:]
        read_arguments(words[2:], settings_class(name), "input_dir" if name == "label" else None)
    assert f"input_dir={root}" in overrides["label"]
    model = f"model_path={checkpoint.with_name('model.onnx')}"
    assert (model in overrides["label"]) == (comparison.better != "bundled")
    assert model in overrides["evaluate"]
    if pictures == 400:
        assert overrides["train"] == ["init_from=bundled", f"data.root={root}", "seed=1"]
    else:
        assert overrides["check"] == [f"data.root={root}"]


def test_an_installed_command_names_itself(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/gender-recognizer", "train"])
    assert command_line("label", "input_dir=a b") == "gender-recognizer label 'input_dir=a b'"


def test_options_and_their_groups_are_left_out():
    typed = ["-m", "model=smallcnn", "+model.width=3", "modelling=1", "data.root=model=1", "~model.x", "seed=1"]
    assert without_options(typed, ("model", "seed")) == ["modelling=1", "data.root=model=1"]
