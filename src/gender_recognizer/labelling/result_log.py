"""The log of a labelling run, from which the next run continues.

`NAME.jsonl` is the log of finished work. Its first line, the head, records the model, the loader and the limits; each
further line is a record, and those of one file follow each other. It grows while the work proceeds: whatever ends a
run, the next one does only what is missing. `NAME.json` and `NAME.csv` are made from it at the end.
"""

import json
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from gender_recognizer.labelling.log_lines import is_log, parse_line, read_groups
from gender_recognizer.labelling.records import LABELLED, UNSURE, Limits, Record
from gender_recognizer.labelling.result_files import ResultFiles, to_json, without_none
from gender_recognizer.labelling.summary import Summary
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.writing import lock, partial_path, replacing

SORTED_INTO = "sorted_into"
"""The name, in the head, of the list of folders that files were sorted into. It does not change what records say."""


def record_key(file: str, size: int | None, modified: int | None) -> int:
    """Return 64 bits that change with the name, length or modification time of a file."""
    text = f"{file}\0{size}\0{modified}".encode(errors="surrogateescape")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def _key(record: Record) -> int:
    return record_key(record.photo, record.size, record.modified)


def _place(record: Record) -> tuple[str, int]:
    """Return the sort key of the records of a finished log."""
    return record.photo, record.face or 0


class ResultLog:
    """The log of one labelling run and the files made from it.

    Attributes:
        path: of the JSON file; the others lie beside it.
        resumed: number of files whose records of an earlier run are kept as long as they have not changed.
        damaged: number of lines of the earlier run that were not records and have been dropped.
        problem: why the records of an earlier run are not used; None if there were none or they are used.
    """

    def __init__(self, path: Path, head: dict[str, Any], limits: Limits, resume: bool = True) -> None:
        """Open the log, keeping an earlier run's records if its head is the same.

        Args:
            path: of the JSON file.
            head: what makes records comparable: input, model, loader, limits.
            limits: these decide between `labelled` and `unsure`, also for records of an earlier run.
            resume: False to start over.

        Raises:
            ValueError: the log cannot be written, is used by another run, or the file was not written by labelling.
        """
        self.path, self.log_path, self.limits = path, path.with_suffix(".jsonl"), limits
        self.head = json.loads(json.dumps(head))
        self.resumed, self.damaged = 0, 0
        self.problem: str | None = None
        self._found = array("Q")
        self._skipped = 0
        self._last, self._tidy = ("", 0), True
        try:
            self._file = self._open()
            partial_path(path).open("ab").close()  # fails if the folder cannot be written to
            partial_path(path).unlink()
            self._done = self._read_earlier() if resume else _sorted(array("Q"))
        except OSError as error:
            raise ValueError(f"output_path '{path.absolute()}' cannot be written: {error.strerror}") from None
        if not self.resumed:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(_line(self.head))
            self._file.flush()

    def _open(self) -> BinaryIO:
        """Return the file of the log, which no other run may use until it is closed."""
        self.log_path.open("ab").close()
        file = self.log_path.open("r+b")
        if not lock(file):
            raise ValueError(f"'{self.log_path}' is in use by another run; wait, or choose another output_path")
        if not is_log(file):
            raise ValueError(f"'{self.log_path}' is not a log of gender_recognizer; choose another output_path")
        return file

    def _read_earlier(self) -> np.ndarray:
        """Return the sorted keys of the earlier run's files, and drop lines that are damaged or were not finished."""
        first = self._file.readline()
        self.problem = self._differs(parse_line(first)) if first else None
        if not first or self.problem:
            return _sorted(array("Q"))
        keys, end = array("Q"), len(first)
        for group in read_groups(self._file):
            if group is None:
                self.damaged += 1
                continue
            for record in group.records:
                self._tidy &= _place(record) > self._last and self._decided(record) == record
                self._last = _place(record)
            if not group.failed:  # those are tried again
                keys.append(_key(group.records[-1]))
            self.resumed += 1
            end = group.end
        self._file.seek(end)
        self._file.truncate()
        if self.damaged:
            self._rewrite(None)
            self._file.seek(0, os.SEEK_END)
        return _sorted(keys)

    def _differs(self, head: Any) -> str | None:
        if not isinstance(head, dict):
            return "damaged in its first line"
        changed = [name for name in self.head if name != SORTED_INTO and head.get(name) != self.head[name]]
        self._tidy &= head.get(SORTED_INTO) == self.head.get(SORTED_INTO)
        return f"made with a different {', '.join(changed)}" if changed else None

    def __len__(self) -> int:
        """Return how many files were reached in this run."""
        return len(self._found)

    def skip_done(self, files: Iterable[File]) -> Iterator[File]:
        """Yield the files that the earlier run did not finish, or that have changed since."""
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
                self._found.append(_key(record))
            self._tidy &= _place(record) > self._last
            self._last = _place(record)
            lines.append(_line(without_none(record)))
        self._file.write(b"".join(lines))
        self._file.flush()

    def finish(self, formats: Iterable[str] = ("json", "jsonl"), complete: bool = True) -> Summary:
        """Write the result files and close the log.

        Args:
            formats: those to keep, of `json`, `jsonl`, `csv`.
            complete: False if the work was interrupted; then records of files that were not reached are kept.
        """
        if not self._tidy or (complete and self._skipped < self.resumed):
            self._rewrite(_sorted(self._found) if complete else None)
        os.fsync(self._file.fileno())
        summary = Summary()
        with ResultFiles(self.path, formats) as files:
            self._file.seek(0)
            self._file.readline()
            for group in read_groups(self._file):
                for record in group.records if group else ():
                    files.write(record)
                    summary.add(record)
        self._file.close()
        if complete and "jsonl" not in formats:
            self.log_path.unlink()
        return summary

    def _rewrite(self, wanted: np.ndarray | None) -> None:
        """Rewrite the log with the last records of each file, sorted.

        Args:
            wanted: sorted keys of the files to be kept; None for all.
        """
        offsets: dict[str, int] = {}
        self._file.seek(0)
        self._file.readline()
        for group in read_groups(self._file):
            if group and (wanted is None or _contains(wanted, _key(group.records[-1]))):
                offsets[group.file] = group.start
        with replacing(self.log_path) as file:
            file.write(_line(self.head))
            for name in sorted(offsets):
                self._copy_group(offsets[name], file)
            self._file.close()
        self._file = self._open()

    def _copy_group(self, start: int, target: IO[bytes]) -> None:
        """Write the records of the file that begin at `start` to another log, decided by the present limits."""
        self._file.seek(start)
        group = next(read_groups(self._file))
        assert group is not None  # it was read before
        target.writelines(_line(without_none(self._decided(record))) for record in group.records)

    def _decided(self, record: Record) -> Record:
        """Return the record with its status under the present limits."""
        if record.status not in (LABELLED, UNSURE):
            return record
        assert record.probability is not None
        return replace(record, status=self.limits.status(record.probability))


def _line(value: dict[str, Any]) -> bytes:
    return to_json(value).encode() + b"\n"


def _sorted(keys: array) -> np.ndarray:
    """Return keys as a sorted uint64 array; a million of them take 8 MB, in a set they would take 90."""
    return np.sort(np.frombuffer(keys, np.uint64)) if keys else np.empty(0, np.uint64)


def _contains(keys: np.ndarray, key: int) -> bool:
    row = int(np.searchsorted(keys, np.uint64(key)))
    return row < len(keys) and int(keys[row]) == key
