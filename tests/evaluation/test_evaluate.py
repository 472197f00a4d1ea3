"""`scripts/evaluate.py`, and the pages, cards and figures it makes."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import evaluate as script
import numpy as np
import pytest
from conftest import BLUE, PROJECT, RED, make_colour_data, process, run, save_picture
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from gender_recognizer.evaluation.report import write_card
from gender_recognizer.models.model_file import BUNDLED_MODEL, best_checkpoint


@pytest.fixture(scope="module")
def model(colour_runs):
    return best_checkpoint(colour_runs["female", "male"])


def evaluate(folder, *overrides):
    """Run `scripts/evaluate.py` in this process, and return its numbers and the text of its page."""
    from command import register_resolvers

    register_resolvers()
    with initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
        common = [f"output_dir={folder}/out", f"outputs={folder}", "num_draws=100"]
        config = compose("evaluate", [*common, *overrides])
    script.run(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    out = folder / "out"
    return json.loads((out / "metrics.json").read_text()), (out / "report.html").read_text()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("evaluated")
    root = make_colour_data(folder / "colour", count=40, wrong=4)
    (root / "female" / "broken.jpg").write_bytes(b"<html>")
    rows = [
        f"{name}/{path.name},{path.name[:4]},{index % 2}"
        for name in ("female", "male")
        for index, path in enumerate(sorted((root / name).iterdir()))
    ]
    (root / "metadata.csv").write_text("\n".join(["file_name,colour,half", *rows]) + "\n")
    onnx = model.with_name("model.onnx")
    options = [f"compare=[{onnx}]", "explain=true", "robustness=true"]
    metrics, page = evaluate(folder, f"model_path={model}", f"data.root={root}", *options)
    return folder, root, metrics, page


def test_accuracy_is_that_of_the_labels_that_process_gives(evaluated, model, tmp_path):
    _, root, metrics, _ = evaluated
    process(root, f"model_path={model}", f"output_path={tmp_path}/out.json")
    labels = json.loads((tmp_path / "out.json").read_text())
    assert metrics["data"]["pictures"] == len(labels) == 80
    right = [name.startswith(f"{label}/") for name, label in labels.items()]
    assert metrics["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert 0.8 < np.mean(right) < 1
    assert sum(map(sum, metrics["confusion"])) == 80


def test_numbers_have_intervals_groups_and_gaps(evaluated):
    _, _, metrics, _ = evaluated
    for name, estimate in metrics["metrics"].items():
        assert estimate["low"] <= estimate["high"], name
    assert metrics["groups"]["half"].keys() == {"0", "1"}
    assert sum(group["pictures"] for group in metrics["groups"]["half"].values()) == 80
    assert metrics["groups"]["colour and half"] == {}  # 20 pictures each
    assert metrics["gaps"]["half"]["accuracy"]["value"] >= 0
    assert metrics["data"]["unreadable"].keys() == {"female/broken.jpg"}


def test_files_that_cannot_be_read_are_said(capsys):
    accuracy = {"value": 0.5, "low": 0.1, "high": 0.9}
    data = {"unreadable": {"a.jpg": "empty file"}, "pictures": 4, "name": "x", "part": "all", "notes": []}
    script.tell_result({"data": data, "model": {"file": "m"}, "metrics": {"accuracy": accuracy}}, Path("x"))
    assert capsys.readouterr().err == "1 of the files could not be read; the report names them.\n"


def test_models_are_compared_on_the_same_pictures(evaluated):
    _, _, metrics, _ = evaluated
    (other,) = metrics["comparisons"]
    assert (other["file"], other["p_value"], other["same_label"]) == ("model.onnx", 1.0, 1.0)
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
    assert links.pictures == 6 + 2 + errors + (errors + 24)  # figures, groups, errors, explained
    assert links.described
    for text in ("female/broken.jpg", "model.onnx", "calibration error", "Where it looks", "By colour and half"):
        assert text in page


def test_card_and_tensorboard_come_with_it(evaluated):
    folder, _, metrics, _ = evaluated
    card = (folder / "out" / "MODEL_CARD.md").read_text()
    assert f"{100 * metrics['metrics']['accuracy']['value']:.1f}" in card
    head = OmegaConf.create(card.split("---")[1])
    assert head["model-index"][0].results[0].metrics[0].value == pytest.approx(
        metrics["metrics"]["accuracy"]["value"], abs=1e-4
    )
    assert list((folder / "out" / "tensorboard").glob("events*"))


def test_names_from_outside_are_escaped(tmp_path, model):
    root = make_colour_data(tmp_path / "colour", count=6, wrong=0)
    save_picture(root / "female" / "<script>alert(1)<!-- & é.png", BLUE, 1)
    _, page = evaluate(tmp_path, f"model_path={model}", f"data.root={root}")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


def test_run_of_a_model_gives_the_pictures_it_has_not_seen(tmp_path, colour_runs, colour_data, model):
    split = (colour_runs["female", "male"] / "split.csv").read_text()
    unseen = colour_runs["female", "male"] / "unseen"
    metrics, page = evaluate(tmp_path, f"model_path={model}", f"data.root={unseen}")
    assert metrics["data"]["part"] == "test"
    assert metrics["data"]["pictures"] == split.count("\ntest,")
    metrics, page = evaluate(tmp_path, f"model_path={model}", f"data.root={colour_data}", "part=validation")
    assert metrics["data"]["pictures"] == split.count("\nvalidation,")
    assert "trained the model or chose among its epochs" in page


def test_data_sets_with_little_in_them(tmp_path, model):
    for path, colour in (("female/a.png", RED), ("male/b.png", BLUE), ("male/c.png", RED)):
        save_picture(tmp_path / "three" / path, colour, 1)
    metrics, _ = evaluate(tmp_path, f"model_path={model}", f"data.root={tmp_path}/three")
    assert metrics["data"]["classes"] == {"female": 1, "male": 2}
    assert metrics["groups"] == {}
    shutil.rmtree(tmp_path / "three" / "male")
    metrics, page = evaluate(tmp_path, f"model_path={model}", f"data.root={tmp_path}/three")
    assert metrics["metrics"]["auroc"]["value"] is None
    assert metrics["metrics"]["recall_female"]["value"] == metrics["metrics"]["accuracy"]["value"]
    assert "no picture of class &#39;male&#39;" in page


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["part=most"], "part is 'most'; expected auto"),
        (["part=train"], "part is 'train', but there is no"),
        (["compare=a.onnx"], "expected a list of files"),
        (["compare=[a.onnx]"], "model_path '.*a.onnx' does not exist"),
        (["num_draws=1"], "expected a whole number, 100 or more"),
        (["explain=maybe"], "explain is maybe"),
        (["robustness=2"], "robustness is 2; expected true or false"),
        (["data.root=missing"], "no folder '.*missing/female'"),
        (["split=README.md"], "not the split.csv of a training run"),
    ],
)
def test_mistakes_are_named(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        evaluate(tmp_path, *overrides)


def test_real_command_ends_in_one_line(tmp_path):
    done = run(PROJECT / "scripts/evaluate.py", "data.root=missing", f"outputs={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no folder")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_card_of_the_bundled_model_says_what_was_measured(tmp_path):
    folder = BUNDLED_MODEL.parent
    summary = json.loads((folder / "metrics.json").read_text())
    about = OmegaConf.to_container(OmegaConf.load(folder / "about.yaml"))
    write_card(summary, about, tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text() == (folder / "MODEL_CARD.md").read_text()
    assert summary["model"] == script.describe_model(BUNDLED_MODEL, script.load_predictor(BUNDLED_MODEL))
