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


def test_weights_of_16_bits_halve_the_file_and_say_almost_the_same(tmp_path):
    torch.manual_seed(0)
    classifier = GenderClassifier(CLASSES, {"name": "faceres", "pretrained": False, "image_size": [64, 64]})
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


def test_weights_too_large_for_16_bits_are_refused_and_the_file_stays_as_it_is(tmp_path):
    path = tmp_path / "model.onnx"
    weights = onnx.numpy_helper.from_array(np.full((64, 64), 1e6, np.float32), "network.head.weight")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64]) for name in ("images", "logits")]
    node = onnx.helper.make_node("MatMul", ["images", weights.name], ["logits"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "network", ends[:1], ends[1:], [weights])), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"network\.head\.weight are too large for 16-bit floats; leave out half=true"):
        halve_onnx(path)
    assert path.read_bytes() == before
