"""Save a trained model as small files, for keeping and for labelling without torch.

    python scripts/export.py model_path=latest output_dir=folder [name=model] [training_data="where from"]
        [calibration_data=folder]

Writes name.ckpt (weights and settings, without the optimizer's state) and name.onnx; with calibration_data also
name-int8.onnx, which computes with 8-bit integers whose ranges are those of 500 pictures of that folder.
"""

import json
import logging
import random
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from command import fail, register_resolvers
from omegaconf import DictConfig, OmegaConf

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.models.model_file import export_onnx, find_model, load_classifier, quantise_onnx, save_checkpoint
from gender_recognizer.pictures.listing import find_images
from gender_recognizer.pictures.loading import load_or_reason

for name in ("onnx_ir", "onnxscript"):
    logging.getLogger(name).setLevel(logging.WARNING)


def export(settings: dict[str, Any]) -> None:
    """Write the files, with the metrics of the run that the checkpoint lies in."""
    checkpoint = find_model(settings["model_path"], Path(settings["outputs"]))
    classifier, info = load_classifier(checkpoint)
    metrics = checkpoint.parents[1] / "metrics.json"
    info = replace(
        info,
        training_data=settings["training_data"] or info.training_data,
        metrics=json.loads(metrics.read_text()) if metrics.is_file() else info.metrics,
    )
    folder = Path(settings["output_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{settings['name']}{ending}" for ending in (".ckpt", ".onnx", "-int8.onnx")]
    images = calibration_images(Path(settings["calibration_data"])) if settings["calibration_data"] else None
    save_checkpoint(classifier, info, written[0])
    export_onnx(classifier, info, written[1])
    if images is None:
        written.pop()
    else:
        quantise_onnx(written[1], np.concatenate([images, change(images)]), written[2])
    print(f"{checkpoint} saved in {folder.absolute()}: {', '.join(file.name for file in written)}")


def calibration_images(folder: Path) -> np.ndarray:
    """Return 500 readable pictures drawn from a folder, or all if there are fewer, uint8 `(N, 100, 80, 3)`.

    Raises:
        ValueError: there is none.
    """
    paths = find_images(folder)
    random.Random(0).shuffle(paths)
    loaded = (load_or_reason(path) for path in paths)
    images = list(islice((image for image in loaded if not isinstance(image, str)), 500))
    if not images:
        raise ValueError(f"calibration_data '{folder.absolute()}' holds no readable picture")
    return np.stack(images)


def change(images: np.ndarray) -> np.ndarray:
    """Return pictures framed anew and spoilt as in training: labelling meets such pictures, too."""
    torch.manual_seed(0)
    changed = Augmentation()(torch.from_numpy(images).permute(0, 3, 1, 2))[0]
    return changed.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


@hydra.main(version_base="1.3", config_path="../configs", config_name="export")
def main(cfg: DictConfig) -> None:
    """Turn the configuration into plain values and export."""
    try:
        export(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except (ValueError, OSError) as error:
        fail(error)


if __name__ == "__main__":
    register_resolvers()
    sys.exit(main())
