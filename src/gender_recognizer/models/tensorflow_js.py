"""Reader of TensorFlow.js models: the weights that a `.json` file lists and the binary files beside it hold.

Contract: numpy only; nothing in the files is executed, and no size that they state is believed.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 2**30
"""Size of the largest file that is read; the files of a face network have a few million bytes."""

_TYPES = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "int32": np.dtype("<i4")}


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of a model by name; those stored as 16-bit floats come as float32.

    Args:
        path: the `.json` file.

    Raises:
        ValueError: a file is missing or too large, or they are not of this format, or have too few or too many bytes.
    """
    weights: dict[str, np.ndarray] = {}
    for names, entries in _groups(path):
        content = b"".join(_read_beside(path, name) for name in names)
        end = 0
        for entry in entries:
            name, shape, stored, wanted = _describe(path, entry)
            start, end = end, end + math.prod(shape) * stored.itemsize
            if end > len(content):
                raise ValueError(f"'{path}' is refused: its binary files end within {ascii(name)[:100]}")
            weights[name] = np.frombuffer(content[start:end], stored).astype(wanted).reshape(shape)
        if end != len(content):
            raise ValueError(f"'{path}' is refused: it describes {end} bytes, its binary files have {len(content)}")
    return weights


def _groups(path: Path) -> list[tuple[list[str], list[Any]]]:
    """Return the names of the binary files and the weights in them, for each group of the `.json` file."""
    content = _read(path)
    try:
        groups = [(group["paths"], group["weights"]) for group in json.loads(content)["weightsManifest"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        groups = []
    if not groups or not all(isinstance(part, list) for group in groups for part in group):
        raise ValueError(f"'{path}' is not a TensorFlow.js model: it lists no weights")
    return groups


def _read_beside(path: Path, name: Any) -> bytes:
    if not isinstance(name, str) or not name or set(name) & set("/\\\0") or not path.with_name(name).is_file():
        raise ValueError(f"'{path}' is refused: there is no file {ascii(name)[:100]} beside it")
    return _read(path.with_name(name))


def _read(path: Path) -> bytes:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"'{path}' is refused: it has {size} bytes, {MAX_BYTES} are allowed")
    return path.read_bytes()


def _describe(path: Path, entry: Any) -> tuple[str, list[int], Any, Any]:
    """Return name, shape, and type, as stored and as wanted, of a weight."""
    try:
        name, shape, wanted = entry["name"], entry["shape"], entry["dtype"]
        stored = entry.get("quantization", {}).get("dtype", wanted)
        types = _TYPES[stored], _TYPES[wanted]
        if isinstance(name, str) and isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape):
            return name, shape, types[0], types[1]
    except (KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"'{path}' is refused: it describes a weight as {ascii(entry)[:100]}")
