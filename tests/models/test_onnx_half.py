import numpy as np
import onnx
import pytest
import torch

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.models.onnx_export import export_onnx
from gender_recognizer.models.onnx_half import halve_onnx
from gender_recognizer.models.predictor import load_predictor

CLASSES = ["female", "male"]


INFO = ModelInfo(tuple(CLASSES), image_size=(64, 64), temperature=1.5)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return GenderClassifier(CLASSES, {"name": "faceres", "pretrained": False, "image_size": [64, 64]})


def test_weights_of_16_bits_halve_the_file_and_say_almost_the_same(classifier, tmp_path):
    path = tmp_path / "model.onnx"
    export_onnx(classifier, INFO, path)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    whole, size = load_predictor(path), path.stat().st_size
    expected = whole.predict(images)
    halve_onnx(path, classifier.network.exact_parts())
    half = load_predictor(path)
    assert path.stat().st_size < 0.6 * size
    assert half.info == whole.info
    for said, wanted in zip(half.predict(images), expected, strict=True):
        np.testing.assert_allclose(said, wanted, atol=0.01)
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    kept = [kind for name, kind in stored.items() if name.startswith("network.look.")]
    assert set(kept) == {onnx.TensorProto.FLOAT}


def test_weights_too_large_for_16_bits_are_refused(classifier, tmp_path):
    path = tmp_path / "model.onnx"
    with torch.no_grad():
        classifier.network.head[1].weight.fill_(1e6)
    export_onnx(classifier, INFO, path)
    with pytest.raises(ValueError, match="too large for 16-bit floats; leave out half=true"):
        halve_onnx(path)
