"""Find the files that `input_dir` names: in folders, pictures, lists, or a folder of an object store."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from gender_recognizer.labelling.remote_folder import RemoteFolder
from gender_recognizer.labelling.settings import LabelSettings
from gender_recognizer.pictures.listing import EXTENSIONS, File, Folder, read_list
from gender_recognizer.pictures.opening import has_picture_header

USAGE = "expected a folder, pictures or a .txt list; usage: process.py folder/ [key=value ...]"


class Inputs:
    """The files of one or several inputs, found lazily.

    Names are those that a single input gives its files. Of several inputs they are relative to the deepest folder that
    holds them all, so that `a/1.jpg` and `b/1.jpg` stay two files.

    Attributes:
        place: the inputs, as the log of a run records them.
        remote: the folder of an object store, if it is one.
    """

    def __init__(self, paths: Sequence[str], follow_links: bool = False, sniff: bool = False) -> None:
        """Take paths.

        Raises:
            ValueError: there is none, or one is not a folder, picture or list.
        """
        if not paths:
            raise ValueError(USAGE)
        if any("://" in path for path in paths) and len(paths) > 1:
            raise ValueError(f"input_dir is {', '.join(paths)}; an address cannot be combined with other inputs")
        self.remote: RemoteFolder | None = None
        self._parts = [_find(path, follow_links, sniff) for path in paths if "://" not in path]
        self._common = os.path.commonpath([_folder_of(path) for path in paths]) if len(paths) > 1 else None
        self.place = self._common or (paths[0] if "://" in paths[0] else str(Path(paths[0]).absolute()))

    @classmethod
    def of(cls, settings: LabelSettings) -> "Inputs":
        """Return the inputs of the settings.

        Raises:
            ValueError: one does not exist, or is not a folder, picture or list.
        """
        inputs = cls(settings.input_dir, settings.follow_links, settings.sniff)
        if "://" in inputs.place:
            if settings.engine.name != "ray":
                raise ValueError(f"input_dir '{inputs.place}' needs engine=ray")
            inputs.remote = RemoteFolder(inputs.place, settings.sniff, settings.max_file_size)
            inputs._parts = [inputs.remote]
        return inputs

    def __iter__(self) -> Iterator[File]:
        """Yield every file.

        Raises:
            ValueError: an input cannot be read.
        """
        for part in self._parts:
            try:
                for file in part:
                    yield file if self._common is None else file._replace(name=self._name(file))
            except OSError as error:
                raise ValueError(f"input_dir '{self.place}' cannot be read: {error.strerror or error}") from None

    def _name(self, file: File) -> str:
        return Path(os.path.relpath(Path(file.path).absolute(), self._common)).as_posix()

    def locate(self, name: str) -> str:
        """Return the path of the file with this name in the results."""
        if self._common is not None:
            return os.path.join(self._common, name)
        (part,) = self._parts
        if isinstance(part, Folder):
            return os.path.join(part.path, name)
        return name if isinstance(part, _List) else next(iter(part)).path

    @property
    def folders(self) -> list[str]:
        """Absolute paths of the inputs that are folders."""
        return [str(part.path.absolute()) for part in self._parts if isinstance(part, Folder)]

    @cached_property
    def base(self) -> str:
        """The absolute path of a folder below which all files are, or were listed: of one folder, that folder."""
        lists = [part for part in self._parts if not isinstance(part, Folder)]
        files = {os.path.normpath(Path(file.path).absolute().parent) for part in lists for file in part}
        return os.path.commonpath({*map(os.path.normpath, self.folders), *files})

    @property
    def ignored(self) -> int:
        """The number of files and folders that have been left out so far."""
        return sum(getattr(part, "ignored", 0) for part in self._parts)

    @property
    def ignored_endings(self) -> Counter[str]:
        """The number of these files by ending."""
        endings: Counter[str] = Counter()
        for part in self._parts:
            endings.update(getattr(part, "ignored_endings", {}))
        return endings


def _find(name: str, follow_links: bool, sniff: bool) -> Iterable[File]:
    """Return the files of one input."""
    path = Path(name)
    if path.is_dir() and name:
        return Folder(path, follow_links, sniff)
    if path.is_file():
        if path.suffix.lower() == ".txt":
            return _List(path)
        if path.suffix.lower() in EXTENSIONS or has_picture_header(path):
            return [File(path.name, str(path))]
    why = "" if path.exists() else ": it does not exist"
    raise ValueError(f"input_dir '{path.absolute()}' is not a folder, a picture or a .txt with one path per line{why}")


class _List:
    """The files that a text file names; may be iterated more than once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[File]:
        return iter(read_list(self._path))


def _folder_of(name: str) -> str:
    path = Path(os.path.normpath(Path(name).absolute()))
    return str(path if path.is_dir() else path.parent)
