"""The part of `benchmark.py` that measures sets of pictures as they come, with default options."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gender_recognizer import Recognizer, Record
from gender_recognizer.pictures.listing import find_images

SETS = ("fairface/val", "wide/congress", "wide/fairface125", "none/cat", "none/scene")
"""Folders of `shared/faces`."""


class SetResult(NamedTuple):
    """What labelling makes of a set.

    Attributes:
        name: of its folder.
        pictures: how many there are.
        found: in how many a face was found.
        right: how many labels are those of the pictures' folders; None for pictures without a label.
        seconds: of processor time for a picture.
    """

    name: str
    pictures: int
    found: int
    right: int | None
    seconds: float


def label_set(folder: Path, recognizer: Recognizer, every: int = 1) -> Iterator[tuple[Path, Record]]:
    """Yield every so many-th picture of a folder with its record."""
    paths = [path for path in find_images(folder) if path.is_file()][::every]
    yield from zip(paths, recognizer.stream(paths), strict=True)


def measure_set(root: Path, name: str, recognizer: Recognizer, every: int = 1) -> SetResult:
    """Return what labelling makes of a set below `root`."""
    started = time.process_time()
    results = list(label_set(root / name, recognizer, every))
    seconds = (time.process_time() - started) / max(1, len(results))
    found = sum(record.box is not None for _, record in results)
    labelled = [path.parent.name for path, _ in results if path.parent.name in recognizer.classes]
    right = sum(record.label == path.parent.name for path, record in results) if labelled else None
    return SetResult(name, len(results), found, right, seconds)


def report_sets(root: Path, every: int = 1, names: Sequence[str] = SETS) -> None:
    """Print a table of the sets that are there: found, not found, and right among those found and among all."""
    recognizer = Recognizer(num_threads=1)
    print("| set | pictures | face found | not found | right of those found | right of all | ms of a core |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        if not (root / name).is_dir():
            continue
        _, count, found, right, seconds = measure_set(root, name, recognizer, every)
        shares = "- | -" if right is None else f"{right / max(1, found):.1%} | {right / count:.1%}"
        print(
            f"| `{name}` | {count:,} | {found / count:.1%} | {count - found:,} | {shares} | {seconds * 1000:.1f} |",
            flush=True,
        )
