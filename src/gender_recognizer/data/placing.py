"""Write the folder of a prepared data set: each picture whole or not at all, a marker, and metadata.csv."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from gender_recognizer.pictures.writing import partial_path, replacing, sync_folder

Row = dict[str, str]
"""Columns of metadata.csv without `file_name`."""

MARKER = ".prepare_data.json"
"""File in an output folder that records what was prepared there."""


@dataclass
class Outcome:
    """The result of a call.

    Attributes:
        counts: pictures in the output by class.
        written: how many of them this call wrote.
        left_out: up to five names, and the number, of the pictures left out by reason.
        notes: what was wrong with a table, each in a line.
    """

    counts: Counter[str] = field(default_factory=Counter)
    written: int = 0
    left_out: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, name: str, reason: str) -> None:
        """Count a picture that is left out."""
        count, names = self.left_out.get(reason, (0, []))
        self.left_out[reason] = (count + 1, [*names, name][:5])


def claim_output(output: Path, made: dict[str, str | None], is_ours: Callable[[str], bool]) -> None:
    """Refuse a folder with anything that an earlier call for the same data set and part did not write.

    Args:
        output: the folder.
        made: what is prepared there.
        is_ours: says whether a path relative to the folder, with `/`, is one that pictures get.

    Raises:
        ValueError: there is something else.
    """
    marker = output / MARKER
    if not output.exists() or not any(output.iterdir()):
        return
    if not marker.is_file():
        raise ValueError(f"'{output}' holds files that were not prepared here; set output_dir=another/folder")
    holds = json.loads(marker.read_text())
    if holds != made:
        raise ValueError(
            f"'{output}' holds {holds['dataset']}, part {holds['part'] or 'all'}; set output_dir=another/folder"
        )
    for folder, _, names in os.walk(output):
        for name in names:
            path = Path(folder, name).relative_to(output).as_posix()
            known = path in (MARKER, "metadata.csv", "metadata.csv.partial")
            if not known and not is_ours(path.removesuffix(".partial")):
                raise ValueError(f"'{output / path}' was not prepared here; move it, or set output_dir=another/folder")


class Placing:
    """Pictures that are being written: whole and on the disk before they get their names.

    Some hundred are synced together: syncing each by itself takes ten times as long.
    """

    def __init__(self, output: Path, made: dict[str, str | None]) -> None:
        """Set the output folder and the content of its marker, which is written before the first picture."""
        self._marker, self._made = output / MARKER, json.dumps(made).encode()
        self._targets: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()

    def add(self, target: Path, content: bytes) -> None:
        """Write a picture under a temporary name."""
        if not self._marker.exists():
            write_whole(self._marker, self._made)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial_path(target).write_bytes(content)
        self._targets.append(target)
        if len(self._targets) == 500:
            self._finish()

    def _finish(self) -> None:
        """Sync the pictures to the disk and give them their names."""
        targets, self._targets = self._targets, []
        with ThreadPoolExecutor(16) as pool:  # a disk syncs many files at once
            list(pool.map(lambda target: sync_file(partial_path(target)), targets))
        for target in targets:
            os.replace(partial_path(target), target)
        for folder in {target.parent for target in targets}:
            sync_folder(folder)


def sync_file(path: Path) -> None:
    """Sync the content of a file to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def write_metadata(rows: dict[str, Row], output: Path) -> None:
    """Write metadata.csv: `file_name`, `label` and the data set's other columns, sorted by name."""
    names = dict.fromkeys(["label", *(name for row in rows.values() for name in row)])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["file_name", *names], restval="")
    writer.writeheader()
    writer.writerows({"file_name": name} | rows[name] for name in sorted(rows))
    write_whole(output / "metadata.csv", text.getvalue().encode())
