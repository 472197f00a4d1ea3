"""Findings about the pictures of a folder, as plain values: doubtful files, copies, wrong labels."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gender_recognizer.checks.labels import find_suspicious_labels
from gender_recognizer.checks.looks import count_groups, find_flaws, measure_looks, read_facts
from gender_recognizer.data.cache import open_pictures
from gender_recognizer.data.duplicates import (
    Pairs,
    equal_groups,
    join_pairs,
    near_copies,
    pixel_digests,
)
from gender_recognizer.data.split import PARTS, Split
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.predictor import available_cores


class CheckedFolder:
    """The pictures of one folder and facts about their files.

    Attributes:
        root: the folder.
        classes: names of the classes.
        names: paths relative to the folder, with `/`.
        images: uint8 `(N, 100, 80, 3)`, a memory map; zeros for unreadable pictures.
        targets: int64 `(N,)`.
        unreadable: reasons by row.
        digests: of the bytes of each file, None where it cannot be read.
        sizes: width and height of each original, None where it cannot be read.
        looks: contrast, brightness and sharpness of each.
        flaws: rows of the `blank`, `dark` and `blurred` ones.
        keys: equal for exact copies; None for unreadable and blank pictures.
    """

    def __init__(self, root: Path, classes: list[str], cache_dir: Path) -> None:
        """Read the folder.

        Raises:
            ValueError: a class has no pictures.
        """
        cache, paths, self.targets = open_pictures(root, classes, cache_dir)
        self.root, self.classes, self.images, self.unreadable = root, classes, cache.images, cache.unreadable
        self.images_of = cache.images_of
        self.names = [path.relative_to(root).as_posix() for path in paths]
        self._row_of = {name: row for row, name in enumerate(self.names)}
        with ThreadPoolExecutor(available_cores()) as pool:
            facts = list(tqdm(pool.map(read_facts, paths), "reading", len(paths), unit="img", disable=None))
        self.digests, self.sizes = ([fact and fact[index] for fact in facts] for index in (0, 1))
        self.looks = measure_looks(cache.images)
        self.flaws = {
            name: [row for row in rows.tolist() if row not in cache.unreadable]
            for name, rows in find_flaws(self.looks).items()
        }
        left_out = {*cache.unreadable, *self.flaws["blank"]}
        self.keys = [None if row in left_out else key for row, key in enumerate(pixel_digests(cache.images))]

    def show(self, name: str) -> np.ndarray:
        """Return the pixels of a picture, uint8 `(100, 80, 3)`."""
        return self.images[self._row_of[name]]

    def entry(self, row: int, **more: Any) -> dict[str, Any]:
        """Return the facts about a picture, as plain values."""
        return {"file": self.names[row], "label": self.classes[self.targets[row]], **more}

    def equal_pairs(self) -> list[tuple[int, int]]:
        """Return the first of each group of equal pictures with each of the others."""
        return [(rows[0], row) for rows in equal_groups(self.keys) for row in rows[1:]]

    def copies(self, rows: list[int], **more: Any) -> dict[str, Any]:
        """Return the facts about copies of one picture, as plain values."""
        opposite = len(set(self.targets[rows].tolist())) > 1
        return {"files": [self.entry(row) for row in rows], "opposite_labels": opposite, **more}


def check_metadata(folder: CheckedFolder, metadata: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return the balance of the groups, and where pictures and rows do not match."""
    names = set(folder.names)
    return {
        "groups": count_groups(folder.names, folder.targets, folder.classes, metadata),
        "rows": len(metadata),
        "rows_without_picture": [name for name in metadata if name not in names],
        "pictures_without_row": [name for name in folder.names if name not in metadata] if metadata else [],
    }


def check_looks(folder: CheckedFolder) -> dict[str, list[dict[str, Any]]]:
    """Return the pictures that are tiny, blank, dark or blurred, the worst first."""
    sizes = {row: size for row, size in enumerate(folder.sizes) if size and row not in folder.unreadable}
    tiny = sorted((row for row, size in sizes.items() if min(size) < Limits.min_size), key=lambda row: min(sizes[row]))
    found = {"tiny": [folder.entry(row, width=sizes[row][0], height=sizes[row][1]) for row in tiny]}
    measures = {"blank": "contrast", "dark": "brightness", "blurred": "sharpness"}
    for name, measure in measures.items():
        values = getattr(folder.looks, measure)
        found[name] = [folder.entry(row, **{measure: round(float(values[row]), 3)}) for row in folder.flaws[name]]
    return found


def find_exact_copies(folder: CheckedFolder) -> list[dict[str, Any]]:
    """Return the groups of equal pictures, those with different labels first."""
    groups = [
        folder.copies(rows, same_bytes=len({folder.digests[row] for row in rows}) == 1)
        for rows in equal_groups(folder.keys)
    ]
    return sorted(groups, key=lambda group: not group["opposite_labels"])


def find_near_copies(folder: CheckedFolder, pairs: Pairs) -> list[dict[str, Any]]:
    """Return the groups of near copies, those with different labels first, then the most alike."""
    groups = []
    for rows, correlation in near_groups(folder, pairs):
        if len({folder.keys[row] for row in rows}) > 1:  # otherwise they are exact copies
            groups.append(folder.copies(rows, correlation=round(correlation, 3)))
    return sorted(groups, key=lambda group: (not group["opposite_labels"], -group["correlation"]))


def near_groups(folder: CheckedFolder, pairs: Pairs) -> list[tuple[list[int], float]]:
    """Return the rows of each group of near or exact copies and the smallest correlation that holds it together."""
    kept = [
        (first, second, correlation)
        for (first, second), correlation in zip(pairs.rows.tolist(), pairs.correlations.tolist(), strict=True)
        if folder.keys[first] and folder.keys[second]
    ]
    group_of = join_pairs([*(pair[:2] for pair in kept), *folder.equal_pairs()], len(folder.names))
    weakest: dict[int, float] = {}
    for first, _, correlation in kept:
        weakest[group_of[first]] = min(correlation, weakest.get(group_of[first], 1.0))
    return [(rows, weakest.get(group_of[rows[0]], 1.0)) for rows in equal_groups(group_of.tolist())]


def find_across_parts(folder: CheckedFolder, pairs: Pairs, split: Split) -> dict[str, Any]:
    """Return the groups of copies with members in different parts of a split."""
    part_of = {name: part for name, part in split.parts.items() if part in PARTS}
    groups = []
    for rows, correlation in near_groups(folder, pairs):
        parts = [part_of.get(folder.names[row]) for row in rows]
        if len({*parts} - {None}) > 1:
            group = folder.copies(rows, correlation=round(correlation, 3))
            for entry, part in zip(group["files"], parts, strict=True):
                entry["part"] = part
            groups.append(group)
    groups.sort(key=lambda group: (not group["opposite_labels"], -group["correlation"]))
    unknown = sum(name not in part_of for name in folder.names)
    return {"pictures_without_part": unknown, "note": split.note, "groups": groups}


def find_shared(folder: CheckedFolder, other: CheckedFolder) -> dict[str, Any]:
    """Return the pairs of copies whose second picture is in the other folder, the most alike first."""
    pairs = near_copies(folder.images, other.images)
    found = dict(zip(map(tuple, pairs.rows.tolist()), pairs.correlations.tolist(), strict=True))
    rows_of: dict[bytes, list[int]] = {}
    for row, key in enumerate(folder.keys):
        if key is not None:
            rows_of.setdefault(key, []).append(row)
    equal = {(row, theirs) for theirs, key in enumerate(other.keys) if key for row in rows_of.get(key, [])}
    shared = [
        folder.entry(
            row,
            other=other.names[theirs],
            same_pixels=(row, theirs) in equal,
            same_bytes=folder.digests[row] == other.digests[theirs],
            correlation=1.0 if (row, theirs) in equal else round(found[row, theirs], 3),
        )
        for row, theirs in sorted({*found, *equal})
    ]
    shared.sort(key=lambda pair: (-pair["same_bytes"], -pair["correlation"]))
    return {"root": str(other.root.resolve()), "pictures": len(other.names), "pairs": shared}


def check_labels(folder: CheckedFolder, features: np.ndarray, pairs: Pairs) -> tuple[list[dict[str, Any]], str | None]:
    """Return the suspicious labels, the worst first, or the reason why none were searched for."""
    groups = join_pairs([*pairs.rows.tolist(), *folder.equal_pairs()], len(folder.names))
    used = np.array([row for row, key in enumerate(folder.keys) if key is not None], dtype=np.int64)
    try:
        found = find_suspicious_labels(features[used], folder.targets[used], groups[used], folder.classes)
    except ValueError as error:
        return [], str(error)
    entries = []
    for index in found.rows:
        row, probabilities = int(used[index]), found.probabilities[index]
        best = int(probabilities.argmax())
        entries.append(
            folder.entry(
                row,
                probability=round(float(probabilities[folder.targets[row]]), 4),
                suggested=folder.classes[best],
                suggested_probability=round(float(probabilities[best]), 4),
            )
        )
    return entries, None
