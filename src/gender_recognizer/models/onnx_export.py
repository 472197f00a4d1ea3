"""Export networks as ONNX files, which label without torch: with floats, and with 8-bit integers."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from gender_recognizer.models.base import FaceNetwork
from gender_recognizer.models.calibration import Scaling
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_info import METADATA_KEY, ModelInfo
from gender_recognizer.models.onnx_check import OUTPUTS

MIN_CHANNELS = 24
"""Input channels below which a convolution gains nothing from 8-bit integers."""

_OPSET = 18
"""Version of ONNX's operators: ONNX Runtime 1.32 computes the means over 2x2 positions of 19 and later three times as
slowly."""

_BATCH = 50


class _Deployed(nn.Module):
    """A network from uint8 pictures as they are loaded to what `onnx_check.OUTPUTS` names."""

    def __init__(self, network: FaceNetwork, scaling: Scaling) -> None:
        super().__init__()
        self.network, self.scaling = network, scaling

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for uint8 images `(N, *image_size, 3)`."""
        seen = self.network.forward_features(images.permute(0, 3, 1, 2).float())
        probabilities = torch.softmax(self.scaling(self.network.forward_head(seen.features)), dim=1)
        if seen.frames is None or seen.face_scores is None:
            return (probabilities,)
        return probabilities, seen.frames, seen.face_scores


class _Pictures(quantization.CalibrationDataReader):
    """Pictures in batches, for the measurement of ranges."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = ({"images": images[start : start + _BATCH]} for start in range(0, len(images), _BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch, or None after the last."""
        return next(self.batches, None)


def export_onnx(classifier: GenderClassifier, info: ModelInfo, path: Path) -> None:
    """Write one `.onnx` file: uint8 `images` `(N, *image_size, 3)` to what `onnx_check.OUTPUTS` names."""
    names = OUTPUTS if classifier.network.looks_for_faces else OUTPUTS[:1]
    info = replace(info, looks_for_faces=classifier.network.looks_for_faces)
    training = classifier.training
    classifier.eval()
    program = torch.onnx.export(
        _Deployed(classifier.network, info.scaling).eval(),
        (torch.zeros(2, *info.image_size, 3, dtype=torch.uint8),),
        dynamo=True,
        input_names=["images"],
        output_names=list(names),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
        opset_version=_OPSET,
    )
    classifier.train(training)
    assert program is not None  # with dynamo=True there always is one
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # the places of the code in the exporter's folders
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(asdict(info))})
    onnx.save(model, path)


def quantise_onnx(path: Path, images: np.ndarray, target: Path, exact_parts: Sequence[str]) -> None:
    """Write an `.onnx` file that computes its convolutions with 8-bit integers, about twice as fast on a CPU.

    Static quantisation (Jacob et al. 2018): the range of each convolution's input and output is the one that it
    takes on `images`. Convolutions of fewer than `MIN_CHANNELS` channels stay in floating point.

    Args:
        path: a file that `export_onnx` wrote.
        images: uint8 `(N, *image_size, 3)`, some hundred pictures like those of the training.
        target: the file to write.
        exact_parts: what stays in floating point as well: `exact_parts()` of the network in the file.
    """
    with TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            _Pictures(images),
            activation_type=quantization.QuantType.QUInt8,  # its kernels are the fast ones
            per_channel=True,
            reduce_range=True,  # processors without 8-bit dot products overflow on the full range
            op_types_to_quantize=["Conv", "Relu"],
            nodes_to_exclude=exact_convolutions(onnx.load(prepared).graph, exact_parts),
        )
    model = onnx.load(target)
    onnx.helper.set_model_props(model, {entry.key: entry.value for entry in onnx.load(path).metadata_props})
    onnx.save(model, target)


def exact_convolutions(graph: Any, exact_parts: Sequence[str]) -> list[str]:
    """Return the names of the convolutions that stay in floating point: those of exact parts and those of few channels.

    A convolution in the graph is known by its weights: they keep the name that they have in the network.
    """
    channels = {tensor.name: tensor.dims[1] for tensor in graph.initializer if len(tensor.dims) == 4}
    starts = tuple(f"network.{part}." for part in exact_parts)
    weights = {node.name: node.input[1] for node in graph.node if node.op_type == "Conv"}
    return [name for name, weight in weights.items() if channels[weight] < MIN_CHANNELS or weight.startswith(starts)]
