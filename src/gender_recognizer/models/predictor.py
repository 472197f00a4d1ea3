"""Models that turn pictures into probabilities, from an `.onnx` file or a `.ckpt`."""

import math
import os
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

import numpy as np

from gender_recognizer.models.devices import PROVIDERS
from gender_recognizer.models.model_file import load_classifier
from gender_recognizer.models.model_info import ModelInfo, parse_info
from gender_recognizer.models.onnx_check import OUTPUTS, check_signature, read_model

_TOLERANCE = 1e-3
"""Largest deviation of the sum of probabilities from 1."""


class Prediction(NamedTuple):
    """What a model says about pictures.

    Attributes:
        probabilities: float32 `(N, num_classes)`.
        frames: float32 `(N, 4)`, where the face is, as `framing` describes it; zeros for the whole picture.
        face_scores: float32 `(N,)` in [0, 1], how sure it is that there is a face; 1 in a model that does not look.
    """

    probabilities: np.ndarray
    frames: np.ndarray
    face_scores: np.ndarray


class Predictor(Protocol):
    """The part of a model that labelling uses."""

    info: ModelInfo

    def predict(self, images: np.ndarray) -> Prediction:
        """Return what the model says about uint8 images `(N, *image_size, 3)`."""
        ...


_AT_ONCE = 16
"""Pictures that a thread computes at once: their maps stay in a core's cache.

One of the bundled 8-bit network takes 0.88 ms of a core of an AMD EPYC; 0.92 in eights, 0.96 with 32, 1.12 with 64."""


class OnnxPredictor:
    """An ONNX model in ONNX Runtime, without torch."""

    def __init__(self, path: Path, num_threads: int = 1, device: str = "cpu") -> None:
        """Load the model.

        Args:
            path: a file that `onnx_export` wrote.
            num_threads: threads that share one call of `predict`; 0 for as many as there are cores.
            device: `cpu`, or one of `PROVIDERS` that the installed ONNX Runtime was built for.

        Raises:
            ValueError: the file is not such a model, or the device does not work.
        """
        import onnxruntime

        content = read_model(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves idle cores for decoding
        options.log_severity_level = 4  # failures are raised instead
        providers = [PROVIDERS[device]] if device != "cpu" else []
        try:
            self.session = onnxruntime.InferenceSession(content, options, [*providers, "CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no other base class
            raise ValueError(f"'{path}' is not an ONNX model: {_first_line(error)}") from None
        if not {*providers} <= {*self.session.get_providers()}:  # it goes on with the CPU, and says nothing
            raise ValueError(f"device is '{device}', but onnxruntime cannot start it; use device=cpu")
        self._turn = Lock() if device == "directml" else nullcontext()  # which takes one call at a time
        self.info = parse_info(self.session.get_modelmeta().custom_metadata_map, path)
        check_signature(self.session, path, self.info.image_size, self.info.looks_for_faces)
        self._at_once = _AT_ONCE * num_threads if device == "cpu" else 0
        check_probe(self, path)

    def predict(self, images: np.ndarray) -> Prediction:
        """Return what the model says about uint8 images `(N, *image_size, 3)`."""
        names = OUTPUTS if self.info.looks_for_faces else OUTPUTS[:1]
        count = max(len(images), 1)  # the runtime also tells the shapes for none
        step = self._at_once or count
        with self._turn:
            said = [
                self.session.run(names, {"images": images[start : start + step]}) for start in range(0, count, step)
            ]
        return _complete(*(np.concatenate(outputs) for outputs in zip(*said, strict=True)))


class TorchPredictor:
    """A checkpoint in torch."""

    def __init__(self, path: Path, device: str = "cpu", num_threads: int | None = None) -> None:
        """Load the checkpoint.

        Args:
            path: a `.ckpt` made by this package.
            device: `cpu`, or one of `devices.OF_TORCH`.
            num_threads: threads that share one call of `predict` on the CPU; None to leave torch's setting.

        Raises:
            ValueError: the file is not a checkpoint made by this package.
        """
        import torch

        self.classifier, self.info = load_classifier(path)
        self.classifier.to(device)
        check_probe(self, path)
        if num_threads:
            torch.set_num_threads(num_threads)

    def predict(self, images: np.ndarray) -> Prediction:
        """Return what the model says about uint8 images `(N, *image_size, 3)`."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(images).to(self.classifier.device).permute(0, 3, 1, 2)
            seen = self.classifier.network.forward_features(batch)
            logits = self.classifier.network.forward_head(seen.features)
            outputs = (self.info.scaling(logits).softmax(dim=1), seen.frames, seen.face_scores)
            return _complete(*(output.cpu().numpy() for output in outputs if output is not None))


def _complete(
    probabilities: np.ndarray, frames: np.ndarray | None = None, face_scores: np.ndarray | None = None
) -> Prediction:
    """Return what a model says, completed where it does not look for faces."""
    if frames is None or face_scores is None:
        count = len(probabilities)
        return Prediction(probabilities, np.zeros((count, 4), np.float32), np.ones(count, np.float32))
    return Prediction(probabilities, frames, face_scores)


def check_probe(predictor: Predictor, path: Path) -> None:
    """Refuse a model that does not give probabilities for two test pictures, one bright and one dark gradient.

    Raises:
        ValueError: it fails, or its results have another shape, are not numbers, or do not add up to 1.
    """
    shape = (1, *predictor.info.image_size, 3)
    slope = np.arange(math.prod(shape)).reshape(shape) // 97 % 256
    images = np.concatenate([slope, slope // 4]).astype(np.uint8)
    try:
        probabilities, *found = predictor.predict(images)
    except Exception as error:  # the runtimes' exceptions share no other base class
        raise ValueError(f"'{path}' is refused: it fails on a picture: {_first_line(error)}") from None
    wanted = (len(images), len(predictor.info.classes))
    if probabilities.shape != wanted:
        raise ValueError(f"'{path}' is refused: it gives {probabilities.shape} probabilities, not {wanted}")
    if [output.shape for output in found] != [(len(images), 4), (len(images),)]:
        raise ValueError(f"'{path}' is refused: it gives frames or face_scores of another shape")
    for name, output in zip(OUTPUTS, (probabilities, *found), strict=True):
        if not np.isfinite(output).all():
            raise ValueError(f"'{path}' is refused: its {name} are not numbers")
    if not all(0 <= score <= 1 for score in found[1]):
        raise ValueError(f"'{path}' is refused: its face_scores are not numbers from 0 to 1")
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > _TOLERANCE:
        raise ValueError(f"'{path}' is refused: its results are not probabilities that add up to 1")


def _first_line(error: Exception) -> str:
    """Return the message of an error as one short line."""
    lines = str(error).splitlines() or [type(error).__name__]
    return ascii(lines[0][:200])[1:-1]


def load_predictor(path: Path, device: str = "cpu", num_threads: int = 1) -> Predictor:
    """Return the predictor of an `.onnx` or `.ckpt` file.

    Args:
        path: the model.
        device: that `devices.choose_device` chose.
        num_threads: threads that share one call of `predict` on the CPU.

    Raises:
        ValueError: the file was not made by this package.
    """
    if path.suffix == ".onnx":
        return OnnxPredictor(path, num_threads, device)
    return TorchPredictor(path, device, num_threads)


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
