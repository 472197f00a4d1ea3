"""The options of checking pictures, with their defaults; configs/check_data.yaml shows them."""

from dataclasses import dataclass, field
from pathlib import Path

from gender_recognizer.models.classes import check_classes


@dataclass
class CheckDataSettings:
    """The pictures that are checked.

    Attributes:
        root: holds one folder of pictures for each class; metadata.csv there gives groups.
        classes: names of these folders.
        cache_dir: where decoded pictures are kept.
    """

    root: Path = Path("data")
    classes: list[str] = field(default_factory=lambda: ["female", "male"])
    cache_dir: Path = Path("outputs/cache")


@dataclass
class CheckSettings:
    """Find problems in folders of pictures, one folder a class, before training on them.

        python scripts/check_data.py data.root=folder-with-female-and-male
        python scripts/check_data.py data.root=train against=test split=outputs/RUN/split.csv

    Writes check.html to look at, check.json with everything, and exclude.txt, for `train.py data.exclude=exclude.txt`,
    to outputs/check_DATE_TIME/. The pictures are only read.

    Attributes:
        data: the pictures: data.root holds one folder for each of data.classes, and perhaps a metadata.csv that gives
            groups; data.cache_dir keeps them decoded.
        against: another folder, such as the test pictures: finds copies between it and data.root.
        split: split.csv of a training run: finds copies that lie in different parts of it.
        model_path: .ckpt whose network finds wrong labels; None for the bundled one, latest for the newest run's.
        outputs: where training runs are.
        output_dir: where the results are written; None for check_DATE_TIME in outputs.

    Exit codes: 0 done, 1 internal error, 2 wrong usage or no pictures, 130 stopped.
    """

    data: CheckDataSettings = field(default_factory=CheckDataSettings)
    against: Path | None = None
    split: Path | None = None
    model_path: Path | None = None
    outputs: Path = Path("outputs")
    output_dir: Path | None = None

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        self.data.classes = check_classes(self.data.classes, "data.classes", least=1)
