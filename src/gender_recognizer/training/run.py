"""Train from settings to a model file; `scripts/train.py`, each trial of a search and the notebook call this."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.table import Table

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.data.default_root import find_root
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import calibrate_checkpoint, find_start, load_classifier
from gender_recognizer.models.onnx_export import export_onnx
from gender_recognizer.training.distillation import load_teacher, teach
from gender_recognizer.training.faces import tell_of_faces
from gender_recognizer.training.figures import class_balance_figure
from gender_recognizer.training.fine_tuning import resolve_start, start_from
from gender_recognizer.training.interruption import stoppable
from gender_recognizer.training.resuming import check_same_pictures, choose_run_dir, find_checkpoint, scheduled_steps
from gender_recognizer.training.settings import TrainSettings
from gender_recognizer.training.trainer import BestCheckpoint, build_trainer, keep_freed_memory, quiet_lightning

logger = logging.getLogger(__name__)


class TrainResult(NamedTuple):
    """The results of a run.

    Attributes:
        run_dir: its folder.
        checkpoint: its best checkpoint; model.onnx is beside it.
        metrics: of that checkpoint, such as `val/acc` and `test/acc`.
    """

    run_dir: Path
    checkpoint: Path
    metrics: dict[str, float]


def run(settings: TrainSettings) -> int:
    """Train, print the result, and return the exit code 0.

    Raises:
        ValueError: as `train`.
        KeyboardInterrupt: as `train`.
    """
    print_result(train(settings))
    return 0


def best_accuracy(settings: TrainSettings) -> float:
    """Train and return the validation accuracy of the best checkpoint, which a sweep compares.

    Raises:
        ValueError: as `train`.
        KeyboardInterrupt: as `train`.
    """
    result = train(settings)
    print_result(result)
    return result.metrics["val/acc"]


def train(settings: TrainSettings, callbacks: Sequence[Callback] = ()) -> TrainResult:
    """Train, test the best checkpoint and export it.

    Args:
        settings: of the run.
        callbacks: Lightning's, in addition to those that every run has.

    Raises:
        ValueError: an option does not fit the pictures, the weights to start from or the run to resume; nothing of an
            earlier run has been changed.
        KeyboardInterrupt: the user stopped it; the best model so far is exported.
    """
    quiet_lightning()
    keep_freed_memory()
    settings = resolve_start(settings)
    run_dir = choose_run_dir(settings)
    ckpt_path = find_checkpoint(settings, run_dir)
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    data = build_data(settings)
    classifier = build_classifier(settings, data)
    data.image_size = classifier.network.image_size
    steps = None if ckpt_path is None else scheduled_steps(ckpt_path)
    trainer = build_trainer(settings, run_dir, callbacks, steps)
    logger.info("training on %s with precision %s", trainer.strategy.root_device, trainer.precision)
    data.prepare_data()
    data.setup()
    if trainer.is_global_zero:
        tell_of_faces(classifier.network, data.parts["train"])
    if ckpt_path is not None:
        check_same_pictures(data, run_dir)
    elif settings.init_from is not None:
        start_from(classifier, find_start(settings.init_from, settings.outputs))
    if trainer.is_global_zero:
        begin_run(settings, run_dir, data)
    return fit(settings, trainer, classifier, data, ckpt_path)


def fit(
    settings: TrainSettings,
    trainer: lightning.Trainer,
    classifier: GenderClassifier,
    data: FaceDataModule,
    ckpt_path: Path | None,
) -> TrainResult:
    """Train and finish the run; if the user stops it, keep the best model so far.

    Raises:
        ValueError: Lightning refuses an option.
        KeyboardInterrupt: the user stopped it.
    """
    checkpoint = find_callback(trainer)

    def keep() -> None:
        if trainer.is_global_zero:
            keep_best(Path(trainer.default_root_dir), data, checkpoint)

    with stoppable(trainer, keep):
        try:
            trainer.fit(classifier, data, ckpt_path=ckpt_path, weights_only=True)
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {' '.join(str(error).split())}") from None
        return finish(settings, trainer, classifier, data, checkpoint)


def find_callback(trainer: lightning.Trainer) -> ModelCheckpoint:
    """Return the callback that keeps the best checkpoint."""
    return next(callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint))


def finish(
    settings: TrainSettings,
    trainer: lightning.Trainer,
    classifier: GenderClassifier,
    data: FaceDataModule,
    checkpoint: ModelCheckpoint,
) -> TrainResult:
    """Calibrate, measure and export the best checkpoint."""
    run_dir, best = Path(trainer.default_root_dir), Path(checkpoint.best_model_path)
    calibrate(trainer, data, best)
    metrics = measure(trainer, classifier, data, best)
    if trainer.is_global_zero:
        log_options(settings, trainer, data, metrics)
        (run_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        export(best, data.root, metrics)
    return TrainResult(run_dir, best, metrics)


def build_data(settings: TrainSettings) -> FaceDataModule:
    """Return the data module; without pictures of the user's own, that of the sample, with a warning."""
    options = settings.data
    root = find_root(options.root, options.classes)
    batch_size = options.batch_size if root == options.root else min(options.batch_size, 16)
    augmentation = None if options.augmentation is None else Augmentation(**vars(options.augmentation))
    guide = partial(teach, paths=settings.teachers, classes=options.classes) if settings.teachers else None
    names = (
        "classes",
        "test_root",
        "split",
        "people",
        "split_fractions",
        "split_seed",
        "shuffle",
        "num_workers",
        "exclude",
    )
    return FaceDataModule(
        root,
        options.cache_dir,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=settings.seed,
        guide=guide,
        **{name: getattr(options, name) for name in names},
    )


def build_classifier(settings: TrainSettings, data: FaceDataModule) -> GenderClassifier:
    """Return the network to train, with random weights or the pretrained ones that it names.

    Raises:
        ValueError: the network has no such option.
    """
    teacher_features = sum(load_teacher(path, data.classes).network.num_features for path in settings.teachers)
    try:
        return GenderClassifier(
            data.classes, settings.model, **vars(settings.classifier), teacher_features=teacher_features
        )
    except TypeError as error:
        raise ValueError(f"model is {settings.model}: {error}") from None


def begin_run(settings: TrainSettings, run_dir: Path, data: FaceDataModule) -> None:
    """Save the split and the class balance of a new run, and log where it is."""
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "split.csv").exists():
        data.save_split(run_dir / "split.csv")
        class_balance_figure(data.counts()).savefig(run_dir / "class_balance.png", dpi=150)
    is_last = run_dir.resolve().parent == settings.outputs.resolve()  # a run of a sweep or a search is not
    logger.info("run folder: %s%s", run_dir, " (if interrupted, ckpt_path=last continues it)" if is_last else "")


def calibrate(trainer: lightning.Trainer, data: FaceDataModule, ckpt_path: Path) -> None:
    """Fit the scaling of a checkpoint's logits on the validation part, in one process, and write it into it."""
    if trainer.is_global_zero:
        fit_scaling(data, ckpt_path)
    trainer.strategy.barrier()


def fit_scaling(data: FaceDataModule, ckpt_path: Path) -> None:
    """Fit the scaling of a checkpoint's logits on the validation part, and write it into the checkpoint."""
    part = data.parts["validation"]
    info = calibrate_checkpoint(ckpt_path, part.images[part.rows], part.targets)
    logger.info("temperature %.3f, curvature %.3f, fitted on %d validation pictures", *info.scaling, len(part))


def measure(
    trainer: lightning.Trainer, classifier: GenderClassifier, data: FaceDataModule, ckpt_path: Path
) -> dict[str, float]:
    """Return the metrics of a checkpoint on the validation and, where there is one, the test part."""
    evaluations = [trainer.validate] + ([trainer.test] if len(data.parts["test"]) else [])
    metrics: dict[str, float] = {}
    for evaluate in evaluations:
        metrics |= evaluate(classifier, datamodule=data, ckpt_path=ckpt_path, verbose=False, weights_only=True)[0]
    return metrics


def log_options(
    settings: TrainSettings, trainer: lightning.Trainer, data: FaceDataModule, metrics: dict[str, float]
) -> None:
    """Show options and metrics of the run in TensorBoard's table of runs."""
    groups: dict[str, dict[str, Any]] = {"model": settings.model, "classifier": vars(settings.classifier)}
    flat = {f"{group}/{key}": value for group, options in groups.items() for key, value in options.items()}
    final = {f"final/{name.replace('/', '_')}": value for name, value in metrics.items()}
    assert isinstance(trainer.logger, TensorBoardLogger)
    trainer.logger.log_hyperparams(flat | {"seed": settings.seed, "batch_size": data.batch_size}, final)
    trainer.logger.save()


def export(ckpt_path: Path, training_data: Path, metrics: dict[str, float]) -> None:
    """Write model.onnx beside a checkpoint."""
    classifier, info = load_classifier(ckpt_path)
    info = replace(info, training_data=str(training_data), metrics=metrics)
    export_onnx(classifier, info, ckpt_path.with_name("model.onnx"))


def keep_best(run_dir: Path, data: FaceDataModule, checkpoint: ModelCheckpoint) -> None:
    """Export the best model of a run that was stopped, and log what was kept and how to continue."""
    best, score = Path(checkpoint.best_model_path), checkpoint.best_model_score
    if score is None or not best.is_file():
        logger.warning("stopped before the first epoch ended: no model was kept")
        return
    logger.warning("stopped; exporting the best model so far (Ctrl-C again ends at once)")
    fit_scaling(data, best)
    export(best, data.root, {"val/acc": float(score)})
    logger.warning("kept: %s and model.onnx beside it", best)
    logger.warning("to continue, give the same options and ckpt_path=%s", run_dir / "checkpoints" / "last.ckpt")


def print_result(result: TrainResult) -> None:
    """Print one table of the best checkpoint's metrics and where its files are."""
    table = Table("metric", "validation", "test")
    for name in dict.fromkeys(key.partition("/")[2] for key in result.metrics):  # a class may be missing in a part
        values = (result.metrics.get(f"{stage}/{name}") for stage in ("val", "test"))
        table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in values))
    Console().print(table)
    Console(soft_wrap=True).print(f"best checkpoint: {result.checkpoint}\nmodel.onnx beside it", highlight=False)
