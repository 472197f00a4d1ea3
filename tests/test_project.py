import re
import tomllib

import pytest
from conftest import PROJECT, run, train_settings
from packaging.requirements import Requirement

from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.training.fine_tuning import resolve_start

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def test_both_lists_of_tested_versions_agree():
    listed = PYPROJECT["tool"]["uv"]["constraint-dependencies"]
    assert (PROJECT / "constraints.txt").read_text().splitlines()[1:] == listed


def test_every_config_begins_with_its_command():
    for path in (PROJECT / "configs").rglob("*.yaml"):
        text = path.read_text().removeprefix("# @package _global_\n")  # which Hydra wants first
        assert text.startswith("# python scripts/"), path


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "configs/experiment").glob("*.yaml")))
def test_experiments_fit_the_options_there_are(name):
    settings = resolve_start(train_settings(f"experiment={name}", shrink=False))
    if "pretrained" in settings.model:
        settings.model["pretrained"] = False
    classifier = GenderClassifier(settings.data.classes, settings.model, **vars(settings.classifier))
    assert any(parameter.requires_grad for parameter in classifier.parameters())


def test_experiments_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="experiment is 'fats'; there are fast, release"):
        train_settings("experiment=fats")


def test_container_installs_what_the_package_needs():
    needed = {Requirement(line).name for line in PYPROJECT["project"]["dependencies"]}
    dockerfile = (PROJECT / "Dockerfile").read_text()
    named = re.search(r"pip install --no-cache-dir -c constraints.txt \\\n(.+)$", dockerfile, re.MULTILINE)
    assert set(named[1].split()) == needed | {"pillow-heif"}


def test_importing_all_of_labelling_brings_nothing_of_training():
    modules = [
        ".".join(path.relative_to(PROJECT / "src").with_suffix("").parts)
        for package in ("pictures", "labelling")
        for path in (PROJECT / "src/gender_recognizer" / package).glob("[!_]*.py")
    ]
    extra = PYPROJECT["project"]["optional-dependencies"]["train"]
    heavy = {Requirement(line).name.replace("-", "_") for line in extra} | {"sklearn"}
    code = f"import sys, {', '.join(modules)}\nprint(sorted({heavy} & sys.modules.keys()))"
    assert run("-c", code).stdout.strip() == "[]"
