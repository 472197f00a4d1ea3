"""Save a trained model as two small files, for keeping and for labelling without torch.

    python scripts/export.py model_path=latest output_dir=folder [name=model] [training_data="where from"]

Writes name.ckpt (weights and settings, without the optimizer's state) and name.onnx.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from train import fail, register_resolvers

from gender_recognizer.model_file import export_onnx, find_model, load_classifier, save_checkpoint


def export(settings: dict[str, Any]) -> None:
    """Write both files, with the metrics of the run that the checkpoint lies in."""
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
    save_checkpoint(classifier, info, folder / f"{settings['name']}.ckpt")
    export_onnx(classifier, info, folder / f"{settings['name']}.onnx")
    print(f"{checkpoint} saved as {settings['name']}.ckpt and {settings['name']}.onnx in {folder.absolute()}")


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
