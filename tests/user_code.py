"""What users write with the public API; mypy checks it, nothing runs it."""

import numpy as np
from PIL import Image

from gender_recognizer import Recognizer, Record

recognizer = Recognizer(target_accuracy=0.97)
record: Record = recognizer.label("a.jpg")
records: list[Record] = recognizer.label(["a.jpg", np.zeros((9, 9, 3), np.uint8), Image.new("RGB", (9, 9))])
labels: list[str | None] = [each.label for each in recognizer.label_folder("folder")]
faces: list[Record] = Recognizer(faces="crop").label("photograph.jpg")
