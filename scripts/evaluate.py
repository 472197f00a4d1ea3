"""Measure a trained model on folders of pictures, one folder a class, and write a report.

    python scripts/evaluate.py model_path=model.onnx data.root=folder-with-female-and-male
        [compare=[a.onnx,b.ckpt]] [explain=true] [robustness=true] [part=test]

Writes report.html, metrics.json, MODEL_CARD.md and files for TensorBoard to outputs/evaluate_DATE_TIME/. Without
model_path the bundled model; model_path=latest takes the newest training run's, and the test part of its split.
"""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("evaluate"))
