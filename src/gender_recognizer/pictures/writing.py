"""Files that take their place whole: written beside it under another name, then moved there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


def partial_path(path: Path) -> Path:
    """Return where a file is written before it takes its place."""
    return path.with_name(path.name + ".partial")


@contextmanager
def replacing(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a new file that takes the place of `path` at the end; after an error what was there stays as it is.

    The content reaches the disk before the file gets its name, so that a power loss leaves the old file or the new
    one, and never a part of one or a page of zeros.

    Args:
        path: the place.
        mode: `wb` or `w`.
        **options: of `open`, such as `encoding`.

    Raises:
        OSError: the file cannot be written.
    """
    partial = partial_path(path)
    partial.unlink(missing_ok=True)  # of a run that was killed; a link is not followed
    try:
        with partial.open(mode.replace("w", "x"), **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write a text as UTF-8 to a file that takes the place of `path` whole; line ends stay as they are in it.

    Args:
        path: the place.
        text: the content.
        errors: what becomes of characters that UTF-8 cannot hold, as for `open`.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path, "w", encoding="utf-8", errors=errors, newline="") as file:
        file.write(text)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    with suppress(OSError):  # Windows opens no folders, and some file systems do not sync them
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lock(file: IO[bytes]) -> bool:
    """Lock an open file for other runs until it is closed; return whether that succeeded."""
    try:
        import fcntl
    except ImportError:  # missing on Windows, where two programs cannot write one file anyway
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
