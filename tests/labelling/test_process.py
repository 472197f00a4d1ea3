"""Inputs and outputs of `scripts/process.py`."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import PROJECT, RED, process, read_records, save_picture
from PIL import Image

from gender_recognizer import labelling
from gender_recognizer.cli import main
from gender_recognizer.models.calibration import confidence_for
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import load_predictor

SAMPLE = PROJECT / "data/sample"


def test_a_single_picture_is_labelled(tmp_path):
    done = process(SAMPLE / "female/001.jpg", f"output_path={tmp_path}/out.json")
    assert done.returncode == 0
    assert json.loads((tmp_path / "out.json").read_text()) == {"001.jpg": "female"}


def test_a_list_of_paths_is_labelled(tmp_path):
    lines = ["data/sample/male/001.jpg", str(SAMPLE / "female/001.jpg"), "data/sample/male/001.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    done = process(f"input_dir={tmp_path}/list.txt", f"output_path={tmp_path}/out.json")
    assert done.returncode == 0
    assert json.loads((tmp_path / "out.json").read_text()) == {lines[1]: "female", lines[0]: "male"}


def test_several_inputs_are_labelled_by_their_names_below_their_common_folder(tmp_path, capsys):
    for name in ("a/1.png", "b/1.png", "b/deep/2.png", "c/3.png"):
        save_picture(tmp_path / name, RED, 0)
    (tmp_path / "list.txt").write_text(f"{tmp_path}/c/3.png\n")
    output = f"output_path={tmp_path}/out.json"

    def names(*inputs):
        assert main("label", [*(str(tmp_path / name) for name in inputs), output, "faces=none"]) == 0
        return list(json.loads((tmp_path / "out.json").read_text()))

    assert names("a", "b") == ["a/1.png", "b/1.png", "b/deep/2.png"]
    assert names("a/1.png", "b/1.png", "list.txt") == ["a/1.png", "b/1.png", "c/3.png"]
    assert names("b", "b/1.png") == ["1.png", "deep/2.png"]
    assert names("a/1.png") == ["1.png"]


def test_pictures_added_to_several_inputs_are_all_that_is_done_again(tmp_path, capsys):
    pictures = [str(save_picture(tmp_path / f"in/{index}.png", RED, index)) for index in range(4)]
    options = [f"output_path={tmp_path}/out.json", "faces=none"]
    assert main("label", [*pictures[:3], *options]) == 0
    capsys.readouterr()
    assert main("label", [*pictures, *options]) == 0
    assert "continuing after 3 files" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out.json").read_text())) == 4


def test_results_of_earlier_runs_are_replaced_whatever_their_model_and_formats(tmp_path, capsys):
    save_picture(tmp_path / "in/a.png", RED, 0)
    arguments = [str(tmp_path / "in"), f"output_path={tmp_path}/out.json"]
    everything = [*arguments, "formats=[json,jsonl,csv]"]
    for typed in (everything, [*arguments, "formats=[json]"], [*arguments, "formats=[csv]"], everything):
        assert main("label", typed) == 0
    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "out.json").write_text("{}\n")  # of a run that labelled nothing
    (tmp_path / "out.csv").write_text((tmp_path / "out.csv").read_text().replace("pages", "frames"))  # an older one
    assert main("label", everything) == 0
    (tmp_path / "out.json").write_text('{\n  "a.png": "cat"\n}\n')  # by a model with other classes, its log beside it
    assert main("label", everything) == 0
    (tmp_path / "out.json").write_text('{\n  "a.png": "cat"\n}\n')
    (tmp_path / "out.jsonl").unlink()
    assert main("label", everything) == 2
    assert "out.json' exists and is not a result of gender_recognizer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        '["a.png"]\n',
        '{"a.png": "male"}',
        '{\n  "a.png": "male",\n  "b.png": 3\n}\n',
        '{\n  "a.png": "male"\n}\n{}\n',
        '{\n  "a.png": {"male": 1}\n}\n',
        '{\n  "a.png": "male", "b.png": "male"\n}\n',
        "\x89PNG",
    ],
)
def test_other_files_of_the_name_of_a_result_are_kept(tmp_path, capsys, content):
    save_picture(tmp_path / "in/a.png", RED, 0)
    (tmp_path / "out.json").write_text(content)
    assert main("label", [str(tmp_path / "in"), f"output_path={tmp_path}/out.json"]) == 2
    assert "choose another output_path" in capsys.readouterr().err
    assert (tmp_path / "out.json").read_text() == content
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out.json"}


def test_links_in_the_place_of_results_lead_nowhere(tmp_path, capsys):
    save_picture(tmp_path / "in/a.png", RED, 0)
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out.json.partial").symlink_to("mine.txt")
    (tmp_path / "out.csv").symlink_to("missing.csv")
    assert main("label", [str(tmp_path / "in"), f"output_path={tmp_path}/out.json", "formats=[json,csv]"]) == 0
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"in", "mine.txt", "out.json", "out.csv"}


def test_formats_choose_the_files(tmp_path):
    for output_path in (f"{tmp_path}/new/out/", f"{tmp_path}/new/out"):  # the first one makes it
        assert process(SAMPLE / "female", f"output_path={output_path}", "formats=[csv]").returncode == 0
    assert [path.name for path in (tmp_path / "new/out").iterdir()] == ["process_results.csv"]
    assert len((tmp_path / "new/out/process_results.csv").read_text().splitlines()) == 101


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """Return a folder of 30 faces, and of 30 halfway between a female and a male one."""
    root = tmp_path_factory.mktemp("hard")
    for index in range(1, 31):
        female, male = (Image.open(SAMPLE / name / f"{index:03}.jpg").convert("RGB") for name in ("female", "male"))
        female.save(root / f"easy_{index}.png")
        Image.blend(female, male.resize(female.size), 0.5).save(root / f"hard_{index}.png")
    return root


def test_unsure_pictures_are_said(tmp_path, hard):
    arguments = [hard, f"output_path={tmp_path}/out.json"]
    done = process(*arguments, "min_confidence=0.95")
    assert done.returncode == 0
    labels = json.loads((tmp_path / "out.json").read_text())
    unsure = sum(label == "unsure" for label in labels.values())
    assert 0 < unsure < 60
    assert f", {unsure} unsure, 0 failed: " in done.stderr.splitlines()[-1]
    process(*arguments)
    assert "unsure" not in json.loads((tmp_path / "out.json").read_text()).values()


def test_wanted_accuracy_chooses_the_confidence(tmp_path, hard):
    done = process(hard, f"output_path={tmp_path}/out.json", "target_accuracy=0.99")
    assert done.returncode == 0
    point = confidence_for(load_predictor(BUNDLED_MODEL).info.operating_points, 0.99)
    said = re.search(
        r"from a confidence of (\S+); .* (\S+)% of the labels were right and (\S+)% were left", done.stderr
    )
    assert float(said[1]) == pytest.approx(point.confidence, abs=1e-4)
    assert float(said[2]) == pytest.approx(100 * point.accuracy, abs=0.01)
    assert float(said[3]) == pytest.approx(100 * (1 - point.share), abs=1)
    records = read_records(tmp_path / "out.jsonl")
    for record in records:
        assert record["status"] == ("labelled" if record["probability"] >= point.confidence else "unsure")
    assert {record["status"] for record in records} == {"labelled", "unsure"}


@pytest.mark.parametrize("closing", ["2>&-", "1>&- 2>&-", "0<&- 2>&-", "2>/dev/full"])
def test_labelling_needs_nobody_to_listen(tmp_path, closing):
    save_picture(tmp_path / "in/a.png", RED, 0)
    (tmp_path / "in" / os.fsdecode(b"x\xff.jpg")).write_bytes(b"<html>")  # is named in a message
    command = f"'{sys.executable}' '{PROJECT}/scripts/process.py' in output_path=out/ faces=none {closing}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True)
    assert done.returncode == 3
    assert json.loads((tmp_path / "out/process_results.json").read_text()).keys() == {"a.png"}
    assert len(read_records(tmp_path / "out/process_results.jsonl")) == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp932", "latin-1"])
def test_names_that_an_encoding_lacks_are_escaped(tmp_path, encoding):
    for name in ("é.jpg", "🙂.jpg", "日本.jpg", os.fsdecode(b"x\xff.jpg")):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"<html>")
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts/process.py", "in", "output_path=ö/"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 3
    messages = done.stderr.decode(encoding)
    assert sum(line.startswith("failed: ") for line in messages.splitlines()) == 4
    assert "Traceback" not in messages


def test_device_is_said_with_its_reason(tmp_path):
    done = process(SAMPLE / "female/001.jpg", f"output_path={tmp_path}/out.json", "device=cpu")
    assert "smallcnn-int8.onnx, classes female, male, on cpu (asked for)" in done.stderr


ENGINES = sorted(path.stem for path in (PROJECT / "configs/engine").iterdir())

MINE = {
    "notes.md": "x",
    "junk/.a.jpg": "",
    "empty.txt": "\n",
    "broken.onnx": "x",
    "foreign.jsonl": '{"mine": 1}\n',
    "holiday.json": '{\n  "title": "Spring",\n  "author": "me"\n}\n',
    "table.csv": "file,title\na.jpg,Spring\n",
}
"""Files of the user's that lie where results would."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a folder, pictures or a .txt list; usage: "),
        (["{root}/in", "--fast"], "unknown option '--fast'"),
        (["{root}/in", "batch_size=0"], "batch_size is 0"),
        (["{root}/in", "batch_size=[1"], "[1"),
        (["{root}/in", "model_path=missing.onnx"], "does not exist"),
        (["{root}/in", "output_path=/proc/no/out.json"], "cannot be written"),
        (["{root}/in", "output_path=/proc/no/"], "cannot be written"),
        (["{root}/missing"], "is not a folder"),
        (["{root}/in", "{root}/missing"], "is not a folder"),
        (["{root}/a*.jpg"], "is not a folder, a picture or a .txt with one path per line: it does not exist"),
        (["{root}/notes.md"], "is not a folder, a picture or a .txt"),
        (["{root}/junk"], "no pictures in '{root}/junk'"),
        (["{root}/empty.txt"], "no pictures in '{root}/empty.txt'"),
        ([""], "is not a folder"),
        (["{root}/in", "formats=[xml]"], "formats is ['xml']; expected a list of json, jsonl, csv"),
        (["{root}/in", "min_confidence=2"], "min_confidence is 2; expected a probability from 0 to 1"),
        (["{root}/in", "target_accuracy=97"], "target_accuracy is 97; expected a share from 0 to 1"),
        (["{root}/in", "target_accuracy=high"], "target_accuracy is high; expected a number"),
        (["{root}/in", "target_accuracy=0.9", "min_confidence=0.9"], "min_confidence and target_accuracy are both set"),
        (["{root}/in", "min_size=small"], "min_size is small; expected a whole number"),
        (["{root}/in", "max_seconds=0"], "max_seconds is 0; expected a number of seconds above 0"),
        (["{root}/in", "max_file_size=-1"], "max_file_size is -1; expected 0 or more"),
        (["{root}/in", "resume=maybe"], "resume is maybe; expected true or false"),
        (["{root}/in", "num_workers=0"], "num_workers is 0; expected a whole number, 1 or more"),
        (["{root}/in", "device=gpu"], "device is 'gpu'; expected auto, cpu, cuda, mps, coreml, directml or openvino"),
        (["{root}/in", "engine=spark"], f"engine is 'spark'; there are {', '.join(ENGINES)}"),
        (["{root}/in", "ray.address=auto"], "'ray.address' is an option of ray, which was not chosen"),
        (["{root}/in", "faces=all"], "faces is all; expected auto, crop or none"),
        (["{root}/in", "faces=null"], "faces is None; expected"),
        (["{root}/in", "output_path={root}/a.jsonl"], "a.jsonl' does not end with .json"),
        (["{root}/in", "output_path={root}/in/a.png"], "a.png' does not end with .json"),
        (["{root}/in", "output_path={root}/results"], "results' does not end with .json; "),
        (["{root}/in", "output_path={root}/foreign.json"], "is not a log of gender_recognizer"),
        (["{root}/in", "output_path={root}/holiday.json"], "holiday.json' exists and is not a result"),
        (["{root}/in", "output_path={root}/table.json", "formats=[csv]"], "table.csv' exists and is not a result"),
        (
            ["{root}/in", "output_path={root}/folder.json", "formats=[json,csv]"],
            "folder.csv' exists and is not a result",
        ),
        (["{root}/in", "output_path={root}/new/", "model_path={root}/broken.onnx"], "is not an ONNX model"),
        (["s3://bucket/folder"], "needs engine=ray"),
        (["s3://bucket/folder", "{root}/in", "engine=ray"], "an address cannot be combined with other inputs"),
    ],
)
def test_mistakes_end_in_one_line_and_change_nothing(tmp_path, capsys, arguments, message):
    save_picture(tmp_path / "in/a.png", RED, 0)
    (tmp_path / "junk").mkdir()
    for name, content in MINE.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "folder.csv").mkdir()
    before = {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}
    typed = (argument.format(root=tmp_path) for argument in arguments)
    assert main("label", [f"output_path={tmp_path}/out.json", *typed]) == 2
    messages = capsys.readouterr()
    assert messages.err.startswith("error: ")
    assert message.format(root=tmp_path) in messages.err
    assert len(messages.err.splitlines()) == 1
    assert messages.out == ""
    assert {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")} == before


def test_a_table_of_a_version_with_fewer_columns_is_replaced_and_one_with_a_column_of_the_users_is_not(
    tmp_path, capsys
):
    save_picture(tmp_path / "in/a.png", RED, 0)
    typed = [f"{tmp_path}/in", f"output_path={tmp_path}/out.json", "formats=[csv]", "faces=none"]
    table = tmp_path / "out.csv"
    table.write_text("file,status,label,probability,reason,frames\nb.png,labelled,male,0.75,,\n")
    assert main("label", typed) == 0
    whole = table.read_text()
    assert whole.splitlines()[1].startswith("a.png,labelled,")
    for header in (f"{whole.splitlines()[0]},notes", "file,label", "file,status,label,probability,probability"):
        table.write_text(f"{header}\n")
        assert main("label", typed) == 2
        assert "out.csv' exists and is not a result of gender_recognizer" in capsys.readouterr().err
        assert table.read_text() == f"{header}\n"


ENGINE = """
from gender_recognizer.labelling.records import Record


class ToyEngine:
    def __init__(self, model):
        from gender_recognizer.models.predictor import load_predictor

        self.info = load_predictor(model).info

    def label(self, files):
        for file in files:
            yield [Record(file.name, "labelled", "female", 0.75)]

    def close(self):
        print("closed")


def start(choice, limits, settings, detector, fetch):
    return ToyEngine(choice.path), f"a toy with batches of {settings.batch_size}"
"""


def test_an_engine_is_added_by_its_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy_engine.py").write_text(ENGINE)
    monkeypatch.setattr(labelling, "__path__", [*labelling.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "gender_recognizer.labelling.toy_engine", raising=False)
    save_picture(tmp_path / "in/a.png", RED, 0)
    options = [f"{tmp_path}/in", f"output_path={tmp_path}/out.json"]
    assert main("label", [*options, "engine.name=toy", "batch_size=3"]) == 0
    told = capsys.readouterr()
    assert "a toy with batches of 3" in told.err
    assert told.out == "closed\n"
    assert json.loads((tmp_path / "out.json").read_text()) == {"a.png": "female"}
    assert main("label", [*options, "engine.name=spark"]) == 2
    assert "engine is spark; expected local, ray or toy" in capsys.readouterr().err
