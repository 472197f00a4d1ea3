"""Measure a trained model on folders of pictures, one folder a class, and write a report.

    python scripts/evaluate.py model_path=model.onnx data.root=folder-with-female-and-male
        [compare=[a.onnx,b.ckpt]] [explain=true] [robustness=true] [part=test]

Writes report.html, metrics.json, MODEL_CARD.md and what TensorBoard shows to outputs/evaluate_DATE_TIME/. Without
model_path the bundled model; model_path=latest takes the newest training run's, and the test part of its split.
"""

import sys
import time
from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from command import fail, register_resolvers
from evaluate_pictures import Pictures, describe_pictures, find_pictures, group_columns
from omegaconf import DictConfig, OmegaConf

from gender_recognizer.data.samples import read_metadata
from gender_recognizer.evaluation.figures import worst_errors
from gender_recognizer.evaluation.metrics import by_group, evaluate, mcnemar
from gender_recognizer.evaluation.report import (
    Results,
    estimate_values,
    log_to_tensorboard,
    summarise,
    write_card,
    write_metrics,
    write_report,
)
from gender_recognizer.evaluation.robustness import measure_robustness
from gender_recognizer.evaluation.saliency import saliency_maps
from gender_recognizer.models.model_file import find_model
from gender_recognizer.models.predictor import Choice, Predictor, available_cores, choose_device, load_predictor

PARTS = ("auto", "all", "train", "validation", "test")

EXPLAINED = 24
"""Worst errors, and as many random pictures, that are explained."""

BATCH = 256


def run(settings: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the model of the settings, write and say what came of it, and return the numbers."""
    check_settings(settings)
    choice, *others = (find_choice(path, settings) for path in [settings["model_path"], *settings["compare"]])
    predictor = load_predictor(choice.path, choice.device, available_cores())
    classes = list(predictor.info.classes)
    pictures = find_pictures(settings, choice.path, classes)
    probabilities, seconds = predict(predictor, pictures)
    options = {"num_draws": settings["num_draws"], "seed": settings["seed"]}
    columns = group_columns(pictures.names, read_metadata(pictures.root))
    results = Results(
        {
            "model": describe_model(choice.path, predictor),
            "data": describe_pictures(pictures, classes, settings["data"]["name"]),
            "measured": describe_measurement(choice, len(pictures.rows) / seconds, options),
        },
        classes,
        pictures.names,
        pictures.images,
        pictures.rows,
        probabilities,
        pictures.targets,
        evaluate(probabilities, pictures.targets, classes, **options),
        {name: by_group(probabilities, pictures.targets, classes, of, **options) for name, of in columns.items()},
        predictor.info.operating_points,
        [compare(other, probabilities, pictures, classes, options) for other in others],
        explain(predictor, pictures, probabilities, settings["seed"]) if settings["explain"] else {},
        measure_changes(predictor, pictures, options) if settings["robustness"] else [],
    )
    folder = Path(settings["output_dir"]).absolute()
    summary = write(results, choice.path, folder)
    tell_result(summary, folder)
    return summary


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse values of the wrong type or range.

    Raises:
        ValueError: naming the option, its value and what is expected.
    """
    if settings["part"] not in PARTS:
        raise ValueError(f"part is '{settings['part']}'; expected {', '.join(PARTS)}")
    if not isinstance(settings["compare"], list):
        raise ValueError(f"compare is '{settings['compare']}'; expected a list of files, such as [a.onnx,b.ckpt]")
    if not isinstance(settings["num_draws"], int) or settings["num_draws"] < 100:
        raise ValueError(f"num_draws is {settings['num_draws']}; expected a whole number, 100 or more")
    for name in ("explain", "robustness"):
        if not isinstance(settings[name], bool):
            raise ValueError(f"{name} is {settings[name]}; expected true or false")


def find_choice(model_path: str | None, settings: dict[str, Any]) -> Choice:
    """Return the file of a model and where it runs."""
    return choose_device(find_model(model_path, Path(settings["outputs"])), settings["device"])


def predict(predictor: Predictor, pictures: Pictures) -> tuple[np.ndarray, float]:
    """Return float64 probabilities `(N, num_classes)` of the pictures, and the seconds that the network took."""
    predictor.predict(pictures.images[pictures.rows[:BATCH]])  # the first call prepares what the others use
    parts, seconds = [], 0.0
    for start in range(0, len(pictures.rows), BATCH):
        images = pictures.images[pictures.rows[start : start + BATCH]]
        started = time.perf_counter()
        parts.append(predictor.predict(images))
        seconds += time.perf_counter() - started
    probabilities = np.concatenate(parts).astype(np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True), seconds


def describe_model(path: Path, predictor: Predictor) -> dict[str, Any]:
    """Return what to say of a model file."""
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


def describe_measurement(choice: Choice, images_per_second: float, options: dict[str, int]) -> dict[str, Any]:
    """Return what to say of how it was measured."""
    return {
        "date": date.today().isoformat(),
        "gender_recognizer": version("gender_recognizer"),
        "device": f"{choice.device}, {available_cores()} cores",
        "images_per_second": round(images_per_second),
    } | options


def compare(
    other: Choice, probabilities: np.ndarray, pictures: Pictures, classes: Sequence[str], options: dict[str, int]
) -> dict[str, Any]:
    """Return how another model does on the same pictures, and a paired test of the difference.

    Raises:
        ValueError: it knows other classes.
    """
    predictor = load_predictor(other.path, other.device, available_cores())
    if set(predictor.info.classes) != set(classes):
        raise ValueError(f"'{other.path}' is a model for {predictor.info.classes}, not for {tuple(classes)}")
    theirs = predict(predictor, pictures)[0][:, [predictor.info.classes.index(name) for name in classes]]
    first, second = probabilities.argmax(axis=1), theirs.argmax(axis=1)
    only_first, only_other, p_value = mcnemar(first, second, pictures.targets)
    metrics = evaluate(theirs, pictures.targets, classes, **options).metrics
    return {
        "file": other.path.name,
        "metrics": {name: estimate_values(estimate) for name, estimate in metrics.items()},
        "only_first": only_first,
        "only_this": only_other,
        "p_value": p_value,
        "same_label": float((first == second).mean()),
    }


def explain(
    predictor: Predictor, pictures: Pictures, probabilities: np.ndarray, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the saliency of the worst errors and of random pictures, towards the label that each got."""
    chosen = {
        "The worst errors": worst_errors(probabilities, pictures.targets, EXPLAINED),
        "Pictures drawn at random": np.random.default_rng(seed).permutation(len(pictures.targets))[:EXPLAINED],
    }
    labels = probabilities.argmax(axis=1)
    return {
        title: (which, saliency_maps(predictor, pictures.images[pictures.rows[which]], labels[which]))
        for title, which in chosen.items()
    }


def measure_changes(predictor: Predictor, pictures: Pictures, options: dict[str, int]) -> list[dict[str, Any]]:
    """Return how the model does when the pictures are framed or spoilt otherwise."""
    paths = [pictures.root / name for name in pictures.names]
    return measure_robustness(predictor, paths, pictures.targets, **options)


def write(results: Results, model: Path, folder: Path) -> dict[str, Any]:
    """Write all that an evaluation leaves, and return its numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(results)
    write_metrics(summary, folder / "metrics.json")
    figures = write_report(results, summary, folder / "report.html")
    about = model.with_name("about.yaml")
    known = OmegaConf.to_container(OmegaConf.load(about)) if about.is_file() else {}
    write_card(summary, known, folder / "MODEL_CARD.md")
    log_to_tensorboard(results, figures, folder / "tensorboard")
    return summary


def tell_result(summary: dict[str, Any], folder: Path) -> None:
    """Say the result in a line, after what to know before believing it."""
    for note in summary["data"]["notes"]:
        tell(note)
    if summary["data"]["unreadable"]:
        tell(f"{len(summary['data']['unreadable']):,} of the files could not be read; the report names them.")
    model, data, accuracy = summary["model"], summary["data"], summary["metrics"]["accuracy"]
    value, low, high = (100 * accuracy[name] for name in ("value", "low", "high"))
    print(
        f"{model['file']} on {data['pictures']:,} pictures of {data['name']} ({data['part']}): accuracy {value:.2f} % "
        f"(95 % interval {low:.2f} to {high:.2f}): {folder / 'report.html'}"
    )


def tell(message: str) -> None:
    """Print a line for the user that is no result, to standard error."""
    print(message.encode(errors="backslashreplace").decode(), file=sys.stderr)


@hydra.main(version_base="1.3", config_path="../configs", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Turn the configuration into plain values and evaluate."""
    try:
        run(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except (ValueError, OSError) as error:
        fail(error)


if __name__ == "__main__":
    register_resolvers()
    sys.exit(main())
