"""Pictures that visitors of the page drop: limits, safe names, and temporary folders that do not outlive their use."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from gender_recognizer.pictures.listing import File, Folder, is_picture_name

PREFIX = "gender_recognizer_page_"
MAX_IDLE_SECONDS = 3600
"""After this time without an action a visitor's pictures go, should the browser not have said that it left."""

MAX_NAME_BYTES = 200
"""Longest name that is kept as it is; file systems allow 255 bytes, and some of them go into ` (2)`."""


class Upload(NamedTuple):
    """A file that the server received.

    Attributes:
        name: what the visitor calls it.
        path: where the server has put it.
    """

    name: str
    path: Path


class Refusal(NamedTuple):
    """A file that is not taken, and why."""

    name: str
    reason: str


@dataclass
class Visit:
    """What is here of one visitor: a folder, what was refused last, and when it was used (seconds, monotonic)."""

    folder: Path
    refusals: list[Refusal] = field(default_factory=list)
    used: float = 0.0


class UploadStore:
    """The temporary folders of one server, in a folder that only its user may enter.

    Attributes:
        incoming: where the server puts what it receives.
    """

    def __init__(self, max_files: int = 200, max_file_mb: float = 20, base: Path | None = None) -> None:
        """Make the folder, and remove those of servers that ended without doing so.

        Args:
            max_files: pictures that a visitor may have here at once.
            max_file_mb: largest file, in MB of a million bytes.
            base: where temporary folders go; None for the system's place.
        """
        self.max_files, self.max_file_mb = max_files, max_file_mb
        base = base or Path(tempfile.gettempdir())
        remove_stale(base)
        self._root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        self._lock = FileLock(self._root / "lock")  # held as long as this server runs
        self._lock.acquire()
        self.incoming = self._root / "incoming"
        self.incoming.mkdir()
        self._visits: dict[str, Visit] = {}

    @property
    def max_file_bytes(self) -> int:
        """Return the size of the largest file that is taken."""
        return int(self.max_file_mb * 1_000_000)

    def pictures(self, visitor: str) -> list[File]:
        """Return the pictures of a visitor, listed as `process.py` lists a folder."""
        return list(Folder(self._visit(visitor).folder))

    def refusals(self, visitor: str) -> list[Refusal]:
        """Return what was not taken of the files that a visitor added last."""
        return self._visit(visitor).refusals

    def add(self, visitor: str, uploads: Sequence[Upload]) -> None:
        """Move files into the folder of a visitor; nothing of them stays in `incoming`.

        A name that is taken gets a number. Whatever a name holds, its file lies directly in the visitor's folder.
        """
        visit = self._visit(visitor)
        visit.refusals = []
        count = len(self.pictures(visitor))
        for upload in uploads:
            name = clean_name(upload.name)
            if reason := self._why_not(name, upload.path, count):
                visit.refusals.append(Refusal(name or "no name", reason))
            else:
                shutil.copyfile(upload.path, visit.folder / free_name(visit.folder, name))
                count += 1
        for upload in uploads:  # not before: the server keeps equal files of one name once
            if self._is_incoming(upload.path):
                upload.path.unlink(missing_ok=True)

    def add_copies(self, visitor: str, root: Path, files: Sequence[Path]) -> None:
        """Copy files of this machine below `root`, such as the sample's, keeping their relative paths."""
        visit = self._visit(visitor)
        free = max(0, self.max_files - len(self.pictures(visitor)))
        for file in files[:free]:
            target = visit.folder / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        visit.refusals = [Refusal(file.relative_to(root).as_posix(), self._full) for file in files[free:]]

    def remove(self, visitor: str) -> None:
        """Remove what is here of a visitor."""
        if visit := self._visits.pop(visitor, None):
            shutil.rmtree(visit.folder, ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        self._lock.release()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def _full(self) -> str:
        return f"more than {self.max_files} pictures at once; remove the others first, or use process.py for folders"

    def _visit(self, visitor: str) -> Visit:
        """Return the visit of a visitor, and end those that were forgotten."""
        now = time.monotonic()
        for other, visit in list(self._visits.items()):
            if now - visit.used > MAX_IDLE_SECONDS:
                self.remove(other)
        visit = self._visits.get(visitor)
        if visit is None:
            visit = self._visits[visitor] = Visit(Path(tempfile.mkdtemp(prefix="visit_", dir=self._root)))
        visit.used = now
        return visit

    def _why_not(self, name: str, path: Path, count: int) -> str | None:
        """Return why a file is not taken, or None."""
        if not self._is_incoming(path) or not path.is_file():
            return "it did not arrive; drop it again"
        if not is_picture_name(name):
            return "its name does not end like a picture's, or is hidden; process.py leaves such files out, too"
        if path.stat().st_size > self.max_file_bytes:
            return f"larger than {self.max_file_mb:g} MB"
        return self._full if count >= self.max_files else None

    def _is_incoming(self, path: Path) -> bool:
        """Say whether the server put a file there: where it lies is what the visitor's browser says."""
        return path.resolve().is_relative_to(self.incoming.resolve())


def clean_name(name: str) -> str:
    """Return the last part of a name, without control characters and not too long for a file system."""
    name = re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", name)[-1])
    name = name.encode(errors="replace").decode()
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, ending = os.path.splitext(name)
    ending = ending.encode()[:20]
    return (stem.encode()[: MAX_NAME_BYTES - len(ending)] + ending).decode(errors="ignore")


def free_name(folder: Path, name: str) -> str:
    """Return the name, or with ` (2)` and so on before its ending the first one that is free in a folder."""
    stem, ending = os.path.splitext(name)
    number = 1
    while os.path.lexists(folder / name):
        number += 1
        name = f"{stem} ({number}){ending}"
    return name


def remove_stale(base: Path) -> None:
    """Remove the folders of servers that are not running any more, such as those that were killed."""
    for folder in base.glob(f"{PREFIX}*"):
        if folder.is_symlink() or not (folder / "lock").is_file():
            continue
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(blocking=False)
        except (Timeout, OSError):  # that server runs, or is another user's
            continue
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
