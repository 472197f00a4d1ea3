import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import PROJECT

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.devices import PROVIDERS
from gender_recognizer.models.model_file import BUNDLED_MODEL, load_classifier, save_checkpoint
from gender_recognizer.models.model_info import ModelInfo
from gender_recognizer.models.onnx_export import export_onnx, quantise_onnx
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.listing import find_images
from gender_recognizer.pictures.loading import load_image

CHECKPOINT, WHOLE = (BUNDLED_MODEL.with_name(f"smallcnn.{ending}") for ending in ("ckpt", "onnx"))


@pytest.fixture(scope="module")
def faces():
    return np.stack([load_image(path) for path in find_images(PROJECT / "data/sample")])


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


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_device_that_does_not_start_is_refused_and_not_replaced(monkeypatch):
    monkeypatch.setattr("onnxruntime.InferenceSession.get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="device is 'cuda', but onnxruntime cannot start it; use device=cpu"):
        load_predictor(WHOLE, "cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_directml_gets_one_call_at_a_time(faces, monkeypatch):
    monkeypatch.setattr("onnxruntime.InferenceSession.get_providers", lambda self: [PROVIDERS["directml"]])
    model, running = load_predictor(WHOLE, "directml"), []

    class Session:
        def run(self, names, inputs):
            running.append(1)
            time.sleep(0.01)
            assert len(running) == 1
            running.pop()
            return [inputs["images"][:, :1, 0, 0]]

    model.session = Session()
    with ThreadPoolExecutor(4) as threads:
        assert len(list(threads.map(model.predict, [faces[:1]] * 8))) == 8


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
