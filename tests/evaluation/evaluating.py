"""What tests of evaluation share: pictures, runs, and evaluating them."""

import json
import shutil
from pathlib import Path

from conftest import PROJECT

from gender_recognizer.data.split import write_split
from gender_recognizer.evaluation.run import evaluate_model
from gender_recognizer.evaluation.selection import select_pictures
from gender_recognizer.evaluation.settings import EvaluateDataSettings, EvaluateSettings
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import load_predictor

SAMPLE = PROJECT / "data" / "sample"
MODEL = BUNDLED_MODEL.with_name("smallcnn.onnx")


def make_faces(root, count=20, wrong=4):
    """Copy faces of the sample, the first `wrong` of each class into the other's folder."""
    for name, other in (("female", "male"), ("male", "female")):
        for index, path in enumerate(sorted((SAMPLE / name).glob("*.jpg"))[:count]):
            folder = root / (other if index < wrong else name)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / f"{name}_{path.name}")
    return root


def make_run(folder, parts, root):
    """Make the folder of a training run, with the split of pictures below `root`; return its model."""
    (folder / "checkpoints").mkdir(parents=True)
    rows = [{"part": part, "file_name": name, "root": str(root.resolve())} for name, part in parts.items()]
    write_split(folder / "split.csv", rows, [root])
    return Path(shutil.copy(MODEL, folder / "checkpoints" / "model.onnx"))


def evaluate(folder, root, **options):
    """Evaluate with all that is left inside `folder`; return the numbers and the text of the page."""
    data = EvaluateDataSettings(root, cache_dir=folder / "cache")
    settings = EvaluateSettings(data, outputs=folder, num_draws=100, **options)
    evaluate_model(settings, folder / "out")
    return json.loads((folder / "out" / "metrics.json").read_text()), (folder / "out" / "report.html").read_text()


def select(folder, root, model=MODEL, **options):
    """Return what a model would be evaluated on."""
    settings = EvaluateSettings(EvaluateDataSettings(root, cache_dir=folder / "cache"), **options)
    return select_pictures(settings, model, load_predictor(model).info)
