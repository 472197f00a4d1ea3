"""Read the lines of a log: only sound records, whatever a power loss or an editor has done to the file."""

import json
import math
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from gender_recognizer.labelling.records import COLUMNS, FAILED, LABELLED, STATUSES, UNSURE, Record
from gender_recognizer.labelling.result_files import LOG_START


class Group(NamedTuple):
    """The consecutive records of one file in a log.

    Attributes:
        start: where the first one begins, in bytes.
        end: where the last one ends.
        records: one, or one for each face.
    """

    start: int
    end: int
    records: list[Record]

    @property
    def file(self) -> str:
        """The file."""
        return self.records[0].photo

    @property
    def failed(self) -> bool:
        """Whether the file has to be tried again."""
        return self.records[-1].status == FAILED


def read_groups(file: BinaryIO) -> Iterator[Group | None]:
    """Yield the records of each file in a log, from its position, the beginning of a line, to its end.

    Yields:
        None for each line that is not a record, and for the records of a photograph that lacks some of its faces. An
        incomplete last line, as a killed run leaves it, is skipped.
    """
    start = end = file.tell()
    group: list[Record] = []
    for line in file:
        end += len(line)
        record = parse_record(line)
        if group and (record is None or not _follows(record, group)):
            yield None  # faces are missing
            group, start = [], end - len(line)
        if record is None or (not group and record.face):
            if line.endswith(b"\n"):
                yield None
            start = end
            continue
        group.append(record)
        if record.is_last:
            yield Group(start, end, group)
            group, start = [], end


def _follows(record: Record, group: list[Record]) -> bool:
    first = group[0]
    return record.face == len(group) and (record.photo, record.faces) == (first.photo, first.faces)


def parse_line(line: bytes) -> Any:
    """Return the JSON value of a line, or None if it is not one or was cut off."""
    try:
        return json.loads(line.decode()) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None


def parse_record(line: bytes) -> Record | None:
    """Return the record in a line, or None if it is not one that labelling writes."""
    value = parse_line(line)
    if not isinstance(value, dict) or not value.keys() <= _COLUMNS or not isinstance(value.get("file"), str):
        return None
    record = Record(**value)
    return record if _is_sound(record) else None


_COLUMNS = frozenset(COLUMNS)
_NUMBERS = ("pages", "size", "modified", "face", "faces")


def _is_sound(record: Record) -> bool:
    """Return whether the fields of a record have their types and fit each other."""
    labelled = record.status in (LABELLED, UNSURE)
    if record.status not in STATUSES or labelled != isinstance(record.label, str):
        return False
    if labelled != (type(record.probability) in (float, int)) or (labelled and not _is_share(record.probability)):
        return False
    numbers = [getattr(record, name) for name in _NUMBERS]
    if not all(number is None or (type(number) is int and number >= 0) for number in numbers[:-3] + numbers[-2:]):
        return False
    return type(record.modified) in (int, type(None)) and _is_face(record)


def _is_share(probability: float | None) -> bool:
    return probability is not None and math.isfinite(probability) and 0 <= probability <= 1


def _is_face(record: Record) -> bool:
    """Return whether a record is not about a face, or about one of the faces of its photograph."""
    if record.face is None:
        return True
    return record.faces is not None and record.face < record.faces and record.file.endswith(f"#{record.face}")


def is_log(file: BinaryIO) -> bool:
    """Return whether a file is a log, or was one before it was damaged; rewinds the file.

    It is one if it begins like one (if shorter, as far as it goes) or with the zeros that a power loss leaves, or has a
    line with a record.
    """
    file.seek(0)
    start = file.read(len(LOG_START))
    file.seek(0)
    ours = LOG_START.startswith(start) or start == bytes(len(start)) or any(parse_record(line) for line in file)
    file.seek(0)
    return ours
