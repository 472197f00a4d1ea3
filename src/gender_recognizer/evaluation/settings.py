"""The options of evaluating, with their defaults; configs/evaluate.yaml shows them."""

from dataclasses import dataclass, field
from pathlib import Path

from gender_recognizer.models.classes import check_classes
from gender_recognizer.models.settings import check_device

PARTS = ("auto", "all", "train", "validation", "test")


@dataclass
class EvaluateDataSettings:
    """The pictures that a model is evaluated on.

    Attributes:
        root: holds one folder of pictures for each class of the model; metadata.csv there gives groups.
        classes: names of these folders, in the order of the model's classes; None where they are the classes' names.
        name: what to call them in the report; None for the folder's name.
        cache_dir: where decoded pictures are kept.
    """

    root: Path = Path("data")
    classes: list[str] | None = None
    name: str | None = None
    cache_dir: Path = Path("outputs/cache")


@dataclass
class EvaluateSettings:
    """Measure a trained model on folders of pictures, one folder a class, and write a report.

        python scripts/evaluate.py model_path=model.onnx data.root=folder-with-female-and-male
        python scripts/evaluate.py model_path=latest compare=[a.onnx,b.ckpt] explain=true robustness=true

    Writes report.html, metrics.json, MODEL_CARD.md and files for TensorBoard to outputs/evaluate_DATE_TIME/. Pictures
    that the model's run trained on are left out if its split.csv names them, wherever both are now.

    Attributes:
        data: the pictures: data.root holds one folder for each class of the model, and perhaps a metadata.csv that
            gives groups; data.classes names these folders, in the order of the model's classes, if their names
            differ; data.name is what the report calls the pictures; data.cache_dir keeps them decoded.
        model_path: .onnx or .ckpt file; None for the bundled model, accurate for the larger bundled one, latest for the
            best checkpoint of the newest run.
        compare: further model files, tested against the first on the same pictures.
        part: train, validation, test or all; auto is test if the model's run has a split of these pictures, else all.
        split: split.csv of a training run; None for that of the run the model lies in, if there is one.
        explain: show which parts of a picture speak for its label.
        robustness: how it does when pictures are framed differently, turned, blurred or dark; takes 20 times as long.
        num_draws: bootstrap resamples, 100 or more.
        seed: of the resamples and of the random pictures that are explained.
        device: auto, cpu, cuda, mps, coreml, directml or openvino.
        outputs: where training runs are.
        output_dir: where the report goes; None for evaluate_DATE_TIME in outputs.

    Exit codes: 0 done, 1 internal error, 2 wrong usage or no pictures, 130 stopped.
    """

    data: EvaluateDataSettings = field(default_factory=EvaluateDataSettings)
    model_path: Path | None = None
    compare: list[Path] = field(default_factory=list)
    part: str = "auto"
    split: Path | None = None
    explain: bool = False
    robustness: bool = False
    num_draws: int = 1000
    seed: int = 0
    device: str = "auto"
    outputs: Path = Path("outputs")
    output_dir: Path | None = None

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        if self.data.classes is not None:
            self.data.classes = check_classes(self.data.classes, "data.classes")
        if self.part not in PARTS:
            raise ValueError(f"part is '{self.part}'; expected {', '.join(PARTS)}")
        check_device(self.device)
        if self.num_draws < 100:
            raise ValueError(f"num_draws is {self.num_draws}; expected a whole number, 100 or more")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected a whole number, 0 or more")
