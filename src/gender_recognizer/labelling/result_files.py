"""The files that labelling leaves: the flat `NAME.json`, `NAME.csv`, and the lines of `NAME.jsonl`."""

import csv
import json
import os
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from gender_recognizer.labelling.labeller import FAILED, LABELLED, UNSURE, Record

FORMATS = ("json", "jsonl", "csv")
COLUMNS = tuple(field.name for field in fields(Record))

_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make an encoder for each record


class Summary:
    """How many pictures or faces came to what, in how many files, and the first failures."""

    SHOWN = 20

    def __init__(self) -> None:
        """Start at nothing."""
        self.statuses: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.files = 0
        self.failures: list[Record] = []

    def add(self, record: Record) -> None:
        """Count a record."""
        self.statuses[record.status] += 1
        self.files += record.is_last
        if record.status == LABELLED:
            self.labels[record.label] += 1
        if record.status == FAILED and len(self.failures) < self.SHOWN:
            self.failures.append(record)


class ResultWriters:
    """The flat JSON and the CSV, each written to a temporary file that then takes its place."""

    def __init__(self, path: Path, formats: set[str]) -> None:
        """Take the path of the JSON file and which of `json` and `csv` to write."""
        self._paths = {name: path.with_suffix(f".{name}") if name == "csv" else path for name in formats}
        self._files: dict[str, TextIO] = {}

    def __enter__(self) -> "ResultWriters":
        """Open the temporary files."""
        for name, path in self._paths.items():
            partial = path.with_name(path.name + ".partial")
            self._files[name] = partial.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        if csv_file := self._files.get("csv"):
            self._csv = csv.writer(csv_file)
            self._csv.writerow(COLUMNS)
        self._separator = "{\n  "
        return self

    def write(self, record: Record) -> None:
        """Add a record; records come in the order of their files."""
        if (json_file := self._files.get("json")) and record.status in (LABELLED, UNSURE):
            label = record.label if record.status == LABELLED else UNSURE
            json_file.write(f"{self._separator}{to_json(record.file)}: {to_json(label)}")
            self._separator = ",\n  "
        if "csv" in self._files:
            self._csv.writerow(getattr(record, name) for name in COLUMNS)

    def __exit__(self, error: type | None, *_: object) -> None:
        """Move the files into place, or remove them after an error."""
        if (json_file := self._files.get("json")) and not error:
            json_file.write("{}\n" if self._separator.startswith("{") else "\n}\n")
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            if error:
                Path(file.name).unlink()
            else:
                os.replace(file.name, self._paths[name])


def without_none(record: Record) -> dict[str, Any]:
    """Return the fields of a record that have a value."""
    values = ((name, getattr(record, name)) for name in COLUMNS)
    return {name: value for name, value in values if value is not None}


def to_json(value: Any) -> str:
    r"""Return JSON that is valid UTF-8; bytes of a name that are not UTF-8 become their `\udcXX` escapes."""
    return _encode(value).encode("utf-8", errors="backslashreplace").decode("utf-8")


def from_json(line: bytes) -> Any:
    """Return the value of a line, or None if it was cut off."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line.decode())
    except ValueError:
        return None
