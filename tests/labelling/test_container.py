"""The steps of the Dockerfile, without Docker: the packages it names are enough, and small."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT
from packaging.requirements import Requirement
from PIL import Image

DOCKERFILE = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
MAX_MEGABYTES = 400 - 130  # python:3.11-slim takes about 130


def needed(packages):
    """Return the distributions of packages and of all that these require."""
    found, waiting = {}, list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            requirements = map(Requirement, found[name].requires or [])
            waiting += [r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
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
    (packages,) = re.findall(r"pip install --no-cache-dir -c constraints.txt (.+)$", DOCKERFILE, re.MULTILINE)
    site = app / "site-packages"
    site.mkdir()
    for distribution in needed(packages.split()):
        for top in {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    own = importlib.metadata.distribution("gender_recognizer").files
    (info,) = {file.parts[0] for file in own if file.parts[0].endswith(".dist-info")}
    (site / info).symlink_to(importlib.metadata.distribution("gender_recognizer").locate_file(info))
    (site / "gender_recognizer").symlink_to(app / "src/gender_recognizer")
    return app


def test_the_named_packages_label_the_sample(image, tmp_path):
    command = [sys.executable, "-S", "scripts/process.py", PROJECT / "data/sample", f"output_path={tmp_path}/out.json"]
    environment = os.environ | {"PYTHONPATH": str(image / "site-packages")}
    done = subprocess.run(command, cwd=image, env=environment, capture_output=True, text=True, timeout=60)
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
    command = [sys.executable, "-S", "scripts/process.py", tmp_path, "faces=crop", f"output_path={tmp_path}/out.json"]
    environment = os.environ | {"PYTHONPATH": str(image / "site-packages")}
    done = subprocess.run(command, cwd=image, env=environment, capture_output=True, text=True, timeout=60)
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
