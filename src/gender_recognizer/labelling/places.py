"""Where the files of a run are: those that sorting moved keep their names, what it put elsewhere is not labelled."""

import json
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from gender_recognizer.labelling.inputs import Inputs
from gender_recognizer.labelling.journal import HIDDEN, Journal
from gender_recognizer.labelling.result_log import SORTED_INTO
from gender_recognizer.pictures.listing import File

MOVE = "move"


class Places:
    """The files of some inputs, as if they had not been sorted, and where they are now.

    Attributes:
        folders: absolute paths that files of these results were or will be sorted into.
    """

    def __init__(self, inputs: Inputs, log_path: Path, sort_into: Path | None) -> None:
        """Read the journals of the folders that the log of the results names, of the inputs, and of `sort_into`.

        Raises:
            ValueError: `sort_into` is a file.
        """
        self._inputs = inputs
        wanted = [] if sort_into is None else [str(sort_into.absolute())]
        self.folders = list(dict.fromkeys([*_read_note(log_path), *wanted]))
        own = [folder for folder in inputs.folders if os.path.isdir(os.path.join(folder, HIDDEN))]
        journals = [Journal(Path(folder)) for folder in dict.fromkeys([*self.folders, *own])]
        self._moved: dict[str, str] = {}
        self._moved_to: set[Path] = set()
        self._placed: set[str] = set()
        for journal in journals:
            self._read(journal)

    def _read(self, journal: Journal) -> None:
        """Take what was moved there from these inputs, and which files there are copies of theirs."""
        real = os.path.realpath(journal.folder)
        reals = _RealFolders()
        roots = [os.path.join(os.path.realpath(folder), "") for folder in self._inputs.folders]
        for entry in journal:
            path, original = str(journal.folder / entry.place), os.path.join(entry.input, entry.file)
            if entry.way == MOVE:
                ours = entry.input == self._inputs.place and os.path.lexists(path)
                if ours:
                    self._moved[entry.file] = path
                    self._moved_to.add(journal.folder)
            else:
                ours = os.path.lexists(original) and reals.path(original).startswith(tuple(roots))
            if ours:
                self._placed.add(os.path.join(real, entry.place))

    def restore(self, files: Iterable[File]) -> Iterator[File]:
        """Yield files, those that were moved from where they are now, and none that sorting put there."""
        missing = dict(self._moved)
        real = _RealFolders()
        for file in files:
            if self._placed and real.path(file.path) in self._placed:
                continue
            moved = missing.pop(file.name, None)
            yield file if moved is None or os.path.lexists(file.path) else File(file.name, moved)
        yield from (File(name, path) for name, path in sorted(missing.items()))

    def locate(self, name: str) -> str:
        """Return where a file is now, by its name in the results."""
        path = self._inputs.locate(name)
        return self._moved[name] if name in self._moved and not os.path.lexists(path) else path

    def original(self, name: str) -> str:
        """Return the path that a file had in its input, relative to `Inputs.base`, by its name in the results."""
        return Path(os.path.relpath(self._inputs.locate(name), self._inputs.base)).as_posix()

    @property
    def key(self) -> str:
        """What tells these inputs from others."""
        return self._inputs.place

    @cached_property
    def base(self) -> str:
        """The absolute path of a folder below which all files are now."""
        moved = {str(folder) for folder in self._moved_to}
        return os.path.commonpath([self._inputs.base, *moved])

    def relative(self, name: str) -> str:
        """Return the path of a file below `base`, by its name in the results."""
        return Path(os.path.relpath(self.locate(name), self.base)).as_posix()


class _RealFolders:
    """Real paths of files; those of one folder come one after another."""

    def __init__(self) -> None:
        self._last = ("", "")

    def path(self, path: str) -> str:
        """Return the path of a file, without links in its folders."""
        folder, name = os.path.split(path)
        if folder != self._last[0]:
            self._last = (folder, os.path.realpath(folder))
        return os.path.join(self._last[1], name)


def _read_note(log_path: Path) -> list[str]:
    """Return the folders that the head of a log names."""
    try:
        with log_path.open("rb") as file:
            folders = json.loads(file.readline(1_000_000)).get(SORTED_INTO, [])
    except (OSError, ValueError, AttributeError, RecursionError):
        return []
    return [folder for folder in folders if isinstance(folder, str)] if isinstance(folders, list) else []
