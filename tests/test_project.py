import re
import subprocess
import sys
import tomllib

import pytest
from conftest import PROJECT, run, train_settings
from packaging.requirements import Requirement

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.training.fine_tuning import resolve_start

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
OF_TRAINING = {
    Requirement(line).name.replace("scikit-learn", "sklearn")
    for line in PYPROJECT["project"]["optional-dependencies"]["train"]
}
"""Names under which the packages of the extra `train` are imported."""


def test_both_lists_of_tested_versions_agree():
    listed = PYPROJECT["tool"]["uv"]["constraint-dependencies"]
    assert (PROJECT / "constraints.txt").read_text().splitlines()[1:] == listed


def test_every_config_begins_with_its_command():
    for path in (PROJECT / "configs").rglob("*.yaml"):
        text = path.read_text().removeprefix("# @package _global_\n")  # which Hydra wants first
        assert text.startswith("# python scripts/"), path


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "configs/experiment").glob("*.yaml")))
def test_experiments_fit_the_options_there_are(name):
    teachers = ["teachers=[T.ckpt]"] if name == "release" else []  # it says so without one
    settings = resolve_start(train_settings(f"experiment={name}", *teachers, shrink=False))
    if "pretrained" in settings.model:
        settings.model["pretrained"] = False
    classifier = GenderClassifier(settings.data.classes, settings.model, **vars(settings.classifier))
    assert any(parameter.requires_grad for parameter in classifier.parameters())


def test_experiments_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="experiment is 'fats'; there are fast, release"):
        train_settings("experiment=fats")


def test_importing_all_of_labelling_brings_nothing_of_training():
    modules = [
        ".".join(path.relative_to(PROJECT / "src").with_suffix("").parts)
        for package in ("pictures", "labelling")
        for path in (PROJECT / "src/gender_recognizer" / package).glob("[!_]*.py")
    ]
    code = f"import sys, {', '.join(modules)}\nprint(sorted({OF_TRAINING} & sys.modules.keys()))"
    assert run("-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", []),
        ("train", ["-m", "seed=0,1"]),
        ("evaluate", []),
        ("check", []),
        ("export", ["output_dir=out"]),
        ("tune", []),
    ],
)
def test_without_the_extra_a_command_names_it_in_one_line(command, arguments, tmp_path):
    code = (
        f"import sys; sys.modules |= dict.fromkeys({OF_TRAINING}); from gender_recognizer.cli import main\n"
        f"sys.exit(main('{command}', {[*arguments, f'outputs={tmp_path}']}))"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert not list(tmp_path.iterdir())
    assert re.match(r"error: this command needs \w+: (uv )?pip install -e '\.\[train\]'", line)


def test_without_optuna_the_search_says_what_to_install(tmp_path, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "gender_recognizer.training.tuning", raising=False)
    done = command("tune", f"outputs={tmp_path}")
    assert done.returncode == 2
    assert re.match(r"error: this command needs optuna: (uv )?pip install -e '\.\[tune\]'", done.stderr)
    assert not list(tmp_path.iterdir())


def test_help_may_be_cut_short_by_its_reader():
    script = f"'{sys.executable}' scripts/train.py --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
