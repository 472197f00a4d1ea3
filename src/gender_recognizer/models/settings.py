"""The options of the classifier and of saving models, and the names of devices. Standard library only."""

from dataclasses import dataclass
from pathlib import Path

DEVICES = ("auto", "cpu", "cuda", "mps", "coreml", "directml", "openvino")


def check_device(device: str) -> None:
    """Refuse a device that has no name here.

    Raises:
        ValueError: it has none.
    """
    if device not in DEVICES:
        raise ValueError(f"device is '{device}'; expected {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")


@dataclass
class ClassifierSettings:
    """How the network learns.

    Attributes:
        lr: largest learning rate; None is 2e-3 from random weights and 1e-3 from trained ones.
        head_lr: largest learning rate of the head, which has random weights where the rest is pretrained; None for lr.
        weight_decay: decoupled weight decay of AdamW.
        label_smoothing: share of the target that is spread evenly over the classes.
        warmup_fraction: share of all steps in which the learning rate rises.
        frame_weight: weight of the error in finding the face, beside that of the label.
        teacher_share: with teachers, the weight of their probabilities against the label.
        feature_weight: with teachers, the weight of the error in predicting their features.
    """

    lr: float | None = None
    head_lr: float | None = None
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    warmup_fraction: float = 0.1
    frame_weight: float = 1.0
    teacher_share: float = 0.7
    feature_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("lr", "head_lr"):
            if (rate := getattr(self, name)) is not None and rate <= 0:
                raise ValueError(f"classifier.{name} is {rate}; expected a number above 0")
        for name in ("label_smoothing", "warmup_fraction", "teacher_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"classifier.{name} is {share}; expected a share from 0 to 1")
        for name in ("weight_decay", "frame_weight", "feature_weight"):
            if (weight := getattr(self, name)) < 0:
                raise ValueError(f"classifier.{name} is {weight}; expected a number, 0 or more")


@dataclass
class ExportSettings:
    """Save a trained model as small files, for keeping and for labelling without torch.

        python scripts/export.py model_path=latest output_dir=folder
        python scripts/export.py model_path=run.ckpt output_dir=folder name=mine calibration_data=folder

    Writes NAME.ckpt (weights and settings, without the optimizer's state) and NAME.onnx; with calibration_data also
    NAME-int8.onnx, which computes with 8-bit integers whose ranges are those of 500 pictures of that folder.

    Attributes:
        output_dir: folder for the files; it is made if it does not exist.
        model_path: a .ckpt file; latest is the best checkpoint of the newest training run.
        name: of the files, without ending.
        training_data: a description of the pictures that it was trained on; none keeps the checkpoint's.
        calibration_data: folder of training pictures; with it, NAME-int8.onnx is written as well.
        half: store the weights of NAME.onnx as 16-bit floats: half the size, and almost the same results.
        outputs: where training runs are.

    Exit codes: 0 done, 1 a file cannot be read or written, 2 a mistake in the options.
    """

    output_dir: Path
    model_path: str = "latest"
    name: str = "model"
    training_data: str | None = None
    calibration_data: Path | None = None
    half: bool = False
    outputs: Path = Path("outputs")

    def __post_init__(self) -> None:
        """Refuse a name that is not a file name.

        Raises:
            ValueError: the name is empty or leads to another folder.
        """
        if not self.name or self.name in (".", "..") or "/" in self.name or "\\" in self.name:
            raise ValueError(f"name is '{self.name}'; expected the name of a file without ending, such as model")
