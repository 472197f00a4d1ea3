"""The files in an archive or a folder, read one after another without extracting anything.

Contract: only regular files are seen. Links, devices and absolute paths or paths with `..` are not, whatever an
archive says of them, and no file is read beyond a limit.
"""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_TABLE = 100_000_000
"""Largest table that is read, in bytes; the largest of the known data sets has 26 MB."""

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


class Member(NamedTuple):
    """A file of an archive or a folder; it can be read until the next one is asked for.

    Attributes:
        name: its path within the archive or the folder, with `/`.
        size: its length in bytes, as the archive says.
        open: opens it for reading.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]

    def read(self, limit: int) -> bytes | None:
        """Return the content, or None if it has more than `limit` bytes or another length than the archive says.

        Raises:
            ValueError: the archive is broken there.
        """
        if self.size > limit:
            return None
        try:
            with self.open() as file:
                content = file.read(self.size + 1)
        except _BROKEN as error:
            raise ValueError(f"'{self.name}' in the archive is broken ({error}); download it again") from None
        return content if len(content) == self.size else None


def read_members(source: Path) -> Iterator[Member]:
    """Yield the files of a zip or tar archive in its order, or those of a folder and of the archives in it by name.

    Raises:
        ValueError: the source does not exist, is neither a folder nor such an archive, or is broken.
    """
    if source.is_dir():
        yield from _folder_members(source)
        return
    try:
        if zipfile.is_zipfile(source):
            yield from _zip_members(source)
            return
        with tarfile.open(source) as archive:  # the mode for streams takes an archive cut short for a whole one
            yield from _tar_members(archive)
    except FileNotFoundError:
        raise ValueError(f"source '{source}' does not exist") from None
    except _BROKEN as error:
        raise ValueError(f"'{source}' is no whole zip or tar archive ({error}); download it again") from None


def find_tables(source: Path, names: Collection[str]) -> dict[str, str]:
    """Return the text of the files of these names beside the source or in it, by name; the first of each is taken."""
    tables = {}
    folders = [source, source.parent] if source.is_dir() else [source.parent]
    for path in (folder / name for folder in folders for name in names):
        if path.name not in tables and path.is_file() and path.stat().st_size <= MAX_TABLE:
            tables[path.name] = path.read_text(encoding="utf-8-sig", errors="replace")
    if len(tables) < len(names):
        for member in read_members(source):
            name = member.name.rpartition("/")[2]
            if name in names and name not in tables and (content := member.read(MAX_TABLE)) is not None:
                tables[name] = content.decode("utf-8-sig", errors="replace")
    return tables


def _folder_members(source: Path) -> Iterator[Member]:
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            if path.suffix.lower() in (".zip", ".tar", ".tgz", ".gz"):
                yield from read_members(path)
            else:
                yield Member(
                    path.relative_to(source).as_posix(), path.stat().st_size, lambda path=path: path.open("rb")
                )


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            kind = info.external_attr >> 28  # of Unix, where the archive was made there: 8 = regular, 10 = link
            if not info.is_dir() and kind in (0, 8) and _is_inside(info.filename):
                yield Member(info.filename, info.file_size, lambda info=info: archive.open(info))


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    for info in archive:
        archive.members = []  # else it remembers every member
        if info.isreg() and not info.issparse() and _is_inside(info.name):
            yield Member(info.name, info.size, lambda info=info: archive.extractfile(info))


def _is_inside(name: str) -> bool:
    return not name.startswith(("/", "\\")) and "\\" not in name and ".." not in name.split("/") and ":" not in name
