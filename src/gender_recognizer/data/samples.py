"""The pictures of `<root>/<class>/` and facts about them: classes, metadata.csv, files to leave out, counts."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from gender_recognizer.data.layouts import describe_layout, find_class_folder, find_parts
from gender_recognizer.data.tables import decode_lines, read_table
from gender_recognizer.pictures.listing import Folder, describe_endings, find_images

logger = logging.getLogger(__name__)

IMBALANCE_WARNING = 0.6
"""Share of the most frequent class above which plain accuracy misleads enough to warn."""


class Sample(NamedTuple):
    """A file and the index of its class."""

    path: Path
    target: int


def list_samples(root: Path, classes: Sequence[str], need_all: bool = True) -> list[Sample]:
    """Return the pictures below `<root>/<class>/` for every class, sorted by class and path.

    Where there are ready parts instead, those below `<root>/<part>/<class>/`. Folders may be nested; those of classes
    are found in any case, pictures by their endings; hidden files and folders are left out.

    Args:
        root: folder that holds a folder of pictures for each class, or ready parts.
        classes: names of the class folders.
        need_all: whether every class must have pictures; otherwise one is enough.

    Raises:
        ValueError: a class has no folder, or its folder holds no picture, and it needs some; or a file is in two
            classes.
    """
    folders = _class_folders(root, classes)
    found = {name: sorted(path for folder in folders[name] for path in find_images(folder)) for name in classes}
    for name in classes if need_all or not any(found.values()) else []:
        if not folders[name]:
            raise ValueError(f"no folder '{root / name}' for class '{name}': {describe_layout(root, classes)}")
        if not found[name]:
            ignored = describe_endings(ignored_endings(root, [name]))
            there = f", only files whose endings are not those of pictures: {ignored}" if ignored else ""
            raise ValueError(f"no pictures in '{folders[name][0]}'{there}; class '{name}' needs some")
    samples = [Sample(path, target) for target, name in enumerate(classes) for path in found[name]]
    _refuse_two_labels(samples, classes)
    return samples


def ignored_endings(root: Path, classes: Sequence[str]) -> Counter[str]:
    """Return how many files beside those of `list_samples` are ignored, by their endings, "" for none.

    Kinds of files that are known to lie among pictures are not counted.

    Args:
        root: folder that holds a folder of pictures for each class, or ready parts.
        classes: names of the class folders.
    """
    endings: Counter[str] = Counter()
    for folders in _class_folders(root, classes).values():
        for path in folders:
            folder = Folder(path, follow_links=True)
            for _ in folder:
                pass
            endings += folder.ignored_endings
    return endings


def _class_folders(root: Path, classes: Sequence[str]) -> dict[str, list[Path]]:
    parts = [*find_parts(root, classes).values()] or [root]
    return {name: [folder for part in parts if (folder := find_class_folder(part, name))] for name in classes}


def _refuse_two_labels(samples: Sequence[Sample], classes: Sequence[str]) -> None:
    """Refuse a file that is in two classes, through links.

    Raises:
        ValueError: naming both.
    """
    seen: dict[tuple[int, int], Sample] = {}
    for sample in samples:
        try:
            status = sample.path.stat()
        except OSError:
            continue
        first = seen.setdefault((status.st_dev, status.st_ino), sample)
        if first.target == sample.target:
            continue
        if status.st_nlink > 1 or os.path.realpath(first.path) == os.path.realpath(sample.path):
            names = classes[first.target], classes[sample.target]
            raise ValueError(
                f"'{first.path}' of class '{names[0]}' and '{sample.path}' of class '{names[1]}' are the same file, "
                "through a link; remove one of the two"
            )


def read_metadata(root: Path) -> dict[str, dict[str, str]]:
    """Return the rows of `<root>/metadata.csv` by `file_name` (relative to `root`, with `/`), or {} without one.

    For a table that is not about these pictures, and for rows that are wrong, a warning is logged; they are left out.
    """
    path = root / "metadata.csv"
    if not path.is_file():
        return {}
    try:
        table = read_table(path, ["file_name"])
    except (ValueError, OSError) as error:
        logger.warning("%s: the table is not used", error)
        return {}
    notes = list(table.notes)
    rows: dict[str, dict[str, str]] = {}
    for line, row in table.rows.items():
        name = _relative_name(row["file_name"], root)
        if name in rows:
            notes.append(f"'{path}', line {line}: '{name}' occurs again; the last of its rows is used")
        rows[name] = row | {"file_name": name}
    if rows and not any((root / name).is_file() for name in rows):
        notes.append(f"'{path}': no row names a file below the folder; the first names '{next(iter(rows))}'")
    for note in notes[:5]:
        logger.warning("%s", note)
    return rows


def read_exclude(path: Path) -> list[str]:
    """Return the names, relative to the root, that a file lists one per line; `# ` begins a comment.

    Raises:
        ValueError: there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"data.exclude '{path.absolute()}' does not exist")
    lines = decode_lines(path.read_bytes())
    return [PurePosixPath(line).as_posix() for line in lines if line.strip() and not line.startswith("# ")]


def find_named(names: Sequence[str], paths: Sequence[Path], root: Path) -> tuple[set[int], list[str]]:
    """Return the rows of the paths that names refer to, and the names that refer to none.

    Args:
        names: relative to `root`, with `/` or as Windows writes them, or whole paths.
        paths: of the pictures below `root`.
        root: folder of the pictures.
    """
    row_of = {path.relative_to(root).as_posix(): row for row, path in enumerate(paths)}
    meant = {name: name if name in row_of else _relative_name(name, root) for name in names}
    return {row_of[name] for name in meant.values() if name in row_of}, [
        name for name in names if meant[name] not in row_of
    ]


def _relative_name(name: str, root: Path) -> str:
    """Return the name of a picture relative to the root, with `/`, however another program wrote it."""
    for folder in (str(root), str(root.resolve())):
        name = name.removeprefix(folder.rstrip("/") + "/")
    plain = name.strip().replace("\\", "/")
    forms = [name, plain] if plain != name else [name]
    if not name.isascii():  # each system has its own form of accents
        forms += [unicodedata.normalize(form, plain) for form in ("NFC", "NFD")]
    if len(forms) > 1:
        name = next((form for form in forms if os.path.lexists(root / form)), plain)
    return PurePosixPath(name).as_posix()


def class_counts(targets: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Return the number of samples of each class, in the order of `classes`."""
    counts = Counter(targets.tolist())
    return {name: counts[target] for target, name in enumerate(classes)}


def warn_if_unbalanced(counts: dict[str, int]) -> None:
    """Log a warning when one class holds more than 60 % of the samples."""
    name, count = max(counts.items(), key=lambda item: item[1])
    share = count / max(1, sum(counts.values()))
    if share > IMBALANCE_WARNING:
        logger.warning(
            "%.0f %% of the pictures are '%s': plain accuracy misleads; read balanced accuracy and the per-class rows",
            100 * share,
            name,
        )
