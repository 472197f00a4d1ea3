"""Write copies of pictures with the boxes and labels of their faces drawn on them."""

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from gender_recognizer.labelling.engines import sliding_window
from gender_recognizer.labelling.inputs import Inputs
from gender_recognizer.labelling.places import Places
from gender_recognizer.labelling.records import FAILED, LABELLED, UNSURE, Limits, Record
from gender_recognizer.labelling.summary import SHOWN
from gender_recognizer.labelling.thumbnails import open_photograph
from gender_recognizer.models.predictor import available_cores
from gender_recognizer.pictures.names import printable
from gender_recognizer.pictures.writing import replacing

MARK = b"drawn by gender_recognizer"
"""The comment in each copy: only files with it are replaced."""

COLOURS = ("#e8590c", "#1971c2", "#2f9e44", "#9c36b5", "#c2255c", "#0b7285")
"""Of the boxes of each class, in turn."""

OTHER = "#495057"
"""Of boxes without a sure label."""


class Annotating:
    """Draws the results of a run.

    Attributes:
        folder: where the copies go.
        done: how many were written.
        left: files without a copy, and why.
    """

    def __init__(self, folder: Path, inputs: Inputs, limits: Limits) -> None:
        """Take the folder.

        Raises:
            ValueError: it is a file, or lies in an input, where the next run would label the copies.
        """
        self.folder, self._limits = folder.absolute(), limits
        self.done = 0
        self.left: list[tuple[str, str]] = []
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"annotate '{folder}' is a file; give a folder")
        for other in inputs.folders:
            if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(other)):
                raise ValueError(f"annotate '{folder}' lies in input_dir '{other}'; give a folder outside of it")

    def write(self, groups: Iterable[list[Record]], places: Places, classes: list[str]) -> None:
        """Write a copy of every picture that was read.

        Args:
            groups: the records, those of one file together.
            places: where the files are.
            classes: names of the classes, in the order of the model.

        Raises:
            OSError: a copy cannot be written.
        """
        read = (group for group in groups if group[0].status != FAILED)
        with ThreadPoolExecutor(available_cores()) as pool:
            tasks = sliding_window(
                read, lambda group: pool.submit(self._write_one, group, places, classes), 2 * available_cores()
            )
            for file, why in tqdm(tasks, "drawing", unit="img", disable=sys.stderr is None or None):
                if why:
                    self.left.append((file, why))
                self.done += not why

    def _write_one(self, records: list[Record], places: Places, classes: list[str]) -> tuple[str, str | None]:
        """Write one copy; return the file's name and, if there is none, why."""
        file = records[0].photo
        target = self.folder / as_jpeg(places.original(file))
        if os.path.lexists(target) and not _is_ours(target):
            return file, f"'{target}' is another file"
        try:
            image = open_photograph(places.locate(file), self._limits).image
        except (OSError, ValueError, MemoryError) as error:
            return file, str(error)
        annotate(image, records, classes)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as stream:
            image.save(stream, "JPEG", quality=90, comment=MARK)
        return file, None

    def lines(self) -> Iterator[str]:
        """Yield what was done, in sentences."""
        for file, why in self.left[:SHOWN]:
            yield f"not drawn: {file!r}: {why}"
        if len(self.left) > SHOWN:
            yield f"... and {len(self.left) - SHOWN} more"
        yield f"drew boxes and labels on {self.done} copies of pictures: {self.folder}"


def annotate(image: Image.Image, records: list[Record], classes: list[str]) -> None:
    """Draw boxes and labels on an upright photograph, RGB, at its own size."""
    draw = ImageDraw.Draw(image)
    line = max(2, round(min(image.size) / 200))
    font = ImageFont.load_default(max(11, round(min(image.size) / 28)))
    for record in records:
        sure = record.status == LABELLED and record.label in classes
        colour = COLOURS[classes.index(str(record.label)) % len(COLOURS)] if sure else OTHER
        left, top, right, bottom = record.box or (0, 0, *image.size)
        if record.box:
            draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
        _write_text(draw, (left, top), caption(record), colour, font)


def caption(record: Record) -> str:
    """Return what is written beside a box."""
    if record.status not in (LABELLED, UNSURE) or record.label is None or record.probability is None:
        return record.status.replace("_", " ")
    return f"{'perhaps ' if record.status == UNSURE else ''}{printable(record.label)} {100 * record.probability:.0f} %"


def _write_text(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write white text on a bar above a corner, or below it where there is no room, inside of the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 8, bottom - top + 6
    room = draw.im.size
    x = max(0, min(corner[0], room[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    y = max(0, min(y, room[1] - height))
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    draw.text((x + 4 - left, y + 3 - top), text, fill="white", font=font)


def as_jpeg(name: str) -> str:
    """Return the name of a copy: that of the picture, which gets `.jpg` unless it has it."""
    return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"


def _is_ours(path: Path) -> bool:
    """Say whether a file is a copy that was drawn before."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK in file.read(1000)
