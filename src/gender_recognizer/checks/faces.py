"""Pictures that are unlike crops of one face: without a face, with several, or with a very small one."""

from typing import Any

from gender_recognizer.checks.findings import CheckedFolder
from gender_recognizer.evaluation.predictions import EVERYTHING, decide
from gender_recognizer.labelling.labeller import Labeller
from gender_recognizer.models.detector import MIN_SHARE
from gender_recognizer.models.predictor import Predictor

KINDS = ("no_face", "several_faces", "small_face")


def check_faces(folder: CheckedFolder, predictor: Predictor) -> dict[str, list[dict[str, Any]]]:
    """Return the pictures without a face, those with several and those whose face is very small, by `KINDS`.

    Several faces are seen where the main one does not fill much of the picture. A model that does not look for faces
    finds nothing to complain about.
    """
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    if not predictor.info.looks_for_faces:
        return found
    rows = [row for row, key in enumerate(folder.keys) if key is not None]
    paths = [folder.root / folder.names[row] for row in rows]
    for row, decision in zip(rows, decide(Labeller(predictor, EVERYTHING), paths), strict=True):
        record, size = decision.record, folder.sizes[row]
        if record.box is None:
            found["no_face"].append(folder.entry(row))
        elif size and decision.picture and decision.picture.is_face:  # which was looked for in the file itself
            share = (record.box[2] - record.box[0]) / (size[0] * size[1]) ** 0.5
            found["small_face"] += [folder.entry(row, share=round(share, 3))] if share < MIN_SHARE else []
        if record.faces and record.faces > 1:
            found["several_faces"].append(folder.entry(row, faces=record.faces))
    found["small_face"].sort(key=lambda entry: entry["share"])
    found["several_faces"].sort(key=lambda entry: -entry["faces"])
    return found
