"""A model whose pictures have another size than 100x80 gives one probability for a file through every path."""

import numpy as np
import pytest
import torch
from conftest import PROJECT

from gender_recognizer import Recognizer
from gender_recognizer.evaluation.predictions import predict
from gender_recognizer.evaluation.saliency import saliency_maps
from gender_recognizer.evaluation.selection import select_pictures
from gender_recognizer.evaluation.settings import EvaluateDataSettings, EvaluateSettings
from gender_recognizer.labelling.local_engine import LocalEngine
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import BUNDLED_MODEL, ModelInfo, save_checkpoint
from gender_recognizer.models.onnx_export import export_onnx
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.loading import load_image

SIZE = (64, 96)
SAMPLE = PROJECT / "data/sample"
PICTURES = sorted((SAMPLE / "female").glob("*.jpg"))[:4]


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "face"])
def models(request, tmp_path_factory):
    """The `.ckpt` and the `.onnx` file of a network for pictures of 64x96 pixels."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    network = {"name": "faceres", "pretrained": False, "image_size": list(SIZE), "find_face": request.param}
    classifier = GenderClassifier(["female", "male"], network)
    info = ModelInfo(("female", "male"), image_size=SIZE)
    save_checkpoint(classifier, info, folder / "model.ckpt")
    export_onnx(classifier, info, folder / "model.onnx")
    return folder / "model.ckpt", folder / "model.onnx"


def test_every_path_gives_one_probability(models, tmp_path):
    images = np.stack([load_image(path, SIZE) for path in PICTURES])
    expected = load_predictor(models[1]).predict(images).probabilities.max(axis=1)
    files = [File(path.name, str(path)) for path in PICTURES]
    for model in models:
        recognizer = Recognizer(model, faces="none")
        assert [record.probability for record in recognizer.label(PICTURES)] == pytest.approx(expected, abs=1e-5)
        engine = LocalEngine(ChosenModel(model, "cpu", ""), Limits(faces="none"), num_workers=1, batch_size=2)
        labelled = [record.probability for batch in engine.label(files) for record in batch]
        engine.close()
        assert labelled == pytest.approx(expected, abs=1e-5)


def test_evaluation_and_saliency_see_what_labelling_sees(models, tmp_path):
    onnx = load_predictor(models[1])
    settings = EvaluateSettings(EvaluateDataSettings(SAMPLE, cache_dir=tmp_path), part="all")
    selection = select_pictures(settings, models[1], onnx.info)
    assert selection.images.shape[1:] == (*SIZE, 3)
    said = predict(onnx, selection).probabilities
    recognizer = Recognizer(models[1])
    for path, probabilities in list(zip(selection.paths, said, strict=True))[:4]:
        record = recognizer.label(path)
        assert record.probability is None or record.probability == pytest.approx(probabilities.max(), abs=1e-5)
    assert saliency_maps(onnx, selection.images[[0]], np.array([0])).shape == (1, *SIZE)


def test_models_for_pictures_of_two_sizes_can_be_compared(models, tmp_path):
    bundled = load_predictor(BUNDLED_MODEL)
    settings = EvaluateSettings(EvaluateDataSettings(SAMPLE, cache_dir=tmp_path), part="all")
    selection = select_pictures(settings, models[1], load_predictor(models[1]).info)
    own = select_pictures(settings, BUNDLED_MODEL, bundled.info)
    np.testing.assert_array_equal(predict(bundled, selection).probabilities, predict(bundled, own).probabilities)
