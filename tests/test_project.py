import tomllib

import pytest
from conftest import PROJECT, train_settings
from hydra.errors import MissingConfigException

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.models.classifier import GenderClassifier


def test_both_lists_of_tested_versions_agree():
    listed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    assert (PROJECT / "constraints.txt").read_text().splitlines()[1:] == listed


def test_every_config_begins_with_its_command():
    for path in (PROJECT / "configs").rglob("*.yaml"):
        text = path.read_text().removeprefix("# @package _global_\n")  # which Hydra wants first
        assert text.startswith("# python scripts/"), path


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (PROJECT / "configs/recipe").glob("*.yaml")))
def test_recipes_fit_the_options_there_are(recipe):
    settings = train_settings(f"recipe={recipe}", shrink=False)
    if "pretrained" in settings["model"]:
        settings["model"]["pretrained"] = False
    Augmentation(**settings["data"]["augmentation"])
    classifier = GenderClassifier(settings["data"]["classes"], settings["model"], **settings["classifier"])
    assert any(parameter.requires_grad for parameter in classifier.parameters())


def test_recipes_that_do_not_exist_are_refused():
    with pytest.raises(MissingConfigException, match="recipe/fats"):
        train_settings("recipe=fats")


def test_library_imports_neither_hydra_nor_omegaconf():
    for path in (PROJECT / "src").rglob("*.py"):
        text = path.read_text()
        assert "import hydra" not in text, path
        assert "omegaconf" not in text, path
