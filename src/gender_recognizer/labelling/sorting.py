"""Sort labelled files into a folder for each label: copies, links, or the files themselves.

Contract: a file is never overwritten by another one, and none is lost, whenever a run is killed; the next one goes on.
Each file gets one place, `LABEL/NAME`, also a photograph with several faces. A file is renamed where it is moved; a
copy is made under another name first.
"""

import errno
import filecmp
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gender_recognizer.labelling.inputs import Inputs
from gender_recognizer.labelling.journal import Journal, Placed
from gender_recognizer.labelling.places import MOVE, Places
from gender_recognizer.labelling.records import FAILED, LABELLED, STATUSES, UNSURE, Record
from gender_recognizer.labelling.summary import SHOWN
from gender_recognizer.pictures.writing import sync_folder

LINK = "link"

MIXED = "mixed"
"""The folder of photographs whose faces have different labels."""

AT_ONCE = 200
"""Files whose journal lines reach the disk together."""

_OF_ONE_FILE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
"""Errors that the next file need not meet."""


def place_of(records: list[Record]) -> str:
    """Return the folder for a file with these records: its label, or else its status.

    A photograph with several faces goes where all of them that have a label belong; `mixed` if they differ, `unsure` if
    one of them is.
    """
    labels = {record.label for record in records if record.status == LABELLED and record.label is not None}
    if len(labels) > 1:
        return MIXED
    if any(record.status == UNSURE for record in records):
        return UNSURE
    return labels.pop() if labels else records[0].status


def refuse_class_names(classes: Iterable[str]) -> None:
    """Refuse classes whose folders would be those of other files.

    Raises:
        ValueError: a class is called like a status.
    """
    for name in classes:
        if name in (*STATUSES, MIXED):
            raise ValueError(
                f"sort_into needs a folder '{name}' for pictures without a label, and a class has that name"
            )


class _Task(NamedTuple):
    """A file that is to be put into its place; `source` is where it is now."""

    source: Path
    entry: Placed


class Sorting:
    """Puts files into their places.

    Attributes:
        counts: files in their places, by folder.
        done: files that this run put there.
        left: files that were not put there, and why.
    """

    def __init__(self, folder: Path, way: str, inputs: Inputs, places: Places) -> None:
        """Take the folder and the way, a key of `WAYS`."""
        self._way, self._inputs, self._places = way, inputs, places
        self._journal = Journal(folder)
        self.counts: Counter[str] = Counter()
        self.done = 0
        self.left: list[tuple[str, str]] = []

    def sort(self, groups: Iterable[list[Record]]) -> None:
        """Put the files of these records, those of one file together, into their places.

        Raises:
            OSError: something cannot be written; the next run goes on.
        """
        groups = iter(groups)
        with self._journal:
            while some := list(islice(groups, AT_ONCE)):
                tasks = [task for records in some if (task := self._plan(records))]
                self._journal.add(task.entry for task in tasks)
                for task in tasks:
                    self._put(task)

    def _plan(self, records: list[Record]) -> _Task | None:
        """Return what is to be done with a file; None if it is in its place or has to stay where it is."""
        file, folder = records[0].photo, place_of(records)
        source = Path(self._places.locate(file))
        why = _why_not(source, failed=folder == FAILED)
        if why:
            self.left.append((file, why))
            return None
        status = source.stat()
        place = f"{folder}/{self._places.original(file)}"
        entry = Placed(self._inputs.place, file, place, self._way, status.st_size, status.st_mtime_ns)
        return self._compare(_Task(source, entry))

    def _compare(self, task: _Task) -> _Task | None:
        """Return the task if something is left to do."""
        target, earlier = self._target(task.entry), self._journal.find(task.entry.input, task.entry.file)
        if earlier and earlier.place != task.entry.place:
            self._take_back(task.source, earlier)
            earlier = None
        there = _is_same_name(task.source, target)
        if there or (self._way != MOVE and _is_done(self._way, task.source, target, earlier)):
            self.counts[task.entry.place.partition("/")[0]] += 1
            return None if there or earlier else task
        if os.path.lexists(target) and not _is_ours(task.source, target, earlier):
            self.left.append((task.entry.file, f"'{target}' is another file"))
            return None
        return task

    def _take_back(self, source: Path, earlier: Placed) -> None:
        """Remove a copy or link of a file from the place where an earlier run put it."""
        old = self._target(earlier)
        if os.path.lexists(old) and not _is_same_name(source, old) and _is_ours(source, old, earlier):
            old.unlink()

    def _target(self, entry: Placed) -> Path:
        return self._journal.folder / entry.place

    def _put(self, task: _Task) -> None:
        """Put a file into its place; what is there is a copy of it, or a link to it."""
        target, folder = self._target(task.entry), task.entry.place.partition("/")[0]
        if self._way != MOVE and _is_done(self._way, task.source, target, task.entry):
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            WAYS[self._way](task.source, target, self._journal.partial)
        except OSError as error:
            if error.errno not in _OF_ONE_FILE:
                raise
            self.left.append((task.entry.file, f"{error.strerror}: '{target}'"))
            return
        self.done += 1
        self.counts[folder] += 1

    def lines(self) -> Iterator[str]:
        """Yield what was done, in sentences."""
        for file, why in self.left[:SHOWN]:
            yield f"not sorted: {file!r}: {why}"
        if len(self.left) > SHOWN:
            yield f"... and {len(self.left) - SHOWN} more"
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items())) or "nothing"
        there = sum(self.counts.values()) - self.done
        words = {"copy": "copied", LINK: "linked", MOVE: "moved"}
        yield (
            f"sorted: {counts} ({self.done} {words[self._way]}, {there} were there already"
            f"{f', {len(self.left)} left where they are' if self.left else ''}): {self._journal.folder}"
        )


def _why_not(source: Path, failed: bool) -> str | None:
    """Return why a file stays where it is, if it does."""
    try:
        kind, linked = source.stat().st_mode, source.is_symlink()
    except OSError:
        return "it is not there"
    if failed and linked:
        return "a link that was not read"
    return None if stat.S_ISREG(kind) else "not a file"


def _is_same_name(path: Path, other: Path) -> bool:
    """Say whether two paths are one name in one folder, by whatever links they lead there."""
    return path.name == other.name and path.parent.resolve() == other.parent.resolve()


def _is_done(way: str, source: Path, target: Path, earlier: Placed | None) -> bool:
    """Say whether there is a copy of a file, or a link to it, in its place."""
    if target.is_symlink():
        return way == LINK and target.readlink() == source.absolute()
    return os.path.lexists(target) and _is_copy(source, target, earlier)


def _is_copy(source: Path, target: Path, earlier: Placed | None) -> bool:
    """Say whether a file has the content of another; one that was placed and not changed since is not read."""
    status, other = source.stat(), target.lstat()
    if not stat.S_ISREG(other.st_mode) or status.st_size != other.st_size:
        return False
    if earlier and status.st_mtime_ns == other.st_mtime_ns == earlier.modified and earlier.size == other.st_size:
        return True
    try:
        return filecmp.cmp(source, target, shallow=False)
    except OSError:
        return False


def _is_ours(source: Path, target: Path, earlier: Placed | None) -> bool:
    """Say whether what is in a place is a copy of a file, or a link to it, or one of an earlier state of it."""
    if target.is_symlink():
        return target.readlink() == source.absolute()
    status = target.lstat()
    unchanged = earlier is not None and (status.st_size, status.st_mtime_ns) == (earlier.size, earlier.modified)
    return (stat.S_ISREG(status.st_mode) and unchanged) or _is_copy(source, target, earlier)


def _copy(source: Path, target: Path, partial: Path) -> None:
    """Copy a file, with its times."""
    partial.unlink(missing_ok=True)
    shutil.copy2(source, partial)
    os.replace(partial, target)


def _link(source: Path, target: Path, partial: Path) -> None:
    """Make a symbolic link to a file."""
    partial.unlink(missing_ok=True)
    partial.symlink_to(source.absolute())
    os.replace(partial, target)


def _move(source: Path, target: Path, partial: Path) -> None:
    """Rename a file; where that is another disk, or it is a link, copy its content and remove it then."""
    if not source.is_symlink():
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return
    _copy(source, target, partial)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(target.parent)
    source.unlink()


WAYS: dict[str, Callable[[Path, Path, Path], None]] = {"copy": _copy, LINK: _link, MOVE: _move}
"""How a file gets into its place, by the names of `sort_by`: from the source to the target, by a partial file."""
