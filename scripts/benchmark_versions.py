"""The part of `benchmark.py` that measures what labelling takes in this and in another checkout, side by side."""

import math
import os
import resource
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image

from gender_recognizer.pictures.listing import find_images

PROJECT = Path(__file__).resolve().parents[1]
MEGAPIXELS = 1_000_000
FACE_SHARE = 0.75
"""Height of the face in a crop, as a share of the crop's: between dlib's box, around which FairFace cut (0.67),
and YuNet's (0.92, see `detector.CROP_SCALE`)."""

FAR_SHARE = 0.15
"""Height of a face that is far, as a share of the photograph's."""

FEW = 3
"""Pictures of the run whose time is subtracted: that of the start."""


def make_portraits(sources: list[Path], folder: Path) -> None:
    """Save pictures enlarged to 1 megapixel."""
    for index, source in enumerate(sources):
        image = Image.open(source).convert("RGB")
        factor = math.sqrt(MEGAPIXELS / (image.width * image.height))
        size = round(factor * image.width), round(factor * image.height)
        image.resize(size, Image.Resampling.LANCZOS).save(folder / f"{index:04}.jpg", quality=90)


def make_far(scenes: list[Path], crops: list[Path], folder: Path) -> None:
    """Save photographs of 1 megapixel: crops pasted into scenes so that a face has `FAR_SHARE` of the height."""
    rng = np.random.default_rng(0)
    for index, (scene, crop) in enumerate(zip(scenes, cycle(crops), strict=False)):
        photograph = Image.open(scene).convert("RGB").resize((1155, 866), Image.Resampling.LANCZOS)
        side = round(FAR_SHARE / FACE_SHARE * photograph.height)
        face = Image.open(crop).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        left, top = (int(rng.integers(0, length - side)) for length in photograph.size)
        photograph.paste(face, (left, top))
        photograph.save(folder / f"{index:04}.jpg", quality=90)


def fill_folders(crops: Path, portraits: Path, scenes: Path, root: Path) -> dict[str, Path]:
    """Return folders, below `root`, of up to 1,000 crops, 400 portraits and 100 photographs whose face is far."""
    folders = {name: root / name for name in ("crops", "portraits", "far")}
    for folder in folders.values():
        folder.mkdir()
    paths = find_images(crops)
    for index, path in enumerate(_spread(paths, 1000)):
        (folders["crops"] / f"{index:04}{path.suffix}").write_bytes(path.read_bytes())
    make_portraits(_spread(find_images(portraits), 400), folders["portraits"])
    make_far(_spread(find_images(scenes), 100), _spread(paths, 100), folders["far"])
    return folders


def _spread(paths: list[Path], most: int) -> list[Path]:
    """Return at most so many of the paths, evenly from all of them."""
    return paths[:: -(-len(paths) // most)]


def measure_labelling(checkout: Path, folder: Path, options: list[str]) -> float:
    """Return the ms of CPU time that a checkout's `process.py` takes for a picture of a folder, without its start."""
    files = sorted(folder.iterdir())
    few = folder.parent / f"{folder.name}_few"
    if not few.exists():
        few.mkdir()
        for path in files[:FEW]:
            (few / path.name).write_bytes(path.read_bytes())
    spent = [_cpu_seconds(checkout, part, options) for part in (folder, few)]
    return 1000 * (spent[0] - spent[1]) / (len(files) - FEW)


def _cpu_seconds(checkout: Path, folder: Path, options: list[str]) -> float:
    """Return the CPU time of `process.py` on a folder with one worker.

    Raises:
        ValueError: it failed.
    """
    paths = [str(checkout / "src"), os.environ.get("PYTHONPATH", "")]
    output = folder.parent / "out.json"
    for left in folder.parent.glob("out.*"):
        left.unlink()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [f"input_dir={folder}", f"output_path={output}", "num_workers=1", *options]
    done = subprocess.run(
        [sys.executable, checkout / "scripts" / "process.py", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    if not output.exists():
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ValueError(f"process.py of '{checkout}' labelled nothing: {reason}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_versions(
    other: Path, folders: dict[str, Path], rounds: int, far_options: list[str]
) -> dict[str, dict[str, list[float]]]:
    """Return for each folder the ms of CPU time a picture of both checkouts, alternating.

    Args:
        other: the other checkout.
        folders: with pictures, by name.
        rounds: how often each is measured.
        far_options: of the other checkout for the folder `far`.

    Raises:
        ValueError: a checkout labels nothing.
    """
    results: dict[str, dict[str, list[float]]] = {name: {"other": [], "this": []} for name in folders}
    for name, folder in folders.items():
        for _ in range(rounds):
            options = far_options if name == "far" else []
            results[name]["other"].append(measure_labelling(other, folder, options))
            results[name]["this"].append(measure_labelling(PROJECT, folder, []))
    return results
