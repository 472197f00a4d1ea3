"""The commands, as a user types them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    BLUE,
    PROJECT,
    RED,
    SMALL_RUN,
    process,
    read_records,
    run,
    save_picture,
    train_settings,
)
from PIL import Image

from gender_recognizer.cli import read_settings
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.loading import load_image
from gender_recognizer.training.run import train as train_in_process

FAIRFACE = PROJECT.parent / "shared" / "faces" / "fairface"


def train(*arguments, **options):
    return run(PROJECT / "scripts/train.py", *SMALL_RUN, *arguments, **options)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for index in range(6):
        save_picture(folder / f"{index}_red.png", RED, 500 + index)
        save_picture(folder / "sub" / f"{index}_blue.png", BLUE, 600 + index)
    return folder


# Labelling


def test_bundled_model_labels_the_sample_as_its_folders_say(tmp_path):
    done = process("input_dir=data/sample", f"output_path={tmp_path}/out.json")
    assert done.returncode == 0, done.stderr
    labels = json.loads((tmp_path / "out.json").read_text())
    assert len(labels) == 200
    assert np.mean([file.split("/")[0] == label for file, label in labels.items()]) >= 0.95
    assert done.stderr.splitlines()[-1].endswith(f"0 failed: {tmp_path}/out.json")
    assert done.stdout == ""
    records = read_records(tmp_path / "out.jsonl")
    assert {record["file"]: record["label"] for record in records} == labels
    assert all(0.5 <= record["probability"] <= 1 for record in records)


def test_results_are_saved_beside_the_script_and_nothing_else_appears(tmp_path, pictures):
    shutil.copytree(
        PROJECT,
        tmp_path / "copy",
        ignore=shutil.ignore_patterns(".venv", ".git", "outputs", "data", "process_results*"),
    )
    before = set((tmp_path / "copy").rglob("*")) | set(pictures.rglob("*"))
    done = run(tmp_path / "copy/scripts/process.py", pictures, cwd=tmp_path / "copy", PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stderr
    new = (set((tmp_path / "copy").rglob("*")) | set(pictures.rglob("*"))) - before
    assert sorted(path.name for path in new) == ["process_results.json", "process_results.jsonl"]
    assert {path.parent.name for path in new} == {"scripts"}


def test_labelling_with_onnx_imports_neither_torch_nor_lightning():
    code = (
        "import runpy, sys; sys.argv = ['process.py', 'data/sample/female', 'output_path=/dev/null/x']\n"
        "try: runpy.run_path('scripts/process.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "from gender_recognizer.models.model_file import BUNDLED_MODEL\n"
        "from gender_recognizer.models.predictor import load_predictor\n"
        "load_predictor(BUNDLED_MODEL)\n"
        "print({'torch', 'lightning', 'torchvision'} & sys.modules.keys())"
    )
    assert run("-c", code).stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("classes", "model_path"),
    [(("female", "male"), "model.onnx"), (("male", "female"), "model.onnx"), (("male", "female"), "latest")],
)
def test_labels_are_not_reversed_in_either_order_of_the_classes(tmp_path, pictures, colour_runs, classes, model_path):
    run_dir = colour_runs[classes]
    if model_path == "latest":
        (model,) = (run_dir / "checkpoints").glob("model_state-*.ckpt")
        arguments = ["model_path=latest", f"outputs={run_dir.parent}"]
    else:
        model = run_dir / "checkpoints" / model_path
        arguments = [f"model_path={model}"]
    done = process(pictures, *arguments, f"output_path={tmp_path}/out.json")
    assert done.returncode == 0, done.stderr
    assert f"model {model.name}, classes {', '.join(classes)}, on cpu" in done.stderr
    labels = json.loads((tmp_path / "out.json").read_text())
    assert len(labels) == 12
    # A network that learned for seconds errs here and there; one with reversed labels would be right a few times in 12.
    assert np.mean([label == ("female" if "red" in file else "male") for file, label in labels.items()]) >= 0.75
    predictor = load_predictor(model)
    for record in read_records(tmp_path / "out.jsonl"):
        probability = predictor.predict(load_image(pictures / record["file"])[None]).probabilities.max()
        assert record["probability"] == pytest.approx(float(probability), abs=1e-5)


def test_accuracy_of_the_results_is_the_one_that_training_found(tmp_path, colour_runs):
    run_dir = colour_runs["female", "male"]
    model = run_dir / "checkpoints" / "model.onnx"
    done = process(run_dir / "unseen", f"model_path={model}", f"output_path={tmp_path}/out.json")
    assert done.returncode == 0, done.stderr
    labels = json.loads((tmp_path / "out.json").read_text())
    right = [file.split("/")[0] == label for file, label in labels.items()]
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert np.mean(right) == pytest.approx(metrics["test/acc"], abs=1e-7)  # a float32


def test_export_makes_two_small_files_that_label_alike(tmp_path, pictures, colour_runs, command, monkeypatch):
    (checkpoint,) = (colour_runs["female", "male"] / "checkpoints").glob("model_state-*.ckpt")
    options = [f"model_path={checkpoint}", f"output_dir={tmp_path}/kept", "training_data=red and blue"]
    monkeypatch.chdir(tmp_path)
    done = command("export", *options)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "pictures"]
    predictors = [load_predictor(tmp_path / "kept" / name) for name in ("model.ckpt", "model.onnx")]
    assert predictors[0].info == predictors[1].info
    assert predictors[0].info.training_data == "red and blue"
    metrics = json.loads((checkpoint.parents[1] / "metrics.json").read_text())
    assert predictors[0].info.metrics == pytest.approx(metrics)
    image = load_image(pictures / "0_red.png")[None]
    assert np.allclose(*(predictor.predict(image).probabilities for predictor in predictors), atol=1e-4)
    assert (tmp_path / "kept/model.ckpt").stat().st_size < checkpoint.stat().st_size


NAMES = [
    "two words",
    "a=b",
    "[x]",
    "{y}",
    "quote'\"",
    "a,b",
    "~tilde",
    "日本 é",
    "null",
    "1.5",
    "${x}",
    "back\\slash",
    "#",
]


def test_every_name_of_a_folder_works(tmp_path, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        (tmp_path / name).mkdir()
        for arguments in ([name], [f"input_dir={name}"], [f"input_dir={name}", "batch_size=3"]):
            assert read_settings("label", arguments).input_dir == [name]
    folder = pictures.rename(tmp_path / "a=b [x] 'é' ${y},~")
    for argument in (folder.name, f"input_dir={folder.name}"):
        done = process(argument, f"output_path={tmp_path}/out.json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_unreadable_files_are_listed_and_give_exit_code_3(tmp_path, pictures):
    (pictures / "broken.jpg").write_bytes(b"")
    done = process(pictures, f"output_path={tmp_path}/out.json", "faces=none")
    assert done.returncode == 3
    assert "failed: 'broken.jpg': empty file" in done.stderr
    assert "12 labelled" in done.stderr.splitlines()[-1]
    assert "1 failed" in done.stderr.splitlines()[-1]
    assert len(json.loads((tmp_path / "out.json").read_text())) == 12


# Training


@pytest.mark.parametrize("encoding", ["cp932"])
def test_without_own_pictures_the_sample_is_used_and_said(tmp_path, encoding):
    """Also where the output cannot show every character."""
    if any((PROJECT / "data" / name).is_dir() for name in ("female", "male")):
        pytest.skip("data/female or data/male has pictures")
    done = train("trainer.max_epochs=1", f"outputs={tmp_path}", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum("using the sample in data/sample" in line for line in done.stdout.splitlines()) == 1
    (run_dir,) = (path for path in tmp_path.iterdir() if path.name != "cache")
    files = {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file()}
    assert {"split.csv", "class_balance.png", "metrics.json", "train.log", ".hydra/config.yaml"} <= files
    assert {"checkpoints/last.ckpt", "checkpoints/model.onnx"} <= files
    names = "\n".join(sorted(files))
    assert re.search(r"^checkpoints/model_state-epoch-00-val_acc-[01]\.\d{4}\.ckpt$", names, re.MULTILINE)
    assert "balanced accuracy" in done.stdout
    assert "images/s" in done.stdout
    assert "\\u" not in done.stdout


def start_training(folder, *arguments):
    command = [sys.executable, PROJECT / "scripts/train.py", *SMALL_RUN, f"outputs={folder}", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_last_checkpoint(training, folder):
    while not list(folder.rglob("last.ckpt")):
        time.sleep(0.02)
        assert training.poll() is None


def only_run(folder):
    (run_dir,) = (path for path in folder.iterdir() if path.name != "cache")
    return run_dir


@pytest.mark.usefixtures("light_training")
def test_killed_and_resumed_gives_the_metrics_of_an_undisturbed_run(tmp_path, colour_data, cache_dir, command):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "ema_decay=0.9", "model.dropout=0.5"]
    options.append("trainer.max_epochs=8")
    killed = start_training(tmp_path / "killed", *options)
    train_in_process(train_settings(*options, f"+run_dir={tmp_path}/whole/run"))
    wait_for_last_checkpoint(killed, tmp_path / "killed")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (only_run(tmp_path / "killed") / "metrics.json").exists()
    resumed = command("train", *SMALL_RUN, *options, f"outputs={tmp_path / 'killed'}", "ckpt_path=last")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    metrics = [json.loads((only_run(tmp_path / name) / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-6)
    names = [sorted(p.name for p in only_run(tmp_path / name).rglob("*.ckpt")) for name in ("whole", "killed")]
    assert names[0] == names[1]


def test_ctrl_c_leaves_a_model_that_labels(tmp_path, colour_data, cache_dir):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=500"]
    training = start_training(tmp_path / "out", *options, "early_stopping_patience=500")
    wait_for_last_checkpoint(training, tmp_path / "out")
    os.killpg(training.pid, signal.SIGINT)
    errors = training.communicate(timeout=100)[1]
    assert training.returncode == 130, errors
    assert "Traceback" not in errors
    model = only_run(tmp_path / "out") / "checkpoints" / "model.onnx"
    images = np.stack([load_image(path) for path in sorted((colour_data / "female").iterdir())[:3]])
    assert load_predictor(model).predict(images).probabilities.shape == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.root={missing}"], "no folder '{missing}/female'"),
        (["ckpt_path=last"], "no training run with a checkpoint"),
        (["data.root={colour}", "ckpt_path={run}/checkpoints/last.ckpt", "model.widths=[4]"], "continue with the same"),
        (["data.root={colour}", "+trainer.speed=1"], "unknown option 'trainer.speed'; did you mean trainer."),
        (["data.root={colour}", "+model.eyes=2"], "unexpected keyword argument 'eyes'"),
        (["seed=-1"], "seed is -1; expected a whole number, 0 or more"),
        (["classifier.lr=0"], "classifier.lr is 0.0; expected a number above 0"),
        (["classifier.label_smoothing=2"], "classifier.label_smoothing is 2.0; expected a share from 0 to 1"),
        (["classifier.weight_decay=-1"], "classifier.weight_decay is -1.0; expected a number, 0 or more"),
        (["early_stopping_patience=0"], "early_stopping_patience is 0; expected 1 epoch or more"),
        (["ema_decay=1"], "ema_decay is 1.0; expected a number between 0 and 1"),
    ],
)
def test_training_mistakes_end_in_one_line(tmp_path, colour_data, colour_runs, command, arguments, message):
    run_dir = colour_runs["female", "male"]
    names = {"missing": tmp_path / "missing", "colour": colour_data, "run": run_dir}
    arguments = [argument.format(**names) for argument in arguments]
    done = command("train", *SMALL_RUN, f"outputs={tmp_path}/out", *arguments)
    assert done.returncode == 2
    assert message.format(**names) in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_benchmark_mistakes_end_in_one_line(tmp_path, monkeypatch, capsys):
    import benchmark

    missing = tmp_path / "missing"
    for arguments, message in (
        (["training", f"data.root={missing}", f"outputs={tmp_path}"], f"no folder '{missing}/female'"),
        (["labelling", f"crops={missing}"], f"crops '{missing}' is not a folder"),
        (["labelling", "rounds=0"], "rounds is '0'; expected a whole number, 1 or more"),
        (["labelling", "fast=true"], "unknown option 'fast'"),
        (["versions", f"scenes={tmp_path}"], "other= is missing; expected other=folder"),
        (["versions", f"other={tmp_path}", f"scenes={tmp_path}"], f"scenes '{tmp_path}' has no pictures"),
    ):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments])
        assert benchmark.main() == 2
        assert capsys.readouterr().err.startswith(f"error: {message}")


def test_benchmark_of_labelling_measures_every_part(tmp_path, monkeypatch):
    import benchmark

    monkeypatch.setattr(benchmark, "PLAIN", 5)
    crops = benchmark.fill(tmp_path / "crops", sorted((PROJECT / "data/sample").glob("*/*.jpg")), 70)
    results = benchmark.benchmark_folder(crops, rounds=2)
    assert results["pictures"] == 70
    assert results["speeds"].keys() == {"decoding", "network", "labelling", "plain", "ceiling"}
    assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in results["speeds"].values())


def test_benchmark_of_versions_runs_both(tmp_path):
    from benchmark_versions import compare_versions, make_far, make_portraits

    crops = sorted((PROJECT / "data/sample").glob("*/*.jpg"))[::40]
    for name in ("portraits", "far"):
        (tmp_path / name).mkdir()
    make_portraits(crops[:2], tmp_path / "portraits")
    make_far(crops, crops[:2], tmp_path / "far")
    sizes = {name: {Image.open(path).size for path in (tmp_path / name).iterdir()} for name in ("portraits", "far")}
    assert sizes == {"portraits": {(1000, 1000)}, "far": {(1155, 866)}}
    times = compare_versions(PROJECT, {"far": tmp_path / "far"}, 1, ["faces=none"])
    assert [len(values) for values in times["far"].values()] == [1, 1]
    with pytest.raises(ValueError, match=r"labelled nothing: error: faces is odd; expected auto"):
        compare_versions(PROJECT, {"far": tmp_path / "far"}, 1, ["faces=odd"])


@pytest.mark.skipif(not FAIRFACE.is_dir(), reason="../shared/faces/fairface is not there")
def test_real_faces_are_labelled_well(tmp_path):
    folder = tmp_path / "faces"
    for label in ("female", "male"):
        (folder / label).mkdir(parents=True)
        for path in sorted((FAIRFACE / "val" / label).glob("*.jpg"))[:200]:
            shutil.copy(path, folder / label)
    done = process(folder, f"output_path={tmp_path}/out.json")
    assert done.returncode == 0, done.stderr
    labels = json.loads((tmp_path / "out.json").read_text())
    assert np.mean([Path(file).parent.name == label for file, label in labels.items()]) > 0.8
