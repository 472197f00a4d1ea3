"""The part of `benchmark.py` that measures training."""

import statistics
import time
from typing import Any

import lightning
import torch

from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.training.callbacks import SeedEachStep, Speed
from gender_recognizer.training.fine_tuning import resolve_start
from gender_recognizer.training.run import build_classifier, build_data
from gender_recognizer.training.settings import TrainSettings
from gender_recognizer.training.trainer import trainer_arguments

ROUNDS = 7
STEPS = 60


def bare_images_per_second(settings: TrainSettings, data: FaceDataModule, precision: str) -> float:
    """Return the speed of forward, backward and optimizer alone, on a random float batch in channels-last."""
    classifier = GenderClassifier(data.classes, settings.model)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, fused=True)
    count = data.batch_size
    images = (torch.rand(count, 3, 100, 80) * 255).to(memory_format=torch.channels_last)
    targets = torch.randint(len(data.classes), (count,))
    for step in range(STEPS + Speed.WARM_UP):
        if step == Speed.WARM_UP:
            started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = torch.nn.functional.cross_entropy(classifier(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return STEPS * count / (time.perf_counter() - started)


def training_images_per_second(settings: TrainSettings, data: FaceDataModule, precision: str) -> float:
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
    trainer.fit(build_classifier(settings, data), data)
    return speed.images_per_second


def benchmark_training(settings: TrainSettings) -> dict[str, Any]:
    """Return the images/s of every round of both, alternating, and the median of their ratios."""
    settings = resolve_start(settings)
    precision = trainer_arguments(settings.trainer)["precision"]
    data = build_data(settings)
    data.prepare_data()
    data.setup()
    bare, training = [], []
    for _ in range(ROUNDS):
        bare.append(bare_images_per_second(settings, data, precision))
        training.append(training_images_per_second(settings, data, precision))
    ratio = statistics.median(b / a for a, b in zip(bare, training, strict=True))
    return {"bare": bare, "training": training, "ratio": ratio, "precision": precision}
