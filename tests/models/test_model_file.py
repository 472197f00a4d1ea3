import os
import pickle

import numpy as np
import onnx
import pytest
import torch
from conftest import PROJECT

from gender_recognizer.models import model_info
from gender_recognizer.models.calibration import operating_points
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import (
    BUNDLED_MODEL,
    ModelInfo,
    best_checkpoint,
    calibrate_checkpoint,
    checkpoint_beside,
    find_model,
    load_classifier,
    model_files,
    newest_run,
    save_checkpoint,
)
from gender_recognizer.models.onnx_export import export_onnx, quantise_onnx
from gender_recognizer.models.predictor import OnnxPredictor, TorchPredictor, load_predictor
from gender_recognizer.pictures.loading import COMPATIBLE_VERSIONS, LOADER_VERSION, load_image

IMAGES = np.random.default_rng(0).integers(0, 255, (9, 100, 80, 3), dtype=np.uint8)
INFO = ModelInfo(("female", "male"), temperature=1.7, curvature=0.2, training_data="noise", metrics={"test/acc": 0.5})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    torch.manual_seed(0)
    classifier = GenderClassifier(["female", "male"], {"name": "smallcnn", "widths": [8, 8]})
    classifier.network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))  # moves the batch norms' statistics
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(classifier, INFO, folder / "model.ckpt")
    export_onnx(classifier, INFO, folder / "model.onnx")
    return folder


@pytest.mark.parametrize("name", ["regnet_x_400mf", "googlenet", "squeezenet1_1"])
def test_checkpoints_of_torchvision_networks_load(tmp_path, name):
    classifier = GenderClassifier(["female", "male"], {"name": name})
    save_checkpoint(classifier, INFO, tmp_path / "a.ckpt")
    loaded = load_classifier(tmp_path / "a.ckpt")[0].state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in classifier.state_dict().items())


def test_names_of_the_files_of_a_model_lead_to_its_checkpoint(tmp_path):
    files = model_files(tmp_path, "a.b")
    assert [file.name for file in files] == ["a.b.ckpt", "a.b.onnx", "a.b-int8.onnx"]
    assert {checkpoint_beside(file) for file in files} == {files[0]}


def test_onnx_is_one_file(files):
    assert sorted(path.name for path in files.iterdir()) == ["model.ckpt", "model.onnx"]


def test_onnx_tells_nothing_of_the_machine_that_made_it(files):
    for path in (files / "model.onnx", BUNDLED_MODEL, BUNDLED_MODEL.with_name("smallcnn.onnx")):
        assert b'.py", line' not in path.read_bytes()


def test_both_files_give_the_same_probabilities_for_any_batch(files):
    predictors = [load_predictor(files / "model.ckpt"), load_predictor(files / "model.onnx")]
    assert [type(predictor) for predictor in predictors] == [TorchPredictor, OnnxPredictor]
    for count in (1, 2, 9):
        torch_probabilities, onnx_probabilities = (model.predict(IMAGES[:count]).probabilities for model in predictors)
        assert torch_probabilities.shape == (count, 2)
        assert np.abs(torch_probabilities - onnx_probabilities).max() < 1e-5
        assert np.abs(onnx_probabilities - predictors[1].predict(IMAGES).probabilities[:count]).max() < 1e-5
        assert np.allclose(onnx_probabilities.sum(axis=1), 1, atol=1e-6)


def test_logits_are_scaled(files):
    predictor = TorchPredictor(files / "model.ckpt")
    with torch.no_grad():
        logits = predictor.classifier(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    assert np.allclose(predictor.predict(IMAGES).probabilities, INFO.scaling(logits).softmax(1), atol=1e-6)


def test_both_files_carry_what_the_model_is(files):
    assert load_predictor(files / "model.ckpt").info == INFO
    assert load_predictor(files / "model.onnx").info == INFO


def test_calibrating_a_checkpoint_changes_what_it_says_and_nothing_else(files, tmp_path):
    path = tmp_path / "run.ckpt"
    content = torch.load(files / "model.ckpt", weights_only=True) | {"optimizer_states": [1, 2]}
    torch.save(content, path)
    images = np.random.default_rng(1).integers(0, 255, (120, 100, 80, 3), dtype=np.uint8)
    targets = np.random.default_rng(2).integers(0, 2, 120)
    info = calibrate_checkpoint(path, images, targets)
    assert info.temperature > 2  # noise says nothing about such targets
    assert info.operating_points[0].share == 1
    predictor = TorchPredictor(path)
    assert predictor.info == info
    assert info.training_data == INFO.training_data
    probabilities = predictor.predict(images).probabilities
    assert operating_points(probabilities, targets)[0].accuracy == info.operating_points[0].accuracy
    changed = torch.load(path, weights_only=True)
    assert changed["optimizer_states"] == [1, 2]
    assert all(torch.equal(changed["state_dict"][name], value) for name, value in content["state_dict"].items())
    export_onnx(predictor.classifier, info, tmp_path / "model.onnx")
    assert OnnxPredictor(tmp_path / "model.onnx").info == info


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for name, write in (("torch", lambda path: torch.save({"state_dict": Attack()}, path)), ("pickle", None)):
        path = tmp_path / f"{name}.ckpt"
        write(path) if write else path.write_bytes(pickle.dumps(Attack()))
        with pytest.raises(ValueError, match=r"is refused: .* could run code"):
            load_classifier(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"<html>"])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.ckpt' is (refused|not a checkpoint)"):
        load_classifier(tmp_path / "a.ckpt")


def test_checkpoint_of_another_version_is_refused(files, tmp_path):
    checkpoint = torch.load(files / "model.ckpt", weights_only=True)
    checkpoint["state_dict"] = {f"other.{name}": value for name, value in checkpoint["state_dict"].items()}
    torch.save(checkpoint, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match=r"model.ckpt' holds a smallcnn of another version of"):
        load_classifier(tmp_path / "model.ckpt")


def test_checkpoint_of_another_project_is_refused(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="not a checkpoint of gender_recognizer"):
        load_classifier(tmp_path / "a.ckpt")


def test_onnx_of_another_project_and_garbage_are_refused(tmp_path, files):
    (tmp_path / "a.onnx").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="is not an ONNX model"):
        OnnxPredictor(tmp_path / "a.onnx")
    model = onnx.load(files / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "b.onnx")
    with pytest.raises(ValueError, match="was not exported by gender_recognizer"):
        OnnxPredictor(tmp_path / "b.onnx")


def test_model_of_another_loader_is_refused(files, monkeypatch):
    monkeypatch.setattr(model_info, "LOADER_VERSION", 999)
    for name in ("model.ckpt", "model.onnx"):
        with pytest.raises(ValueError, match=rf"trained with loader version {LOADER_VERSION}, this is 999"):
            load_predictor(files / name)


def test_a_model_says_the_size_of_its_pictures(tmp_path):
    torch.manual_seed(0)
    classifier = GenderClassifier(["a", "b"], {"name": "faceres", "pretrained": False, "image_size": [64, 96]})
    save_checkpoint(classifier, ModelInfo(("a", "b"), image_size=(64, 96)), tmp_path / "model.ckpt")
    loaded, info = load_classifier(tmp_path / "model.ckpt")
    export_onnx(loaded, info, tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    predictors = [load_predictor(tmp_path / f"model{ending}") for ending in (".ckpt", ".onnx")]
    assert [predictor.info.image_size for predictor in predictors] == [(64, 96), (64, 96)]
    first, second = (predictor.predict(images) for predictor in predictors)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_checkpoint_whose_network_wants_other_pictures_is_refused(tmp_path):
    classifier = GenderClassifier(["a", "b"], {"name": "faceres", "pretrained": False, "image_size": [64, 96]})
    save_checkpoint(classifier, ModelInfo(("a", "b")), tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match=r"its network is not for pictures of its image_size \(100, 80\)"):
        load_classifier(tmp_path / "model.ckpt")


def test_a_model_of_a_loader_that_makes_the_same_training_pictures_is_taken():
    assert load_predictor(BUNDLED_MODEL).info.loader_version in (LOADER_VERSION, *COMPATIBLE_VERSIONS[LOADER_VERSION])
    for version in COMPATIBLE_VERSIONS[LOADER_VERSION]:
        assert ModelInfo(("a", "b"), loader_version=version).loader_version == version
    for version in (0, LOADER_VERSION + 1):
        with pytest.raises(ValueError, match=rf"trained with loader version {version}, this is {LOADER_VERSION}"):
            ModelInfo(("a", "b"), loader_version=version)


def test_default_model_is_the_bundled_one(tmp_path):
    assert find_model(None, tmp_path) == BUNDLED_MODEL


def test_latest_is_the_best_checkpoint_of_the_newest_run(tmp_path):
    for number, run in enumerate(("newer", "older", "sweep/3")):
        folder = tmp_path / run / "checkpoints"
        folder.mkdir(parents=True)
        for name in (
            "model_state-epoch-01-val_acc-0.7000.ckpt",
            "model_state-epoch-00-val_acc-0.9000.ckpt",
            "last.ckpt",
        ):
            (folder / name).touch()
        os.utime(folder, (number, 10 - number))
    assert newest_run(tmp_path) == tmp_path / "newer"
    for trial in ("sweep_1/0", "tune_study/3"):
        (tmp_path / trial / "checkpoints").mkdir(parents=True)
        (tmp_path / trial / "checkpoints" / "model_state-epoch-01-val_acc-0.9900.ckpt").touch()
    assert newest_run(tmp_path) == tmp_path / "newer"
    assert find_model("latest", tmp_path).name == "model_state-epoch-00-val_acc-0.9000.ckpt"
    assert find_model("latest", tmp_path).is_relative_to(tmp_path / "newer")


@pytest.mark.parametrize(
    ("model_path", "message"),
    [("latest", "no training run"), ("a.pt", "expected a .ckpt or .onnx"), ("missing.onnx", "does not exist")],
)
def test_model_that_is_not_there_is_named(tmp_path, model_path, message):
    with pytest.raises(ValueError, match=message):
        find_model(model_path, tmp_path)


def test_run_without_a_best_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint called model_state"):
        best_checkpoint(tmp_path)


@pytest.mark.parametrize("find_face", [False, True])
def test_8_bit_integers_give_almost_the_same_and_leave_exact_what_finds_the_face(tmp_path, find_face):
    torch.manual_seed(0)
    network = {"name": "smallcnn", "stem_width": 24, "widths": [24, 32], "find_face": find_face}
    classifier = GenderClassifier(["female", "male"], network)
    if find_face:
        for finder in classifier.network.finders:
            torch.nn.init.normal_(finder.frame.bias, std=0.2)
    info = ModelInfo(("female", "male"), training_data="noise", temperature=1.5)
    images = np.random.default_rng(0).integers(0, 256, (60, 100, 80, 3), np.uint8)
    export_onnx(classifier, info, tmp_path / "model.onnx")
    quantise_onnx(tmp_path / "model.onnx", images, tmp_path / "small.onnx", classifier.network.exact_parts())
    exact, small = (OnnxPredictor(tmp_path / name) for name in ("model.onnx", "small.onnx"))
    assert small.info == info
    exact, small = (model.predict(images).probabilities for model in (exact, small))
    difference = np.abs(exact - small).max()
    assert 0 < difference < 0.02
    nodes = onnx.load(tmp_path / "small.onnx").graph.node
    maker = {name: node.op_type for node in nodes for name in node.output}
    with_integers = [maker.get(n.input[1]) == "DequantizeLinear" for n in nodes if n.op_type == "Conv"]
    assert with_integers.count(True) == 5  # neither the first one nor the shortcut behind a mean
    assert with_integers.count(False) == (10 if find_face else 2)


def test_the_larger_bundled_model_has_a_name_and_the_size_and_outputs_that_it_says(tmp_path):
    path = find_model("accurate", tmp_path)
    assert path.stat().st_size <= 8_000_000
    predictor = load_predictor(path)
    assert predictor.info.classes == ("female", "male")
    assert predictor.info.looks_for_faces
    assert len(predictor.info.operating_points) > 50
    faces = [PROJECT / f"data/sample/{name}/001.jpg" for name in predictor.info.classes]
    said = predictor.predict(np.stack([load_image(path, predictor.info.image_size) for path in faces]))
    assert said.probabilities.argmax(axis=1).tolist() == [0, 1]
    assert said.face_scores.min() > 0.5
