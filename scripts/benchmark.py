"""Measure how much of the time of training goes into anything but the network.

    python scripts/benchmark.py training [data.root=folder] [model=... data.batch_size=... and so on]

Alternates, in one run, (a) bare steps: forward, backward and optimizer on one random batch, and (b) the same
steps by `Trainer.fit` on real pictures: cache, loader, augmentation, metrics, callbacks. Prints the images/s of
each round, their medians and the median of the ratios b / a, and saves them below outputs/benchmark/. Run it
with nothing else on the machine.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from train import PROJECT, build_data, fail, keep_freed_memory, register_resolvers, trainer_arguments

from gender_recognizer.callbacks import SeedEachStep, Speed
from gender_recognizer.classifier import GenderClassifier
from gender_recognizer.datamodule import FaceDataModule

ROUNDS = 7
STEPS = 60


def bare_images_per_second(settings: dict[str, Any], precision: str) -> float:
    """Return the speed of forward, backward and optimizer alone, on a random float batch in channels-last."""
    classifier = GenderClassifier(settings["data"]["classes"], settings["model"])
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, fused=True)
    count = settings["data"]["batch_size"]
    images = (torch.rand(count, 3, 100, 80) * 255).to(memory_format=torch.channels_last)
    targets = torch.randint(len(settings["data"]["classes"]), (count,))
    for step in range(STEPS + Speed.WARM_UP):
        if step == Speed.WARM_UP:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = torch.nn.functional.cross_entropy(classifier(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return STEPS * count / (time.perf_counter() - started)


def training_images_per_second(settings: dict[str, Any], data: FaceDataModule, precision: str) -> float:
    """Return the speed of the same steps by the trainer on real pictures."""
    speed = Speed()
    trainer = lightning.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=-1,
        max_steps=STEPS + Speed.WARM_UP,
        limit_val_batches=0,
        callbacks=[speed, SeedEachStep(0)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(GenderClassifier(data.classes, settings["model"], **settings["classifier"]), data)
    return speed.images_per_second


def benchmark_training(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the images/s of every round of both, alternating, and the median of their ratios."""
    precision = trainer_arguments(settings["trainer"])["precision"]
    data = build_data(settings)
    data.prepare_data()
    data.setup()
    bare, training = [], []
    for _ in range(ROUNDS):
        bare.append(bare_images_per_second(settings, precision))
        training.append(training_images_per_second(settings, data, precision))
    ratio = statistics.median(b / a for a, b in zip(bare, training, strict=True))
    return {"bare": bare, "training": training, "ratio": ratio, "precision": precision}


def main() -> int:
    """Run the command line and return the exit code."""
    if sys.argv[1:2] != ["training"]:
        print(__doc__)
        return 2
    register_resolvers()
    keep_freed_memory()
    try:
        with initialize_config_dir(str(PROJECT / "configs"), version_base="1.3"):
            config = compose("train", sys.argv[2:])
        results = benchmark_training(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except (ValueError, OSError, HydraException) as error:
        fail(error)
    table = Table("images/s", *(str(index + 1) for index in range(ROUNDS)), "median")
    for name in ("bare", "training"):
        table.add_row(name, *(f"{speed:.0f}" for speed in results[name]), f"{statistics.median(results[name]):.0f}")
    Console().print(table)
    setting = f"{results['precision']}, {torch.get_num_threads()} threads"
    print(f"training reaches {results['ratio']:.1%} of the bare steps ({setting})")
    folder = Path(config.outputs) / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
