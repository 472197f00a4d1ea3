"""Turn the official archives of public sets of faces into `<folder>/<class>/` and metadata.csv.

Contract: the bytes of a picture are copied as they are, a label is never guessed, and pictures that are left out are
counted by reason. After an interruption, the same call completes the folder.
"""

import csv
import io
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tqdm import tqdm

from gender_recognizer.data.archives import Member, find_tables, read_members
from gender_recognizer.data.public_sets import CLASSES, PUBLIC_SETS, Describe, PublicSet, Row
from gender_recognizer.data.settings import PrepareSettings
from gender_recognizer.pictures.listing import is_picture_name
from gender_recognizer.pictures.writing import partial_path, replacing, sync_folder

MAX_PICTURE = 20_000_000
"""Most bytes of a picture that is copied."""

MAX_TOTAL = 50_000_000_000
"""Most bytes that are copied of one data set; the largest release of those known here has about 10 GB."""

MARKER = ".prepare_data.json"
"""File in an output folder that records what was prepared there."""


@dataclass
class Outcome:
    """The result of a call.

    Attributes:
        counts: pictures in the output by class.
        written: how many of them this call wrote.
        left_out: up to five names, and the number, of the pictures left out by reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    written: int = 0
    left_out: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def leave_out(self, name: str, reason: str) -> None:
        """Count a picture that is left out."""
        count, names = self.left_out.get(reason, (0, []))
        self.left_out[reason] = (count + 1, [*names, name][:5])


def prepare(dataset: str, source: Path, output: Path, part: str | None = None) -> Outcome:
    """Copy the pictures of a data set to `<output>/<class>/` and write `<output>/metadata.csv`.

    Args:
        dataset: a key of `PUBLIC_SETS`.
        source: the official archive, or a folder that holds it, its content, or both.
        output: a folder of its own; an interrupted one is completed.
        part: only the pictures of this part of the data set's own split.

    Raises:
        ValueError: the data set is unknown, the source is not that data set, or the output holds other files.
        OSError: something cannot be read or written.
    """
    if dataset not in PUBLIC_SETS:
        raise ValueError(f"dataset is '{dataset}'; expected {', '.join(PUBLIC_SETS)}")
    if not source.exists():
        raise ValueError(f"source '{source}' does not exist; expected {PUBLIC_SETS[dataset].expected}")
    known = PUBLIC_SETS[dataset]
    describe = known.read(find_tables(source, known.tables))
    made = {"dataset": dataset, "part": part}
    claim_output(output, made, known.pattern)
    rows, outcome = copy_pictures(known, describe, source, output, made)
    if not rows:
        left_out = "; ".join(f"{count} {reason}" for reason, (count, _) in outcome.left_out.items())
        raise ValueError(
            f"no picture of {dataset}{f', part {part},' if part else ''} in '{source}'; expected {known.expected}"
            + (f" (left out: {left_out})" if left_out else "")
        )
    write_metadata(rows, output)
    return outcome


def claim_output(output: Path, made: dict[str, str | None], pattern: re.Pattern[str]) -> None:
    """Refuse a folder with anything that an earlier call for the same data set and part did not write.

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
            inside = path.removesuffix(".partial").partition("/")[2]
            if path not in (MARKER, "metadata.csv", "metadata.csv.partial") and not (
                path.partition("/")[0] in CLASSES and pattern.fullmatch(inside)
            ):
                raise ValueError(f"'{output / path}' was not prepared here; move it, or set output_dir=another/folder")


def copy_pictures(
    known: PublicSet, describe: Describe, source: Path, output: Path, made: dict[str, str | None]
) -> tuple[dict[str, Row], Outcome]:
    """Copy the pictures that can be described; return the rows of metadata.csv by `file_name`, and the result.

    Raises:
        ValueError: the output holds another picture of the same name, or the source is broken or far too large.
    """
    rows: dict[str, Row] = {}
    outcome = Outcome()
    total, seen = 0, set()
    with Placing(output, made) as placing:
        for member, match, row in find_pictures(known, describe, source, made["part"], outcome):
            if match in seen:
                outcome.leave_out(member.name, "another file in the source has the same name")
                continue
            content = member.read(MAX_PICTURE)
            if content is None or not content.startswith(b"\xff\xd8"):
                outcome.leave_out(member.name, "not a JPEG file of at most 20 MB")
                continue
            file_name = f"{row['label']}/{match}"
            if is_new(output / file_name, content):
                placing.add(output / file_name, content)
                outcome.written += 1
            seen.add(match)
            rows[file_name] = row
            outcome.counts[row["label"]] += 1
            total += member.size
            if total > MAX_TOTAL:
                size = f"more than {MAX_TOTAL / 1e9:.0f} GB of pictures"
                raise ValueError(f"'{source}' has {size}; it is not the official archive")
    return rows, outcome


def find_pictures(
    known: PublicSet, describe: Describe, source: Path, part: str | None, outcome: Outcome
) -> Iterator[tuple[Member, str, Row]]:
    """Yield the pictures of a part that can be described, each with its new name and its row.

    Others are counted in the outcome.

    Raises:
        ValueError: the source is broken.
    """
    pattern = re.compile(rf"(?:^|/){known.pattern.pattern}$", re.ASCII)
    for member in tqdm(read_members(source), "copying", unit="img", disable=None):
        if not is_picture_name(member.name):
            continue
        match = pattern.search(member.name)
        row = describe(match) if match else "name is not one of this data set's"
        if isinstance(row, str):
            outcome.leave_out(member.name, row)
        elif match and (part is None or row.get("split") == part):
            yield member, match[1], row


def is_new(target: Path, content: bytes) -> bool:
    """Return whether a picture is not in its place yet.

    Raises:
        ValueError: another one is.
    """
    if not target.exists():
        return True
    if target.read_bytes() != content:
        raise ValueError(
            f"'{target}' differs from the picture in the source; delete it, or set output_dir=another/folder"
        )
    return False


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


def run(settings: PrepareSettings) -> int:
    """Print the terms, prepare the pictures, print the result, and return the exit code."""
    dataset = settings.dataset
    output = (settings.output_dir or Path("data", dataset)).absolute()
    for line in PUBLIC_SETS[dataset].terms if dataset in PUBLIC_SETS else ():
        print(line, file=sys.stderr)
    try:
        outcome = prepare(dataset, settings.source, output, settings.part)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    for reason, (count, names) in outcome.left_out.items():
        shown = ", ".join(ascii(name) for name in names) + (", ..." if count > len(names) else "")
        print(f"left out, {reason}: {count:,} ({shown})", file=sys.stderr)
    counts = ", ".join(f"{outcome.counts[label]:,} {label}" for label in sorted(outcome.counts))
    left_out = sum(count for count, _ in outcome.left_out.values())
    print(f"{counts} ({outcome.written:,} of them new), {left_out:,} left out: {output}")
    return 0
