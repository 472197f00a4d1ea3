import csv
import json

import pytest
from conftest import SMALL_RUN, make_colour_data

from gender_recognizer.training.sweeps import read_results


@pytest.mark.usefixtures("light_training")
def test_a_sweep_ends_in_one_table_also_when_a_run_fails(tmp_path, command):
    data = make_colour_data(tmp_path / "data", count=20, wrong=0)
    common = [option for option in SMALL_RUN if not option.startswith("model.")]
    done = command(
        "train", "-m", *common, f"data.root={data}", f"outputs={tmp_path}/out",
        "model.width=1,6", "classifier.lr=0.01", "trainer.max_epochs=1",
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.name.startswith("sweep_"))
    rows = list(csv.DictReader((folder / "sweep_results.csv").open()))
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert [row["model.width"] for row in rows] == ["6", "1"]
    assert 0 <= float(rows[0]["val/acc"]) <= 1
    assert "model.width is 1; expected" in rows[-1]["reason"]
    assert done.stdout.count("sweep_results.csv") == 1
    assert "ckpt_path=last" not in done.stdout + done.stderr  # it would go on with another run


def test_rows_are_sorted_by_validation_accuracy(tmp_path):
    for number, accuracy in enumerate((0.5, 0.9, None, 0.7)):
        (tmp_path / f"{number}/.hydra").mkdir(parents=True)
        (tmp_path / f"{number}/.hydra/overrides.yaml").write_text(f"- model.width={number}\n")
        if accuracy is not None:
            (tmp_path / f"{number}/metrics.json").write_text(json.dumps({"val/acc": accuracy}))
    assert [row["run"] for row in read_results(tmp_path)] == ["1", "3", "0", "2"]
    assert read_results(tmp_path)[-1]["status"] == "failed"
