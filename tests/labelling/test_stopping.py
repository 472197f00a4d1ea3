"""Runs that are stopped, killed or out of room, and what the next one does again."""

import contextlib
import json
import os
import random
import resource
import signal
import sys
import time

import pytest
from conftest import BLUE, PROJECT, RED, is_running, process, read_records, save_picture, start, wait_for_records

SAMPLE = PROJECT / "data/sample"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return a folder of 3,000 pictures, some of them broken, and the files of an undisturbed run."""
    root = tmp_path_factory.mktemp("many")
    faces = [path.read_bytes() for path in sorted(SAMPLE.glob("*/*.jpg"))]
    (root / "in").mkdir()
    for index in range(3000):
        content = b"<html>" if index % 100 == 7 else faces[index % len(faces)]
        (root / "in" / f"{index:04}.jpg").write_bytes(content)
    done = process(root / "in", f"output_path={root}/whole.json")
    assert done.returncode == 3
    return root


def test_killed_runs_end_in_the_files_of_an_undisturbed_one(many):
    whole = (many / "whole.json").read_bytes(), (many / "whole.jsonl").read_bytes()
    rng = random.Random(0)
    path = many / "killed.json"
    for _ in range(2):
        path.unlink(missing_ok=True)
        path.with_suffix(".jsonl").unlink(missing_ok=True)
        for goal in sorted(rng.sample(range(2800), 3)):
            running = start(many / "in", f"output_path={path}", "num_workers=1")
            assert wait_for_records(path.with_suffix(".jsonl"), goal, running)
            time.sleep(rng.random() * 0.02)
            running.kill()
            running.communicate()
        resumed = process(many / "in", f"output_path={path}")
        assert resumed.returncode == 3, resumed.stderr
        assert "continuing after" in resumed.stderr
        assert (path.read_bytes(), path.with_suffix(".jsonl").read_bytes()) == whole


def test_ctrl_c_leaves_valid_files_and_says_how_to_go_on(many):
    path = many / "stopped.json"
    running = start(
        many / "in",
        f"output_path={path}",
        "num_workers=1",
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )
    assert wait_for_records(path.with_suffix(".jsonl"), 100, running)
    os.killpg(running.pid, signal.SIGINT)
    _, messages = running.communicate(timeout=20)
    assert running.returncode == 130
    assert messages.splitlines()[-1] == "stopped before the end; the same command continues from here"
    assert "Traceback" not in messages
    labels = json.loads(path.read_text())
    records = read_records(path.with_suffix(".jsonl"))
    assert 90 < len(labels) < 3000
    assert labels == {record["file"]: record["label"] for record in records if record["status"] == "labelled"}
    assert process(many / "in", f"output_path={path}").returncode == 3
    assert path.read_bytes() == (many / "whole.json").read_bytes()


def workers_of(pid):
    """Return the processes that a process has started."""
    return [int(number) for number in open(f"/proc/{pid}/task/{pid}/children").read().split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("pause", [0, 0.0001, 0.02, 0.1, 0.4])
def test_ctrl_c_twice_ends_at_once_with_valid_files_and_no_orphans(many, pause):
    path = many / f"twice_{pause}.json"
    running = start(
        many / "in",
        f"output_path={path}",
        "num_workers=2",
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert wait_for_records(path.with_suffix(".jsonl"), 100, running)
    workers = workers_of(running.pid)
    assert len(workers) == 2
    os.killpg(running.pid, signal.SIGINT)
    time.sleep(pause)
    with contextlib.suppress(ProcessLookupError):  # it has ended by now
        os.killpg(running.pid, signal.SIGINT)
    _, messages = running.communicate(timeout=10)
    assert running.returncode == 130, messages
    assert "Traceback" not in messages
    assert not any(map(is_running, workers))
    assert {record["status"] for record in read_records(path.with_suffix(".jsonl"))} <= {"labelled", "failed"}
    assert not path.exists() or json.loads(path.read_text())
    assert not list(many.glob("*.partial"))


def test_full_disk_ends_in_one_line_with_exit_code_1_and_loses_nothing(many):
    path = many / "full.json"
    running = start(
        many / "in",
        f"output_path={path}",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    _, messages = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "error: " in messages.splitlines()[-1]
    assert "File too large" in messages.splitlines()[-1]
    assert "Traceback" not in messages
    assert not path.exists()
    resumed = process(many / "in", f"output_path={path}")
    assert "continuing after" in resumed.stderr
    assert path.read_bytes() == (many / "whole.json").read_bytes()


def test_only_changed_and_new_files_are_done_again(tmp_path):
    for index in range(5):
        save_picture(tmp_path / f"in/{index}.png", RED, index)
    arguments = [tmp_path / "in", f"output_path={tmp_path}/out.json", "faces=none"]
    assert process(*arguments).returncode == 0
    before = {record["file"]: record for record in read_records(tmp_path / "out.jsonl")}
    save_picture(tmp_path / "in/3.png", BLUE, 9)
    save_picture(tmp_path / "in/1b.png", BLUE, 9)
    (tmp_path / "in/0.png").unlink()
    done = process(*arguments)
    assert "continuing after 5 files" in done.stderr
    after = {record["file"]: record for record in read_records(tmp_path / "out.jsonl")}
    assert list(after) == ["1.png", "1b.png", "2.png", "3.png", "4.png"]
    assert {name for name in after if after[name] == before.get(name)} == {"1.png", "2.png", "4.png"}
    assert list(json.loads((tmp_path / "out.json").read_text())) == list(after)


def test_another_model_starts_over_and_says_so(tmp_path):
    save_picture(tmp_path / "in/a.png", RED, 0)
    arguments = [tmp_path / "in", f"output_path={tmp_path}/out.json"]
    process(*arguments)
    done = process(*arguments, f"model_path={PROJECT}/src/gender_recognizer/weights/smallcnn.onnx")
    assert "starting over: out.jsonl was made with a different model, model_sha256" in done.stderr
    assert process(*arguments, "resume=false").returncode == 0
