"""The layouts of folders of pictures, by class or in ready parts, and the messages where neither is found."""

import os
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from gender_recognizer.pictures.listing import JUNK, is_picture_name

PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Names of folders, in any case, that hold the pictures of a part."""

_SYNONYMS = (
    ("female", "females", "woman", "women", "girl", "girls", "f"),
    ("male", "males", "man", "men", "boy", "boys", "m"),
)
_MOST_FOLDERS = 300
_MOST_NAMES = 6


def find_class_folder(root: Path, name: str) -> Path | None:
    """Return the folder of a class below a root: of this very name or, without one, of the same in another case."""
    if (root / name).is_dir():
        return root / name
    alike = [folder for folder in _subfolders(root) if folder.name.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def holds_classes(root: Path, classes: Sequence[str]) -> bool:
    """Return whether a folder has one for any of the classes, directly or in ready parts."""
    return any(find_class_folder(root, name) for name in classes) or bool(find_parts(root, classes))


def find_parts(root: Path, classes: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each ready part; {} where the classes lie directly below the root, or `train` is missing.

    A single part does not count: it is a root.
    """
    if any(find_class_folder(root, name) for name in classes):
        return {}
    parts = {
        part: folder
        for part, names in PART_NAMES.items()
        for folder in _subfolders(root)
        if folder.name.casefold() in names and any(find_class_folder(folder, name) for name in classes)
    }
    return parts if "train" in parts and len(parts) > 1 else {}


def describe_layout(root: Path, classes: Sequence[str]) -> str:
    """Return what lies below a root where the folders of classes are missing, and the options that would use it."""
    if not root.is_dir():
        return "that folder does not exist" if not root.exists() else "that is a file"
    for folder in islice(_walk(root, depth=3), _MOST_FOLDERS):
        if names := _find_classes(folder, classes):
            return _suggest(root, folder, names, classes)
    pictures = sum(is_picture_name(entry.name) and entry.is_file() for entry in root.iterdir())
    if pictures:
        return f"{pictures:,} pictures lie directly in '{root}'; move each into the folder of its class"
    return f"{_names(root)}; each class needs a folder of pictures"


def _find_classes(folder: Path, classes: Sequence[str]) -> list[str]:
    """Return the names of the subfolders that are classes, in the order of `classes` where it can be told."""
    subfolders = [path for path in _subfolders(folder) if _has_pictures(path)]
    names = {path.name.casefold(): path.name for path in subfolders}
    if all(name.casefold() in names for name in classes):
        return [names[name.casefold()] for name in classes]
    if len(subfolders) < 2 or len(subfolders) > _MOST_NAMES:
        return []
    if any(name in known for name in names for known in PART_NAMES.values()):
        return []
    order = {name: place for place, known in enumerate(_SYNONYMS) for name in known}
    found = sorted(names, key=lambda name: (order.get(name, len(order)), name))
    reverse = [name.casefold() for name in classes[:1]] == ["male"]
    return [names[name] for name in (reversed(found) if reverse and len(found) == 2 else found)]


def _suggest(root: Path, folder: Path, names: list[str], classes: Sequence[str]) -> str:
    """Return where classes were found and the options that name them."""
    parts = find_parts(folder.parent, names)
    used = folder.parent if folder in parts.values() else folder
    options = [] if used == root else [shlex.quote(f"data.root={used}")]
    if [name.casefold() for name in names] != [name.casefold() for name in classes]:
        options.append(shlex.quote(f"data.classes=[{','.join(names)}]"))
    shown = " and ".join(f"'{name}'" for name in names)
    rename = f", or name the folders {' and '.join(classes)}" if len(options) == 1 and used == root else ""
    return f"there are {shown} in '{folder}': set {' '.join(options)}{rename}"


def _names(root: Path) -> str:
    names = [folder.name for folder in _subfolders(root)]
    if not names:
        return f"'{root}' has no folders"
    return f"'{root}' has the folders {', '.join(names[:_MOST_NAMES])}{', ...' if len(names) > _MOST_NAMES else ''}"


def _subfolders(root: Path) -> list[Path]:
    """Return the folders in a folder that may hold pictures, by name."""
    try:
        paths = [path for path in root.iterdir() if not path.name.startswith(".") and path.name not in JUNK]
    except OSError:
        return []
    return sorted(path for path in paths if path.is_dir())


def _walk(root: Path, depth: int) -> Iterator[Path]:
    """Yield a folder and those below it, the nearest first; links to folders are not followed."""
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [child for folder in level for child in _subfolders(folder) if not child.is_symlink()][:_MOST_FOLDERS]


def _has_pictures(folder: Path) -> bool:
    """Return whether a picture is among the first files of a folder, or of a folder directly in it."""
    for path in [folder, *_subfolders(folder)[:3]]:
        try:
            with os.scandir(path) as entries:
                if any(is_picture_name(entry.name) for entry in islice(entries, 1000)):
                    return True
        except OSError:
            continue
    return False
