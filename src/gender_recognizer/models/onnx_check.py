"""Check an `.onnx` file: it may come from anyone.

Labelling does not need the package onnx: the checks use the bytes of the file and ONNX Runtime.
"""

from pathlib import Path
from typing import Any

OUTPUTS = ("probabilities", "frames", "face_scores")
"""What a model gives: `(N, num_classes)`, `(N, 4)` and `(N,)`; only the first in one that does not look for faces."""

MAX_BYTES = 2**31
"""Size of the largest file: the limit of protocol buffers."""

_OTHER_FILE = b"\n\x08location"
"""The bytes with which a tensor names another file that holds its values (`StringStringEntryProto` of ONNX)."""

_LOOPS = (b'"\x04Loop', b'"\x04Scan')
"""The bytes of a node that loops (`op_type` of `NodeProto`). No network of this package has one; it may never end."""


def read_model(path: Path) -> bytes:
    """Return the content of an `.onnx` file that holds all of its weights.

    Raises:
        ValueError: it is too large for a model, reads weights from other files, or has loops.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"'{path}' is not an ONNX model: it has {size} bytes, more than a model can have")
    content = path.read_bytes()
    if _OTHER_FILE in content:
        raise ValueError(f"'{path}' is refused: it reads weights from other files; export it as one file")
    if any(loop in content for loop in _LOOPS):
        raise ValueError(f"'{path}' is refused: it has loops, which may never end")
    return content


def check_signature(session: Any, path: Path, image_size: tuple[int, int], looks_for_faces: bool = False) -> None:
    """Refuse a model that does not accept pictures as they are loaded, or does not give what it says.

    Raises:
        ValueError: its input is not uint8 `images` `(N, *image_size, 3)`, or an output is missing or not float32.
    """
    taken = [(value.name, value.type, list(value.shape[1:])) for value in session.get_inputs()]
    if taken != [("images", "tensor(uint8)", [*image_size, 3])]:
        raise ValueError(
            f"'{path}' is refused: it does not accept uint8 'images' (N, {image_size[0]}, {image_size[1]}, 3)"
        )
    given = {value.name: value.type for value in session.get_outputs()}
    for name in OUTPUTS if looks_for_faces else OUTPUTS[:1]:
        if given.get(name) != "tensor(float)":
            raise ValueError(f"'{path}' is refused: it does not give float32 '{name}'")
