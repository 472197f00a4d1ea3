"""The journal of a folder that files are sorted into: what was put where, and from which input.

A line is on the disk before its file is put in its place. Whatever ends a run, the next one knows what it finds.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from gender_recognizer.labelling.result_files import to_json
from gender_recognizer.pictures.writing import lock

HIDDEN = ".gender_recognizer"
"""The folder, in the one that files are sorted into, with the journal; hidden ones are never searched for pictures."""


@dataclass(frozen=True)
class Placed:
    """A file that was put, or was about to be put, into its place.

    Attributes:
        input: `Inputs.place` of the run.
        file: its name in the results of the run.
        place: relative to the folder that it was sorted into, with `/`.
        way: `copy`, `link` or `move`.
        size: its length in bytes.
        modified: time of its last change in ns since 1970.
    """

    input: str
    file: str
    place: str
    way: str
    size: int
    modified: int


class Journal:
    """What was sorted into a folder; enter it to add to it, which one run may do at a time.

    Attributes:
        folder: absolute.
    """

    def __init__(self, folder: Path) -> None:
        """Read what there is.

        Raises:
            ValueError: there is a file in place of the folder.
        """
        self.folder = folder.absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"sort_into '{folder}' is a file; give a folder")
        self._path = self.folder / HIDDEN / "sorted.jsonl"
        self._entries: dict[tuple[str, str], Placed] = {}
        self._read()

    def _read(self) -> None:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            for entry in map(_parse, file):
                if entry:
                    self._entries[entry.input, entry.file] = entry

    def __enter__(self) -> Self:
        """Open the journal for adding to it.

        Raises:
            ValueError: it cannot be written, or another run uses it.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self._path.open("ab")
        except OSError as error:
            raise ValueError(f"sort_into '{self.folder}' cannot be written: {error.strerror}") from None
        if not lock(self._file):
            raise ValueError(f"sort_into '{self.folder}' is in use by another run; wait, or choose another folder")
        if self._file.tell() and not self._path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # a run was killed within a line
        self._read()
        self.partial.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def partial(self) -> Path:
        """Where a file is copied before it takes its place."""
        return self._path.with_name("partial")

    def find(self, input: str, file: str) -> Placed | None:
        """Return what was written last about a file of an input."""
        return self._entries.get((input, file))

    def __iter__(self) -> Iterator[Placed]:
        """Yield what was written last about each file."""
        return iter(self._entries.values())

    def add(self, entries: Iterable[Placed]) -> None:
        """Write entries to the disk."""
        for entry in entries:
            self._entries[entry.input, entry.file] = entry
            self._file.write(to_json(asdict(entry)).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _parse(line: bytes) -> Placed | None:
    """Return the entry in a line; None if it is damaged, or names a place outside of the folder."""
    try:
        entry = Placed(**json.loads(line))
        sound = all(isinstance(getattr(entry, name), str) for name in ("input", "file", "place", "way"))
    except (ValueError, TypeError, RecursionError):
        return None
    return entry if sound and not entry.place.startswith("/") and ".." not in entry.place.split("/") else None
