"""The options of the pictures to train on, and of preparing public sets, with their defaults.

configs/data/folder.yaml and configs/prepare_data.yaml show them.
"""

from dataclasses import dataclass, field
from pathlib import Path

from gender_recognizer.models.classes import check_classes

SPLITS = ("grouped", "identity", "random")

_RANGES, _DEGREES = ("scale", "reframe_scale"), ("rotation", "reframe_rotation")


@dataclass
class AugmentationSettings:
    """Ranges of the random changes to training pictures.

    Most pictures keep roughly their own framing. A share `reframe` is made much smaller or larger, stretched, and put
    before surroundings that continue it or come from other pictures of the batch.

    Attributes:
        scale: smallest and largest magnification of the picture, drawn evenly in logarithm.
        aspect: largest stretch of width against height, in logarithm.
        shift: largest shift, as a fraction of height and width.
        rotation: largest tilt to either side, in degrees.
        reframe: probability that a picture is framed differently, with the four ranges below and anywhere it fits.
        reframe_scale: as `scale`.
        reframe_aspect: as `aspect`.
        reframe_rotation: as `rotation`.
        light: largest change of brightness and of contrast, as a fraction.
        dark: probability of a picture at a fifth to three fifths of its brightness.
        grey: probability of a picture without colour.
        coarse: probability of a picture at a half to a fifth of its resolution.
        noise: probability of a picture with noise, of a standard deviation of up to 20.
        erase: probability of a patch (up to 40 % of height and width) covered by one colour.
    """

    scale: list[float] = field(default_factory=lambda: [0.8, 1.25])
    aspect: float = 0.1
    shift: float = 0.1
    rotation: float = 15.0
    reframe: float = 0.5
    reframe_scale: list[float] = field(default_factory=lambda: [0.38, 1.6])
    reframe_aspect: float = 0.4
    reframe_rotation: float = 25.0
    light: float = 0.35
    dark: float = 0.1
    grey: float = 0.1
    coarse: float = 0.15
    noise: float = 0.1
    erase: float = 0.25

    def __post_init__(self) -> None:
        """Refuse invalid ranges."""
        for name in _RANGES:
            values = list(getattr(self, name))
            if len(values) != 2 or not 0 < values[0] <= values[1]:
                raise ValueError(f"augmentation.{name} is {values}; expected [smallest, largest], both above 0")
        for name, value in vars(self).items():
            if name not in (*_RANGES, *_DEGREES) and not 0 <= value <= 1:
                raise ValueError(f"augmentation.{name} is {value}; expected 0 to 1")


@dataclass
class DataSettings:
    """The pictures to train on.

    Attributes:
        root: holds one folder of pictures for each class, or `train`, `val` and `test` with such folders.
        test_root: a folder like root to test on; the test fraction then joins the training part.
        exclude: file that lists pictures of root to leave out, such as the exclude.txt of check_data.py.
        classes: names of the class folders; their order is the order of the targets.
        cache_dir: where decoded pictures are kept, 24 kB each, and 38 kB for augmentation.
        split: grouped keeps near duplicates in one part, identity also pictures of one person; random keeps neither.
        people: the weights that tell people apart, for split=identity: faceres.json.
        split_fractions: shares of the train, validation and test part; they add up to 1.
        split_seed: seed of the split.
        batch_size: pictures in a batch, in each process.
        shuffle: whether training batches are drawn in a new order each epoch.
        num_workers: processes that read batches; 0 reads in the process that trains, the fastest while the cache fits
            in memory.
        augmentation: random changes to training pictures; None for none.
    """

    root: Path = Path("data")
    test_root: Path | None = None
    exclude: Path | None = None
    classes: list[str] = field(default_factory=lambda: ["female", "male"])
    cache_dir: Path = Path("outputs/cache")
    split: str = "grouped"
    people: Path = Path("outputs/faceres.json")
    split_fractions: list[float] = field(default_factory=lambda: [0.8, 0.1, 0.1])
    split_seed: int = 0
    batch_size: int = 64
    shuffle: bool = True
    num_workers: int = 0
    augmentation: AugmentationSettings | None = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        self.classes = check_classes(self.classes, "data.classes")
        if self.split not in SPLITS:
            raise ValueError(f"data.split is '{self.split}'; expected 'grouped', 'identity' or 'random'")
        fractions = list(self.split_fractions)
        if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError(f"data.split_fractions is {fractions}; expected three shares that add up to 1")
        if self.batch_size < 1:
            raise ValueError(f"data.batch_size is {self.batch_size}; expected a whole number, 1 or more")
        for name in ("num_workers", "split_seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name} is {getattr(self, name)}; expected a whole number, 0 or more")


@dataclass
class PrepareSettings:
    """Turn a public data set, or the corrections of a review page, into folders to train on.

        python scripts/prepare_data.py dataset=corrections source=corrections.csv
        python scripts/prepare_data.py dataset=utkface source=UTKFace.tar.gz
        python scripts/prepare_data.py dataset=fairface source=downloads output_dir=data/fairface_val part=val

    A public data set is its official archive, downloaded under its terms. Copies the pictures to
    data/NAME/{female,male}/ and writes data/NAME/metadata.csv. After an interruption, the same command continues.
    Corrections of several tables may go into one folder: those of the last one replace earlier ones.

    Attributes:
        dataset: corrections, utkface, fairface, celeba or lfw.
        source: corrections.csv; or the official archive, or a folder that holds it or its content; tables are searched
            for beside and in it.
        output_dir: receives female/, male/ and metadata.csv; None for a folder in `data` with the name of the data set.
        part: train, val or test of the public data set's own split: only that part; None for all.
        pictures: of corrections, the folder that their names are relative to; None for the one that the table names.

    Exit codes: 0 done, 1 internal error, 2 wrong usage or not that data set, 130 stopped.
    """

    dataset: str
    source: Path
    output_dir: Path | None = None
    part: str | None = None
    pictures: Path | None = None

    def __post_init__(self) -> None:
        """Refuse options of another kind of data set."""
        for name, fits in (("pictures", self.dataset == "corrections"), ("part", self.dataset != "corrections")):
            if getattr(self, name) is not None and not fits:
                raise ValueError(f"{name} is not an option of dataset={self.dataset}")
