"""The log of a labelling run, from which the next run goes on.

`NAME.jsonl` is the log of finished work. Its first line, the head, says with which model, loader and limits; each
further line is a record, and those of one file follow each other. It grows while the work proceeds, so that whatever
ends a run, the next one needs to do only what is missing. `NAME.json` and `NAME.csv` are
made from it at the end.
"""

import json
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gender_recognizer.labelling.labeller import FAILED, LABELLED, UNSURE, Limits, Record
from gender_recognizer.labelling.result_files import ResultWriters, Summary, from_json, to_json, without_none
from gender_recognizer.pictures.listing import File


def record_key(file: str, size: int | None, modified: int | None) -> int:
    """Return 64 bits that differ for any other name, length or time of change of a file."""
    text = f"{file}\0{size}\0{modified}".encode(errors="surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def _place(record: Record) -> tuple[str, int]:
    """Return what the records of a finished log are sorted by."""
    return record.photo, record.face or 0


class ResultLog:
    """The log of one labelling run and the files made from it.

    Attributes:
        path: of the JSON file; the others lie beside it.
        resumed: number of files whose records of an earlier run are kept as long as they have not changed.
        problem: why the records of an earlier run are not used; None if there were none or they are used.
    """

    def __init__(self, path: Path, head: dict[str, Any], limits: Limits, resume: bool = True) -> None:
        """Open the log, keeping an earlier run's records if its head is the same.

        Args:
            path: of the JSON file.
            head: what makes records comparable: input, model, loader, limits.
            limits: decide between `labelled` and `unsure`, also for records of an earlier run.
            resume: False to start over.

        Raises:
            ValueError: the log cannot be written, is used by another run, or is not a log of ours.
        """
        self.path, self.log_path, self.limits = path, path.with_suffix(".jsonl"), limits
        self.head = json.loads(json.dumps(head))
        self.resumed, self.problem = 0, None
        self._found = array("Q")
        self._skipped = 0
        self._last, self._tidy = ("", 0), True
        try:
            self.log_path.open("ab").close()
            self._file = self.log_path.open("r+b")
            if not _lock(self._file):
                raise ValueError(f"'{self.log_path}' is in use by another run; wait, or choose another output_path")
            self._refuse_other_files()
            self._partial(path).open("wb").close()
            self._partial(path).unlink()
        except OSError as error:
            raise ValueError(f"output_path '{path.absolute()}' cannot be written: {error.strerror}") from None
        self._done = self._read_earlier() if resume else _sorted(array("Q"))
        if not self.resumed:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(to_json(self.head).encode() + b"\n")
            self._file.flush()

    def _refuse_other_files(self) -> None:
        """Keep a file safe that bears the log's name and is none."""
        start = self._file.read(32)
        self._file.seek(0)
        if start and not start.startswith((b'{"gender_recognizer"', b'{"file"')):
            raise ValueError(f"'{self.log_path}' is not a log of gender_recognizer; choose another output_path")

    def _read_earlier(self) -> np.ndarray:
        """Return the sorted keys of the earlier run's files, and cut off one whose records were not finished."""
        keys, end, offset = array("Q"), 0, 0
        for number, line in enumerate(self._file):
            offset += len(line)
            value = from_json(line)
            if number == 0:
                self.problem = self._differs(value)
                if self.problem:
                    break
            elif value is None:
                break
            else:
                record = Record(**value)
                self._tidy &= _place(record) > self._last and self._decided(record) == record
                self._last = _place(record)
                if not record.is_last:
                    continue
                if record.status != FAILED:  # those are tried again
                    keys.append(record_key(record.photo, record.size, record.modified))
                self.resumed += 1
            end = offset
        self._file.seek(end)
        self._file.truncate()
        return _sorted(keys)

    def _differs(self, head: Any) -> str | None:
        if not isinstance(head, dict):
            return "cut off at its first line"
        changed = [name for name in self.head if head.get(name) != self.head[name]]
        return f"made with another {', '.join(changed)}" if changed else None

    def __len__(self) -> int:
        """Return how many files were reached in this run."""
        return len(self._found)

    def skip_done(self, files: Iterable[File]) -> Iterator[File]:
        """Yield the files that the earlier run did not do, or that have changed since."""
        for file in files:
            if self.resumed and (key := self._done_key(file)) is not None:
                self._found.append(key)
                self._skipped += 1
            else:
                yield file

    def _done_key(self, file: File) -> int | None:
        """Return the key of a file that was done before and has not changed since, else None."""
        size, modified = file.size, file.modified
        if size is None and not file.problem:
            try:
                status = os.stat(file.path)
            except OSError:
                return None
            size, modified = status.st_size, status.st_mtime_ns
        key = record_key(file.name, size, modified)
        return key if _contains(self._done, key) else None

    def add(self, records: Iterable[Record]) -> None:
        """Append records to the log; those of one file come together, in their order."""
        lines = []
        for record in records:
            if record.is_last:
                self._found.append(record_key(record.photo, record.size, record.modified))
            self._tidy &= _place(record) > self._last
            self._last = _place(record)
            lines.append(to_json(without_none(record)))
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()

    def finish(self, formats: Iterable[str] = ("json", "jsonl"), complete: bool = True) -> Summary:
        """Write the result files and close the log.

        Args:
            formats: of `json`, `jsonl`, `csv`, those to be left.
            complete: False if the work was interrupted; then records of files that were not reached are kept.
        """
        if not self._tidy or (complete and self._skipped < self.resumed):
            self._put_in_order(complete)
        os.fsync(self._file.fileno())
        summary = Summary()
        with ResultWriters(self.path, set(formats) & {"json", "csv"}) as writers:
            for record in self._records():
                writers.write(record)
                summary.add(record)
        self._file.close()
        if complete and "jsonl" not in formats:
            self.log_path.unlink()
        return summary

    def _put_in_order(self, complete: bool) -> None:
        """Rewrite the log with the last records of each file, sorted; without files that are gone, if complete."""
        found = _sorted(self._found)
        offsets: dict[str, int] = {}
        self._file.seek(0)
        offset = len(self._file.readline())
        for line in self._file:
            record = Record(**from_json(line))
            key = record_key(record.photo, record.size, record.modified)
            if not record.face and (not complete or _contains(found, key)):
                offsets[record.photo] = offset
            offset += len(line)
        partial = self._partial(self.log_path)
        with partial.open("wb") as file:
            file.write(to_json(self.head).encode() + b"\n")
            for name in sorted(offsets):
                self._file.seek(offsets[name])
                for record in self._records_of_a_file():
                    file.write(to_json(without_none(self._decided(record))).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._file.close()
        os.replace(partial, self.log_path)
        self._file = self.log_path.open("r+b")

    def _records_of_a_file(self) -> Iterator[Record]:
        """Yield the records of the file whose first one comes next in the log."""
        last = False
        while not last:
            record = Record(**from_json(self._file.readline()))
            last = record.is_last
            yield record

    def _records(self) -> Iterator[Record]:
        self._file.seek(0)
        self._file.readline()
        for line in self._file:
            yield Record(**from_json(line))

    def _decided(self, record: Record) -> Record:
        """Return the record with the status that its probability has under the present limits."""
        if record.status not in (LABELLED, UNSURE):
            return record
        return replace(record, status=self.limits.status(record.probability))

    @staticmethod
    def _partial(path: Path) -> Path:
        return path.with_name(path.name + ".partial")


def _lock(file: BinaryIO) -> bool:
    """Keep other runs from this log until it is closed; says whether that succeeded."""
    try:
        import fcntl
    except ImportError:  # not on Windows, which does not let two programs write one file
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _sorted(keys: array) -> np.ndarray:
    """Return keys as a sorted uint64 array; a million of them take 8 MB, in a set they would take 90."""
    return np.sort(np.frombuffer(keys, np.uint64)) if keys else np.empty(0, np.uint64)


def _contains(keys: np.ndarray, key: int) -> bool:
    row = int(np.searchsorted(keys, np.uint64(key)))
    return row < len(keys) and int(keys[row]) == key
