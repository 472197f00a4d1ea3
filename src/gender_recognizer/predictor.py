"""Models that turn pictures into probabilities, from an `.onnx` file or a `.ckpt`."""

from pathlib import Path
from typing import Protocol

import numpy as np

from gender_recognizer.model_file import ModelInfo, load_classifier, parse_info


class Predictor(Protocol):
    """What labelling needs of a model."""

    info: ModelInfo

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return float32 probabilities `(N, num_classes)` of uint8 images `(N, 100, 80, 3)`."""
        ...


class OnnxPredictor:
    """An ONNX model in ONNX Runtime, on the CPU, without torch."""

    def __init__(self, path: Path, num_threads: int = 0) -> None:
        """Load the model.

        Args:
            path: a file that `model_file.export_onnx` wrote.
            num_threads: threads of the network; 0 for as many as there are cores.

        Raises:
            ValueError: the file is not such a model.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves idle cores to decoding
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's exceptions share no other base class
            raise ValueError(f"'{path}' is not an ONNX model: {str(error).splitlines()[0]}") from None
        self.info = parse_info(self.session.get_modelmeta().custom_metadata_map, path)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return float32 probabilities `(N, num_classes)` of uint8 images `(N, 100, 80, 3)`."""
        return self.session.run(["probabilities"], {"images": images})[0]


class TorchPredictor:
    """A checkpoint in torch."""

    def __init__(self, path: Path) -> None:
        """Load the checkpoint, on the CPU.

        Raises:
            ValueError: the file is no checkpoint of ours.
        """
        self.classifier, self.info = load_classifier(path)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return float32 probabilities `(N, num_classes)` of uint8 images `(N, 100, 80, 3)`."""
        import torch

        with torch.inference_mode():
            logits = self.classifier(torch.from_numpy(images).permute(0, 3, 1, 2))
            return (logits / self.info.temperature).softmax(dim=1).numpy()


def load_predictor(path: Path) -> Predictor:
    """Return the predictor of an `.onnx` or `.ckpt` file.

    Raises:
        ValueError: the file is not a model of ours.
    """
    return OnnxPredictor(path) if path.suffix == ".onnx" else TorchPredictor(path)
