"""Choose the pictures that a model is evaluated on: those that did not train it or, if that is unknown, all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gender_recognizer.data.cache import ImageCache, open_pictures
from gender_recognizer.data.default_root import find_root
from gender_recognizer.data.layouts import find_parts
from gender_recognizer.data.samples import ignored_endings
from gender_recognizer.data.split import Split, read_split
from gender_recognizer.evaluation.settings import EvaluateSettings
from gender_recognizer.models.model_file import BUNDLED_MODEL, ModelInfo

SEEN_PARTS = ("train", "validation")
"""Parts of a split whose pictures trained a model or chose among its epochs."""


@dataclass(frozen=True)
class Selection:
    """The pictures that a model is evaluated on.

    Attributes:
        root: folder that the names are relative to.
        names: of the files.
        cache: of the pictures.
        image_size: (height, width) of the pictures that the model takes.
        rows: int64 `(N,)`.
        targets: int64 `(N,)`.
        part: of a split, or `all`.
        seen: how many of them trained the model or chose among its epochs; None if unknown.
        notes: caveats about the numbers.
        unreadable: reason by name.
        ignored_endings: number of other files there, whose endings are not those of pictures, by ending.
    """

    root: Path
    names: list[str]
    cache: ImageCache
    image_size: tuple[int, int]
    rows: np.ndarray
    targets: np.ndarray
    part: str
    seen: int | None
    notes: list[str]
    unreadable: dict[str, str]
    ignored_endings: dict[str, int]

    @property
    def images(self) -> np.ndarray:
        """Return the pictures for the model, uint8 `(num_files, *image_size, 3)`, on disk; `rows` selects from them."""
        return self.cache.images_of(self.image_size)

    @property
    def paths(self) -> list[Path]:
        """Return where the pictures are."""
        return [self.root / name for name in self.names]

    def only(self, kept: np.ndarray) -> "Selection":
        """Return the pictures for which `kept`, bool `(N,)`, is true; how many trained the model is that of all."""
        names = [name for name, keep in zip(self.names, kept, strict=True) if keep]
        return replace(self, names=names, rows=self.rows[kept], targets=self.targets[kept])

    def describe(self, classes: Sequence[str], name: str | None) -> dict[str, Any]:
        """Return the facts about the pictures, plain values; named like the folder if they have no other name."""
        counts = np.bincount(self.targets, minlength=len(classes)).tolist()
        return {
            "name": name or self.root.resolve().name,
            "part": self.part,
            "pictures": len(self.rows),
            "classes": dict(zip(classes, counts, strict=True)),
            "seen_in_training": self.seen,
            "unreadable": self.unreadable,
            "ignored_endings": self.ignored_endings,
            "notes": self.notes,
        }


def select_pictures(settings: EvaluateSettings, model: Path, info: ModelInfo) -> Selection:
    """Return the readable pictures of the part that the settings name.

    Args:
        settings: which folder, part and split.
        model: the file of the model.
        info: its metadata.

    Raises:
        ValueError: there are no pictures, or there is no such part.
    """
    classes = info.classes
    folders = class_folders(settings.data.classes, classes)
    root = find_root(settings.data.root, folders)
    cache, paths, targets = open_pictures(root, folders, settings.data.cache_dir, need_all=False)
    names = [path.relative_to(root).as_posix() for path in paths]
    split = find_split(settings.split, model, info, root)
    ready = {folder.name: part for part, folder in find_parts(root, folders).items()}
    parts = split.parts or {name: ready.get(name.partition("/")[0], "") for name in names}
    if settings.part != "all":
        _require_parts(settings, split, known=bool(ready))
    rows, part = _choose_rows(names, parts, settings.part, root)
    unreadable = {names[row]: cache.unreadable[row] for row in rows if row in cache.unreadable}
    rows = np.setdiff1d(rows, list(cache.unreadable))
    if not len(rows):
        raise ValueError(f"none of the pictures in '{root}' can be read")
    chosen = [names[row] for row in rows]
    seen = count_seen(chosen, split)
    notes = [*_seen_notes(split, seen), *_missing_notes(classes, targets[rows])]
    ignored = dict(ignored_endings(root, folders))
    targets = targets[rows]
    return Selection(root, chosen, cache, info.image_size, rows, targets, part, seen, notes, unreadable, ignored)


def class_folders(given: Sequence[str] | None, classes: Sequence[str]) -> list[str]:
    """Return the names of the folders of a model's classes, in the order of the classes.

    Args:
        given: names in that order, or the classes' own in any order; None for the classes' own.
        classes: names of the model's classes.

    Raises:
        ValueError: their number differs, or one is the name of another class.
    """
    if given is None or {*given} == {*classes}:
        return list(classes)
    wanted = f"the model's classes are {', '.join(classes)}; name the folder of each, in this order"
    if len(given) != len(classes):
        raise ValueError(f"data.classes names {len(given)} folders, {', '.join(given)}, but {wanted}")
    if wrong := [name for name, own in zip(given, classes, strict=True) if name != own and name in classes]:
        raise ValueError(f"data.classes has '{wrong[0]}' in place of another class: {wanted}")
    return list(given)


def find_split(given: Path | None, model: Path, info: ModelInfo, root: Path) -> Split:
    """Return which pictures below `root` trained a model, as far as is known.

    Args:
        given: a split.csv; None for that of the run that the model lies in, or that lies beside the model.
        model: its file.
        info: its metadata.
        root: folder of the pictures.

    Raises:
        ValueError: the given split does not exist or is not a split.
    """
    if given is not None:
        if not given.is_file():
            raise ValueError(f"split '{given.absolute()}' does not exist")
        return read_split(given, root)
    for path in (model.absolute(), model.resolve()):
        for folder in (path.parent.parent, path.parent):
            if (folder / "split.csv").is_file():
                return read_split(folder / "split.csv", root)
    return Split({}, "none", _unknown_note(model, info, root))


def _unknown_note(model: Path, info: ModelInfo, root: Path) -> str | None:
    """Return the note for a model without a split; what trained a bundled model is in its card."""
    if BUNDLED_MODEL.resolve().parent in model.resolve().parents:
        return None
    if info.training_data in (str(root), str(root.resolve())):
        return (
            f"'{model.name}' was trained on pictures of this very folder, and has no split.csv with it: most of these "
            "trained it, and it will do worse on others; give split=path/to/split.csv of its run."
        )
    trained_on = f" (it was trained on: {info.training_data})" if info.training_data else ""
    return (
        f"There is no split.csv with '{model.name}'{trained_on}: whether these pictures trained it is unknown; "
        "split=path/to/split.csv of its run would tell."
    )


def _require_parts(settings: EvaluateSettings, split: Split, known: bool) -> None:
    """Refuse a request for a split or a part if no split of these pictures is known.

    Raises:
        ValueError: no split is known.
    """
    if split.matched != "none":
        return
    why = split.note or "there is no split.csv"
    if settings.split is not None:
        raise ValueError(f"split '{settings.split}' is given, but no split of these pictures is known: {why}")
    if settings.part != "auto" and not known:
        raise ValueError(f"part is '{settings.part}', but no split of these pictures is known: {why}")


def _choose_rows(names: Sequence[str], part_of: Mapping[str, str], part: str, root: Path) -> tuple[np.ndarray, str]:
    """Return which pictures to evaluate on, and which part of a split they are.

    Raises:
        ValueError: the part that is asked for has no picture.
    """
    parts = np.array([part_of.get(name, "") for name in names])
    if part == "auto":
        part = "test" if "test" in parts else "all"
    rows = np.arange(len(names)) if part == "all" else np.flatnonzero(parts == part)
    if not len(rows):
        raise ValueError(f"the split puts none of the pictures in '{root}' into its {part} part")
    return rows, part


def count_seen(names: Sequence[str], split: Split) -> int | None:
    """Return how many pictures trained a model or chose among its epochs; None where its split does not say."""
    return None if split.matched == "none" else sum(split.parts.get(name) in SEEN_PARTS for name in names)


def _seen_notes(split: Split, seen: int | None) -> list[str]:
    notes = [split.note] if split.note else []
    if seen:
        notes.append(
            f"{seen:,} of these pictures trained the model or chose among its epochs: it will do worse on others."
        )
    return notes


def _missing_notes(classes: Sequence[str], targets: np.ndarray) -> list[str]:
    return [
        f"There is no picture of class '{name}': it has no accuracy, and metrics that compare classes are not defined."
        for target, name in enumerate(classes)
        if target not in targets
    ]
