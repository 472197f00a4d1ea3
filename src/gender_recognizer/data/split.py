"""The part of each picture: training, validation or test. Split once, saved in a run's split.csv, and read again.

Contract: as far as is known, what `read_split` returns was a picture of that part; `matched` and `note` say how much is
known. A run and its pictures may be copied anywhere.
"""

import csv
import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gender_recognizer.data.samples import read_metadata
from gender_recognizer.data.tables import read_table
from gender_recognizer.pictures.writing import replacing

logger = logging.getLogger(__name__)

PARTS = ("train", "validation", "test")

Rows = dict[str, dict[str, str]]
"""Rows of a split.csv by `file_name`."""


@dataclass(frozen=True)
class Split:
    """The part of each picture of a folder according to a run's split.csv.

    Attributes:
        parts: part by name, relative to the folder: one of `PARTS`, `unreadable` or `excluded`.
        matched: `root`, the split is of this very folder; `names`, of a folder elsewhere whose pictures have the same
            names (and lengths, where the split records them); `none`, the split does not cover this folder.
        note: what a reader must know before trusting it, in one line, or None.
    """

    parts: dict[str, str]
    matched: str
    note: str | None


def read_split(path: Path, root: Path) -> Split:
    """Return the part of each picture below `root` from the split.csv of a training run, wherever that was.

    Raises:
        ValueError: the table has other columns.
    """
    try:
        table = read_table(path, ("part", "file_name", "root"), unknown=("utf-8", "surrogateescape"))
    except ValueError as error:
        raise ValueError(f"{error}: it is not the split.csv of a training run") from None
    here = root.resolve()
    rows = [row for row in table.rows.values() if row["file_name"]]
    if local := _seen_from(here, rows):
        return _match_root(path, local, root)
    tables: defaultdict[str, Rows] = defaultdict(dict)
    for row in rows:
        tables[row["root"]][row["file_name"]] = row
    return _match_names(path, tables, root)


def _seen_from(here: Path, rows: Sequence[dict[str, str]]) -> Rows:
    """Return the rows of the files in a folder by their names there; it, one in it or one around it was split."""
    named = {os.path.join(row["root"], row["file_name"]): row for row in rows}
    start = os.path.join(here, "")
    return {file.removeprefix(start).replace(os.sep, "/"): row for file, row in named.items() if file.startswith(start)}


@dataclass(frozen=True)
class _Found:
    """The files of a split that are below a folder.

    Attributes:
        same: part by name, of files of the same length as then.
        unknown: part by name, of files whose length the split does not record.
        changed: names of files that had another length when they were split.
    """

    same: dict[str, str]
    unknown: dict[str, str]
    changed: set[str]

    @property
    def usable(self) -> dict[str, str]:
        return self.same | self.unknown


def _find_files(rows: Rows, root: Path) -> _Found:
    """Return which files of a split are below a folder, whatever form its accents have there."""
    found = _Found({}, {}, set())
    for name, row in rows.items():
        forms = [name] if name.isascii() else [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
        here = next((form for form in forms if (root / form).is_file()), None)
        if here is None:
            continue
        if row.get("bytes") not in (None, "", str((root / here).stat().st_size)):
            found.changed.add(name)
        else:
            (found.same if row.get("bytes") else found.unknown)[here] = row["part"]
    return found


def _match_root(path: Path, rows: Rows, root: Path) -> Split:
    """Return the split of this very folder; files that have changed since are in no part."""
    found = _find_files(rows, root)
    parts = {name: row["part"] for name, row in rows.items() if name not in found.changed}
    changed = f"{len(found.changed):,} pictures in '{root}' have changed since '{path}' was written"
    return Split(parts, "root", f"{changed}: it does not cover them." if found.changed else None)


def _match_names(path: Path, tables: dict[str, Rows], root: Path) -> Split:
    """Return the split of the folder whose files lie here now, if there is one."""
    found = {folder: _find_files(rows, root) for folder, rows in tables.items()}
    ranked = sorted(tables, key=lambda folder: (len(found[folder].usable), len(found[folder].changed)), reverse=True)
    best, usable = (ranked[0], found[ranked[0]].usable) if ranked else ("", {})
    changed = len(found[best].changed) if ranked else 0
    if len(usable) <= changed:
        why = "pictures of the same names here are other files" if changed else "none of its pictures is here"
    elif len(ranked) > 1 and len(found[ranked[1]].usable) == len(usable):
        why = "they share their pictures' names"
    elif not _is_most(usable, tables[best], root):
        why = f"only {len(usable):,} of its pictures are here"
    else:
        told = "names" if found[best].unknown else "names and lengths"
        what = f"{len(usable):,} pictures in '{root}' were found in it by their {told}."
        return Split(usable, "names", f"'{path}' was written for '{best}': {what}")
    folders = " and ".join(f"'{folder}'" for folder in tables) or "nothing"
    note = f"'{path}' is of {folders}, not of '{root}' ({why}): which of these pictures trained the model is not known."
    return Split({}, "none", note)


def _is_most(usable: Collection[str], rows: Rows, root: Path) -> bool:
    """Return whether enough files match to be the same pictures: half the split, or half of the files beside them."""
    folders = {(root / name).parent for name in usable}
    files = sum(entry.is_file() for folder in folders for entry in folder.iterdir())
    return 2 * len(usable) >= min(len(rows), files)


def write_split(path: Path, rows: list[dict[str, str]], roots: Sequence[Path]) -> None:
    """Write a split.csv: the rows, the length of each file, and the columns of the metadata.

    Args:
        path: of the table.
        rows: `part`, `file_name` and `root` of each picture, and its further columns.
        roots: the folders that the names are relative to.
    """
    tables = {str(root.resolve()): read_metadata(root) for root in roots}
    for row in rows:
        picture = Path(row["root"], row["file_name"])
        row["bytes"] = str(picture.stat().st_size) if picture.is_file() else ""
        known = tables[row["root"]].get(row["file_name"], {})
        row |= {key: value for key, value in known.items() if key not in row}
    names = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def split_indices(groups: np.ndarray, targets: np.ndarray, fractions: Sequence[float], seed: int) -> list[np.ndarray]:
    """Split samples at random into parts by class, all samples of a group into the same one.

    Each part gets its share of each class's groups, and at least one of each class where there are enough. A group with
    samples of several classes counts for the rarest of them.

    Args:
        groups: int64 `(N,)`, group of each sample.
        targets: int64 `(N,)`, class of each sample.
        fractions: share of each part, of the groups.
        seed: seed of the split.

    Returns:
        For each part the sorted indices of its samples, int64.

    Raises:
        ValueError: a part with a fraction above 0 gets nothing.
    """
    parts = _assign(groups, targets, fractions, seed)
    if any(fraction > 0 and not len(part) for fraction, part in zip(fractions, parts, strict=True)):
        raise ValueError(_too_few(groups, targets, fractions, seed))
    return parts


def take_parts(
    part_of: np.ndarray, groups: np.ndarray, targets: np.ndarray, fractions: Sequence[float], seed: int
) -> list[np.ndarray]:
    """Return the samples of ready parts; without a validation part, it is split off from the training part.

    Args:
        part_of: names `(N,)`, of `PARTS`.
        groups: int64 `(N,)`, group of each sample; a warning is logged if parts share one.
        targets: int64 `(N,)`, class of each sample.
        fractions: share of each part, of which the first two matter, and only without a validation part.
        seed: of that choice.

    Returns:
        For each part the sorted indices of its samples, int64.

    Raises:
        ValueError: the training part is too small to split off a validation part.
    """
    train, validation, test = (np.flatnonzero(part_of == part) for part in PARTS)
    copies = np.isin(groups[np.concatenate([validation, test])], groups[train]).sum()
    if copies:
        logger.warning("%d pictures to validate or test on are near copies of training pictures", copies)
    if not len(validation):
        share = fractions[1] / (fractions[0] + fractions[1])
        chosen = split_indices(groups[train], targets[train], (1 - share, share, 0.0), seed)
        train, validation = train[chosen[0]], train[chosen[1]]
    return [train, validation, test]


def _assign(groups: np.ndarray, targets: np.ndarray, fractions: Sequence[float], seed: int) -> list[np.ndarray]:
    names, group_of = np.unique(groups, return_inverse=True)
    rarity = np.bincount(targets).argsort(kind="stable").argsort()  # 0 for the rarest class
    stratum_of = np.full(len(names), len(rarity))
    np.minimum.at(stratum_of, group_of, rarity[targets])
    part_of = np.empty(len(names), np.int64)
    random = np.random.default_rng(seed)
    for stratum in np.unique(stratum_of):
        members = random.permutation(np.flatnonzero(stratum_of == stratum))
        part_of[members] = np.repeat(np.arange(len(fractions)), _shares(len(members), fractions))
    return [np.flatnonzero(part_of[group_of] == part) for part in range(len(fractions))]


def _shares(count: int, fractions: Sequence[float]) -> np.ndarray:
    """Return how many of `count` groups each part gets, int64: the largest remainders are rounded up, none is empty."""
    exact = count * np.array(fractions)
    shares = np.floor(exact + 1e-9).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    for part in np.flatnonzero((shares == 0) & (np.array(fractions) > 0)):
        if shares.max() > 1:
            shares[shares.argmax()] -= 1
            shares[part] += 1
    return shares


def _too_few(groups: np.ndarray, targets: np.ndarray, fractions: Sequence[float], seed: int) -> str:
    """Return why samples cannot be split, and what to do."""
    count = len(np.unique(groups))
    if count == len(groups):
        return f"{count} pictures are too few for the shares {list(fractions)}; add pictures"
    train, validation, test = fractions
    without_test = _assign(groups, targets, (train + test, validation), seed)
    test_root = ", a folder of other pictures to test on (data.test_root=)" if all(map(len, without_test)) else ""
    return (
        f"the {len(groups)} pictures are {count} groups of near copies, such as frames of {count} videos, and a group "
        f"stays in one part: too few groups for the shares {list(fractions)}. More of these do not help; add other "
        f"people and scenes{test_root}, or data.split=random, which lets copies of training pictures into the tests"
    )
