"""The metadata of a model file, and its checks: the file may come from anyone."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gender_recognizer.models.calibration import OperatingPoint, Scaling
from gender_recognizer.models.classes import check_classes
from gender_recognizer.pictures.loading import COMPATIBLE_VERSIONS, IMAGE_SIZE, LOADER_VERSION

METADATA_KEY = "gender_recognizer"
MAX_METADATA = 1_000_000
"""Most characters of metadata; the bundled model has about ten thousand."""

SIDES = (32, 512)
"""Smallest and largest height and width of a model's pictures, in pixels."""


def check_image_size(image_size: Sequence[Any]) -> tuple[int, int]:
    """Return (height, width) of a model's pictures.

    Raises:
        ValueError: they are not two whole numbers that pictures can have.
    """
    low, high = SIDES
    if len(image_size) != 2 or not all(type(side) is int and low <= side <= high for side in image_size):
        raise ValueError(
            f"its image_size is {ascii(image_size)[:50]}; expected height and width, each {low} to {high} pixels"
        )
    return image_size[0], image_size[1]


@dataclass(frozen=True)
class ModelInfo:
    """The metadata of a model file.

    Attributes:
        classes: names of the classes, in the order of the probabilities.
        image_size: (height, width) of the pictures it accepts.
        loader_version: version of the loader that made its training pictures.
        temperature: what the logits are divided by before the softmax, see `calibration.Scaling`.
        curvature: how strongly large logits are increased, see `calibration.Scaling`.
        version: version of this package that wrote it.
        training_data: folder, or description, of the pictures it was trained on.
        metrics: what was measured at the end of training, by name such as `test/acc`.
        operating_points: (confidence, accuracy, share labelled) on the validation part, see `calibration`.
        looks_for_faces: whether it says how sure it is that a picture shows a face; False in files of version 0.1.0.
    """

    classes: tuple[str, ...]
    image_size: tuple[int, int] = IMAGE_SIZE
    loader_version: int = LOADER_VERSION
    temperature: float = 1.0
    curvature: float = 0.0
    version: str = field(default_factory=lambda: version("gender_recognizer"))
    training_data: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    operating_points: tuple[OperatingPoint, ...] = ()
    looks_for_faces: bool = False

    def __post_init__(self) -> None:
        """Refuse invalid values, and a model for pictures of another loader.

        Raises:
            ValueError: a field has a value of another type or out of its range, or the model is for another loader.
        """
        if any(not isinstance(name, str) for name in self.classes):
            raise ValueError("its classes are not a list of names")
        object.__setattr__(self, "classes", tuple(check_classes(self.classes)))
        _check_texts(self)
        _check_numbers(self)
        points = tuple(_point(point) for point in self.operating_points)
        object.__setattr__(self, "operating_points", points)
        object.__setattr__(self, "image_size", check_image_size(self.image_size))
        if self.loader_version not in (LOADER_VERSION, *COMPATIBLE_VERSIONS.get(LOADER_VERSION, ())):
            raise ValueError(
                f"the model was trained with loader version {self.loader_version}, this is {LOADER_VERSION}; "
                f"train it again, or install gender_recognizer {self.version}"
            )

    @property
    def scaling(self) -> Scaling:
        """Return the scaling of the logits before the softmax."""
        return Scaling(self.temperature, self.curvature)


def carried(info: ModelInfo) -> dict[str, Any]:
    """Return the metadata that a `.ckpt` holds besides its hyperparameters, as plain values."""
    values = json.loads(json.dumps(asdict(info)))
    del values["classes"]  # one source: the hyperparameters
    return values


def parse_info(metadata: Mapping[str, str], path: Path) -> ModelInfo:
    """Return the metadata of an ONNX file.

    Raises:
        ValueError: it was not written by `export_onnx`, is damaged, or is for other pictures.
    """
    if METADATA_KEY not in metadata:
        raise ValueError(f"'{path}' was not exported by gender_recognizer: it does not name its classes")
    text = metadata[METADATA_KEY]
    if len(text) > MAX_METADATA:
        raise ValueError(f"'{path}' is refused: its metadata has {len(text)} characters, {MAX_METADATA} are allowed")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"'{path}' is refused: its metadata is not JSON of gender_recognizer") from None
    return read_info(values, path)


def read_info(values: Any, path: Path) -> ModelInfo:
    """Return the description in plain values; names that this version does not know are left out.

    Raises:
        ValueError: it does not describe a model, or one for other pictures; the message names the path.
    """
    if not isinstance(values, dict) or "classes" not in values:
        raise ValueError(f"'{path}' is refused: it does not name its classes")
    for name in ("classes", "image_size", "operating_points"):
        if not isinstance(values.get(name, []), list | tuple):
            raise ValueError(f"'{path}' is refused: its {name} are not a list")
    known = {item.name for item in fields(ModelInfo)}
    try:
        return ModelInfo(**{name: value for name, value in values.items() if name in known})
    except ValueError as error:
        raise ValueError(f"'{path}' is refused: {error}") from None


def read_scaling(checkpoint: Mapping[str, Any]) -> Scaling:
    """Return how a checkpoint's logits are scaled: as its description says, or not at all in one not yet calibrated."""
    described = checkpoint.get(METADATA_KEY, {})
    return Scaling(described.get("temperature", 1.0), described.get("curvature", 0.0))


def _check_texts(info: ModelInfo) -> None:
    if not isinstance(info.version, str) or not info.version.isprintable() or len(info.version) > 50:
        raise ValueError(f"its version is {ascii(info.version)[:50]}, which is not a version")
    if not isinstance(info.looks_for_faces, bool):
        raise ValueError(f"its looks_for_faces is {ascii(info.looks_for_faces)[:50]}; expected true or false")
    if not isinstance(info.training_data, str):
        raise ValueError("its training_data is not text")


def _check_numbers(info: ModelInfo) -> None:
    if not _is_number(info.loader_version) or info.loader_version != int(info.loader_version):
        raise ValueError(f"its loader_version is {ascii(info.loader_version)[:50]}, which is not a whole number")
    if not _is_number(info.temperature) or info.temperature <= 0:
        raise ValueError(f"its temperature is {ascii(info.temperature)[:50]}; expected a number above 0")
    if not _is_number(info.curvature) or info.curvature < 0:
        raise ValueError(f"its curvature is {ascii(info.curvature)[:50]}; expected a number, 0 or more")
    metrics = info.metrics
    numbers = isinstance(metrics, dict) and all(isinstance(value, int | float) for value in metrics.values())
    if not numbers or not all(isinstance(name, str) for name in metrics):
        raise ValueError("its metrics are not named numbers")


def _point(point: Any) -> OperatingPoint:
    """Return an operating point from a list of three numbers in 0..1."""
    if not isinstance(point, list | tuple) or len(point) != 3 or not all(map(_is_number, point)):
        raise ValueError(f"one of its operating_points is {ascii(point)[:50]}; expected three numbers")
    if not all(0 <= value <= 1 for value in point):
        raise ValueError(f"one of its operating_points is {ascii(point)[:50]}; expected numbers from 0 to 1")
    return OperatingPoint(*point)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
