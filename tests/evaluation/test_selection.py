"""Which pictures a model is evaluated on, and what is said about them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from evaluating import MODEL, evaluate, make_faces, make_run, select

from gender_recognizer.evaluation.run import print_result
from gender_recognizer.evaluation.selection import class_folders, select_pictures
from gender_recognizer.evaluation.settings import EvaluateDataSettings, EvaluateSettings
from gender_recognizer.models.model_file import BUNDLED_MODEL, load_classifier, save_checkpoint
from gender_recognizer.models.predictor import load_predictor


def test_run_of_a_model_gives_the_pictures_it_has_not_seen(tmp_path):
    root = make_faces(tmp_path / "faces", count=6, wrong=0)
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.jpg"))
    parts = {name: ("train", "validation", "test")[index % 3] for index, name in enumerate(names)}
    model = make_run(tmp_path / "run", parts, root)
    selection = select(tmp_path, root, model)
    assert (selection.part, len(selection.names), selection.seen, selection.notes) == ("test", 4, 0, [])
    selection = select(tmp_path, root, model, part="validation")
    assert (len(selection.names), selection.seen) == (4, 4)
    assert "4 of these pictures trained the model or chose among its epochs" in selection.notes[0]


@pytest.fixture
def moved_run(tmp_path):
    """Return the model of a run and its pictures, both moved since; 4 of 12 are its test part."""
    root = make_faces(tmp_path / "then" / "faces", count=6, wrong=0)
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.jpg"))
    parts = {name: "test" if index % 3 == 0 else "train" for index, name in enumerate(names)}
    make_run(tmp_path / "then" / "run", parts, root)
    (tmp_path / "then").rename(tmp_path / "now")
    return tmp_path / "now" / "run" / "checkpoints" / "model.onnx", tmp_path / "now" / "faces"


@pytest.mark.parametrize("way", ["as it was", "model beside split.csv", "link to the model", "given split"])
def test_a_moved_run_is_evaluated_on_its_own_test_part_and_says_how_it_knows(tmp_path, moved_run, way):
    (model, root), options = moved_run, {}
    if way == "model beside split.csv":
        model = model.rename(model.parents[1] / "mine.onnx")
    if way == "link to the model":
        (tmp_path / "links").mkdir()
        (tmp_path / "links" / "mine.onnx").symlink_to(model)
        model = tmp_path / "links" / "mine.onnx"
    if way == "given split":
        options["split"] = Path(shutil.copy(model.parents[1] / "split.csv", tmp_path / "mine.csv"))
        model = Path(shutil.copy(model, tmp_path / "alone.onnx"))
    selection = select(tmp_path, root, model, **options)
    assert (selection.part, len(selection.names), selection.seen) == ("test", 4, 0)
    (note,) = selection.notes
    assert "was written for" in note
    assert "by their names" in note


def test_that_nobody_knows_what_trained_a_model_is_said_everywhere(tmp_path, moved_run, capsys):
    model, _ = moved_run
    root = make_faces(tmp_path / "other", count=3, wrong=3)
    metrics, page = evaluate(tmp_path, root, model_path=model)
    assert (metrics["data"]["part"], metrics["data"]["seen_in_training"]) == ("all", None)
    print_result(metrics, tmp_path)
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    for text in (" ".join(metrics["data"]["notes"]), page, card, capsys.readouterr().err):
        assert "which of these pictures trained the model is not known" in text
    assert "data: seen in training</td>" in page
    assert ">not known</td>" in page


def test_a_model_without_a_split_says_that_too_but_the_bundled_ones_have_a_card(tmp_path, moved_run):
    model, root = moved_run
    alone = Path(shutil.copy(model, tmp_path / "alone.onnx"))
    assert "whether these pictures trained it is unknown" in select(tmp_path, root, alone).notes[0]
    weights = BUNDLED_MODEL.parent
    for bundled in (
        BUNDLED_MODEL,
        weights / "smallcnn.onnx",
        weights / "smallcnn.ckpt",
        weights / "accurate/accurate.onnx",
    ):
        assert select(tmp_path, root, bundled).notes == []


def test_a_model_without_its_split_on_its_own_folder_is_no_test(tmp_path):
    root = make_faces(tmp_path / "faces", count=2, wrong=0)
    classifier, info = load_classifier(MODEL.with_suffix(".ckpt"))
    save_checkpoint(classifier, replace(info, training_data=str(root)), tmp_path / "mine.ckpt")
    assert "trained on pictures of this very folder" in select(tmp_path, root, tmp_path / "mine.ckpt").notes[0]


def test_a_model_that_is_compared_with_and_knows_the_pictures_is_named(tmp_path, moved_run):
    model, root = moved_run
    metrics, _ = evaluate(tmp_path, root, compare=[model])
    (note,) = metrics["data"]["notes"]
    assert "'model.onnx', for comparison: 8 of these pictures trained it" in note


def test_a_split_that_is_given_must_know_the_pictures(tmp_path, moved_run):
    model, _ = moved_run
    other = make_faces(tmp_path / "other", count=1, wrong=1)
    with pytest.raises(
        ValueError, match=r"split '.*' is given, but no split of these pictures is known: .*none of its"
    ):
        select(tmp_path, other, split=model.parents[1] / "split.csv")


def test_folders_of_classes_may_have_other_names(tmp_path):
    root = make_faces(tmp_path / "faces", count=3, wrong=0)
    (root / "male").rename(root / "0")
    (root / "female").rename(root / "1")
    with pytest.raises(ValueError, match=r"no folder '.*female' for class 'female': there are '0' and '1'"):
        select(tmp_path, root)
    data = EvaluateDataSettings(root, ["1", "0"], cache_dir=tmp_path / "cache")
    selection = select_pictures(EvaluateSettings(data), MODEL, load_predictor(MODEL).info)
    assert {name[0]: target for name, target in zip(selection.names, selection.targets, strict=True)} == {
        "1": 0,
        "0": 1,
    }


@pytest.mark.parametrize(
    ("given", "folders"),
    [
        (None, ["female", "male"]),
        (["male", "female"], ["female", "male"]),
        (["women", "men"], ["women", "men"]),
        (["female", "men"], ["female", "men"]),
        (["a", "b", "c"], "data.classes names 3 folders, a, b, c, but the model's classes are female, male"),
        (["male", "men"], "data.classes has 'male' in place of another class"),
    ],
)
def test_folders_never_exchange_the_classes(given, folders):
    if isinstance(folders, list):
        assert class_folders(given, ["female", "male"]) == folders
        return
    with pytest.raises(ValueError, match=folders):
        class_folders(given, ["female", "male"])


def test_of_ready_parts_the_test_part_is_taken(tmp_path):
    make_faces(tmp_path / "faces" / "Training", count=4, wrong=0)
    make_faces(tmp_path / "faces" / "test", count=2, wrong=2)
    selection = select(tmp_path, tmp_path / "faces")
    assert (selection.part, len(selection.names), selection.seen) == ("test", 4, None)
    assert len(select(tmp_path, tmp_path / "faces", part="train").names) == 8
    assert len(select(tmp_path, tmp_path / "faces", part="all").names) == 12
