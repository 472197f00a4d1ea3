"""Train a network on folders of pictures, one folder a class.

    python scripts/train.py model=smallcnn data.root=folder-with-female-and-male

Writes one run folder below outputs/: the configuration, the split, checkpoints (best and last) and model.onnx,
class_balance.png and what `tensorboard --logdir outputs` shows. `ckpt_path=last` goes on with the newest run,
`init_from=bundled` starts from trained weights, and `-m model.width=16,24` trains once for each value.
"""

import ctypes
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from command import PROJECT, fail, find_root, register_resolvers
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch.optim.swa_utils import get_ema_avg_fn

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.models.calibration import Scaling
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import calibrate_checkpoint, export_onnx, load_classifier
from gender_recognizer.training.callbacks import ProgressBar, SeedEachStep, Speed, TensorBoardPictures
from gender_recognizer.training.distillation import load_teacher, teach
from gender_recognizer.training.figures import class_balance_figure
from gender_recognizer.training.fine_tuning import find_start, same_network, start_from, start_network

MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3  # malloc.h
logger = logging.getLogger("train")

# Lightning's advice that does not fit here: the loader reads from memory, small sets have few batches, and the
# metrics have been gathered before they are logged.
warnings.filterwarnings(
    "ignore", message=r".*(does not have many workers|number of training batches|LeafSpec|recommended to use `self.log)"
)
for name in ("lightning.pytorch", "onnx_ir", "onnxscript"):
    logging.getLogger(name).setLevel(logging.WARNING)


def train(settings: dict[str, Any], run_dir: Path, callbacks: Sequence[Callback] = ()) -> float:
    """Train, test the best checkpoint, export it, and return its validation accuracy."""
    lightning.seed_everything(settings["seed"], workers=True, verbose=False)
    data = build_data(settings)
    classifier = GenderClassifier(
        data.classes,
        settings["model"],
        **settings["classifier"],
        teacher_features=count_features(list_teachers(settings), data.classes),
    )
    tensorboard = TensorBoardLogger(run_dir, name="", version="tensorboard", default_hp_metric=False)
    checkpoint = ModelCheckpoint(
        run_dir / "checkpoints",
        filename="model_state-epoch-{epoch:02d}-val_acc-{val/acc:.4f}",
        auto_insert_metric_name=False,
        monitor="val/acc",
        mode="max",
    )
    # `save_last` would write only where the best is written: a resumed run would lose every epoch since.
    last = ModelCheckpoint(run_dir / "checkpoints", filename="last", enable_version_counter=False)
    trainer = lightning.Trainer(
        **trainer_arguments(settings["trainer"]),
        callbacks=[checkpoint, last, *build_callbacks(settings), *callbacks],
        logger=tensorboard,
        default_root_dir=run_dir,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        enable_model_summary=False,
    )
    logger.info("training on %s with precision %s", trainer.strategy.root_device, trainer.precision)
    data.prepare_data()
    data.setup()
    if trainer.is_global_zero:
        data.save_split(run_dir / "split.csv")
        class_balance_figure(data.counts()).savefig(run_dir / "class_balance.png", dpi=150)
        logger.info("run folder: %s (if interrupted, ckpt_path=last goes on)", run_dir)
    ckpt_path = find_checkpoint(settings, run_dir)
    if settings["init_from"] is not None and ckpt_path is None:
        start_from(classifier, find_start(settings["init_from"], Path(settings["outputs"])))
    trainer.fit(classifier, data, ckpt_path=ckpt_path, weights_only=True)
    classifier.scaling = calibrate(trainer, data, Path(checkpoint.best_model_path))
    metrics = evaluate(trainer, classifier, data, checkpoint.best_model_path)
    if trainer.is_global_zero:
        flat = {f"{group}/{key}": value for group in ("model", "classifier") for key, value in settings[group].items()}
        final = {f"final/{name.replace('/', '_')}": value for name, value in metrics.items()}
        tensorboard.log_hyperparams(flat | {"seed": settings["seed"], "batch_size": data.batch_size}, final)
        tensorboard.save()
        (run_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        export(Path(checkpoint.best_model_path), str(data.root), metrics)
        print_results(metrics, Path(checkpoint.best_model_path))
    return metrics["val/acc"]


def build_data(settings: dict[str, Any]) -> FaceDataModule:
    """Return the data module; without pictures of the user's own, that of the sample, and say so."""
    options = dict(settings["data"])
    root = find_root(Path(options.pop("root")), options["classes"])
    if root == PROJECT / "data" / "sample":
        options["batch_size"] = min(options["batch_size"], 16)
    test_root, exclude = options.pop("test_root"), options.pop("exclude")
    augmentation = options.pop("augmentation")
    teachers = list_teachers(settings)
    return FaceDataModule(
        root,
        Path(options.pop("cache_dir")),
        test_root=None if test_root is None else Path(test_root),
        exclude=None if exclude is None else Path(exclude),
        guide=partial(teach, paths=teachers, classes=list(options["classes"])) if teachers else None,
        augmentation=None if augmentation is None else Augmentation(**augmentation),
        seed=settings["seed"],
        **options,
    )


def list_teachers(settings: dict[str, Any]) -> list[Path]:
    """Return the teachers' checkpoints."""
    teachers = settings["teachers"]
    return [Path(path) for path in ([teachers] if isinstance(teachers, str) else teachers)]


def count_features(teachers: Sequence[Path], classes: list[str]) -> int:
    """Return how many features the teachers show together."""
    return sum(load_teacher(path, classes).network.head[-1].in_features for path in teachers)


def build_callbacks(settings: dict[str, Any]) -> list[Callback]:
    """Return the callbacks other than the checkpoint's."""
    callbacks = [
        EarlyStopping("val/acc", mode="max", patience=settings["early_stopping_patience"]),
        LearningRateMonitor("step"),
        SeedEachStep(settings["seed"]),
        Speed(),
        TensorBoardPictures(),
        ProgressBar(),
    ]
    if settings["ema_decay"] is not None:
        callbacks.append(WeightAveraging(avg_fn=get_ema_avg_fn(settings["ema_decay"])))
    return callbacks


def trainer_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the trainer's arguments, with `precision: auto` resolved and said."""
    if options["precision"] != "auto":
        return options
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities()
        fast = features.get("avx512_bf16") or features.get("amx_bf16")
    precision = "bf16-mixed" if fast else "32-true"
    return options | {"precision": precision}


def find_checkpoint(settings: dict[str, Any], run_dir: Path) -> Path | None:
    """Return the checkpoint to go on from, if any."""
    if settings["ckpt_path"] is None:
        return None
    path = run_dir / "checkpoints" / "last.ckpt" if settings["ckpt_path"] == "last" else Path(settings["ckpt_path"])
    if not path.is_file():
        raise ValueError(f"ckpt_path '{path}' does not exist")
    made_for = load_classifier(path)[0].hparams
    if not same_network(made_for["network"], settings["model"]) or made_for["classes"] != settings["data"]["classes"]:
        raise ValueError(
            f"ckpt_path '{path}' is a {made_for['network']} for {made_for['classes']}; go on with the same options"
        )
    return path


def calibrate(trainer: lightning.Trainer, data: FaceDataModule, ckpt_path: Path) -> Scaling:
    """Fit the scaling of a checkpoint's logits on the validation part, in one process, and return it in all."""
    if trainer.is_global_zero:
        part = data.parts["validation"]
        info = calibrate_checkpoint(ckpt_path, part.images[part.rows], part.targets)
        logger.info("temperature %.3f, curvature %.3f, fitted on %d validation pictures", *info.scaling, len(part))
    trainer.strategy.barrier()
    return load_classifier(ckpt_path)[1].scaling


def evaluate(
    trainer: lightning.Trainer, classifier: GenderClassifier, data: FaceDataModule, ckpt_path: str
) -> dict[str, float]:
    """Return the metrics of a checkpoint on the validation and, where there is one, the test part."""
    runs = [trainer.validate] + ([trainer.test] if len(data.parts["test"]) else [])
    metrics = {}
    for run in runs:
        metrics |= run(classifier, datamodule=data, ckpt_path=ckpt_path, verbose=False, weights_only=True)[0]
    return metrics


def export(ckpt_path: Path, training_data: str, metrics: dict[str, float]) -> None:
    """Write model.onnx beside a checkpoint."""
    classifier, info = load_classifier(ckpt_path)
    info = replace(info, training_data=training_data, metrics=metrics)
    export_onnx(classifier, info, ckpt_path.with_name("model.onnx"))


def print_results(metrics: dict[str, float], ckpt_path: Path) -> None:
    """Print one table of the best checkpoint's metrics and where its files are."""
    table = Table("metric", "validation", "test")
    for name in (key.removeprefix("val/") for key in metrics if key.startswith("val/")):
        table.add_row(
            name,
            *(f"{metrics[key]:.4f}" if (key := f"{stage}/{name}") in metrics else "-" for stage in ("val", "test")),
        )
    Console().print(table)
    Console(soft_wrap=True).print(f"best checkpoint: {ckpt_path}\nmodel.onnx beside it", highlight=False)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory: giving back the buffers of every step costs a tenth of the time on a CPU.

    Measured by `scripts/benchmark.py training`; other C libraries are left as they are.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        libc.mallopt(MALLOPT_MMAP_THRESHOLD, 2**25)  # the largest that glibc accepts
        libc.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)


MISTAKES = (ValueError, OSError, TypeError, KeyError, MisconfigurationException)
"""What wrong options raise; anything else is ours."""


def read_settings(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the configuration as plain values; without options of the model, those of the weights to start from.

    Raises:
        ValueError: there are no weights where `init_from` says.
    """
    settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    chosen = any(override.lstrip("+~").startswith(("model=", "model.", "model@", "recipe=")) for override in overrides)
    if settings["init_from"] is not None and not chosen:
        settings["model"] = start_network(find_start(settings["init_from"], Path(settings["outputs"])))
    return settings


def train_in_sweep(cfg: DictConfig, run_dir: Path) -> float:
    """Train; a failure is logged, noted in failed.txt and gives `nan`, so that the runs to come are not lost."""
    try:
        return train(read_settings(cfg, HydraConfig.get().overrides.task), run_dir)
    except Exception as error:
        logger.error("this run failed: %s", error, exc_info=not isinstance(error, MISTAKES))
        (run_dir / "failed.txt").write_text(f"{type(error).__name__}: {error}\n")
        return float("nan")


@hydra.main(version_base="1.3", config_path="../configs", config_name="train")
def main(cfg: DictConfig) -> float:
    """Turn the configuration into plain values and train."""
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    if hydra_config.mode == RunMode.MULTIRUN:
        return train_in_sweep(cfg, run_dir)
    try:
        return train(read_settings(cfg, hydra_config.overrides.task), run_dir)
    except MISTAKES as error:
        fail(error)


if __name__ == "__main__":
    register_resolvers()
    keep_freed_memory()
    if rank_zero_only.rank > 0:  # one run folder, whoever starts the processes: only the first one writes
        sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]
    main()
