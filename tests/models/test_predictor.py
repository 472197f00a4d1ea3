import numpy as np
import pytest
import torch
from conftest import PROJECT

from gender_recognizer.models import predictor
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import BUNDLED_MODEL, load_classifier, save_checkpoint
from gender_recognizer.models.model_info import ModelInfo
from gender_recognizer.models.onnx_export import export_onnx, quantise_onnx
from gender_recognizer.models.predictor import choose_device, load_predictor
from gender_recognizer.pictures.listing import find_images
from gender_recognizer.pictures.loading import load_image

CHECKPOINT, WHOLE = (BUNDLED_MODEL.with_name(f"smallcnn.{ending}") for ending in ("ckpt", "onnx"))


@pytest.fixture(scope="module")
def faces():
    return np.stack([load_image(path) for path in find_images(PROJECT / "data/sample")])


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(predictor, "_is_installed", lambda package: False)


@pytest.fixture
def gpu(monkeypatch, no_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")


@pytest.mark.parametrize("path", [BUNDLED_MODEL, WHOLE, CHECKPOINT])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_probabilities_do_not_depend_on_the_neighbours(faces, path, batch_size):
    model = load_predictor(path)
    whole = model.predict(faces).probabilities
    assert whole.shape == (200, 2)
    assert whole.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-6)
    parts = [model.predict(faces[start : start + batch_size]).probabilities for start in range(0, 200, batch_size)]
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-5


def test_integers_label_like_floats(faces):
    integers, floats = (load_predictor(path).predict(faces).probabilities for path in (BUNDLED_MODEL, WHOLE))
    assert np.abs(integers - floats).mean() < 0.01
    assert (integers.argmax(1) == floats.argmax(1)).mean() >= 0.99


def test_quantising_again_keeps_what_the_file_says_and_its_labels(faces, tmp_path):
    quantise_onnx(WHOLE, faces[:60], tmp_path / "a.onnx", load_classifier(CHECKPOINT)[0].network.exact_parts())
    again = load_predictor(tmp_path / "a.onnx")
    assert again.info == load_predictor(WHOLE).info
    assert np.abs(again.predict(faces).probabilities - load_predictor(WHOLE).predict(faces).probabilities).mean() < 0.02
    assert (tmp_path / "a.onnx").stat().st_size < WHOLE.stat().st_size / 2


def test_without_a_gpu_everything_runs_on_the_cpu(no_gpu):
    assert choose_device(BUNDLED_MODEL)[:2] == (BUNDLED_MODEL, "cpu")
    assert choose_device(CHECKPOINT)[:2] == (CHECKPOINT, "cpu")
    assert "no usable GPU" in choose_device(CHECKPOINT).why
    for path in (BUNDLED_MODEL, CHECKPOINT):
        with pytest.raises(ValueError, match="device is 'cuda', but torch finds no usable GPU"):
            choose_device(path, "cuda")


def test_with_a_gpu_torch_takes_the_checkpoint_beside_an_onnx_file(gpu):
    assert choose_device(CHECKPOINT) == (CHECKPOINT, "cuda", "Some GPU")
    assert choose_device(BUNDLED_MODEL, "cuda")[:2] == (CHECKPOINT, "cuda")
    assert choose_device(BUNDLED_MODEL)[1] == "cpu"
    assert choose_device(CHECKPOINT, "cpu")[1] == "cpu"


def test_onnxruntime_gpu_is_used_where_it_is_installed(gpu, monkeypatch):
    monkeypatch.setattr(predictor, "_is_installed", lambda package: package == "onnxruntime-gpu")
    assert choose_device(BUNDLED_MODEL)[:2] == (BUNDLED_MODEL, "cuda")


def test_mistakes_are_named(tmp_path, gpu):
    with pytest.raises(ValueError, match="device is 'tpu'; expected auto, cpu or cuda"):
        choose_device(BUNDLED_MODEL, "tpu")
    with pytest.raises(ValueError, match="needs onnxruntime-gpu for it"):
        choose_device(tmp_path / "alone.onnx", "cuda")


def test_checkpoint_and_onnx_file_find_the_same_faces_in_the_same_places(faces):
    torch_model, onnx_model = load_predictor(CHECKPOINT), load_predictor(WHOLE)
    noise = np.random.default_rng(0).integers(0, 256, (10, 100, 80, 3), np.uint8)
    ours, theirs = (model.predict(np.concatenate([faces[::4], noise])) for model in (torch_model, onnx_model))
    assert np.abs(ours.probabilities - theirs.probabilities)[:50].max() < 1e-5
    assert np.abs(ours.face_scores - theirs.face_scores).max() < 1e-5
    pixels = np.abs(ours.frames - theirs.frames)[:50, :3] * np.array([40, 50, 100])
    assert pixels.max() < 0.5
    assert (ours.face_scores[:50] > 0.5).mean() > 0.95
    assert (ours.face_scores[50:] < 0.5).all()


def test_files_say_whether_they_look_for_faces(tmp_path):
    assert all(load_predictor(path).info.looks_for_faces for path in (BUNDLED_MODEL, WHOLE, CHECKPOINT))
    for name, network in (("a", {"name": "smallcnn"}), ("b", {"name": "smallcnn", "find_face": True})):
        classifier = GenderClassifier(["a", "b"], network)
        info = ModelInfo(("a", "b"), looks_for_faces=True)
        save_checkpoint(classifier, info, tmp_path / f"{name}.ckpt")
        export_onnx(classifier, info, tmp_path / f"{name}.onnx")
        for ending in ("ckpt", "onnx"):
            model = load_predictor(tmp_path / f"{name}.{ending}")
            assert not model.info.looks_for_faces
            assert model.predict(np.zeros((1, 100, 80, 3), np.uint8)).face_scores.tolist() == [1.0]
