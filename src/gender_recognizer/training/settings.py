"""The options of training and tuning, with their defaults; configs/train.yaml and configs/tune.yaml show them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gender_recognizer.data.settings import DataSettings
from gender_recognizer.models.model_file import BUNDLED_MODEL, checkpoint_beside
from gender_recognizer.models.settings import ClassifierSettings
from gender_recognizer.training.trainer_settings import LoggerSettings, TrainerSettings


@dataclass
class TrainSettings:
    """Train a network on folders of pictures, one folder a class.

        python scripts/train.py model=smallcnn data.root=folder-with-female-and-male

    Writes one run folder below outputs/: the configuration, the split, checkpoints (best and last) and model.onnx,
    results.csv and results.png (the curves), class_balance.png and what `tensorboard --logdir outputs` shows.
    `ckpt_path=last` continues the newest run, `init_from=bundled` starts from trained weights, and
    `-m model.width=16,24` trains once for each value. Ctrl-C keeps the best model so far.

    Attributes:
        data: the pictures.
        model: name and options of the network, as configs/model/*.yaml explain. Empty, as where no option of model is
            given: the network of the weights in init_from, else smallcnn.
        trainer: arguments of Lightning's Trainer.
        logger: where curves and results are logged: tensorboard, csv, mlflow, wandb, or a list of these.
        classifier: how the network learns.
        seed: of weights, order and augmentation; data.split_seed has its own.
        init_from: start from trained weights: bundled, latest, or the path of a .ckpt; None for random ones.
        teachers: .ckpt files of trained models of the same classes to learn from as well; bundled for the bundled one.
        teacher_mixtures: of each picture with others, judged by the teachers, in place of every second picture.
        ckpt_path: last continues the newest run; or the path of a last.ckpt.
        outputs: where runs and the image cache are.
        early_stopping_patience: epochs without a better val/acc before training ends.
        ema_decay: such as 0.999, validate and save an average of the weights; None for the weights themselves.
        run_dir: folder of this run; None for a new one below outputs, or that of the checkpoint to resume from.
        typed: the arguments as they were typed, for the commands that are printed; the command line sets it.

    Exit codes: 0 done, 1 internal error, 2 wrong usage, 3 a run of a sweep failed, 130 stopped.
    """

    data: DataSettings = field(default_factory=DataSettings)
    model: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    seed: int = 0
    init_from: str | None = None
    teachers: list[Path] = field(default_factory=list)
    teacher_mixtures: int = 0
    ckpt_path: str | None = None
    outputs: Path = Path("outputs")
    early_stopping_patience: int = 15
    ema_decay: float | None = None
    run_dir: Path | None = None
    typed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        if self.model and "name" not in self.model:
            raise ValueError(f"model is {self.model}; expected the name of a network, such as model.name=smallcnn")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected a whole number, 0 or more")
        bundled = checkpoint_beside(BUNDLED_MODEL)
        self.teachers = [bundled if path == Path("bundled") else path for path in self.teachers]
        if self.teacher_mixtures < 0:
            raise ValueError(f"teacher_mixtures is {self.teacher_mixtures}; expected a whole number, 0 or more")
        if self.teacher_mixtures and not self.teachers:
            raise ValueError(
                f"teacher_mixtures is {self.teacher_mixtures}, but there are no teachers; name one: teachers=[T.ckpt]"
            )
        if self.early_stopping_patience < 1:
            raise ValueError(f"early_stopping_patience is {self.early_stopping_patience}; expected 1 epoch or more")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(
                f"ema_decay is {self.ema_decay}; expected a number between 0 and 1, such as 0.999, or null"
            )


def default_search() -> dict[str, Any]:
    """Return the options that a study varies."""
    return {
        "classifier.lr": {"low": 3e-4, "high": 1e-2, "log": True},
        "classifier.weight_decay": {"low": 1e-3, "high": 0.2, "log": True},
        "classifier.label_smoothing": {"low": 0.0, "high": 0.2},
        "data.batch_size": {"choices": [32, 64, 128]},
        "model.dropout": {"low": 0.0, "high": 0.4},
    }


@dataclass
class SearchSettings:
    """The options to search, and the length of the search.

    Attributes:
        name: of the study; the same name continues it.
        num_trials: finished trials wanted, those of earlier calls included.
        pruning_starts_after: trials that are never stopped early.
        pruning_from_epoch: first epoch at which a trial may be stopped.
        search: by option of train.py, either `choices`, or `low` and `high` and perhaps `log` and `step`.
    """

    name: str = "study"
    num_trials: int = 30
    pruning_starts_after: int = 5
    pruning_from_epoch: int = 3
    search: dict[str, Any] = field(default_factory=default_search)

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        if self.num_trials < 1:
            raise ValueError(f"tune.num_trials is {self.num_trials}; expected a whole number, 1 or more")
        for name in ("pruning_starts_after", "pruning_from_epoch"):
            if (count := getattr(self, name)) < 0:
                raise ValueError(f"tune.{name} is {count}; expected a whole number, 0 or more")
        if Path(self.name).name != self.name:
            raise ValueError(f"tune.name is '{self.name}'; expected the name of a folder, without '/'")


@dataclass
class TuneSettings(TrainSettings):
    """Search for good training options with Optuna: unpromising trials are stopped early, and the same call continues.

        python scripts/tune.py data.root=folder-with-female-and-male tune.num_trials=30

    Trains once for each trial below outputs/tune_NAME/, where study.db keeps the results. All options of train.py
    work.

    Attributes:
        tune: the options to search, and the length of the search.

    Exit codes: 0 done, 1 internal error, 2 wrong usage, 130 stopped.
    """

    tune: SearchSettings = field(default_factory=SearchSettings)
