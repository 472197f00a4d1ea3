"""What people read: README.md, docs/, CONTRIBUTING.md, CITATION.cff."""

import re
import tomllib

import pytest
from conftest import PROJECT
from omegaconf import OmegaConf

DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md"))]


def test_citation_names_the_version_of_the_package():
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (PROJECT / "CITATION.cff").read_text()


def test_readme_can_be_read_at_one_sitting():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 200


def anchors(path):
    """Return the names under which the headings of a Markdown file can be linked to."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    path = PROJECT / name
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert file.startswith("https://") or linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_code_in_documents_is_checked_by_mypy(name):
    blocks = re.findall(r"^```python\n(.*?)^```", (PROJECT / name).read_text(), re.MULTILINE | re.DOTALL)
    checked = re.sub("(?<=import Recognizer).*", "", (PROJECT / "tests/user_code.py").read_text()).splitlines()
    assert {line for block in blocks for line in block.splitlines()} <= set(checked)


@pytest.mark.parametrize("config", ["process", "demo"])
def test_every_option_of_labelling_is_explained(config):
    options = OmegaConf.load(PROJECT / f"configs/{config}.yaml").keys() - {"defaults", "hydra", "input_dir", "outputs"}
    text = (PROJECT / "docs/labelling.md").read_text()
    assert {option for option in options if not re.search(rf"\b{option}\b", text)} == set()
