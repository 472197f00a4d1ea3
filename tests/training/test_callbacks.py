import csv
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata


@pytest.fixture(scope="module")
def accumulator(colour_runs):
    """Return everything that TensorBoard would show of a run."""
    run_dir = colour_runs["female", "male"]
    return EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_scalars_are_there_for_every_epoch(accumulator):
    for name in ("train/loss", "train/acc", "val/loss", "val/acc", "val/balanced_acc", "val/auroc", "val/acc_female"):
        assert len(accumulator.Scalars(name)) >= 6
    assert "train/lr/pg1" in accumulator.Tags()["scalars"]


def test_pictures_are_there(accumulator):
    shown = set(accumulator.Tags()["images"])
    assert {"your_pictures/class_balance", "your_pictures/augmented_batch"} <= shown
    for stage in ("val", "test"):
        names = ("confusion_matrix", "roc", "precision_recall", "reliability", "risk_coverage", "worst_errors")
        figures = {f"verdict/{stage}_{name}" for name in names}
        assert figures <= shown


def test_class_histograms_and_pr_curves_are_there(accumulator, colour_runs):
    tags = accumulator.Tags()
    names = {f"your_pictures/{part}: 0 = female, 1 = male" for part in ("train", "validation", "test")}
    assert names <= set(tags["histograms"])
    assert {f"{stage}/{name}" for stage in ("val", "test") for name in ("female", "male")} <= set(tags["tensors"])
    histogram = accumulator.Histograms("your_pictures/train: 0 = female, 1 = male")[0].histogram_value
    with (colour_runs["female", "male"] / "split.csv").open() as file:
        labels = [row["label"] for row in csv.DictReader(file) if row["part"] == "train"]
    assert [count for count in histogram.bucket if count] == [labels.count("female"), labels.count("male")]


def test_hparams_tab_has_the_final_metrics(accumulator, colour_runs):
    summaries = accumulator.summary_metadata
    content = summaries["_hparams_/session_start_info"].plugin_data.content
    parameters = metadata.parse_session_start_info_plugin_data(content).hparams
    assert parameters["lr"].number_value == 0.02
    assert parameters["option/model.name"].string_value == "smallcnn"
    assert parameters["epochs"].number_value == 6
    assert parameters["data"].string_value.endswith("colour")
    assert parameters["augmentation"].string_value == "reframe=0.0"  # colours are trained without; the rest is as usual
    assert sorted(parameters)[:5] == ["accuracy", "augmentation", "data", "epochs", "lr"]  # what the page shows
    content = summaries["_hparams_/experiment"].plugin_data.content
    names = {info.name.tag for info in metadata.parse_experiment_plugin_data(content).metric_infos}
    assert names == {f"verdict/{stage}_{name}" for stage in ("val", "test") for name in ("acc", "balanced_acc")}
    metrics = json.loads((colour_runs["female", "male"] / "metrics.json").read_text())
    assert accumulator.Scalars("verdict/test_acc")[-1].value == pytest.approx(metrics["test/acc"])


def test_the_curves_of_training_and_validation_come_first_and_have_no_other_points(accumulator, colour_runs):
    """TensorBoard sorts charts by their names."""
    scalars = sorted(accumulator.Tags()["scalars"])
    assert {name.partition("/")[0] for name in scalars[:2]} == {"train"}
    stages = list(dict.fromkeys(name.partition("/")[0] for name in scalars))
    assert stages == ["train", "val", "verdict"]
    for name in scalars:
        if "/lr/" not in name:
            assert len(accumulator.Scalars(name)) == (1 if name.startswith("verdict/") else 6)
