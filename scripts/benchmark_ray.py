"""The part of `benchmark.py` that measures how labelling on a Ray cluster grows with its workers."""

import time
from pathlib import Path

from gender_recognizer.labelling.ray_engine import RayEngine
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.pictures.listing import Folder


def images_per_second(folder: Path, num_workers: int) -> float:
    """Return the speed between the first and the last records, which leaves starting the workers out."""
    engine = RayEngine(ChosenModel(BUNDLED_MODEL, "cpu", "benchmark"), Limits(), num_workers=num_workers)
    try:
        batches = engine.label(Folder(folder))
        next(batches)
        started, count = time.perf_counter(), 0
        for records in batches:
            count += len(records)
        return count / (time.perf_counter() - started)
    finally:
        engine.close()


def benchmark_ray(folder: Path, rounds: int) -> dict[int, list[float]]:
    """Return pictures/s of one and of two workers, alternating, with a cluster that has logical cores to spare."""
    import ray

    ray.init("local", num_cpus=6, log_to_driver=False, logging_level="ERROR")
    try:
        speeds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for num_workers, values in speeds.items():
                values.append(images_per_second(folder, num_workers))
        return speeds
    finally:
        ray.shutdown()
