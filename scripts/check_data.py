"""Look for what is wrong with folders of pictures, one folder a class, before training on them.

    python scripts/check_data.py data.root=folder-with-female-and-male
        [against=other-folder] [split=outputs/RUN/split.csv] [model_path=latest]

Writes check.html to look at, check.json with everything, and exclude.txt, which `train.py data.exclude=exclude.txt`
takes, to outputs/check_DATE_TIME/. The pictures are only read.
"""

import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
from command import fail, find_root, register_resolvers
from omegaconf import DictConfig, OmegaConf

from gender_recognizer.checks.findings import (
    Pictures,
    check_labels,
    check_looks,
    check_metadata,
    find_across_parts,
    find_exact_copies,
    find_near_copies,
    find_shared,
)
from gender_recognizer.checks.labels import extract_features
from gender_recognizer.checks.report import write_check
from gender_recognizer.data.duplicates import near_copies
from gender_recognizer.data.samples import class_counts, read_metadata
from gender_recognizer.data.split import PARTS, read_split
from gender_recognizer.models.model_file import checkpoint_beside, find_model, load_classifier


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Check the pictures of the settings, write what was found, say where, and return it."""
    classes = settings["data"]["classes"]
    if not isinstance(classes, list) or not classes:
        raise ValueError(f"data.classes is '{classes}'; expected a list of folders, such as [female,male]")
    root, cache_dir = find_root(Path(settings["data"]["root"]), classes), Path(settings["data"]["cache_dir"])
    checkpoint = find_checkpoint(settings["model_path"], Path(settings["outputs"]))
    other_root = None if settings["against"] is None else find_other(Path(settings["against"]), root)
    part_of = None if settings["split"] is None else find_parts(Path(settings["split"]), root)
    metadata = read_metadata(root)
    classifier, info = load_classifier(checkpoint)
    pictures = Pictures(root, classes, cache_dir)
    other = None if other_root is None else read_other(other_root, cache_dir)
    tell(f"comparing {len(pictures.names):,} pictures with each other")
    pairs = near_copies(pictures.images)
    tell("looking for wrong labels")
    suspicious, note = check_labels(pictures, extract_features(classifier.network, pictures.images), pairs)
    summary = {
        "root": str(root.resolve()),
        "date": date.today().isoformat(),
        "gender_recognizer": version("gender_recognizer"),
        "model": {"file": checkpoint.name, "training_data": info.training_data or "not stated"},
        "pictures": len(pictures.names),
        "classes": class_counts(pictures.targets, classes),
        "metadata": check_metadata(pictures, metadata),
        "unreadable": [pictures.entry(row, reason=why) for row, why in sorted(pictures.unreadable.items())],
        **check_looks(pictures),
        "exact_copies": find_exact_copies(pictures),
        "near_copies": find_near_copies(pictures, pairs),
        "across_parts": None if part_of is None else find_across_parts(pictures, pairs, part_of),
        "against": None if other is None else find_shared(pictures, other),
        "suspicious_labels": suspicious,
        "suspicious_labels_skipped": note,
    }
    folder = Path(settings["output_dir"]).absolute()
    proposed = write_check(summary, pictures.show, None if other is None else other.show, folder)
    print(describe(summary, proposed, folder).encode(errors="backslashreplace").decode())
    return summary


def find_checkpoint(model_path: str | None, outputs: Path) -> Path:
    """Return the `.ckpt` of a model, for an `.onnx` file the one of the same name beside it.

    Raises:
        ValueError: there is none.
    """
    path = find_model(model_path, outputs)
    checkpoint = checkpoint_beside(path)
    if not checkpoint.is_file():
        raise ValueError(f"model_path '{path}' has no {checkpoint.name} beside it; give a .ckpt file")
    return checkpoint


def find_other(other: Path, root: Path) -> Path:
    """Return the folder to compare with.

    Raises:
        ValueError: it is no folder, or one of the two lies in the other.
    """
    if not other.is_dir():
        raise ValueError(f"against '{other.absolute()}' is not a folder")
    paths = other.resolve(), root.resolve()
    if paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0]):
        raise ValueError(f"against '{other}' and data.root '{root}' share pictures: one lies in the other")
    return other


def find_parts(split: Path, root: Path) -> dict[str, str]:
    """Return the part of each picture in a run's split.csv.

    Raises:
        ValueError: there is no such file, or it names none of the pictures.
    """
    if not split.is_file():
        raise ValueError(f"split '{split.absolute()}' does not exist")
    known = read_split(split, root)
    part_of = {name: part for name, part in known.parts.items() if part in PARTS}
    if not part_of:
        raise ValueError(
            f"split '{split}' names no picture of '{root.resolve()}'" + (f": {known.note}" if known.note else "")
        )
    if known.note:
        tell(known.note)
    return part_of


def read_other(root: Path, cache_dir: Path) -> Pictures:
    """Return all pictures below a folder, whatever its sub-folders are called.

    Raises:
        ValueError: there is none.
    """
    try:
        return Pictures(root, ["."], cache_dir)
    except ValueError:
        raise ValueError(f"no pictures in against '{root.absolute()}'") from None


def describe(summary: dict[str, Any], proposed: int, folder: Path) -> str:
    """Return what was found in a line."""
    found = [f"{len(summary[name])} {name}" for name in ("unreadable", "tiny", "blank", "dark", "blurred")]
    for name in ("exact_copies", "near_copies"):
        opposite = sum(group["opposite_labels"] for group in summary[name])
        found.append(f"{_groups(summary[name])} of {name.replace('_', ' ')} ({opposite} with different labels)")
    if summary["across_parts"] is not None:
        found.append(f"{_groups(summary['across_parts']['groups'])} of copies across parts of the split")
    if summary["against"] is not None:
        found.append(f"{len(summary['against']['pairs'])} pairs of copies with {summary['against']['root']}")
    if summary["suspicious_labels_skipped"]:
        found.append(f"labels not checked ({summary['suspicious_labels_skipped']})")
    else:
        found.append(f"{len(summary['suspicious_labels'])} suspicious labels")
    return (
        f"{summary['pictures']:,} pictures: {', '.join(found)}; {proposed} files to leave out: {folder / 'check.html'}"
    )


def _groups(found: list[Any]) -> str:
    return f"{len(found)} group{'s' if len(found) != 1 else ''}"


def tell(message: str) -> None:
    """Print a line for the user that is no result, to standard error."""
    print(message, file=sys.stderr)


@hydra.main(version_base="1.3", config_path="../configs", config_name="check_data")
def main(cfg: DictConfig) -> None:
    """Turn the configuration into plain values and check."""
    try:
        run(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except (ValueError, OSError) as error:
        fail(error)


if __name__ == "__main__":
    register_resolvers()
    sys.exit(main())
