"""Evaluate a model on a folder: numbers, a report, a model card and figures for TensorBoard."""

import sys
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from gender_recognizer.data.samples import read_metadata
from gender_recognizer.evaluation.comparison import compare
from gender_recognizer.evaluation.groups import by_group, group_columns, paired_columns
from gender_recognizer.evaluation.metrics import evaluate
from gender_recognizer.evaluation.output_folder import choose_folder, making, require_own_files
from gender_recognizer.evaluation.predictions import Predictions, predict, predict_as
from gender_recognizer.evaluation.report import (
    Results,
    log_to_tensorboard,
    summarise,
    write_card,
    write_metrics,
    write_report,
)
from gender_recognizer.evaluation.robustness import measure_robustness
from gender_recognizer.evaluation.saliency import saliency_maps
from gender_recognizer.evaluation.selection import Selection, count_seen, find_split, select_pictures
from gender_recognizer.evaluation.settings import EvaluateSettings
from gender_recognizer.models.devices import choose_device
from gender_recognizer.models.model_file import find_model
from gender_recognizer.models.predictor import Predictor, available_cores, load_predictor
from gender_recognizer.pictures.listing import describe_endings
from gender_recognizer.pictures.names import printable
from gender_recognizer.training.figures import worst_errors

EXPLAINED = 24
"""The number of worst errors, and of random pictures, that are explained."""

WRITTEN = ("report.html", "metrics.json", "MODEL_CARD.md", "tensorboard")
"""The files that an evaluation writes."""


class LoadedModel(NamedTuple):
    """A model file, ready to predict on a device."""

    path: Path
    device: str
    predictor: Predictor


def run(settings: EvaluateSettings) -> int:
    """Evaluate a model, write and print the results, and return the exit code.

    Raises:
        ValueError: the settings name no model of this package, no pictures, or a part that does not exist.
    """
    folder = choose_folder(settings.output_dir, settings.outputs, "evaluate")
    print_result(evaluate_model(settings, folder), folder)
    return 0


def evaluate_model(settings: EvaluateSettings, folder: Path) -> dict[str, Any]:
    """Evaluate a model, write the results into a folder, and return the numbers of metrics.json.

    Raises:
        ValueError: the settings name no model of this package, no pictures, or a part that does not exist, or the
            folder holds files of the same names that this did not write.
    """
    require_own_files(folder, WRITTEN, "metrics.json", ("model", "data", "measured", "confusion"))
    model, *others = (load_model(path, settings) for path in [settings.model_path, *settings.compare])
    for other in others:
        require_same_classes(other, model)
    selection = select_pictures(settings, model.path, model.predictor.info)
    selection.notes.extend(note for other in others if (note := note_of_seen(other, selection)))
    with making(folder):
        return write_results(measure(model, others, selection, settings), model.path, folder)


def load_model(model_path: Path | None, settings: EvaluateSettings) -> LoadedModel:
    """Return the model of a file, `latest` or the bundled one, on the best device."""
    path = find_model(None if model_path is None else str(model_path), settings.outputs)
    choice = choose_device(path, settings.device)
    return LoadedModel(choice.path, choice.device, load_predictor(choice.path, choice.device, available_cores()))


def require_same_classes(other: LoadedModel, model: LoadedModel) -> None:
    """Refuse to compare models of different classes.

    Raises:
        ValueError: their classes differ.
    """
    theirs, ours = other.predictor.info.classes, model.predictor.info.classes
    if set(theirs) != set(ours):
        raise ValueError(f"compare: '{other.path}' is a model for {', '.join(theirs)}, not for {', '.join(ours)}")


def note_of_seen(other: LoadedModel, selection: Selection) -> str | None:
    """Return a caveat about the numbers of a model that the first one is compared with, if there is one."""
    split = find_split(None, other.path, other.predictor.info, selection.root)
    seen = count_seen(selection.names, split)
    if seen:
        return f"'{other.path.name}', for comparison: {seen:,} of these pictures trained it or chose among its epochs."
    return split.note if seen is None else None


def measure(
    model: LoadedModel, others: Sequence[LoadedModel], selection: Selection, settings: EvaluateSettings
) -> Results:
    """Return all measurements of a model and of those it is compared with."""
    predictor, everything = model.predictor, selection
    classes = list(predictor.info.classes)
    draws = {"num_draws": settings.num_draws, "seed": settings.seed}
    said = predict(predictor, everything)
    selection, probabilities = everything.only(said.found), said.probabilities[said.found]
    targets = selection.targets
    columns = group_columns(selection.names, read_metadata(selection.root))
    columns |= paired_columns(columns)
    facts = {
        "model": describe_model(model.path, predictor),
        "data": selection.describe(classes, settings.data.name),
        "measured": describe_measurement(model.device, len(everything.rows) / said.seconds) | draws,
        "faces": describe_faces(said, everything),
    }
    groups = {name: by_group(probabilities, targets, classes, of, **draws) for name, of in columns.items()}
    if not said.found.all():
        found = np.where(said.found, "face found", "no face found").tolist()
        groups["face"] = by_group(said.probabilities, everything.targets, classes, found, **draws)
    return Results(
        facts,
        classes,
        selection,
        probabilities,
        evaluate(probabilities, targets, classes, **draws),
        groups=groups,
        points=predictor.info.operating_points,
        comparisons=[
            compare(
                other.path.name,
                probabilities,
                predict_as(other.predictor, classes, selection),
                targets,
                classes,
                **draws,
            )
            for other in others
        ],
        explained=explain(predictor, selection, probabilities, settings.seed) if settings.explain else {},
        robustness=measure_robustness(predictor, everything.paths, everything.targets, **draws)
        if settings.robustness
        else [],
    )


def describe_faces(said: Predictions, selection: Selection) -> dict[str, Any]:
    """Return how many pictures got a label, and the share of right labels among those and among all.

    Raises:
        ValueError: none did.
    """
    right = said.found & (said.probabilities.argmax(axis=1) == selection.targets)
    labelled = int(said.found.sum())
    if not labelled:
        raise ValueError(f"no face was found in any of the {len(right):,} pictures: nothing to evaluate")
    return {
        "labelled": labelled,
        "no_face": len(right) - labelled,
        "accuracy_of_labelled": float(right.sum() / labelled),
        "accuracy_of_all": float(right.mean()),
        "without": [name for name, found in zip(selection.names, said.found, strict=True) if not found],
    }


def describe_model(path: Path, predictor: Predictor) -> dict[str, Any]:
    """Return the facts about a model file."""
    info = predictor.info
    return {
        "file": path.name,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "classes": list(info.classes),
        "temperature": round(info.temperature, 4),
        "curvature": round(info.curvature, 4),
        "training_data": info.training_data or "not stated",
        "gender_recognizer": info.version,
    }


def describe_measurement(device: str, images_per_second: float) -> dict[str, Any]:
    """Return the facts about how it was measured."""
    return {
        "date": date.today().isoformat(),
        "gender_recognizer": version("gender_recognizer"),
        "device": f"{device}, {available_cores()} cores",
        "images_per_second": round(images_per_second),
    }


def explain(
    predictor: Predictor, selection: Selection, probabilities: np.ndarray, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the saliency of the worst errors and of random pictures, towards the label that each got."""
    targets = selection.targets
    chosen = {
        "The worst errors": worst_errors(probabilities, targets, EXPLAINED),
        "Pictures drawn at random": np.random.default_rng(seed).permutation(len(targets))[:EXPLAINED],
    }
    labels = probabilities.argmax(axis=1)
    return {
        title: (which, saliency_maps(predictor, selection.images[selection.rows[which]], labels[which]))
        for title, which in chosen.items()
    }


def write_results(results: Results, model: Path, folder: Path) -> dict[str, Any]:
    """Write the results of an evaluation into a folder, and return its numbers."""
    summary = summarise(results)
    write_metrics(summary, folder / "metrics.json")
    figures = write_report(results, summary, folder / "report.html")
    write_card(summary, read_about(model.with_name("about.yaml")), folder / "MODEL_CARD.md")
    log_to_tensorboard(results, figures, folder / "tensorboard")
    return summary


def read_about(path: Path) -> dict[str, Any]:
    """Return the texts of a model card that cannot be measured, from the about.yaml beside the model, if there is one.

    Raises:
        ValueError: the file is not a mapping of names to texts.
    """
    if not path.is_file():
        return {}
    try:
        about = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}' cannot be read for the model card: {' '.join(str(error).split())}") from None
    if not isinstance(about, dict):
        raise ValueError(f"'{path}' holds no names with texts for the model card; expected lines such as 'name: mine'")
    return about


def print_result(summary: dict[str, Any], folder: Path) -> None:
    """Print the result in one line, after the notes that qualify it."""
    model, data, faces = summary["model"], summary["data"], summary.get("faces", {})
    accuracy = summary["metrics"]["accuracy"]
    for note in data["notes"]:
        print_note(f"note: {note}")
    if data["unreadable"]:
        print_note(f"{len(data['unreadable']):,} of the files could not be read; the report names them.")
    if ignored := data["ignored_endings"]:
        print_note(f"ignored because their endings are not those of pictures: {describe_endings(ignored)}")
    if faces.get("no_face"):
        print_note(
            f"in {faces['no_face']:,} of {faces['no_face'] + faces['labelled']:,} pictures no face was found; they got "
            f"no label. Of all, {faces['accuracy_of_all']:.2%} got the right one."
        )
    value, low, high = (100 * accuracy[name] for name in ("value", "low", "high"))
    line = (
        f"{model['file']} on {data['pictures']:,} pictures of {data['name']} ({data['part']}): accuracy {value:.2f} % "
        f"(95 % interval {low:.2f} to {high:.2f}): {folder / 'report.html'}"
    )
    print(printable(line))


def print_note(message: str) -> None:
    """Print a line that is not a result, to standard error."""
    print(printable(message), file=sys.stderr)
