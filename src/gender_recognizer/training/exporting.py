"""The command that saves a trained model as small files."""

import json
import logging
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.models.model_file import find_model, load_classifier, model_files, save_checkpoint
from gender_recognizer.models.onnx_export import export_onnx, quantise_onnx
from gender_recognizer.models.onnx_half import halve_onnx
from gender_recognizer.models.settings import ExportSettings
from gender_recognizer.pictures.listing import find_images
from gender_recognizer.pictures.loading import load_or_reason

CALIBRATION_PICTURES = 500


def run(settings: ExportSettings) -> int:
    """Write the files, with the metrics of the checkpoint's run, and return 0.

    Raises:
        ValueError: there is no such checkpoint, or the calibration folder holds no readable picture.
    """
    for name in ("onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.WARNING)
    source = find_model(settings.model_path, settings.outputs)
    if source.suffix != ".ckpt":
        raise ValueError(f"model_path is '{source}'; expected a .ckpt file: an .onnx file is already exported")
    classifier, info = load_classifier(source)
    info = replace(info, metrics=_metrics_of(source) or info.metrics)
    if settings.training_data:
        info = replace(info, training_data=settings.training_data)
    images = calibration_images(settings.calibration_data, info.image_size) if settings.calibration_data else None
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    checkpoint, whole, small = model_files(settings.output_dir, settings.name)
    save_checkpoint(classifier, info, checkpoint)
    export_onnx(classifier, info, whole)
    if images is not None:
        quantise_onnx(whole, np.concatenate([images, change(images)]), small, classifier.network.exact_parts())
    if settings.half:
        halve_onnx(whole, classifier.network.exact_parts())
    written = [checkpoint, whole] if images is None else [checkpoint, whole, small]
    print(f"{source} saved in {settings.output_dir.absolute()}: {', '.join(file.name for file in written)}")
    return 0


def _metrics_of(checkpoint: Path) -> dict[str, float]:
    """Return the metrics from the end of the run that a checkpoint belongs to; empty where there is no run."""
    path = checkpoint.absolute().parents[1] / "metrics.json"
    return json.loads(path.read_text()) if checkpoint.parent.name == "checkpoints" and path.is_file() else {}


def calibration_images(folder: Path, image_size: tuple[int, int]) -> np.ndarray:
    """Return 500 readable pictures drawn from a folder, or all if there are fewer, uint8 `(N, *image_size, 3)`.

    Raises:
        ValueError: there is none.
    """
    paths = find_images(folder)
    random.Random(0).shuffle(paths)
    loaded = (load_or_reason(path, image_size) for path in paths)
    images = list(islice((image for image in loaded if not isinstance(image, str)), CALIBRATION_PICTURES))
    if not images:
        raise ValueError(f"calibration_data '{folder.absolute()}' holds no readable picture")
    return np.stack(images)


def change(images: np.ndarray) -> np.ndarray:
    """Return pictures framed differently and degraded as in training: labelling meets such pictures as well."""
    torch.manual_seed(0)
    changed = Augmentation()(torch.from_numpy(images).permute(0, 3, 1, 2), images.shape[1:3])[0]
    return changed.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
