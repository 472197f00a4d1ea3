"""The options of the command that saves models. Standard library only."""

from dataclasses import dataclass
from pathlib import Path


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
        outputs: where training runs are.

    Exit codes: 0 done, 1 a file cannot be read or written, 2 a mistake in the options.
    """

    output_dir: Path
    model_path: str = "latest"
    name: str = "model"
    training_data: str | None = None
    calibration_data: Path | None = None
    outputs: Path = Path("outputs")

    def __post_init__(self) -> None:
        """Refuse a name that is not a file name.

        Raises:
            ValueError: the name is empty or leads to another folder.
        """
        if not self.name or self.name in (".", "..") or "/" in self.name or "\\" in self.name:
            raise ValueError(f"name is '{self.name}'; expected the name of a file without ending, such as model")
