"""What the page shows and offers for download: labels of pictures, and the result files that `process.py` writes."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from markupsafe import Markup

from gender_recognizer.demo.uploads import Refusal
from gender_recognizer.evaluation.pages import render, thumbnail
from gender_recognizer.evaluation.saliency import overlay, saliency_maps
from gender_recognizer.labelling.recognizer import Recognizer
from gender_recognizer.labelling.records import LABELLED, Record
from gender_recognizer.labelling.result_files import ResultFiles
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.listing import File

STATUSES = {
    "labelled": "labelled",
    "unsure": "unsure",
    "too_small": "too small",
    "blank": "blank",
    "no_face": "no face",
    "failed": "failed",
}
NOT_TAKEN = "not taken"
MAX_EXPLAINED = 24
"""Most pictures for which the page shows what speaks for their label; each takes up to 0.3 s."""


@dataclass
class Card:
    """What the page shows of one file; `image` and `saliency` are `<img>`s."""

    file: str
    status: str
    reason: str | None = None
    label: str | None = None
    probability: float | None = None
    note: str | None = None
    image: Markup | None = None
    saliency: Markup | None = None


def show_labels(
    recognizer: Recognizer, files: Sequence[File], refusals: Sequence[Refusal] = (), explain: bool = False
) -> str:
    """Label files and return the HTML that shows the results, with the result files to download.

    Args:
        recognizer: the model.
        files: what to label.
        refusals: files that were not accepted, which are shown as well.
        explain: also show which parts of the first pictures speak for their label.
    """
    records, images = recognizer.look(sorted(files))
    maps = _explain(recognizer.predictor, records, images) if explain else {}
    cards = [_card(record, image, maps.get(row)) for row, (record, image) in enumerate(zip(records, images))]
    cards += [Card(name, NOT_TAKEN, reason) for name, reason in refusals]
    return render(
        "demo.html",
        cards=cards,
        num_files=sum(record.is_last for record in records) + len(refusals),
        statuses=STATUSES,
        counts=Counter(card.status for card in cards),
        labels=Counter(record.label for record in records if record.status == LABELLED),
        downloads={f"process_results.{name}": data_address(records, name) for name in ("json", "csv") if records},
        info=recognizer.predictor.info,
        explained=len(maps),
    )


def result_bytes(records: Sequence[Record], form: str) -> bytes:
    """Return a result file of these records as `process.py` writes it.

    Args:
        records: in the order of their files.
        form: `json` for the flat one, or `csv`.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "process_results.json")
        with ResultFiles(path, {form}) as files:
            for record in records:
                files.write(record)
        return path.with_suffix(f".{form}").read_bytes()


def data_address(records: Sequence[Record], form: str) -> str:
    """Return a result file as an address that holds it, so that the server needs to keep none."""
    kind = {"json": "application/json", "csv": "text/csv"}[form]
    return f"data:{kind};base64,{base64.b64encode(result_bytes(records, form)).decode()}"


def _card(record: Record, image: np.ndarray | None, saliency: np.ndarray | None) -> Card:
    """Return the card of a record."""
    return Card(
        record.file,
        record.status,
        reason=record.reason,
        label=record.label,
        probability=record.probability,
        note=f"the first of {record.pages} pages" if record.pages else None,
        image=None if image is None else thumbnail(image, f"{record.file} as the network sees it"),
        saliency=None
        if saliency is None or image is None
        else thumbnail(overlay(image, saliency), "what speaks for its label"),
    )


def _explain(
    predictor: Predictor, records: Sequence[Record], images: Sequence[np.ndarray | None]
) -> dict[int, np.ndarray]:
    """Return the saliency map `(100, 80)` of each of the first pictures with a label, by its position."""
    shown = [(row, record.label, image) for row, (record, image) in enumerate(zip(records, images))]
    known = [(row, label, image) for row, label, image in shown if label and image is not None][:MAX_EXPLAINED]
    if not known:
        return {}
    rows, labels, pictures = zip(*known)
    targets = np.array([predictor.info.classes.index(label) for label in labels], np.int64)
    return dict(zip(rows, saliency_maps(predictor, np.stack(pictures), targets)))
