"""What every run of training keeps to."""

import re

import pytest
import torch
from conftest import SMALL_RUN, make_colour_data, train_settings
from lightning import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.training.fine_tuning import resolve_start
from gender_recognizer.training.run import (
    best_accuracy,
    build_classifier,
    build_data,
    run,
    train,
)
from gender_recognizer.training.settings import TrainSettings


@pytest.mark.usefixtures("light_training")
def test_same_seed_same_run_and_another_seed_same_split(tmp_path, colour_data, cache_dir):
    results = []
    for number, seed in enumerate((3, 3, 4)):
        options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=1", f"seed={seed}"]
        run_dir = train(train_settings(*options, f"+run_dir={tmp_path}/{number}")).run_dir
        results.append([(run_dir / name).read_text() for name in ("metrics.json", "split.csv")])
    assert results[0] == results[1]
    assert results[0][0] != results[2][0]
    assert results[0][1] == results[2][1]


def test_last_checkpoint_is_that_of_the_last_epoch_also_when_it_is_not_the_best(colour_runs):
    for run_dir in colour_runs.values():
        last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["epoch"] == 5
        assert len(list((run_dir / "checkpoints").glob("*.ckpt"))) == 2


def test_the_library_trains_the_network_of_the_command(tmp_path):
    """The notebook gives a few settings and no configuration file."""
    make_colour_data(tmp_path / "data", count=3, wrong=0)
    networks = []
    for settings in (TrainSettings(), train_settings(shrink=False)):
        settings.data.root, settings.data.cache_dir = tmp_path / "data", tmp_path / "cache"
        settings = resolve_start(settings)
        networks.append((build_classifier(settings, build_data(settings)), settings))
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network, _ in networks]
    assert shapes[0] == shapes[1]
    plain = [dict(network.hparams) | {"network": None} for network, _ in networks]
    assert plain[0] == plain[1]
    assert networks[0][1].trainer == networks[1][1].trainer


@pytest.mark.usefixtures("light_training")
def test_a_run_of_its_own_folder_says_how_to_go_on_and_a_trial_does_not(tmp_path, colour_data, cache_dir, caplog):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"outputs={tmp_path}/out"]
    options += ["trainer.max_epochs=1", "+trainer.limit_train_batches=1"]
    for run_dir, said in ((f"{tmp_path}/out/run", True), (f"{tmp_path}/out/sweep/0", False)):
        caplog.clear()
        with caplog.at_level("INFO"):
            value = best_accuracy(train_settings(*options, f"+run_dir={run_dir}"))
        assert 0 <= value <= 1
        assert f"run folder: {run_dir}" in caplog.text
        assert ("ckpt_path=last continues it" in caplog.text) == said


@pytest.mark.usefixtures("light_training")
@pytest.mark.parametrize("test_share", [0.1, 0.0])
def test_the_result_stands_beside_that_of_the_bundled_model(tmp_path, colour_data, cache_dir, capsys, test_share):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=1"]
    options += [f"data.split_fractions=[{0.9 - test_share:.1f},0.1,{test_share}]", f"+run_dir={tmp_path}/run"]
    assert run(train_settings(*options, "trainer.limit_train_batches=1")) == 0
    out = capsys.readouterr().out
    part = "test" if test_share else "validation"
    assert f"8 {part} pictures" in out
    rows = {line.split("│")[1].strip(): line.split("│")[2:4] for line in out.splitlines() if line.startswith("│")}
    assert {"accuracy", "balanced accuracy", "female", "male"} == set(rows)
    for cell in rows["accuracy"]:
        assert re.fullmatch(r" *\d+\.\d % \(\d+\.\d to \d+\.\d\) *", cell)
    assert f"best checkpoint: {tmp_path}/run/checkpoints/model_state-" in out
    assert out.rstrip().splitlines()[-4] == "Next:"


@pytest.mark.usefixtures("light_training")
def test_without_any_validation_there_is_no_best_model_and_that_is_said(tmp_path, colour_data, cache_dir):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "trainer.max_epochs=1"]
    options += ["trainer.check_val_every_n_epoch=5", f"+run_dir={tmp_path}/run"]
    with pytest.raises(ValueError, match="training ended before its first validation"):
        train(train_settings(*options))


@pytest.mark.parametrize("option", ["trainer.fast_dev_run=true", "+trainer.fast_dev_run=2"])
def test_a_trial_of_everything_keeps_no_model(tmp_path, colour_data, cache_dir, command, option):
    options = [*SMALL_RUN, f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"outputs={tmp_path}/out"]
    done = command("train", *options, option)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fast_dev_run: training, validation and test work; no model was kept" in done.stdout
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("results.csv"))


def test_what_lightning_refuses_while_it_trains_is_a_mistake_of_the_user(tmp_path, colour_data, cache_dir):
    class Refusal(Callback):
        def on_fit_start(self, trainer, module):
            raise MisconfigurationException("no\nsuch thing")

    settings = train_settings(f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"+run_dir={tmp_path}/run")
    with pytest.raises(ValueError, match=r"^trainer: no such thing$"):
        train(settings, [Refusal()])


def test_nothing_of_the_settings_is_left_out(tmp_path, colour_data, cache_dir):
    settings = train_settings(f"data.root={colour_data}", f"data.cache_dir={cache_dir}", "classifier.teacher_share=0.5")
    settings = resolve_start(settings)
    classifier = build_classifier(settings, build_data(settings))
    assert isinstance(classifier, GenderClassifier)
    assert {name: classifier.hparams[name] for name in vars(settings.classifier)} == vars(settings.classifier)


def test_a_network_for_pictures_of_another_size_is_trained_measured_and_compared(
    tmp_path, colour_data, cache_dir, capsys
):
    model = ["model=faceres", "model.pretrained=false", "model.image_size=[64,64]", "model.find_face=false"]
    small = ["data.batch_size=16", "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    folders = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"+run_dir={tmp_path}/run"]
    assert run(train_settings(*model, *small, *folders, shrink=False)) == 0
    (file,) = (tmp_path / "run" / "checkpoints").glob("model.onnx")
    assert load_predictor(file).info.image_size == (64, 64)
    assert "bundled" in capsys.readouterr().out
