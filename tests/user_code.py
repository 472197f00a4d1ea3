"""What users write with the public API; mypy checks it, nothing runs it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from gender_recognizer import Recognizer, Record, __version__

recognizer = Recognizer()
print(recognizer.label("data/sample/female/001.jpg").label)

sure = Recognizer("model.onnx", device="cpu", target_accuracy=0.97, min_size=32, allow_truncated=True)
record: Record = sure.label(Path("a.jpg"))
records: list[Record] = sure.label(["a.jpg", np.zeros((9, 9, 3), np.uint8), Image.new("RGB", (9, 9))])
of_paths: list[Record] = sure.label(sorted(Path("folder").glob("*.jpg")))
of_names: list[Record] = sure.label(("a.jpg", "b.jpg"))
labels: list[str | None] = [each.label for each in sure.label_folder("folder")]
stream: Iterator[Record] = sure.stream(Image.open(name) for name in ("a.jpg", "b.jpg"))
faces: list[Record] = Recognizer(faces="crop").label("photograph.jpg")
largest: Record = Recognizer(faces="largest").label("photograph.jpg")
mistyped = Recognizer(min_confidense=0.9)  # type: ignore[call-overload]
sure.label([3])  # type: ignore[list-item]
version: str = __version__
