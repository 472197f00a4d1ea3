"""Pictures that visitors of the page drop: limits, safe names, and temporary folders that do not outlive their use.

Why not gradio's own store: it keeps equal files of all visitors once (whoever removes one removes the other's), refuses
a whole drop for one large file, keeps form fields in memory without limit, and leaves the parts of uploads that were
broken off or met a full disk until the server ends; `max_file_size`, `delete_cache` and session state fix none of this.
"""

import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from gender_recognizer.demo.arrivals import Arrivals, Room, why_not_written
from gender_recognizer.demo.settings import DemoSettings
from gender_recognizer.pictures.listing import File, Folder, is_picture_name

PREFIX = "gender_recognizer_page_"
MAX_IDLE_SECONDS = 3600
"""Seconds without an action after which a visitor's pictures are removed if the browser did not report that it left."""

MAX_NAME_BYTES = 200
"""Longest name that is kept as it is; file systems allow 255 bytes, some of which are for ` (2)`."""


class Upload(NamedTuple):
    """A file that the server received.

    Attributes:
        name: the visitor's name for it.
        path: where the server has stored it.
    """

    name: str
    path: Path


class Refusal(NamedTuple):
    """A file that is not accepted, and why."""

    name: str
    reason: str


@dataclass
class Visit:
    """The state of one visitor: a folder, the last refusals, and the time of the last use (seconds, monotonic)."""

    folder: Path
    refusals: list[Refusal] = field(default_factory=list)
    used: float = 0.0


class UploadStore:
    """The temporary folders of one server, in a folder that only its user may enter.

    A browser is whoever has the same cookie, a visitor one of its tabs: `browser.session`. Safe for threads.

    Attributes:
        incoming: folder of the files that have arrived and are not taken yet.
        arrivals: these files.
    """

    def __init__(self, settings: DemoSettings, base: Path | None = None) -> None:
        """Make the folder, and remove those of servers that ended without doing so.

        Args:
            settings: with the limits.
            base: where temporary folders go; None for the system's place.
        """
        self.settings = settings
        base = base or Path(tempfile.gettempdir())
        remove_stale(base)
        self._root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
        self._server_lock = FileLock(self._root / "lock")  # held as long as this server runs
        self._server_lock.acquire()
        self.incoming = self._root / "incoming"
        self.incoming.mkdir()
        self._room = Room(settings)
        self.arrivals = Arrivals(self.incoming, self._room, settings.max_file_mb)
        self._visits: dict[str, Visit] = {}
        self._lock = threading.RLock()

    def pictures(self, visitor: str) -> list[File]:
        """Return the pictures of a visitor, listed as `process.py` lists a folder."""
        visit = self._find(visitor)
        return list(Folder(visit.folder)) if visit else []

    def refusals(self, visitor: str) -> list[Refusal]:
        """Return the refused ones of the files that a visitor added last."""
        visit = self._find(visitor)
        return visit.refusals if visit else []

    def add(self, visitor: str, uploads: Sequence[Upload]) -> None:
        """Move files that have arrived into the folder of a visitor.

        A name that is in use gets a number. Whatever a name contains, its file lies directly in the visitor's folder.
        """
        with self._lock:
            visit = self._begin(visitor)
            visit.refusals = []
            count = len(self.pictures(visitor))
            for upload in uploads:
                name = clean_name(upload.name)
                if reason := self._take(visitor, visit.folder, Upload(name, upload.path), count):
                    visit.refusals.append(Refusal(name or "no name", reason))
                else:
                    count += 1

    def add_copies(self, visitor: str, root: Path, files: Sequence[Path]) -> None:
        """Copy files of this machine below `root`, such as the sample's, keeping their relative paths."""
        with self._lock:
            visit = self._begin(visitor)
            visit.refusals = []
            count = len(self.pictures(visitor))
            for file in files:
                target = visit.folder / file.relative_to(root)
                reason = self._full if count >= self.settings.max_files else self._copy(visitor, file, target)
                if reason:
                    visit.refusals.append(Refusal(file.relative_to(root).as_posix(), reason))
                else:
                    count += 1

    def remove(self, visitor: str) -> None:
        """Remove a visitor's files."""
        with self._lock:
            if visit := self._visits.pop(visitor, None):
                size = sum(file.stat().st_size for file in visit.folder.rglob("*") if file.is_file())
                shutil.rmtree(visit.folder, ignore_errors=True)
                self._room.release(browser_of(visitor), size)

    def sweep(self) -> None:
        """Remove files that nobody took, and those of visitors that were inactive for long."""
        self.arrivals.sweep()
        oldest = time.monotonic() - MAX_IDLE_SECONDS
        with self._lock:
            for visitor in [name for name, visit in self._visits.items() if visit.used < oldest]:
                self.remove(visitor)

    def close(self) -> None:
        """Remove everything, even while threads are still writing."""
        self._server_lock.release(force=True)
        for _ in range(5):
            shutil.rmtree(self._root, ignore_errors=True)
            if not self._root.exists():
                return
            time.sleep(0.05)

    @property
    def _full(self) -> str:
        limit = self.settings.max_files
        return f"more than {limit} pictures at once; remove the others first, or use process.py for folders"

    def _find(self, visitor: str) -> Visit | None:
        visit = self._visits.get(visitor)
        if visit:
            visit.used = time.monotonic()
        return visit

    def _begin(self, visitor: str) -> Visit:
        """Return the visit of a visitor; its first one makes a folder."""
        if visitor not in self._visits:
            self._visits[visitor] = Visit(Path(tempfile.mkdtemp(prefix="visit_", dir=self._root)))
        self._visits[visitor].used = time.monotonic()
        return self._visits[visitor]

    def _take(self, visitor: str, folder: Path, upload: Upload, count: int) -> str | None:
        """Move a file into a folder, or remove it and return why."""
        arrival = self.arrivals.take(browser_of(visitor), str(upload.path))
        if arrival is None:
            return "it did not arrive; drop it again"
        reason = arrival.reason
        if not is_picture_name(upload.name):
            reason = "its ending is not that of a picture, or it is hidden; process.py leaves out such files, too"
        elif count >= self.settings.max_files:
            reason = self._full
        if reason is None:
            arrival.path.rename(folder / free_name(folder, upload.name))
        else:
            arrival.drop(reason)
        return reason

    def _copy(self, visitor: str, file: Path, target: Path) -> str | None:
        """Copy a file, or return why it cannot be copied."""
        before = target.stat().st_size if target.exists() else 0
        size = file.stat().st_size - before
        if reason := self._room.reserve(browser_of(visitor), size):
            return reason
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        except OSError as error:
            target.unlink(missing_ok=True)
            self._room.release(browser_of(visitor), size + before)
            return why_not_written(error)
        return None


def browser_of(visitor: str) -> str:
    """Return the browser of a visitor, which is `browser.session`."""
    return visitor.partition(".")[0]


def clean_name(name: str) -> str:
    """Return the last part of a name, without control characters and not too long for a file system."""
    name = re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", name)[-1])
    name = name.encode(errors="replace").decode()
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, ending = os.path.splitext(name)
    kept = ending.encode()[:20]
    return (stem.encode()[: MAX_NAME_BYTES - len(kept)] + kept).decode(errors="ignore")


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
        except (Timeout, OSError):  # that server is running, or belongs to another user
            continue
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
