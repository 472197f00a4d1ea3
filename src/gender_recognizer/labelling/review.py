"""A page beside the results to look at the labels and to correct them, without a server or a network.

Names come from anybody's files: the page gets them as data, never as HTML, and its policy allows no script, style or
address but its own. Its sheets of thumbnails bear a name of their own for each writing, so that a page that was open
or half written never shows a picture beside another one's label.
"""

import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from gender_recognizer.labelling.engines import batched, sliding_window
from gender_recognizer.labelling.places import Places
from gender_recognizer.labelling.records import FAILED, LABELLED, STATUSES, Limits, Record
from gender_recognizer.labelling.result_files import to_json
from gender_recognizer.labelling.thumbnails import CELL, PER_ROW, PER_SHEET, Thumbnail, make_thumbnail, write_sheet
from gender_recognizer.models.predictor import available_cores
from gender_recognizer.pictures.names import printable
from gender_recognizer.pictures.writing import replacing

MOST = 50_000
"""Records that a page shows, the least sure ones."""

MARK = b'data-made-by="gender_recognizer review"'
"""What the beginning of a page says."""

SHEET = re.compile(r"[0-9a-f]{12}-\d{4,}\.jpg")
"""The names of sheets: of the page that they belong to, and a number."""

NEXT = "python scripts/prepare_data.py dataset=corrections source=corrections.csv"


class Review:
    """The page about one run.

    Attributes:
        path: of the page.
    """

    def __init__(self, output_path: Path, limits: Limits) -> None:
        """Take the path of the JSON file, beside which the page lies.

        Raises:
            ValueError: there is another page, or other files where the thumbnails go.
        """
        self.path, self._limits = output_path.with_suffix(".html"), limits
        self._folder = output_path.with_name(f"{output_path.stem}_thumbnails")
        if os.path.lexists(self.path) and not _is_ours(self.path):
            raise ValueError(f"'{self.path}' exists and is not a page of gender_recognizer; choose another output_path")
        if os.path.lexists(self._folder) and not all(map(SHEET.fullmatch, _names(self._folder))):
            raise ValueError(f"'{self._folder}' holds other files than thumbnails; choose another output_path")

    def write(self, records: Iterable[Record], places: Places, classes: Sequence[str], model: str) -> str:
        """Write the page and its thumbnails, and return what to tell of it.

        Args:
            records: of the run.
            places: where their files are.
            classes: names of the classes, in the order of the model.
            model: its name.

        Raises:
            OSError: something cannot be written.
        """
        found = sorted(records, key=lambda record: (record.probability or 0, record.file))
        groups = group_records(found[:MOST], classes)
        ordered = [record for group in groups.values() for record in group]
        sheets = os.urandom(6).hex()
        self._folder.mkdir(exist_ok=True)
        thumbnails = iter(self._write_sheets(ordered, places, sheets))
        rows = [_row(record, next(thumbnails), cell, classes, places) for cell, record in enumerate(ordered)]
        left = iter(rows)
        data = {
            "about": _about(len(found), len(rows), places.base, model),
            "next": f"{NEXT}, which prints the command that trains with them.",
            "key": places.key,
            "folder": _writable(places.base),
            "address": _address(os.path.relpath(places.base, self.path.parent)),
            "sheets": _address(self._folder.name) + sheets + "-",
            "cell": CELL,
            "perRow": PER_ROW,
            "perSheet": PER_SHEET,
            "classes": list(classes),
            "statuses": [status.replace("_", " ") for status in STATUSES],
            "groups": [{"name": name, "rows": [next(left) for _ in group]} for name, group in groups.items()],
        }
        with replacing(self.path, "w", encoding="utf-8", newline="\n") as file:
            file.write(render(data))
        self._remove_sheets(sheets)
        more = f", of which it shows the {MOST:,} least sure" if len(found) > MOST else ""
        return f"to look at the labels and correct them{more}, open {self.path}"

    def _write_sheets(self, records: list[Record], places: Places, sheets: str) -> list[Thumbnail | None]:
        """Write the thumbnails, and return them without their pixels; None where there is none."""
        found: list[Thumbnail | None] = []
        with ThreadPoolExecutor(available_cores()) as pool:
            window = sliding_window(records, lambda one: pool.submit(self._make, one, places), 4 * available_cores())
            made = tqdm(window, "thumbnails", len(records), unit="img", disable=sys.stderr is None or None)
            for number, some in enumerate(batched(made, PER_SHEET)):
                write_sheet([one and one.image for one in some], self._folder / f"{sheets}-{number:04}.jpg")
                found += [one and one._replace(image=None) for one in some]
        return found

    def _make(self, record: Record, places: Places) -> Thumbnail | None:
        """Return the thumbnail of a record; a file that failed is not opened again."""
        if record.status == FAILED:
            return None
        try:
            return make_thumbnail(places.locate(record.photo), record.box, self._limits)
        except (OSError, ValueError, MemoryError):  # changed, or gone, since it was labelled
            return None

    def _remove_sheets(self, kept: str) -> None:
        """Remove the sheets of earlier pages."""
        for name in _names(self._folder):
            if SHEET.fullmatch(name) and not name.startswith(kept):
                (self._folder / name).unlink(missing_ok=True)


def group_records(records: Iterable[Record], classes: Sequence[str]) -> dict[str, list[Record]]:
    """Return records by label or, without a sure one, by status, in their order; groups that have any."""
    groups: dict[str, list[Record]] = {name: [] for name in [*classes, *(_words(status) for status in STATUSES)]}
    for record in records:
        sure = record.status == LABELLED and record.label is not None
        groups.setdefault(str(record.label) if sure else _words(record.status), []).append(record)
    return {name: group for name, group in groups.items() if group}


def render(data: dict[str, Any]) -> str:
    """Return the page with these data."""
    templates = files("gender_recognizer") / "templates"
    page, style, script = ((templates / f"review.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    content = to_json(data).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    values = {
        "STYLE_HASH": _hash(style),
        "SCRIPT_HASH": _hash(script),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": content,
    }
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], page)


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _row(record: Record, thumbnail: Thumbnail | None, cell: int, classes: Sequence[str], places: Places) -> list[Any]:
    """Return a record as the page's script takes it, in the order of the names at its beginning."""
    shown, path = printable(record.file), _writable(places.relative(record.photo))
    return [
        shown,
        path if path != shown else 0,
        list(classes).index(record.label) if record.label is not None and record.label in classes else -1,
        record.probability,
        STATUSES.index(record.status),
        0 if record.reason is None else printable(record.reason),
        cell if thumbnail else -1,
        thumbnail.box if thumbnail else None,
        thumbnail.size if thumbnail else None,
        record.face,
        record.box,
        record.file,
    ]


def _about(found: int, shown: int, base: str, model: str) -> str:
    """Return the line at the top of the page."""
    less = f" (here are the {shown:,} least sure)" if shown < found else ""
    return f"{found:,} results{less} of {printable(base)}, labelled by {printable(model)}"


def _words(status: str) -> str:
    return status.replace("_", " ")


def _writable(name: str) -> str:
    r"""Return a name as text that a file in UTF-8 can hold; bytes that are not UTF-8 become `\udcXX`."""
    return name.encode("utf-8", "backslashreplace").decode()


def _address(folder: str) -> str:
    """Return the relative address of a folder, with a `/` at its end."""
    return "".join(quote(os.fsencode(part)) + "/" for part in Path(folder).parts)


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else ["not a folder"]


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return not path.exists()  # a link to nothing
    with path.open("rb") as file:
        return MARK in file.read(300)
