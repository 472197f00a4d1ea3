"""Read the files in an archive or a folder one after another, without extracting anything.

Contract: only regular files are read. Links, devices, absolute paths and paths with `..` are skipped, whatever an
archive claims; no file is read beyond a limit, and no archive that unpacks to far more than pictures can.
(`shutil.unpack_archive` would write all of it to the disk first, and has no limits; `tarfile` of some supported
versions of Python takes minutes for headers made for that: CVE-2024-6232, CVE-2025-8194.)
"""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

MAX_TABLE = 100_000_000
"""Largest table that is read, in bytes; the largest of the known data sets has 26 MB."""

MAX_EXPANSION = 20
"""Most times its own size, beyond `FREE_EXPANSION` bytes, that an archive may hold: pictures are compressed already."""

FREE_EXPANSION = 20_000_000

MAX_HEADER, MAX_ENTRIES = 65_536, 64
"""Longest additional header of a file in a tar archive, in bytes and in entries: it holds a long name, a few dates."""

_BLOCK = 512
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_NO_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)
_BROKEN_INSIDE = (*_BROKEN, NotImplementedError, RuntimeError)  # of zip: unknown compression, encrypted


class Member(NamedTuple):
    """A file of an archive or a folder; it can be read until the next one is asked for.

    Attributes:
        name: its path within the archive or the folder, with `/`.
        size: its length in bytes, as the archive says.
        open: opens it for reading.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]

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
        except _BROKEN_INSIDE as error:
            raise ValueError(f"'{self.name}' in the archive is broken ({error}); download it again") from None
        return content if len(content) == self.size else None


def read_members(source: Path) -> Iterator[Member]:
    """Yield the files of a zip or tar archive in its order, or those of a folder and of the archives in it by name.

    Raises:
        ValueError: the source does not exist, is neither a folder nor such an archive, is broken, or is a bomb.
    """
    if source.is_dir():
        yield from _folder_members(source)
        return
    try:
        if zipfile.is_zipfile(source):
            yield from _zip_members(source)
        else:
            yield from _tar_members(source)
    except FileNotFoundError:
        raise ValueError(f"source '{source}' does not exist") from None
    except _BROKEN_INSIDE as error:
        raise ValueError(f"'{source}' is not a complete zip or tar archive ({error}); download it again") from None


def find_tables(source: Path, names: Collection[str]) -> dict[str, str]:
    """Return the text of the files of these names beside the source or in it, by name; of several the first."""
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
            if path.suffix.lower() in (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz"):
                yield from read_members(path)
            else:
                name = path.relative_to(source).as_posix()
                yield Member(name, path.stat().st_size, partial(_open_file, path))


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        _check_expansion(source, sum(info.file_size for info in archive.infolist()))
        for info in archive.infolist():
            kind = info.external_attr >> 28  # of Unix, where the archive was made there: 8 = regular, 10 = link
            if not info.is_dir() and kind in (0, 8) and _is_inside(info.filename):
                yield Member(info.filename, info.file_size, partial(archive.open, info))


def _tar_members(source: Path) -> Iterator[Member]:
    with source.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    with opener(source) if opener else source.open("rb") as archive:
        additional: dict[str, str] = {}
        while header := _next_header(archive):
            size = header.size if "size" not in additional else int(additional["size"])
            content = 0 if header.type in _NO_CONTENT else -(-size // _BLOCK) * _BLOCK
            end = archive.tell() + content
            _check_expansion(source, end)
            if header.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                additional |= _read_additional(archive, header)
            else:
                name = additional.get("path", header.name)
                if header.type in _REGULAR and "sparse" not in additional and _is_inside(name):
                    yield Member(name, size, partial(_open_part, archive, size))
                additional = {}
            _skip_to(archive, end)


def _open_part(archive: IO[bytes], size: int) -> IO[bytes]:
    """Return the next bytes of an archive as a file."""
    return io.BytesIO(archive.read(size))


def _next_header(archive: IO[bytes]) -> tarfile.TarInfo | None:
    """Return the header of the next file in a tar archive, or None at its end."""
    block = archive.read(_BLOCK)
    if not block.strip(b"\0"):
        return None
    header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if header.size < 0 or header.type == tarfile.GNUTYPE_SPARSE:
        raise tarfile.ReadError(f"'{header.name}' is a file with holes, or of {header.size} bytes")
    return header


def _skip_to(archive: IO[bytes], end: int) -> None:
    """Read up to a position: seeking would not notice that an archive was cut short."""
    while (left := end - archive.tell()) > 0:
        if not archive.read(min(left, 1_000_000)):
            raise EOFError("it ends within a file")


def _read_additional(archive: IO[bytes], header: tarfile.TarInfo) -> dict[str, str]:
    """Return what a header declares about the file after it: its `path`, its `size`, and that it is `sparse`."""
    if header.size > MAX_HEADER:
        raise tarfile.ReadError(f"a header of {header.size:,} bytes")
    content = archive.read(header.size)
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": os.fsdecode(content.partition(b"\0")[0])}
    known = dict(_records(content)) if header.type == tarfile.XHDTYPE else {}
    if not known.get("size", "0").isdecimal():
        raise tarfile.ReadError("a header has a size that is not a number")
    if any(key.startswith("GNU.sparse") for key in known):
        known["sparse"] = ""
    return {key: value for key, value in known.items() if key in ("path", "size", "sparse")}


def _records(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the keys and values of an extended header of POSIX: `length key=value` with a new line at the end."""
    start = 0
    for _ in range(MAX_ENTRIES):
        if start == len(content):
            return
        length, space, _ = content[start : start + 8].partition(b" ")
        if not space or not length.isdigit() or not len(length) < int(length) <= len(content) - start:
            raise tarfile.ReadError("a header is broken")
        key, _, value = content[start + len(length) + 1 : start + int(length) - 1].partition(b"=")
        yield os.fsdecode(key), os.fsdecode(value)
        start += int(length)
    raise tarfile.ReadError(f"a header of more than {MAX_ENTRIES} entries")


def _check_expansion(source: Path, size: int) -> None:
    """Refuse an archive that holds far more than its pictures can.

    Raises:
        ValueError: it does.
    """
    most = FREE_EXPANSION + MAX_EXPANSION * source.stat().st_size
    if size > most:
        raise ValueError(
            f"'{source}' would unpack to {size / 1e6:,.0f} MB or more, too much for pictures; download it again"
        )


def _is_inside(name: str) -> bool:
    return not name.startswith(("/", "\\")) and "\\" not in name and ".." not in name.split("/") and ":" not in name
