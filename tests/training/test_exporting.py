"""Saving a trained model as small files."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from conftest import RED, save_picture

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import BUNDLED_MODEL, ModelInfo, load_classifier, save_checkpoint
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.models.settings import ExportSettings
from gender_recognizer.training.exporting import run


@pytest.fixture
def checkpoint(tmp_path):
    """Return the checkpoint of a run that has measured something."""
    torch.manual_seed(0)
    path = tmp_path / "run" / "checkpoints" / "model_state-epoch-00-val_acc-0.5000.ckpt"
    path.parent.mkdir(parents=True)
    network = {"name": "smallcnn", "stem_width": 24, "widths": [24]}
    save_checkpoint(
        GenderClassifier(["female", "male"], network), ModelInfo(("female", "male"), training_data="x"), path
    )
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({"val/acc": 0.5}))
    return path


def test_three_files_say_the_same_and_label_alike(tmp_path, checkpoint, capsys):
    pictures = [save_picture(tmp_path / "pictures" / f"{index}.png", RED, index) for index in range(3)]
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    settings = ExportSettings(
        tmp_path / "a (1)", "latest", "mine", calibration_data=pictures[0].parent, outputs=tmp_path
    )
    assert run(settings) == 0
    files = [tmp_path / "a (1)" / name for name in ("mine.ckpt", "mine.onnx", "mine-int8.onnx")]
    assert sorted(settings.output_dir.iterdir()) == sorted(files)
    assert "mine.ckpt, mine.onnx, mine-int8.onnx" in capsys.readouterr().out
    predictors = [load_predictor(file) for file in files]
    assert {predictor.info.training_data for predictor in predictors} == {"x"}
    assert [predictor.info.metrics for predictor in predictors] == [{"val/acc": 0.5}] * 3
    image = torch.randint(0, 256, (4, 100, 80, 3), dtype=torch.uint8).numpy()
    expected, *others = (predictor.predict(image).probabilities for predictor in predictors)
    assert all(abs(other - expected).max() < 0.05 for other in others)


def test_half_stores_the_weights_of_the_onnx_file_as_16_bit_floats(tmp_path, checkpoint):
    assert run(ExportSettings(tmp_path / "kept", str(checkpoint), half=True)) == 0
    stored = {tensor.data_type for tensor in onnx.load(tmp_path / "kept" / "model.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in stored
    assert load_predictor(tmp_path / "kept" / "model.onnx").info.training_data == "x"


def test_a_checkpoint_outside_a_run_keeps_its_own_metrics(tmp_path, checkpoint, monkeypatch):
    classifier, info = load_classifier(checkpoint)
    save_checkpoint(classifier, info, tmp_path / "alone.ckpt")
    (tmp_path.parent / "metrics.json").write_text(json.dumps({"val/acc": 1.0}))  # that of something else
    monkeypatch.setattr("gender_recognizer.training.exporting.export_onnx", lambda *_: None)  # the slow part
    monkeypatch.chdir(tmp_path)
    assert run(ExportSettings(Path("kept"), "alone.ckpt", training_data="pictures of mine")) == 0
    kept = load_classifier(tmp_path / "kept" / "model.ckpt")[1]
    assert (kept.metrics, kept.training_data) == ({}, "pictures of mine")


def test_mistakes_are_named_before_anything_is_written(tmp_path, checkpoint):
    for name in ("", "..", "a/b", "a\\b"):
        with pytest.raises(ValueError, match="expected the name of a file without ending"):
            ExportSettings(tmp_path / "kept", name=name)
    (tmp_path / "empty").mkdir()
    for settings, message in (
        (
            ExportSettings(tmp_path / "kept", str(BUNDLED_MODEL)),
            "expected a .ckpt file: an .onnx file is already exported",
        ),
        (ExportSettings(tmp_path / "kept", "no.ckpt"), "does not exist"),
        (ExportSettings(tmp_path / "kept", outputs=tmp_path / "empty"), "no training run"),
        (
            ExportSettings(tmp_path / "kept", str(checkpoint), calibration_data=tmp_path / "empty"),
            "calibration_data '.*empty' holds no readable picture",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            run(settings)
    assert not (tmp_path / "kept").exists()
