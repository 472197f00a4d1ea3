import tomllib

from conftest import PROJECT


def test_both_lists_of_tested_versions_agree():
    listed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    assert (PROJECT / "constraints.txt").read_text().splitlines()[1:] == listed


def test_every_config_begins_with_its_command():
    for path in (PROJECT / "configs").rglob("*.yaml"):
        text = path.read_text().removeprefix("# @package _global_\n")  # which Hydra wants first
        assert text.startswith("# python scripts/"), path


def test_library_imports_neither_hydra_nor_omegaconf():
    for path in (PROJECT / "src").rglob("*.py"):
        text = path.read_text()
        assert "import hydra" not in text, path
        assert "omegaconf" not in text, path
