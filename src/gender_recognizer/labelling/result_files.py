"""Write the results beside the log: the flat `NAME.json`, `NAME.csv`, and the other formats of `WRITERS`."""

import csv
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Protocol

from gender_recognizer.labelling.records import COLUMNS, LABELLED, UNSURE, Record
from gender_recognizer.pictures.writing import replacing

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # json.dumps makes an encoder for each call


class Writer(Protocol):
    """Writes one result file."""

    def __init__(self, file: IO[str]) -> None:
        """Begin the file."""
        ...

    def write(self, record: Record) -> None:
        """Add a record; records come in the order of their files."""
        ...

    def finish(self) -> None:
        """End the file."""
        ...

    @staticmethod
    def wrote(lines: Iterator[str], labels: Collection[str] | None) -> bool:
        """Return whether a file of these lines was written by this writer, so that it may be replaced.

        Args:
            lines: of the file, with their ends.
            labels: that it may hold; None for any.
        """
        ...


class LabelWriter:
    """The flat JSON: `{"img_1.jpg": "male", ...}`."""

    def __init__(self, file: IO[str]) -> None:
        """Take the file."""
        self._file, self._separator = file, "{\n  "

    def write(self, record: Record) -> None:
        """Add the label of a record that has one."""
        if record.status in (LABELLED, UNSURE):
            label = record.label if record.status == LABELLED else UNSURE
            self._file.write(f"{self._separator}{to_json(record.file)}: {to_json(label)}")
            self._separator = ",\n  "

    def finish(self) -> None:
        """Close the object."""
        self._file.write("{}\n" if self._separator.startswith("{") else "\n}\n")

    @staticmethod
    def wrote(lines: Iterator[str], labels: Collection[str] | None) -> bool:
        """Return whether the lines are names with such labels, laid out as this writer does."""
        first = next(lines, "")
        if first in ("{}\n", "{\n"):
            for line in lines:
                if line == "}\n":
                    break
                label = _label_in(line)
                if label is None or not (labels is None or label in labels):
                    return False
        return first in ("{}\n", "{\n") and next(lines, None) is None


class TableWriter:
    """The CSV: a column for each field of a record."""

    def __init__(self, file: IO[str]) -> None:
        """Write the names of the columns."""
        self._table = csv.writer(file)
        self._table.writerow(COLUMNS)

    def write(self, record: Record) -> None:
        """Add the row of a record."""
        self._table.writerow(harmless(getattr(record, name)) for name in COLUMNS)

    def finish(self) -> None:
        """Do nothing more."""

    @staticmethod
    def wrote(lines: Iterator[str], labels: Collection[str] | None) -> bool:
        """Say whether the first line names columns of records, also as an earlier version did.

        It had fewer, and called `pages` `frames`. A column that somebody added makes a table of theirs.
        """
        names = ["pages" if name == "frames" else name for name in next(lines, "").rstrip("\r\n").split(",")]
        return names[:4] == list(COLUMNS[:4]) and names == [name for name in COLUMNS if name in names]


WRITERS: dict[str, type[Writer]] = {"json": LabelWriter, "csv": TableWriter}
"""The writer of each format; its file ends with the format's name."""

FORMATS = ("json", "jsonl", *(name for name in WRITERS if name != "json"))
"""What `formats` may name; `jsonl` is the log."""

LOG_START = b'{"gender_recognizer"'
"""How a log begins."""

MAX_LINE = 100_000
"""Characters that are read of a line to recognise a file; a picture may be one long line."""


class ResultFiles:
    """The files of some formats; each is moved into place when it is complete."""

    def __init__(self, path: Path, formats: Iterable[str]) -> None:
        """Take the path of the JSON file, beside which the others lie, and the formats."""
        self._paths = {name: path.with_suffix(f".{name}") for name in formats if name in WRITERS}
        self._stack = ExitStack()

    def __enter__(self) -> "ResultFiles":
        """Open the files."""
        options = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
        with ExitStack() as stack:
            files = {name: stack.enter_context(replacing(path, "w", **options)) for name, path in self._paths.items()}
            self._stack = stack.pop_all()
        self._writers = [WRITERS[name](file) for name, file in files.items()]
        return self

    def write(self, record: Record) -> None:
        """Add a record; records come in the order of their files."""
        for writer in self._writers:
            writer.write(record)

    def __exit__(self, *error: Any) -> None:
        """Move the files into place, or remove them after an error."""
        if error[0] is None:
            for writer in self._writers:
                writer.finish()
        self._stack.__exit__(*error)


def refuse_other_files(path: Path, formats: Iterable[str], classes: Collection[str]) -> None:
    """Refuse to overwrite files that have the names of result files and are not result files.

    Args:
        path: of the JSON file.
        formats: those that are to be written.
        classes: of the model; where an earlier run's log lies beside a file, it may hold other labels, too.

    Raises:
        ValueError: there is a file of another kind.
        OSError: one cannot be read.
    """
    labels = None if has_log(path) else {*classes, UNSURE}
    for name in formats:
        target = path.with_suffix(f".{name}")
        if name in WRITERS and os.path.lexists(target) and not _is_ours(target, name, labels):
            raise ValueError(f"'{target}' exists and is not a result of gender_recognizer; choose another output_path")


def has_log(path: Path) -> bool:
    """Return whether the log of a run lies beside the path of its JSON file."""
    try:
        with path.with_suffix(".jsonl").open("rb") as file:
            return file.read(len(LOG_START)) == LOG_START
    except OSError:
        return False


def _is_ours(path: Path, name: str, labels: Collection[str] | None) -> bool:
    """Return whether a file was written by a writer, or is empty."""
    if not path.is_file():
        return not path.exists()  # a link to nothing
    if path.stat().st_size == 0:
        return True
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return WRITERS[name].wrote(iter(lambda: file.readline(MAX_LINE), ""), labels)


def _label_in(line: str) -> str | None:
    """Return the label in a line such as `  "a.jpg": "male",`; None if it is not such a line."""
    if not line.startswith('  "'):
        return None
    try:
        values = list(json.loads("{" + line.rstrip("\n").removesuffix(",") + "}").values())
    except ValueError:
        return None
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def harmless(value: Any) -> Any:
    """Return a value that is safe in a spreadsheet: text that would run as a formula gets a leading `'`."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def without_none(record: Record) -> dict[str, Any]:
    """Return the fields of a record that have a value."""
    values = ((name, getattr(record, name)) for name in COLUMNS)
    return {name: value for name, value in values if value is not None}


def to_json(value: Any) -> str:
    r"""Return JSON that is valid UTF-8; bytes of a name that are not UTF-8 become their `\udcXX` escapes."""
    return _encode(value).encode("utf-8", errors="backslashreplace").decode("utf-8")
