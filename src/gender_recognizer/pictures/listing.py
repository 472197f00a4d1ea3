"""Which pictures there are: below a folder, in a text file with one path per line, or one by itself."""

import heapq
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gender_recognizer.pictures.formats import EXTENSIONS, JUNK, JUNK_EXTENSIONS
from gender_recognizer.pictures.opening import has_picture_header
from gender_recognizer.pictures.texts import find_encoding

_WINDOWS_ENCODINGS = ("cp1252", "cp850", "cp1251", "cp866", "cp932", "gbk", "cp949")


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
    out and counted. No folder is entered twice, in whatever way it is reached. A link to a folder is not followed,
    and a link to a file outside is listed with that problem, unless `follow_links` is set; then no file is listed
    twice, and a link to the folder itself or one above it is not followed.

    Attributes:
        ignored: files and folders left out so far.
        ignored_endings: how many of these files have which ending, in lower case, "" for none; only files that may
            be pictures, neither hidden nor of a kind that lies among pictures and that nobody takes for one.
    """

    def __init__(self, path: Path, follow_links: bool = False, sniff: bool = False) -> None:
        """Take a folder.

        Args:
            path: the folder.
            follow_links: follow links to folders and out of the folder.
            sniff: also open files whose endings are unknown, to see whether they begin like a picture.
        """
        self.path, self.follow_links, self.sniff = path, follow_links, sniff
        self._root = os.path.realpath(path)
        self.ignored, self.ignored_endings = 0, Counter[str]()

    def _start(self) -> None:
        self.ignored, self.ignored_endings = 0, Counter[str]()
        self._above = {_identity(folder) for folder in Path(self._root).parents}
        self._entered: set[tuple[int, int]] = set()
        self._links: set[str] = set()  # paths that are links to files or folders
        self._linked: set[str] = set()  # real paths of files that were listed through a link

    def __iter__(self) -> Iterator[File]:
        """Yield every picture once.

        Raises:
            OSError: the folder itself cannot be read.
        """
        self._start()
        stack = [("", str(self.path), self._enter(str(self.path)))]
        while stack:
            prefix, folder, names = stack[-1]
            for name in names:
                path = os.path.join(folder, name)
                if not name.endswith("/"):
                    if not self._is_listed_already(path):
                        yield File(prefix + name, path, self._find_problem(path))
                    continue
                try:
                    stack.append((prefix + name, path, self._enter(path)))
                except OSError as error:
                    yield File(prefix + name, path, f"folder cannot be read: {error.strerror}")
                break
            else:
                stack.pop()

    def _enter(self, folder: str) -> Iterator[str]:
        """Return what `_list` does, nothing for a folder that was entered before, and remember it."""
        link, identity = folder.rstrip("/"), _identity(folder)
        found_by_itself = link in self._links and self._is_found_by_itself(os.path.realpath(link))
        if identity in self._entered or identity in self._above or found_by_itself:
            self.ignored += 1
            return iter(())
        self._entered.add(identity)
        return self._list(folder)

    def _list(self, folder: str) -> Iterator[str]:
        """Return the names of the pictures and folders in a folder, the folders' with `/` at the end.

        They are sorted so that a walk in this order meets relative paths in their order as strings.
        """
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_symlink():
                    self._links.add(entry.path)
                if name.startswith(".") or name in JUNK:
                    self.ignored += 1
                elif entry.is_file(follow_symlinks=False):
                    if self._is_picture(entry):
                        names.append(name)
                elif entry.is_dir(follow_symlinks=False):
                    names.append(name + "/")
                elif entry.is_symlink() and os.path.isdir(entry.path):  # entry.is_dir() raises for a loop of links
                    if self.follow_links:
                        names.append(name + "/")
                    else:
                        self.ignored += 1
                elif self._is_picture(entry):  # a link, pipe, socket
                    names.append(name)
        return _sorted(names)

    def _is_picture(self, entry: os.DirEntry[str]) -> bool:
        """Say whether a file is taken for a picture; counts it as ignored if not."""
        ending = find_ending(entry.name)
        if ending in EXTENSIONS or (self.sniff and has_picture_header(entry.path)):
            return True
        self.ignored += 1
        if ending not in JUNK_EXTENSIONS:
            self.ignored_endings[ending] += 1
        return False

    def _find_problem(self, path: str) -> str | None:
        if self.follow_links or path not in self._links or self._is_inside(os.path.realpath(path)):
            return None
        return "a link out of the folder; follow_links=true follows it"

    def _is_listed_already(self, path: str) -> bool:
        """Say whether links that are followed lead to a file by another way as well; counts it as ignored if so."""
        if not self.follow_links or not (self._linked or path in self._links):
            return False
        target = os.path.realpath(path)
        listed = target in self._linked
        if path in self._links:
            listed = listed or self._is_listed_without(target)
            if not listed:
                self._linked.add(target)
        self.ignored += listed
        return listed

    def _is_listed_without(self, target: str) -> bool:
        """Say whether a file to which a link leads is listed without that link."""
        if find_ending(target) not in EXTENSIONS:
            return False
        if self._is_inside(target):
            return self._is_found_by_itself(target)
        folder = Path(target).parent
        return folder.is_dir() and _identity(folder) in self._entered and is_picture_name(Path(target).name)

    def _is_inside(self, path: str) -> bool:
        return path.startswith(os.path.join(self._root, ""))

    def _is_found_by_itself(self, path: str) -> bool:
        """Say whether a real path is met without following any link."""
        return self._is_inside(path) and not _is_hidden(os.path.relpath(path, self._root))


def _sorted(names: list[str]) -> Iterator[str]:
    """Yield names in order; the first ones come before a large folder's others are sorted, which takes long."""
    if len(names) > 100_000:
        first = heapq.nsmallest(1000, names)
        yield from first
        last = first[-1]
        names = [name for name in names if name > last]
    names.sort()
    yield from names


def find_ending(name: str) -> str:
    """Return the ending of a file's name in lower case, with its dot; "" if there is none."""
    _, dot, ending = name.rpartition(".")
    return (dot + ending).lower() if dot and "/" not in ending else ""


def describe_endings(endings: Mapping[str, int]) -> str:
    """Return counted endings as text, the most frequent first: `.psd (12), .cr2 (3), without ending (1)`."""
    by_count = sorted(endings.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{ending or 'without ending'} ({count:,})" for ending, count in by_count)


def is_picture_name(name: str, sniff: bool = False) -> bool:
    """Say whether a relative path ends like a picture's, or with `sniff` in an unknown way, and is not hidden."""
    ending = find_ending(name)
    return not _is_hidden(name) and (ending in EXTENSIONS or (sniff and ending not in JUNK_EXTENSIONS))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in JUNK for part in name.split("/"))


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def find_images(folder: Path) -> list[Path]:
    """Return the pictures below a folder in the order of their names, links followed."""
    return [Path(file.path) for file in Folder(folder, follow_links=True)]


def read_list(path: Path) -> Iterator[File]:
    r"""Yield the files that a text file names, one path per line, relative to the current folder.

    Lists of Windows programs are understood: UTF-8 with a mark, UTF-16, code pages, `\\` in paths, quotes around
    them. A path that exists as it is written keeps the bytes of its line; empty lines are left out.

    Raises:
        ValueError: the list is marked as UTF-8 or UTF-16 and is not.
    """
    with path.open("rb") as file:
        head = file.read(4)
        encoding = find_encoding(head)
        file.seek(0)
        lines = file if encoding in (None, "utf-8") else _decode_lines(file, encoding, path)
        for line in lines:
            for part in line.rstrip(b"\r\n").split(b"\0"):  # find -print0
                if part:
                    name = _find_name(part)
                    yield File(name, name)


def _decode_lines(file: BinaryIO, encoding: str, path: Path) -> Iterator[bytes]:
    try:
        for line in io.TextIOWrapper(file, encoding, newline="\n"):
            yield os.fsencode(line)
    except UnicodeError:
        raise ValueError(
            f"'{path}' is marked as {encoding.upper()[:6].rstrip('-')} text and is not; save it again"
        ) from None


def _find_name(line: bytes) -> str:
    """Return the path that is meant by a line: the first way to read it that leads to a file, or the line itself."""
    plain = os.fsdecode(line)
    if line.isascii() and plain.strip(' \t"') == plain and "\\" not in plain:
        return plain
    return next((name for name in _read_line(line) if os.path.lexists(name)), plain)


def _read_line(line: bytes) -> Iterator[str]:
    name = os.fsdecode(line)
    bare = name.strip().strip('"')
    yield from (name, bare, bare.replace("\\", "/"))
    if not line.isascii():
        for encoding in _WINDOWS_ENCODINGS:
            with suppress(UnicodeError):
                yield line.decode(encoding).strip().strip('"').replace("\\", "/")
