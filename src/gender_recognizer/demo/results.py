"""What the page shows and offers for download: labels of pictures, and the result files that `process.py` writes."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageDraw

from gender_recognizer.demo.uploads import Refusal
from gender_recognizer.evaluation.pages import render, thumbnail
from gender_recognizer.evaluation.saliency import overlay, saliency_maps
from gender_recognizer.labelling.labeller import Decision
from gender_recognizer.labelling.recognizer import Recognizer
from gender_recognizer.labelling.records import LABELLED, Record
from gender_recognizer.labelling.result_files import ResultFiles
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.loading import Picture

STATUSES = {
    "labelled": "labelled",
    "unsure": "unsure",
    "too_small": "too small",
    "blank": "blank",
    "no_face": "no face",
    "failed": "failed",
}
NOT_TAKEN = "not taken"
BOX_COLOUR = (255, 80, 0)
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
    decisions = recognizer.look(sorted(files))
    records = [decision.record for decision in decisions]
    maps = _explain(recognizer.predictor, decisions) if explain else {}
    cards = [_card(decision, maps.get(row)) for row, decision in enumerate(decisions)]
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


def _card(decision: Decision, saliency: np.ndarray | None) -> Card:
    """Return the card of what became of a picture."""
    record, _, picture = decision
    return Card(
        record.file,
        record.status,
        reason=record.reason,
        label=record.label,
        probability=record.probability,
        note=_note(record),
        image=None
        if picture is None
        else thumbnail(_with_box(picture, record.box), f"{record.file} as the network sees it"),
        saliency=None
        if saliency is None or picture is None
        else thumbnail(overlay(picture.pixels, saliency), "what speaks for its label"),
    )


def _note(record: Record) -> str | None:
    """Return what else there is to say about a file."""
    notes = [f"the first of {record.pages} pages"] if record.pages else []
    if record.face is None and record.faces and record.faces > 1:
        notes.append(f"the main one of {record.faces} faces")
    return ", ".join(notes) or None


def _with_box(picture: Picture, box: list[int] | None) -> np.ndarray:
    """Return the pixels that the network saw with the box that it labelled, unless they are what is in the box."""
    if box is None or picture.is_face:
        return picture.pixels
    image = Image.fromarray(picture.pixels)
    scales = [side / of for side, of in zip(image.size, picture.size, strict=True)] * 2
    corners = [round(value * scale) for value, scale in zip(box, scales, strict=True)]
    right, bottom = (min(corner, side - 1) for corner, side in zip(corners[2:], image.size, strict=True))
    ImageDraw.Draw(image).rectangle((*corners[:2], right, bottom), outline=BOX_COLOUR)
    return np.asarray(image)


def _explain(predictor: Predictor, decisions: Sequence[Decision]) -> dict[int, np.ndarray]:
    """Return the saliency map `(100, 80)` of each of the first pictures with a label, by its position."""
    known = [(row, decision) for row, decision in enumerate(decisions) if decision.record.label and decision.picture]
    rows = [row for row, _ in known[:MAX_EXPLAINED]]
    if not rows:
        return {}
    targets = [predictor.info.classes.index(str(decisions[row].record.label)) for row in rows]
    pictures = np.stack([decisions[row].picture.pixels for row in rows])  # type: ignore[union-attr] # asked above
    return dict(zip(rows, saliency_maps(predictor, pictures, np.array(targets, np.int64))))
