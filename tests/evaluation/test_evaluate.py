"""`scripts/evaluate.py`, and the pages, cards and figures it makes."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from evaluating import MODEL, SAMPLE, evaluate, make_faces, select

from gender_recognizer import Recognizer
from gender_recognizer.cli import main
from gender_recognizer.data.samples import read_metadata
from gender_recognizer.evaluation.groups import group_columns
from gender_recognizer.evaluation.output_folder import choose_folder
from gender_recognizer.evaluation.report import write_card
from gender_recognizer.evaluation.run import describe_model, print_result, read_about
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.names import markdown


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    root = make_faces(folder / "faces", count=34)
    (root / "female" / "broken.jpg").write_bytes(b"<html>")
    (root / "female" / "layers.PSD").write_bytes(b"8BPS")
    rows = [
        f"{name}/{path.name},{path.name[:4]},{index % 2}"
        for name in ("female", "male")
        for index, path in enumerate(sorted((root / name).glob("*.jpg")))
    ]
    (root / "metadata.csv").write_text("\n".join(["file_name,colour,half", *rows]) + "\n")
    other = MODEL.with_suffix(".ckpt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gender_recognizer.evaluation.run.EXPLAINED", 2)
        metrics, page = evaluate(folder, root, model_path=MODEL, compare=[other], explain=True, robustness=True)
    return folder, root, metrics, page


def test_accuracy_is_that_of_the_labels_that_labelling_gives(evaluated):
    _, root, metrics, _ = evaluated
    records = Recognizer(MODEL).label_folder(root)
    labels = {record.file: record.label for record in records if record.label}
    assert metrics["data"]["pictures"] == len(labels) == 68
    right = [name.startswith(f"{label}/") for name, label in labels.items()]
    assert metrics["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert 0.5 < np.mean(right) < 1
    assert sum(map(sum, metrics["confusion"])) == 68


def test_numbers_have_intervals_groups_and_gaps(evaluated):
    _, _, metrics, _ = evaluated
    for name, estimate in metrics["metrics"].items():
        assert estimate["low"] <= estimate["high"], name
    assert metrics["groups"]["half"].keys() == {"0", "1"}
    assert sum(group["pictures"] for group in metrics["groups"]["half"].values()) == 68
    assert metrics["groups"]["colour and half"] == {}  # 17 pictures each
    assert metrics["gaps"]["half"]["accuracy"]["value"] >= 0
    assert metrics["data"]["unreadable"].keys() == {"female/broken.jpg"}


def test_files_that_cannot_be_read_and_those_of_other_endings_are_said(capsys, evaluated):
    _, _, metrics, page = evaluated
    assert metrics["data"]["ignored_endings"] == {".psd": 1}
    assert "Ignored because their endings are not those of pictures: .psd (1)." in page
    accuracy = {"value": 0.5, "low": 0.1, "high": 0.9}
    data = {"unreadable": {"a.jpg": "empty file"}, "pictures": 4, "name": "x", "part": "all", "notes": []}
    data |= {"ignored_endings": {".psd": 3, "": 1}}
    print_result({"data": data, "model": {"file": "m"}, "metrics": {"accuracy": accuracy}}, Path("x"))
    assert capsys.readouterr().err == (
        "1 of the files could not be read; the report names them.\n"
        "ignored because their endings are not those of pictures: .psd (3), without ending (1)\n"
    )


def test_models_are_compared_on_the_same_pictures(evaluated):
    _, _, metrics, _ = evaluated
    (other,) = metrics["comparisons"]
    assert (other["file"], other["p_value"], other["same_label"]) == ("smallcnn.ckpt", 1.0, 1.0)
    assert other["metrics"]["accuracy"] == metrics["metrics"]["accuracy"]


def test_changed_pictures_are_measured_and_shown(evaluated):
    folder, _, metrics, page = evaluated
    card = (folder / "out" / "MODEL_CARD.md").read_text()
    first, *others = metrics["robustness"]
    assert first["accuracy"]["value"] == metrics["metrics"]["accuracy"]["value"]
    for row in others:
        assert row["less"]["value"] == pytest.approx(first["accuracy"]["value"] - row["accuracy"]["value"])
        assert row["change"] in page
        assert f"| {row['change']} | {100 * row['accuracy']['value']:.1f}" in card


class Links(HTMLParser):
    """Collects what a page refers to, and its pictures."""

    def __init__(self, page):
        super().__init__()
        self.links, self.pictures, self.described = [], 0, True
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [value for name, value in attributes if name in ("src", "href", "data", "action")]
        self.pictures += tag == "img"
        self.described &= tag != "img" or bool(values["alt"])
        assert tag not in ("script", "link", "iframe")


def test_page_needs_nothing_but_itself_and_shows_everything(evaluated):
    _, _, metrics, page = evaluated
    links = Links(page)
    assert links.links
    assert all(link.startswith("data:image/") for link in links.links)
    assert not re.search(r"@import|url\(", page)
    errors = sum(map(sum, metrics["confusion"])) - sum(metrics["confusion"][i][i] for i in range(2))
    assert links.pictures == 6 + 2 + errors + (2 + 2)  # figures, groups, errors, explained
    assert links.described
    assert page.index("Against other models") < page.index("What it gets right and wrong")
    for text in ("female/broken.jpg", "smallcnn.ckpt", "calibration error", "Which parts matter", "By colour and half"):
        assert text in page


def test_card_and_tensorboard_come_with_it(evaluated):
    folder, _, metrics, _ = evaluated
    card = (folder / "out" / "MODEL_CARD.md").read_text()
    assert f"{100 * metrics['metrics']['accuracy']['value']:.1f}" in card
    head = yaml.safe_load(card.split("---")[1])
    value = head["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert value == pytest.approx(metrics["metrics"]["accuracy"]["value"], abs=1e-4)
    assert list((folder / "out" / "tensorboard").glob("events*"))


def test_a_class_without_pictures_has_no_accuracy(tmp_path, capsys):
    root = make_faces(tmp_path / "faces", count=6, wrong=0)
    shutil.rmtree(root / "male")
    shutil.copy(SAMPLE / "male" / "001.jpg", root / "female" / "wrong.jpg")
    metrics, page = evaluate(tmp_path, root, model_path=MODEL)
    values = {name: estimate["value"] for name, estimate in metrics["metrics"].items()}
    assert values["balanced_accuracy"] == values["recall_female"] == values["accuracy"]
    for name in ("recall_male", "precision_male", "f1_male", "auroc", "average_precision", "mcc"):
        assert values[name] is None, name
    assert "recall male</td><td>-</td>" in page
    assert "| recall of male | - |" in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    print_result(metrics, tmp_path)
    assert "no picture of class 'male': it has no accuracy" in capsys.readouterr().err


def test_groups_and_test_folders_with_one_class_each(tmp_path):
    root = make_faces(tmp_path / "faces", count=30, wrong=0)
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name},{path.stem[-1]}" for path in root.glob("*/*.jpg")]
    (root / "metadata.csv").write_text("\n".join(["file_name,sex,digit", *rows]))
    metrics, page = evaluate(tmp_path, root, model_path=MODEL)
    assert metrics["groups"]["sex"]["female"]["metrics"]["recall_male"]["value"] is None
    assert metrics["gaps"]["sex"]["equalised_odds"]["value"] is None
    assert "not defined, no class is in two groups" in page


def test_three_pictures_without_metadata(tmp_path):
    root = make_faces(tmp_path / "three", count=1, wrong=0)
    shutil.copy(SAMPLE / "male" / "002.jpg", root / "male" / "c.jpg")
    metrics, _ = evaluate(tmp_path, root, model_path=MODEL)
    assert metrics["data"]["classes"] == {"female": 1, "male": 2}
    assert metrics["groups"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["part=most"], "part is 'most'; expected auto"),
        (["part=train"], "part is 'train', but no split of these pictures is known"),
        (["compare=[a.onnx]"], "a.onnx' does not exist"),
        (["num_draws=1"], "expected a whole number, 100 or more"),
        (["num_draws=many"], "num_draws is many; expected a whole number"),
        (["explain=maybe"], "explain is maybe"),
        (["robustness=2.5"], "robustness is 2.5; expected true or false"),
        (["seed=-1"], "seed is -1; expected"),
        (["device=tpu"], "device is 'tpu'; expected auto, cpu, cuda"),
        (["data.root=missing"], "no folder 'missing/female'"),
        (["split=README.md"], "it is not the split.csv of a training run"),
        (["split=gone.csv"], "gone.csv' does not exist"),
        (["model_path=gone.ckpt"], "gone.ckpt' does not exist"),
    ],
)
def test_mistakes_are_said_in_one_line_and_leave_nothing(tmp_path, capsys, options, message):
    assert main("evaluate", [f"outputs={tmp_path}", f"data.cache_dir={tmp_path}/cache", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert [line for line in error.splitlines() if not line.startswith("no pictures in")] == [error.splitlines()[-1]]
    assert not list(tmp_path.glob("evaluate_*"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("metrics.json", '{"val/acc": 0.9}'), ("metrics.json", "[1]"), ("MODEL_CARD.md", "# Mine"), ("report.html", "")],
)
def test_files_that_others_wrote_are_not_overwritten(tmp_path, name, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(content)
    with pytest.raises(
        ValueError, match=f"{name}' exists and was not written by this command; give another output_dir"
    ):
        evaluate(tmp_path, SAMPLE)
    assert (tmp_path / "out" / name).read_text() == content


def test_reports_of_one_second_get_folders_of_their_own(tmp_path):
    folders = set()
    for _ in range(3):
        folder = choose_folder(None, tmp_path, "evaluate")
        folder.mkdir()
        folders.add(folder)
    assert len(folders) == 3
    assert choose_folder(tmp_path / "mine", tmp_path, "evaluate") == tmp_path / "mine"


@pytest.mark.parametrize("content", ["- a list", "a: [", "\t"])
def test_an_about_yaml_that_is_no_table_is_named(tmp_path, content):
    (tmp_path / "about.yaml").write_text(content)
    with pytest.raises(ValueError, match=r"about.yaml' .*model card"):
        read_about(tmp_path / "about.yaml")


def test_a_metadata_table_of_another_program_gives_its_groups(tmp_path):
    root = make_faces(tmp_path / "faces", count=30, wrong=0)
    rows = [f"{path.parent.name}\\{path.name};{index % 2}" for index, path in enumerate(root.glob("*/*.jpg"))]
    (root / "metadata.csv").write_bytes("\r\n".join(["file_name;возраст", *rows, "a;b;c;d"]).encode("utf-16"))
    columns = group_columns(select(tmp_path, root).names, read_metadata(root))
    assert {column: len({*values}) for column, values in columns.items()} == {"возраст": 2}


def test_card_of_the_bundled_model_says_what_was_measured(tmp_path):
    folder = BUNDLED_MODEL.parent
    summary = json.loads((folder / "metrics.json").read_text())
    about = yaml.safe_load((folder / "about.yaml").read_text())
    write_card(summary, about, tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text() == (folder / "MODEL_CARD.md").read_text()
    assert summary["model"] == describe_model(BUNDLED_MODEL, load_predictor(BUNDLED_MODEL))


def test_card_of_an_own_model_says_what_its_run_knows(tmp_path, colour_runs, colour_data):
    run_dir = colour_runs["female", "male"]
    (checkpoint,) = (run_dir / "checkpoints").glob("model_state-*.ckpt")
    options = [f"data.root={run_dir}/unseen", f"data.cache_dir={tmp_path}/cache", "num_draws=100"]
    for model in (checkpoint, checkpoint.with_name("model.onnx")):
        assert main("evaluate", [*options, f"model_path={model}", f"output_dir={tmp_path}/out"]) == 0
        card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
        temperature = f"{load_predictor(model).info.temperature:.4f}".rstrip("0")
        assert f"Trained on: {markdown(str(colour_data))}." in card
        assert f"Temperature {temperature}" in card
        assert "were fitted on validation pictures. These were too few, or too hard" in card


def rename_classes(path, classes):
    """Write a copy of the bundled model that knows its classes by other names; return its path."""
    model = onnx.load(MODEL)
    for entry in model.metadata_props:
        entry.value = json.dumps(json.loads(entry.value) | {"classes": classes})
    onnx.save(model, path)
    return path


def test_hostile_names_of_classes_files_groups_and_models_are_shown_as_text(tmp_path, capsys):
    classes = ["$x_{$<script>alert(1)<!--", "_a|=cmd() *日本* & b"]
    model = rename_classes(tmp_path / "<b>$\\frac{$`x`.onnx", classes)
    root, rows = tmp_path / "<i>\x1b[31m$\\frac{$", ["file_name,$\\frac{$,<img src=x>"]
    for name, real in zip(classes, ("female", "male"), strict=True):
        (root / name).mkdir(parents=True)
        for index in range(30):
            other = {"female": "male", "male": "female"}[real] if index < 3 else real
            file = f"{index}<img src=x>\n\x07\u202e$\\frac{{$.jpg"
            shutil.copy(SAMPLE / other / f"{index + 1:03}.jpg", root / name / file)
            rows.append(f'"{name}/{file}",<u>{index % 2}|$\\frac{{$\x07,_all' + ("!" if index == 0 else ""))
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    arguments = [f"data.root={root}", f"model_path={model}", f"data.cache_dir={tmp_path}/cache", "num_draws=100"]
    assert main("evaluate", [*arguments, f"output_dir={tmp_path}/out"]) == 0
    printed = capsys.readouterr()
    page = (tmp_path / "out" / "report.html").read_text()
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    for text in (printed.out, printed.err, page, card):
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert len(printed.out.splitlines()) == 1
    assert not re.search("<(script|img src=x|i>|u>)", page)
    assert not re.search(r"(?<!\\)<(script|img src=x|i>|u>)", card.split("---", 2)[2])
    assert yaml.safe_load(card.split("---")[1])["model-index"][0]["name"] == model.name
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(metrics["data"]["classes"]) == classes
    assert len(metrics["groups"]["$\\frac{$"]) == 2
