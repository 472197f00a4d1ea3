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
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich import get_console

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.data.default_root import find_root
from gender_recognizer.interruption import raise_if_interrupted
from gender_recognizer.models.calibration import MIN_PICTURES
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import describe_checkpoint, find_start, load_classifier
from gender_recognizer.models.onnx_export import export_onnx
from gender_recognizer.pictures.writing import replace_text
from gender_recognizer.training.calibrating import calibrate, fit_scaling
from gender_recognizer.training.choosing import SaveStart, choose_weights
from gender_recognizer.training.distillation import load_teacher, teach, teach_mixtures
from gender_recognizer.training.duration import choose_duration
from gender_recognizer.training.faces import tell_of_faces
from gender_recognizer.training.figures import class_balance_figure
from gender_recognizer.training.fine_tuning import resolve_start, start_from
from gender_recognizer.training.interruption import stoppable
from gender_recognizer.training.loggers import log_result
from gender_recognizer.training.next_commands import command_line, short_path, without_options
from gender_recognizer.training.resuming import check_same_pictures, choose_run_dir, find_checkpoint, scheduled_steps
from gender_recognizer.training.screen import lines_above
from gender_recognizer.training.settings import TrainSettings
from gender_recognizer.training.trainer import BestCheckpoint, build_trainer, keep_freed_memory, quiet_lightning
from gender_recognizer.training.verdict import FEW_PICTURES, show_verdict, starts_from_random

logger = logging.getLogger(__name__)


class TrainResult(NamedTuple):
    """The results of a run.

    Attributes:
        run_dir: its folder.
        checkpoint: its best checkpoint; model.onnx is beside it. None after `trainer.fast_dev_run`.
        metrics: of that checkpoint, such as `val/acc` and `test/acc`.
    """

    run_dir: Path
    checkpoint: Path | None
    metrics: dict[str, float]


class Run(NamedTuple):
    """What a run needs.

    Attributes:
        settings: with the values that depend on where training starts.
        trainer: Lightning's.
        classifier: the network to train.
        data: after `setup`.
        ckpt_path: the checkpoint to resume from, if any.
    """

    settings: TrainSettings
    trainer: lightning.Trainer
    classifier: GenderClassifier
    data: FaceDataModule
    ckpt_path: Path | None

    @property
    def run_dir(self) -> Path:
        """Return its folder."""
        return Path(self.trainer.default_root_dir)

    @property
    def best(self) -> ModelCheckpoint:
        """Return the callback that keeps the best checkpoint."""
        return next(callback for callback in self.trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint))


def run(settings: TrainSettings) -> int:
    """Train, show the result beside that of the bundled model and what to do next, and return the exit code 0.

    Raises:
        ValueError: as `train`.
        KeyboardInterrupt: as `train`.
    """
    console = get_console()
    with lines_above(console):
        prepared = prepare(settings)
        result = fit(prepared)
        if result.checkpoint is not None and prepared.trainer.is_global_zero:
            device = str(prepared.trainer.strategy.root_device)
            show_verdict(console, prepared.settings, result.checkpoint, prepared.data, device)
    return 0


def best_accuracy(settings: TrainSettings) -> float:
    """Train and return the validation accuracy of the best checkpoint, which a sweep compares.

    Raises:
        ValueError: as `train`.
        KeyboardInterrupt: as `train`.
    """
    with lines_above(get_console()):
        result = train(settings)
        shown = [f"{name} {value:.4f}" for name, value in result.metrics.items() if name in ("val/acc", "test/acc")]
        logger.info("%s: %s", ", ".join(shown), result.checkpoint or result.run_dir)
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
    with lines_above(get_console()):
        return fit(prepare(settings, callbacks))


def prepare(settings: TrainSettings, callbacks: Sequence[Callback] = ()) -> Run:
    """Return what a run needs, with its pictures decoded and split and its folder made.

    Raises:
        ValueError: as `train`.
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
    logger.info("reading %s; what is decoded is kept in %s", data.root, data.cache_dir)
    data.prepare_data()
    data.setup()
    settings = choose_duration(settings, trainer, data)
    if trainer.is_global_zero:
        tell_of_faces(classifier.network, data.caches["train"].images, data.parts["train"].rows)
    if ckpt_path is not None:
        check_same_pictures(data, run_dir)
    elif settings.init_from is not None and start_from(classifier, find_start(settings.init_from, settings.outputs)):
        trainer.callbacks.append(SaveStart(run_dir / "checkpoints"))  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        begin_run(settings, run_dir, data)
    return Run(settings, trainer, classifier, data, ckpt_path)


def fit(run: Run) -> TrainResult:
    """Train and finish the run; if the user stops it, keep the best model so far.

    Raises:
        ValueError: Lightning refuses an option.
        KeyboardInterrupt: the user stopped it.
    """
    trainer, network = run.trainer, run.settings.model["name"]
    logger.info("training %s on %s with precision %s", network, trainer.strategy.root_device, trainer.precision)

    def keep() -> None:
        if trainer.is_global_zero:
            keep_best(run)

    with stoppable(trainer, keep) as interruption:
        try:
            interruption.is_patient = True
            trainer.fit(run.classifier, run.data, ckpt_path=run.ckpt_path, weights_only=True)
            raise_if_interrupted()
            interruption.is_patient = False
            if (stopping := trainer.early_stopping_callback) and stopping.stopped_epoch:
                logger.info("ended early: no better epoch in the last %d (early_stopping_patience)", stopping.patience)
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {' '.join(str(error).split())}") from None
        return finish(run)


def finish(run: Run) -> TrainResult:
    """Calibrate, measure and export the best checkpoint.

    Raises:
        ValueError: there is none, for training ended before its first validation.
    """
    if run.settings.trainer.fast_dev_run:
        logger.info("fast_dev_run: training, validation and test work; no model was kept")
        return TrainResult(run.run_dir, None, measure(run, None))
    if not run.best.best_model_path:
        raise ValueError(
            "training ended before its first validation, so no epoch is the best; see trainer.check_val_every_n_epoch, "
            "val_check_interval, max_steps and max_time"
        )
    best = choose_weights(run.trainer, run.data, Path(run.best.best_model_path))
    logger.info("measuring %s and writing model.onnx", best.name)
    calibrate(run.trainer, run.data, best)
    metrics = measure(run, best)
    if run.trainer.is_global_zero:
        log_result(run.settings, run.trainer, run.data, metrics)
        replace_text(run.run_dir / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        export(best, run.data.root, metrics)
    return TrainResult(run.run_dir, best, metrics)


def build_data(settings: TrainSettings) -> FaceDataModule:
    """Return the data module; without pictures of the user's own, that of the sample, with a warning."""
    options = settings.data
    root = find_root(options.root, options.classes)
    batch_size = options.batch_size if root == options.root else min(options.batch_size, 16)
    augmentation = None if options.augmentation is None else Augmentation(**vars(options.augmentation))
    guide = partial(teach, paths=settings.teachers, classes=options.classes) if settings.teachers else None
    mixing = partial(teach_mixtures, paths=settings.teachers, classes=options.classes, count=settings.teacher_mixtures)
    named = "classes test_root split people split_fractions split_seed shuffle num_workers exclude"
    return FaceDataModule(
        root,
        options.cache_dir,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=settings.seed,
        guide=guide,
        guide_mixtures=mixing if settings.teacher_mixtures else None,
        **{name: getattr(options, name) for name in named.split()},
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
    """Save the split and the class balance of a new run, and log where it is and what the user should know of it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "split.csv").exists():
        data.save_split(run_dir / "split.csv")
        class_balance_figure(data.counts()).savefig(run_dir / "class_balance.png", dpi=150)
    is_last = run_dir.resolve().parent == settings.outputs.resolve()  # a run of a sweep or a search is not
    logger.info("run folder: %s%s", run_dir, " (if interrupted, ckpt_path=last continues it)" if is_last else "")
    pictures, held_out = len(data.parts["train"]), len(data.parts["validation"]) + len(data.parts["test"])
    if is_last and starts_from_random(settings) and settings.ckpt_path is None and pictures < FEW_PICTURES:
        logger.info("%d pictures are few for random weights: init_from=bundled starts from the bundled model", pictures)
    if held_out < MIN_PICTURES:
        logger.info(
            "target_accuracy= will not work with this model: it takes %d pictures not trained on, and here are %d; "
            "larger shares in data.split_fractions give more",
            MIN_PICTURES,
            held_out,
        )


def measure(run: Run, ckpt_path: Path | None) -> dict[str, float]:
    """Return the metrics of a checkpoint, or the weights as they are, on the validation and, if any, the test part."""
    evaluations = [run.trainer.validate] + ([run.trainer.test] if len(run.data.parts["test"]) else [])
    options: dict[str, Any] = {"datamodule": run.data, "ckpt_path": ckpt_path, "verbose": False, "weights_only": True}
    metrics: dict[str, float] = {}
    loggers, run.trainer.loggers = run.trainer.loggers, []  # these are results, not further points of the curves
    for evaluate in evaluations:
        metrics |= evaluate(run.classifier, **options)[0]
    run.trainer.loggers = loggers
    return metrics


def export(ckpt_path: Path, training_data: Path, metrics: dict[str, float]) -> None:
    """Write into a checkpoint what trained it and how good it is, and model.onnx beside it."""
    classifier, info = load_classifier(ckpt_path)
    info = replace(info, training_data=str(training_data), metrics=metrics)
    describe_checkpoint(ckpt_path, info)
    export_onnx(classifier, info, ckpt_path.with_name("model.onnx"))


def keep_best(run: Run) -> None:
    """Export the best model of a run that was stopped, and log what was kept and how to continue."""
    if run.settings.trainer.fast_dev_run:
        return
    best, score = Path(run.best.best_model_path), run.best.best_model_score
    if score is None or not best.is_file():
        logger.warning("stopped before the first epoch ended: no model was kept")
        return
    logger.warning("stopped; exporting the best model so far (Ctrl-C again ends at once)")
    fit_scaling(run.data, best)
    export(best, run.data.root, {"val/acc": float(score)})
    logger.warning("kept: %s and model.onnx beside it", best)
    options = without_options(run.settings.typed, ("ckpt_path",))
    last = short_path(run.run_dir / "checkpoints" / "last.ckpt")
    logger.warning("to go on: %s", command_line("train", *options, f"ckpt_path={last}"))
