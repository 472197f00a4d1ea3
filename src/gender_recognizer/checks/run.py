"""Check a folder of pictures: write what is wrong with it, a page, and a list of files to leave out."""

import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gender_recognizer.checks.faces import KINDS, check_faces
from gender_recognizer.checks.findings import (
    CheckedFolder,
    check_labels,
    check_looks,
    check_metadata,
    find_across_parts,
    find_exact_copies,
    find_near_copies,
    find_shared,
)
from gender_recognizer.checks.labels import extract_features
from gender_recognizer.checks.report import certain_exclusions, require_own_check, write_check
from gender_recognizer.checks.settings import CheckSettings
from gender_recognizer.data.default_root import find_root
from gender_recognizer.data.duplicates import near_copies
from gender_recognizer.data.samples import class_counts, ignored_endings, read_metadata
from gender_recognizer.data.split import PARTS, Split, read_split
from gender_recognizer.evaluation.output_folder import choose_folder, making
from gender_recognizer.models.model_file import checkpoint_beside, find_model, load_classifier
from gender_recognizer.models.predictor import TorchPredictor
from gender_recognizer.pictures.listing import describe_endings
from gender_recognizer.pictures.names import printable


def run(settings: CheckSettings) -> int:
    """Check the pictures, write and print the findings, and return the exit code.

    Raises:
        ValueError: the settings name no pictures, model, other folder or split, or one of the wrong kind.
    """
    output = choose_folder(settings.output_dir, settings.outputs, "check")
    summary = check_pictures(settings, output)
    if summary["across_parts"] and summary["across_parts"]["note"]:
        print_progress(f"note: {summary['across_parts']['note']}")
    if summary["ignored_endings"]:
        endings = describe_endings(summary["ignored_endings"])
        print_progress(f"ignored because their endings are not those of pictures: {endings}")
    print(printable(describe(summary, output)))
    return 0


def check_pictures(settings: CheckSettings, output: Path) -> dict[str, Any]:
    """Check the pictures, write the findings into a folder, and return them, as in check.json.

    Raises:
        ValueError: the settings name no pictures, model, other folder or split, or one of the wrong kind, or the folder
            holds files of the same names that this did not write, or an exclude.txt that a person has edited.
    """
    require_own_check(output)
    root = find_root(settings.data.root, settings.data.classes)
    checkpoint = find_checkpoint(settings.model_path, settings.outputs)
    other_root = None if settings.against is None else find_other(settings.against, root)
    split = None if settings.split is None else require_split(settings.split, root)
    classifier, info = load_classifier(checkpoint)
    folder = CheckedFolder(root, settings.data.classes, settings.data.cache_dir)
    other = None if other_root is None else read_other(other_root, settings.data.cache_dir)
    with making(output):
        print_progress(f"comparing {len(folder.names):,} pictures with each other")
        pairs = near_copies(folder.images)
        print_progress("looking for wrong labels")
        suspicious, why_not = check_labels(
            folder, extract_features(classifier.network, folder.images_of(classifier.network.image_size)), pairs
        )
        summary = {
            "root": str(root.resolve()),
            "date": date.today().isoformat(),
            "gender_recognizer": version("gender_recognizer"),
            "model": {"file": checkpoint.name, "training_data": info.training_data or "not stated"},
            "pictures": len(folder.names),
            "classes": class_counts(folder.targets, folder.classes),
            "metadata": check_metadata(folder, read_metadata(root)),
            "ignored_endings": dict(ignored_endings(root, folder.classes)),
            "unreadable": [folder.entry(row, reason=why) for row, why in sorted(folder.unreadable.items())],
            **check_looks(folder),
            **check_faces(folder, TorchPredictor(checkpoint)),
            "exact_copies": find_exact_copies(folder),
            "near_copies": find_near_copies(folder, pairs),
            "across_parts": None if split is None else find_across_parts(folder, pairs, split),
            "against": None if other is None else find_shared(folder, other),
            "suspicious_labels": suspicious,
            "suspicious_labels_skipped": why_not,
        }
        write_check(summary, folder.show, None if other is None else other.show, output)
    return summary


def find_checkpoint(model_path: Path | None, outputs: Path) -> Path:
    """Return the `.ckpt` of a model, for an `.onnx` file the one of the same name beside it.

    Raises:
        ValueError: there is none.
    """
    path = find_model(None if model_path is None else str(model_path), outputs)
    checkpoint = checkpoint_beside(path)
    if not checkpoint.is_file():
        raise ValueError(f"model_path '{path}' has no {checkpoint.name} beside it; give a .ckpt file")
    return checkpoint


def find_other(other: Path, root: Path) -> Path:
    """Return the folder to compare with.

    Raises:
        ValueError: it is not a folder, or one of the two lies in the other.
    """
    if not other.is_dir():
        raise ValueError(f"against '{other.absolute()}' is not a folder")
    paths = other.resolve(), root.resolve()
    if paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0]):
        raise ValueError(f"against '{other}' and data.root '{root}' share pictures: one lies in the other")
    return other


def require_split(path: Path, root: Path) -> Split:
    """Return the part of each picture in a run's split.csv, wherever the pictures were then.

    Raises:
        ValueError: there is no such file, or it does not name these pictures.
    """
    if not path.is_file():
        raise ValueError(f"split '{path.absolute()}' does not exist")
    split = read_split(path, root)
    if not {*split.parts.values()} & {*PARTS}:
        why = f": {split.note}" if split.note else ""
        raise ValueError(f"split '{path}' names no picture of '{root.resolve()}'{why}")
    return split


def read_other(root: Path, cache_dir: Path) -> CheckedFolder:
    """Return all pictures below a folder, whatever the names of its sub-folders.

    Raises:
        ValueError: there is none.
    """
    try:
        return CheckedFolder(root, ["."], cache_dir)
    except ValueError:
        raise ValueError(f"no pictures in against '{root.absolute()}'") from None


def describe(summary: dict[str, Any], output: Path) -> str:
    """Return the findings as one line."""
    found = [f"{len(summary[name])} {name}" for name in ("unreadable", "tiny", "blank", "dark", "blurred")]
    found += [f"{len(summary[name])} {name}" for name in KINDS if summary[name]]
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
    left_out = len(certain_exclusions(summary))
    return (
        f"{summary['pictures']:,} pictures: {', '.join(found)}; {left_out} files to leave out: {output / 'check.html'}"
    )


def _groups(found: list[Any]) -> str:
    return f"{len(found)} group{'s' if len(found) != 1 else ''}"


def print_progress(message: str) -> None:
    """Print a line that is not a result, to standard error."""
    print(printable(message), file=sys.stderr)
