"""Store the weights of an `.onnx` file as 16-bit floats: half the size, computed with 32-bit floats as before."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SMALLEST = 1024
"""Weights of fewer numbers stay as they are: biases, and constants that results depend on."""


def halve_onnx(path: Path, exact_parts: Sequence[str] = ()) -> None:
    """Round the weights in a file to 16-bit floats; ONNX Runtime turns them into 32-bit floats once, when it loads it.

    Args:
        path: a file that `export_onnx` wrote; it is overwritten.
        exact_parts: modules whose weights stay as they are: `exact_parts()` of the network in the file.

    Raises:
        ValueError: a weight is too large for a 16-bit float.
    """
    model = onnx.load(path)
    starts = tuple(f"network.{part}." for part in exact_parts)
    casts = []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < SMALLEST or tensor.name.startswith(starts):
            continue
        if np.abs(array).max() > np.finfo(np.float16).max:
            raise ValueError(
                f"'{path}': the weights {tensor.name} are too large for 16-bit floats; leave out half=true"
            )
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
