"""Trained models as files: what they must carry, how they are found, saved and loaded without executing code.

This module imports torch only inside the functions that need it: labelling with an ONNX model does without.
"""

import json
import os
import pickle
import re
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gender_recognizer.models.calibration import OperatingPoint, Scaling, fit_scaling, operating_points
from gender_recognizer.pictures.loading import COMPATIBLE_VERSIONS, IMAGE_SIZE, LOADER_VERSION

if TYPE_CHECKING:
    from gender_recognizer.models.classifier import GenderClassifier

BUNDLED_MODEL = Path(__file__).parents[1] / "weights" / "smallcnn-int8.onnx"
METADATA_KEY = "gender_recognizer"


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself.

    Attributes:
        classes: names of the classes, in the order of the probabilities.
        image_size: (height, width) of the pictures it takes.
        loader_version: version of the loader that made its training pictures.
        temperature: what the logits are divided by before the softmax, see `calibration.Scaling`.
        curvature: how much more large logits count.
        version: version of this package that wrote it.
        training_data: folder, or description, of the pictures it was trained on.
        metrics: what was measured at the end of training, by name such as `test/acc`.
        operating_points: (confidence, accuracy, share labelled) on the validation part, see `calibration`.
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

    def __post_init__(self) -> None:
        """Refuse a model whose pictures were made differently from what `load_image` makes now."""
        for name in ("classes", "image_size"):  # lists, where they come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "operating_points", tuple(OperatingPoint(*point) for point in self.operating_points))
        if self.image_size != IMAGE_SIZE:
            raise ValueError(f"the model takes pictures of {self.image_size}, this version makes {IMAGE_SIZE}")
        if self.loader_version not in (LOADER_VERSION, *COMPATIBLE_VERSIONS.get(LOADER_VERSION, ())):
            raise ValueError(
                f"the model was trained with loader version {self.loader_version}, this is {LOADER_VERSION}; "
                f"train it again, or install gender_recognizer {self.version}"
            )

    @property
    def scaling(self) -> Scaling:
        """Return what the logits go through before the softmax."""
        return Scaling(self.temperature, self.curvature)


def find_model(model_path: str | None, outputs: Path) -> Path:
    """Return the file of a model.

    Args:
        model_path: a `.ckpt` or `.onnx` file; None for the bundled model; `latest` for the best checkpoint of
            the newest training run.
        outputs: where training runs are.

    Raises:
        ValueError: there is no such file or run, or the file is of another kind.
    """
    if model_path is None:
        return BUNDLED_MODEL
    if model_path == "latest":
        return best_checkpoint(newest_run(outputs))
    path = Path(model_path)
    if path.suffix not in (".ckpt", ".onnx"):
        raise ValueError(f"model_path is '{model_path}'; expected a .ckpt or .onnx file, or 'latest'")
    if not path.is_file():
        raise ValueError(f"model_path '{path.absolute()}' does not exist")
    return path


def newest_run(outputs: Path) -> Path:
    """Return the run folder below `outputs` whose `checkpoints/` changed last.

    Raises:
        ValueError: there is none.
    """
    folders = [file.parent for file in outputs.rglob("checkpoints/*.ckpt")]
    if not folders:
        raise ValueError(f"no training run with a checkpoint below '{outputs}'; train first")
    return max(set(folders), key=lambda folder: folder.stat().st_mtime).parent


def best_checkpoint(run_dir: Path) -> Path:
    """Return the checkpoint of a run with the highest validation accuracy in its name.

    Raises:
        ValueError: there is none.
    """
    scored = {}
    for path in (run_dir / "checkpoints").glob("model_state-*.ckpt"):
        if match := re.search(r"val_acc-(\d+\.\d+)", path.name):
            scored[path] = float(match[1])
    if not scored:
        raise ValueError(f"no checkpoint called model_state-*.ckpt in '{run_dir / 'checkpoints'}'")
    return max(scored, key=scored.__getitem__)


def load_classifier(path: Path) -> "tuple[GenderClassifier, ModelInfo]":
    """Return the classifier of a `.ckpt` in evaluation mode, on the CPU, and what the file says of it.

    Raises:
        ValueError: the file is no checkpoint of ours, would run code, or was made for other pictures or by another
            version.
    """
    import torch

    from gender_recognizer.models.classifier import GenderClassifier

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"'{path}' is refused: it is not a plain checkpoint, and loading it could run code it contains"
        ) from None
    except (RuntimeError, EOFError, UnicodeDecodeError, KeyError) as error:
        raise ValueError(f"'{path}' is not a checkpoint: reading it ended in {type(error).__name__}") from None
    if not isinstance(checkpoint, dict) or not {"hyper_parameters", "state_dict"} <= checkpoint.keys():
        raise ValueError(f"'{path}' is not a checkpoint of gender_recognizer: no hyper_parameters and state_dict")
    settings = checkpoint["hyper_parameters"]
    carried = {name: settings[name] for name in ("image_size", "loader_version")} | checkpoint.get(METADATA_KEY, {})
    info = ModelInfo(settings["classes"], **carried)
    network = settings["network"] | ({"pretrained": False} if "pretrained" in settings["network"] else {})
    classifier = GenderClassifier(**settings | {"network": network})  # its weights are here: fetch no others
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
    except RuntimeError:
        raise ValueError(
            f"'{path}' holds a {network['name']} of another version of gender_recognizer; train it anew, or label with "
            "the .onnx file of it"
        ) from None
    return classifier.eval(), info


def save_checkpoint(classifier: "GenderClassifier", info: ModelInfo, path: Path) -> None:
    """Write a `.ckpt` without the optimizer's state and what only training needs: weights, hyperparameters, `info`."""
    import torch

    checkpoint = {
        "hyper_parameters": dict(classifier.hparams) | {"teacher_features": 0, "learning_part": None},
        "state_dict": {k: v for k, v in classifier.state_dict().items() if not k.startswith("telling.")},
        METADATA_KEY: _carried(info),
    }
    torch.save(checkpoint, path)


def calibrate_checkpoint(path: Path, images: np.ndarray, targets: np.ndarray) -> ModelInfo:
    """Fit the scaling of logits and the operating points of a `.ckpt`, write them into it, and return what it says.

    Args:
        path: of a checkpoint, also one with the optimizer's state.
        images: uint8 `(N, 100, 80, 3)`, pictures that did not train it.
        targets: int `(N,)`.
    """
    import torch

    classifier, info = load_classifier(path)
    with torch.inference_mode():
        parts = (torch.from_numpy(images[start : start + 256]) for start in range(0, len(images), 256))
        logits = torch.cat([classifier(part.permute(0, 3, 1, 2)) for part in parts]).double()
    scaling = fit_scaling(logits.numpy(), targets)
    points = operating_points(scaling(logits).softmax(dim=1).numpy(), targets)
    info = replace(info, **scaling._asdict(), operating_points=tuple(points))
    checkpoint = torch.load(path, map_location="cpu", weights_only=True) | {METADATA_KEY: _carried(info)}
    partial = path.with_suffix(".partial")
    torch.save(checkpoint, partial)
    os.replace(partial, path)
    return info


def _carried(info: ModelInfo) -> dict[str, Any]:
    """Return what a `.ckpt` says of the model beside its hyperparameters, as plain values."""
    carried = json.loads(json.dumps(asdict(info)))
    del carried["classes"]  # one source: the hyperparameters
    return carried


def export_onnx(classifier: "GenderClassifier", info: ModelInfo, path: Path) -> None:
    """Write one `.onnx` file: uint8 `images` `(N, 100, 80, 3)` to float32 `probabilities` `(N, num_classes)`."""
    import onnx
    import torch

    class Deployed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = classifier.network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = self.network(images.permute(0, 3, 1, 2).float())
            return torch.softmax(info.scaling(logits), dim=1)

    training = classifier.training
    classifier.eval()
    program = torch.onnx.export(
        Deployed().eval(),
        (torch.zeros(2, *info.image_size, 3, dtype=torch.uint8),),
        dynamo=True,
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    classifier.train(training)
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # where in whose folders each line of code is
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(asdict(info))})
    onnx.save(model, path)


def quantise_onnx(path: Path, images: np.ndarray, target: Path) -> None:
    """Write an `.onnx` file that computes its convolutions with 8-bit integers, about twice as fast on a CPU.

    Static quantisation (Jacob et al. 2018): the range of each convolution's input and output is the one that it
    takes on `images`. Convolutions of less than 24 channels stay as they are, where integers gain nothing, and so
    do those after a mean over positions, which ONNX Runtime 1.32 computes otherwise at the edges once it is
    quantised, and those that find the face: their errors would move all that follows.

    Args:
        path: a file that `export_onnx` wrote.
        images: uint8 `(N, 100, 80, 3)`, some hundred pictures like those of the training.
        target: the file to write.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = ({"images": images[start : start + 50]} for start in range(0, len(images), 50))

        def get_next(self) -> dict | None:
            return next(self.batches, None)

    with TemporaryDirectory() as folder:
        prepared = Path(folder, "prepared.onnx")
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        channels = {tensor.name: tensor.dims[1] for tensor in graph.initializer if len(tensor.dims) == 4}
        means = {node.output[0] for node in graph.node if node.op_type == "AveragePool"}
        kinds = [node.op_type for node in graph.node]
        last = max(index for index, kind in enumerate(kinds) if kind == "Conv")
        crop = max((index for index, kind in enumerate(kinds[:last]) if kind == "MatMul"), default=0)
        found = {node.name for node in graph.node[:crop]}
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        exact = [
            node.name
            for node in convolutions
            if channels[node.input[1]] < 24 or node.input[0] in means or node.name in found
        ]
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            activation_type=quantization.QuantType.QUInt8,  # its kernels are the fast ones
            per_channel=True,
            reduce_range=True,  # processors without 8-bit dot products overflow on the full range
            op_types_to_quantize=["Conv", "Relu"],
            nodes_to_exclude=exact,
        )
    model = onnx.load(target)
    onnx.helper.set_model_props(model, {p.key: p.value for p in onnx.load(path).metadata_props})
    onnx.save(model, target)


def parse_info(metadata: dict[str, str], path: Path) -> ModelInfo:
    """Return what the metadata of an ONNX file says of the model.

    Raises:
        ValueError: it was not written by `export_onnx`, or for other pictures.
    """
    if METADATA_KEY not in metadata:
        raise ValueError(f"'{path}' was not exported by gender_recognizer: it does not say what its classes are")
    return ModelInfo(**json.loads(metadata[METADATA_KEY]))
