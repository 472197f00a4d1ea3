"""The steps of the Dockerfile, without Docker: what the package asks for is enough, and small."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import PROJECT
from packaging.requirements import Requirement
from PIL import Image

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
MAX_MEGABYTES = 400 - 130  # python:3.11-slim takes about 130


def needed(requirements):
    """Return the distributions of requirements and of all that these require."""
    found, waiting = {}, [(requirement, "") for requirement in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": extra})):
            found[name] = importlib.metadata.distribution(name)
            own = [Requirement(line) for line in found[name].requires or []]
            waiting += [(line, extra) for line in own for extra in requirement.extras or [""]]
    return found.values()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Return a folder with what the Dockerfile copies into /app and installs."""
    app = tmp_path_factory.mktemp("app")
    for line in re.findall(r"^COPY (.+) (\S+)$", DOCKERFILE, re.MULTILINE):
        for source in line[0].split():
            target = app / line[1] / (source if line[1] == "./" else "")
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (PROJECT / source).is_dir() else shutil.copy)(PROJECT / source, target)
    (package,) = re.findall(r" pip install -c constraints.txt (.+)$", DOCKERFILE, re.MULTILINE)
    extras = re.fullmatch(r"'\.\[(.+)\]'", package)[1].split(",")
    lines = [
        *PYPROJECT["dependencies"],
        *(line for name in extras for line in PYPROJECT["optional-dependencies"][name]),
    ]
    site = app / "site-packages"
    site.mkdir()
    for distribution in needed(map(Requirement, lines)):
        for top in {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    own = importlib.metadata.distribution("gender_recognizer").files
    (info,) = {file.parts[0] for file in own if file.parts[0].endswith(".dist-info")}
    (site / info).symlink_to(importlib.metadata.distribution("gender_recognizer").locate_file(info))
    shutil.copytree(app / "src/gender_recognizer", site / "gender_recognizer")
    shutil.copytree(app / "configs", site / "gender_recognizer/configs")  # as the wheel has it
    return app


def run_image(image, *arguments):
    """Run what the image runs, the command that the package installs, with nothing but the image's packages."""
    typed = [*json.loads(re.search("^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)[1]), *map(str, arguments)]
    module, name = PYPROJECT["scripts"][typed[0]].split(":")
    code = f"import sys; sys.argv = {typed}; from {module} import {name}; sys.exit({name}())"
    environment = os.environ | {"PYTHONPATH": str(image / "site-packages")}
    return subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=image, env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_named_packages_label_the_sample(image, tmp_path):
    done = run_image(image, PROJECT / "data/sample", f"output_path={tmp_path}/out.json")
    assert done.returncode == 0, done.stderr
    labels = json.loads((tmp_path / "out.json").read_text())
    assert len(labels) == 200
    assert sum(name.startswith(f"{label}/") for name, label in labels.items()) >= 195


def test_faces_are_found_with_them(image, tmp_path):
    photograph = Image.new("RGB", (700, 400), "grey")
    for left, label in enumerate(("female", "male")):
        face = Image.open(PROJECT / f"data/sample/{label}/001.jpg")
        photograph.paste(face.resize((200, 200)), (50 + 350 * left, 100))
    photograph.save(tmp_path / "two.png")
    done = run_image(image, tmp_path, "faces=crop", f"output_path={tmp_path}/out.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text()) == {"two.png#0": "female", "two.png#1": "male"}


def test_there_is_no_torch_and_little_else(image):
    site = image / "site-packages"
    assert {"onnxruntime", "PIL", "numpy"} <= {path.name for path in site.iterdir()}
    assert not {"torch", "lightning", "matplotlib", "pandas", "cv2"} & {path.name for path in site.iterdir()}
    size = sum(
        file.stat().st_size
        for folder in site.iterdir()
        for file in Path(folder.resolve()).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    )
    assert size / 1e6 < MAX_MEGABYTES
    print(f"{size / 1e6:.0f} MB")


def test_whatever_is_copied_is_let_into_the_build():
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()}
    assert copied == allowed
