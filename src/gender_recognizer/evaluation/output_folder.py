"""The folder for a report: a new one, or one that holds an earlier report and no files of the user's."""

import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def choose_folder(given: Path | None, outputs: Path, name: str) -> Path:
    """Return the absolute path of the folder that is given, or else of a new one, NAME_DATE_TIME in `outputs`."""
    if given is not None:
        return given.absolute()
    stem = (outputs / time.strftime(f"{name}_%Y-%m-%d_%H-%M-%S")).absolute()
    folder, number = stem, 1
    while folder.exists():
        number += 1
        folder = stem.with_name(f"{stem.name}_{number}")
    return folder


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Make a folder, so that one that cannot be made is reported before the work; if that fails, leave no empty one."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # something was written
                folder.rmdir()
        raise


def require_own_files(folder: Path, names: Collection[str], record: str, keys: Collection[str]) -> None:
    """Refuse to overwrite files that a person or another program wrote.

    Args:
        folder: where the files will be written; it need not exist.
        names: of these files.
        record: the one among them that shows who wrote them, a JSON object.
        keys: some that it has if this package wrote it.

    Raises:
        ValueError: the folder is a file, or one of the files exists and was not written by this package.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir '{folder}' is a file; give a folder")
    found = [folder / name for name in names if (folder / name).exists()]
    if found and not set(keys) <= _read_keys(folder / record):
        raise ValueError(f"'{found[0]}' exists and was not written by this command; give another output_dir")


def _read_keys(path: Path) -> set[str]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return set()
    return set(content) if isinstance(content, dict) else set()
