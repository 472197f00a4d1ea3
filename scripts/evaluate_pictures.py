"""The part of `evaluate.py` that chooses what a model is evaluated on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import find_root

from gender_recognizer.data.cache import open_pictures
from gender_recognizer.data.split import Split, read_split

MAX_GROUPS = 30
"""Different values above which a column of metadata.csv does not name groups."""


class Pictures(NamedTuple):
    """What a model is evaluated on.

    Attributes:
        root: folder that the names are relative to.
        names: of the files.
        images: uint8 `(num_files, 100, 80, 3)`, on disk; those of `rows` are meant.
        rows: int64 `(N,)`.
        targets: int64 `(N,)`.
        part: of a split, or `all`.
        notes: what to know before believing the numbers.
        unreadable: reason by name.
    """

    root: Path
    names: list[str]
    images: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    part: str
    notes: list[str]
    unreadable: dict[str, str]


def find_pictures(settings: dict[str, Any], model: Path, classes: Sequence[str]) -> Pictures:
    """Return the readable pictures of the part that the settings name.

    Raises:
        ValueError: there are none, or there is no such part.
    """
    root = find_root(Path(settings["data"]["root"]), classes)
    cache, paths, targets = open_pictures(root, classes, Path(settings["data"]["cache_dir"]), need_all=False)
    names = [path.relative_to(root).as_posix() for path in paths]
    rows, part, notes = choose_rows(names, settings, model, root)
    unreadable = {names[row]: cache.unreadable[row] for row in rows if row in cache.unreadable}
    rows = np.setdiff1d(rows, list(cache.unreadable))
    if not len(rows):
        raise ValueError(f"none of the pictures in '{root}' can be read")
    notes += [
        f"There is no picture of class '{name}': what compares classes is not defined."
        for target, name in enumerate(classes)
        if target not in targets[rows]
    ]
    return Pictures(root, [names[row] for row in rows], cache.images, rows, targets[rows], part, notes, unreadable)


def choose_rows(
    names: Sequence[str], settings: dict[str, Any], model: Path, root: Path
) -> tuple[np.ndarray, str, list[str]]:
    """Return which pictures to evaluate on, which part of a split they are, and what to warn of.

    Raises:
        ValueError: a part is asked for, but there is no split, or it names none of the pictures.
    """
    split = Path(settings["split"]) if settings["split"] else model.absolute().parents[1] / "split.csv"
    part = settings["part"]
    if (settings["split"] or part not in ("auto", "all")) and not split.is_file():
        raise ValueError(f"part is '{part}', but there is no '{split}'; set split=path/to/split.csv")
    known = read_split(split, root) if split.is_file() else Split({}, "none", None)
    parts = np.array([known.parts.get(name, "") for name in names])
    if part == "auto":
        part = "test" if "test" in parts else "all"
    rows = np.arange(len(names)) if part == "all" else np.flatnonzero(parts == part)
    if not len(rows):
        raise ValueError(f"'{split}' puts none of the pictures in '{root}' into its {part} part")
    seen = int(np.isin(parts[rows], ("train", "validation")).sum())
    note = f"{seen:,} of these pictures trained the model or chose among its epochs: it will do worse on others."
    return rows, part, [text for text in (known.note, note if seen else None) if text]


def describe_pictures(pictures: Pictures, classes: Sequence[str], name: str | None) -> dict[str, Any]:
    """Return what to say of the pictures."""
    counts = np.bincount(pictures.targets, minlength=len(classes)).tolist()
    return {
        "name": name or pictures.root.name,
        "part": pictures.part,
        "pictures": len(pictures.rows),
        "classes": dict(zip(classes, counts, strict=True)),
        "unreadable": pictures.unreadable,
        "notes": pictures.notes,
    }


def group_columns(names: Sequence[str], metadata: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Return the group of each picture by each column that names groups, and by each pair of such columns."""
    if not metadata:
        return {}
    table = [metadata.get(name, {}) for name in names]
    columns = {}
    for column in next(iter(metadata.values())):
        values = [row.get(column) or "" for row in table]
        if column not in ("file_name", "label") and 1 < len(set(values) - {""}) <= MAX_GROUPS:
            columns[column] = values
    pairs = {}
    for number, (first, ones) in enumerate(columns.items()):
        for second, others in list(columns.items())[number + 1 :]:
            both = [f"{one}, {other}" if one and other else "" for one, other in zip(ones, others, strict=True)]
            pairs[f"{first} and {second}"] = both
    return columns | pairs
