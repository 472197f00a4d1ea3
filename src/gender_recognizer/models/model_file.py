"""Find, load and save trained models; loading never executes code from the file.

This module imports torch only inside the functions that need it: labelling with an ONNX model does not need it.
"""

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gender_recognizer.models.calibration import fit_scaling, operating_points
from gender_recognizer.models.checkpoint_check import OTHER_VERSION, check_network, read_checkpoint, teacher_features
from gender_recognizer.models.model_info import METADATA_KEY, ModelInfo, carried, read_info
from gender_recognizer.pictures.writing import replacing

if TYPE_CHECKING:
    from gender_recognizer.models.classifier import GenderClassifier

BUNDLED_MODEL = Path(__file__).parents[1] / "weights" / "smallcnn-int8.onnx"
ACCURATE_MODEL = BUNDLED_MODEL.parent / "accurate" / "accurate.onnx"
"""A larger bundled model: slower, and more often right."""

_INT8_ENDING = "-int8"


def model_files(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Return where a model of this name is saved: checkpoint, ONNX file, and ONNX file with 8-bit integers."""
    return folder / f"{name}.ckpt", folder / f"{name}.onnx", folder / f"{name}{_INT8_ENDING}.onnx"


def checkpoint_beside(path: Path) -> Path:
    """Return where the checkpoint of a model lies, whichever of its `model_files` is given; it may not exist."""
    return path.with_name(path.stem.removesuffix(_INT8_ENDING) + ".ckpt")


def find_model(model_path: str | None, outputs: Path) -> Path:
    """Return the file of a model.

    Args:
        model_path: a `.ckpt` or `.onnx` file; None for the bundled model; `accurate` for the larger bundled one;
            `latest` for the best checkpoint of the newest training run.
        outputs: where training runs are.

    Raises:
        ValueError: there is no such file or run, or the file is of another kind.
    """
    if model_path is None:
        return BUNDLED_MODEL
    if model_path == "accurate":
        return ACCURATE_MODEL
    if model_path == "latest":
        return best_checkpoint(newest_run(outputs))
    path = Path(model_path)
    if path.suffix not in (".ckpt", ".onnx"):
        raise ValueError(f"model_path is '{model_path}'; expected a .ckpt or .onnx file, 'accurate' or 'latest'")
    if not path.is_file():
        raise ValueError(f"model_path '{path.absolute()}' does not exist")
    return path


def find_start(init_from: str, outputs: Path) -> Path:
    """Return the checkpoint that training starts from.

    Args:
        init_from: `bundled`, `latest` for the best checkpoint of the newest training run, or a `.ckpt` file.
        outputs: where training runs are.

    Raises:
        ValueError: there is no such file or run, or the file is of another kind.
    """
    if init_from == "bundled":
        return checkpoint_beside(BUNDLED_MODEL)
    if init_from == "latest":
        return best_checkpoint(newest_run(outputs))
    path = Path(init_from)
    if path.suffix != ".ckpt":
        raise ValueError(f"init_from is '{init_from}'; expected bundled, latest or a .ckpt file (.onnx cannot train)")
    if not path.is_file():
        raise ValueError(f"init_from '{path.absolute()}' does not exist")
    return path


def newest_run(outputs: Path) -> Path:
    """Return the run folder in `outputs`, or `outputs` itself, whose `checkpoints/` changed last.

    Trials of a sweep or a search lie deeper: the newest of them is as likely the worst as the best.

    Raises:
        ValueError: there is none.
    """
    folders = [file.parent for pattern in ("", "*/") for file in outputs.glob(f"{pattern}checkpoints/*.ckpt")]
    if not folders:
        raise ValueError(f"no training run with a checkpoint in '{outputs}'; train first")
    return max(set(folders), key=lambda folder: folder.stat().st_mtime).parent


def best_checkpoint(run_dir: Path) -> Path:
    """Return the checkpoint of a run with the highest validation accuracy in its name.

    That of the weights the run began with has one only if training made them worse, and goes first.

    Raises:
        ValueError: there is none.
    """
    scored = {}
    for path in (run_dir / "checkpoints").glob("model_state-*.ckpt"):
        if match := re.search(r"val_acc-(\d+\.\d+)", path.name):
            scored[path] = float(match[1])
    if not scored:
        raise ValueError(f"no checkpoint called model_state-*.ckpt in '{run_dir / 'checkpoints'}'")
    return max(scored, key=lambda path: (path.name.startswith("model_state-start"), scored[path]))


def load_classifier(path: Path) -> "tuple[GenderClassifier, ModelInfo]":
    """Return the classifier of a `.ckpt` in evaluation mode, on the CPU, and its metadata.

    Raises:
        ValueError: the file is not a checkpoint of this package, would run code, or was made for other pictures or by
            another version.
    """
    from gender_recognizer.models.classifier import GenderClassifier

    checkpoint = read_checkpoint(path)
    settings = checkpoint["hyper_parameters"]
    described = {name: settings[name] for name in ("image_size", "loader_version") if name in settings}
    info = read_info(described | checkpoint.get(METADATA_KEY, {}) | {"classes": settings.get("classes")}, path)
    known = inspect.signature(GenderClassifier).parameters
    settings = {name: value for name, value in settings.items() if name in known}
    settings["network"] = check_network(checkpoint, path)
    classifier = GenderClassifier(**settings | {"teacher_features": teacher_features(checkpoint)})
    classifier.on_load_checkpoint(checkpoint)
    if classifier.network.image_size != info.image_size:
        raise ValueError(f"'{path}' is refused: its network is not for pictures of its image_size {info.image_size}")
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
    except RuntimeError:
        raise ValueError(OTHER_VERSION.format(path, settings["network"]["name"])) from None
    return classifier.eval(), replace(info, looks_for_faces=classifier.network.looks_for_faces)


def save_checkpoint(classifier: "GenderClassifier", info: ModelInfo, path: Path) -> None:
    """Write a `.ckpt` without the optimizer's state and what only training needs: weights, hyperparameters, `info`."""
    import torch

    checkpoint = {
        "hyper_parameters": dict(classifier.hparams) | {"teacher_features": 0},
        "state_dict": {k: v for k, v in classifier.state_dict().items() if not k.startswith("teacher_layer.")},
        METADATA_KEY: carried(info),
    }
    torch.save(checkpoint, path)


def calibrate_checkpoint(
    path: Path, images: np.ndarray, targets: np.ndarray, rest: tuple[np.ndarray, np.ndarray] | None = None
) -> ModelInfo:
    """Fit the scaling of logits and the operating points of a `.ckpt`, write them into it, and return its metadata.

    Args:
        path: of a checkpoint, with or without the optimizer's state.
        images: uint8 `(N, *image_size, 3)`, pictures that did not train it.
        targets: int `(N,)`.
        rest: images and targets of further pictures that did not train it, for the operating points alone.
    """
    import torch

    classifier, info = load_classifier(path)
    count = len(images)
    if rest is not None:
        images, targets = np.concatenate([images, rest[0]]), np.concatenate([targets, rest[1]])
    with torch.inference_mode():
        parts = (torch.from_numpy(images[start : start + 256]) for start in range(0, len(images), 256))
        logits = torch.cat([classifier(part.permute(0, 3, 1, 2)) for part in parts]).double()
    scaling = fit_scaling(logits[:count].numpy(), targets[:count])
    points = operating_points(scaling(logits).softmax(dim=1).numpy(), targets)
    info = replace(info, **scaling._asdict(), operating_points=tuple(points))
    describe_checkpoint(path, info)
    return info


def describe_checkpoint(path: Path, info: ModelInfo) -> None:
    """Write the metadata of a model into its `.ckpt`."""
    import torch

    checkpoint = torch.load(path, map_location="cpu", weights_only=True) | {METADATA_KEY: carried(info)}
    with replacing(path) as file:
        torch.save(checkpoint, file)
