"""Files that are being uploaded: each is limited while it arrives, and removed if nobody takes it."""

import contextlib
import errno
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from gender_recognizer.demo.settings import DemoSettings

MAX_WAITING_SECONDS = 600
"""Seconds after which a file that arrived and that nobody took is removed; also the longest upload."""

MAX_WAITING_FILES = 1000
"""Most files of one browser that may wait to be taken; gradio's page sends as many in one request."""


class Room:
    """The disk space that the files of each browser use, and its limits."""

    def __init__(self, settings: DemoSettings) -> None:
        """Set the limits."""
        self._settings = settings
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reserve(self, browser: str, num_bytes: int) -> str | None:
        """Reserve space for a browser's files; if they may not grow, reserve nothing and return why."""
        per_visitor, total = self._settings.max_visitor_mb, self._settings.max_total_mb
        with self._lock:
            if self._held[browser] + num_bytes > per_visitor * 1_000_000:
                return f"your files would take more than {per_visitor:g} MB together; remove the others first"
            if self._held.total() + num_bytes > total * 1_000_000:
                return f"the page is full: the files of all visitors take {total:g} MB; try again later"
            self._held[browser] += num_bytes
        return None

    def release(self, browser: str, num_bytes: int) -> None:
        """Release the space of a browser's files."""
        with self._lock:
            self._held[browser] -= num_bytes
            if self._held[browser] <= 0:
                del self._held[browser]


class Arrival:
    """A file that is arriving or waits to be taken; if it may not be kept, it is dropped while it arrives.

    Attributes:
        reason: why it is not kept, or None.
    """

    def __init__(self, path: Path, browser: str, room: Room, max_file_mb: float) -> None:
        """Set the path of the file, its owner, and the limits of its size and of all others."""
        self.path, self.browser, self.started = path, browser, time.monotonic()
        self.reason: str | None = None
        self._room, self._max_file_mb, self._size = room, max_file_mb, 0
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> None:
        """Add some bytes, unless the file is not kept any more."""
        if self.reason:
            return
        if self._size + len(data) > self._max_file_mb * 1_000_000:
            return self.drop(f"larger than {self._max_file_mb:g} MB")
        if reason := self._room.reserve(self.browser, len(data)):
            return self.drop(reason)
        self._size += len(data)
        try:
            self._file = self._file or self.path.open("xb")
            self._file.write(data)
            self._file.flush()  # a full disk is noticed here
        except OSError as error:
            self.drop(why_not_written(error))

    def close(self) -> None:
        """Finish the file; an empty one is kept as well."""
        self.write(b"")
        try:
            if self._file:
                self._file.close()
        except OSError as error:
            self.drop(why_not_written(error))

    def drop(self, reason: str) -> None:
        """Remove the file."""
        self.reason = reason
        if self._file:
            with contextlib.suppress(OSError):  # closing may fail like the write before it
                self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)
        self._room.release(self.browser, self._size)
        self._size = 0


class Arrivals:
    """The files of one server that are arriving, or wait to be taken. Safe for threads."""

    def __init__(self, folder: Path, room: Room, max_file_mb: float) -> None:
        """Set their folder, and their limits."""
        self.folder, self._room, self._max_file_mb = folder, room, max_file_mb
        self._files: dict[str, Arrival] = {}
        self._lock = threading.Lock()

    def expect(self, browser: str) -> Arrival | None:
        """Return a new file of a browser, to be written, or None if too many are waiting."""
        with self._lock:
            if sum(file.browser == browser for file in self._files.values()) >= MAX_WAITING_FILES:
                return None
            path = self.folder / secrets.token_hex(16)
            self._files[str(path)] = Arrival(path, browser, self._room, self._max_file_mb)
            return self._files[str(path)]

    def is_waiting(self, browser: str, path: str) -> bool:
        """Return whether a browser has uploaded the file of this path, and nobody took it yet."""
        file = self._files.get(path)
        return file is not None and file.browser == browser

    def take(self, browser: str, path: str) -> Arrival | None:
        """Return a file of a browser, which belongs to the caller from then on, or None if there is none."""
        with self._lock:
            return self._files.pop(path) if self.is_waiting(browser, path) else None

    def drop(self, files: Iterable[Arrival]) -> None:
        """Remove files."""
        for file in files:
            with self._lock:
                self._files.pop(str(file.path), None)
            file.drop("it did not arrive")

    def sweep(self) -> None:
        """Remove the files that nobody took."""
        oldest = time.monotonic() - MAX_WAITING_SECONDS
        self.drop([file for file in list(self._files.values()) if file.started < oldest])


def why_not_written(error: OSError) -> str:
    """Return the message to a visitor when a file cannot be stored."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk of the computer that runs this page is full"
    return f"the computer that runs this page cannot store it: {error.strerror}"
