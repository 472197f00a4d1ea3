"""Which pictures there are: below a folder, in a text file with one path per line, or one by itself."""

import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gender_recognizer.pictures.opening import has_picture_header

EXTENSIONS = frozenset(
    (
        ".apng .avif .bmp .gif .heic .heif .ico .jfif .jp2 .jpe .jpeg .jpg .mpo .pgm .png .ppm .qoi .tif .tiff .webp"
    ).split()
)
"""File names with these endings (any case) are taken for pictures when a folder is listed."""

JUNK = frozenset(
    ["Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"]
)
"""Files and folders that operating systems leave behind."""


class File(NamedTuple):
    """A file to be labelled.

    Attributes:
        name: its path relative to the folder, with `/`, or as it was listed.
        path: where it is opened.
        problem: why it is not to be opened, if it is not.
        size: its length in bytes, where the listing says so.
        modified: time of its last change in ns since 1970, where the listing says so.
    """

    name: str
    path: str
    problem: str | None = None
    size: int | None = None
    modified: int | None = None


class Folder:
    """The pictures below a folder, in the order of their names, found while they are asked for.

    Hidden files, what operating systems leave behind, and files whose names do not end like a picture's are left
    out and counted. A link to a folder is not followed, and a link to a file outside is listed with that problem,
    unless `follow_links` is set; then no folder is entered twice.

    Attributes:
        ignored: files and folders left out so far.
    """

    def __init__(self, path: Path, follow_links: bool = False, sniff: bool = False) -> None:
        """Take a folder.

        Args:
            path: the folder.
            follow_links: follow links to folders and out of the folder.
            sniff: also open files without an ending, to see whether they begin like a picture.
        """
        self.path, self.follow_links, self.sniff = path, follow_links, sniff
        self.ignored = 0
        self._root = os.path.realpath(path)

    def __iter__(self) -> Iterator[File]:
        """Yield every picture once.

        Raises:
            OSError: the folder itself cannot be read.
        """
        self.ignored = 0
        self._problems: dict[str, str] = {}
        self._entered = {_identity(self._root)}
        stack = [("", str(self.path), self._list(str(self.path)))]
        while stack:
            prefix, folder, names = stack[-1]
            for name in names:
                path = os.path.join(folder, name)
                if not name.endswith("/"):
                    yield File(prefix + name, path, self._problems.pop(path, None))
                    continue
                try:
                    stack.append((prefix + name, path, self._list(path)))
                except OSError as error:
                    yield File(prefix + name, path, f"folder cannot be read: {error.strerror}")
                break
            else:
                stack.pop()

    def _list(self, folder: str) -> Iterator[str]:
        """Return the names of the pictures and folders in a folder, the folders' with `/` at the end.

        They are sorted so that a walk in this order meets relative paths in their order as strings.
        """
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name in JUNK:
                    self.ignored += 1
                elif entry.is_file(follow_symlinks=False) and self._is_picture(entry):
                    names.append(name)
                elif entry.is_dir(follow_symlinks=False):
                    names.append(name + "/")
                elif entry.is_symlink() and os.path.isdir(entry.path):  # entry.is_dir() raises for a loop of links
                    if self._may_enter(entry.path):
                        names.append(name + "/")
                elif not entry.is_file(follow_symlinks=False) and self._is_picture(entry):  # a link, pipe, socket
                    names.append(name)
                    if entry.is_symlink() and not self._may_read(entry.path):
                        self._problems[entry.path] = "a link out of the folder; follow_links=true follows it"
                else:
                    self.ignored += 1
        return _sorted(names)

    def _may_enter(self, link: str) -> bool:
        """Say whether a link to a folder is followed; counts it as ignored if not."""
        identity = _identity(link)
        if not self.follow_links or identity in self._entered:
            self.ignored += 1
            return False
        self._entered.add(identity)
        return True

    def _may_read(self, link: str) -> bool:
        return self.follow_links or os.path.realpath(link).startswith(os.path.join(self._root, ""))

    def _is_picture(self, entry: os.DirEntry) -> bool:
        _, dot, ending = entry.name.rpartition(".")
        return (dot + ending).lower() in EXTENSIONS or (self.sniff and not dot and has_picture_header(entry.path))


def _sorted(names: list[str]) -> Iterator[str]:
    """Yield names in order; the first ones come before a large folder's others are sorted, which takes long."""
    if len(names) > 100_000:
        first = heapq.nsmallest(1000, names)
        yield from first
        last = first[-1]
        names = [name for name in names if name > last]
    names.sort()
    yield from names


def is_picture_name(name: str, sniff: bool = False) -> bool:
    """Say whether a relative path ends like a picture's, or with `sniff` has no ending, and is not hidden."""
    if any(part.startswith(".") or part in JUNK for part in name.split("/")):
        return False
    ending = os.path.splitext(name)[1].lower()
    return ending in EXTENSIONS or (sniff and not ending)


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def find_images(folder: Path) -> list[Path]:
    """Return the pictures below a folder in the order of their names, links followed."""
    return [Path(file.path) for file in Folder(folder, follow_links=True)]


def read_list(path: Path) -> Iterator[File]:
    """Yield the files that a text file names, one path per line, relative to the current folder.

    A path keeps the bytes of its line; empty lines are left out.
    """
    with path.open("rb") as file:
        for line in file:
            if name := os.fsdecode(line.rstrip(b"\r\n")):
                yield File(name, name)
