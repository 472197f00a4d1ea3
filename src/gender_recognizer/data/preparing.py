"""Turn the official archives of public sets of faces into `<folder>/<class>/` and metadata.csv.

Contract: the bytes of a picture are copied as they are, a label is never guessed, and pictures that are left out are
counted by reason. After an interruption, the same call completes the folder.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tqdm import tqdm

from gender_recognizer.data.archives import Member, find_tables, read_members
from gender_recognizer.data.corrections import CORRECTIONS, prepare_corrections
from gender_recognizer.data.placing import Outcome, Placing, Row, claim_output, write_metadata
from gender_recognizer.data.public_sets import CLASSES, PUBLIC_SETS, Describe, PublicSet
from gender_recognizer.data.settings import PrepareSettings
from gender_recognizer.interruption import STOPPED
from gender_recognizer.pictures.listing import is_picture_name
from gender_recognizer.pictures.names import printable

MAX_PICTURE = 20_000_000
"""Most bytes of a picture that is copied."""

MAX_TOTAL = 50_000_000_000
"""Most bytes that are copied of one data set; the largest release of those known here has about 10 GB."""

FEW, FEW_AT_ONCE = 600, 16
"""Corrections below which the usual 10 epochs of batches of 64 are too few steps, and the batch that such few get."""


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
        raise ValueError(f"dataset is '{dataset}'; expected {', '.join(PUBLIC_SETS)} or {CORRECTIONS}")
    if not source.exists():
        raise ValueError(f"source '{source}' does not exist; expected {PUBLIC_SETS[dataset].expected}")
    known = PUBLIC_SETS[dataset]
    describe = known.read(find_tables(source, known.tables))
    made = {"dataset": dataset, "part": part}
    claim_output(output, made, partial(_is_name, known.pattern))
    rows, outcome = copy_pictures(known, describe, source, output, made)
    if not rows:
        left_out = "; ".join(f"{count} {reason}" for reason, (count, _) in outcome.left_out.items())
        raise ValueError(
            f"no picture of {dataset}{f', part {part},' if part else ''} in '{source}'; expected {known.expected}"
            + (f" (left out: {left_out})" if left_out else "")
        )
    write_metadata(rows, output)
    return outcome


def _is_name(pattern: re.Pattern[str], path: str) -> bool:
    """Say whether a path, relative to the output, is one that pictures of this data set get."""
    label, _, name = path.partition("/")
    return label in CLASSES and pattern.fullmatch(name) is not None


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


def run(settings: PrepareSettings) -> int:
    """Print the terms, prepare the pictures, print the result, and return the exit code."""
    dataset = settings.dataset
    output = (settings.output_dir or Path("data", dataset)).absolute()
    for line in PUBLIC_SETS[dataset].terms if dataset in PUBLIC_SETS else ():
        print(line, file=sys.stderr)
    try:
        if dataset == CORRECTIONS:
            outcome = prepare_corrections(settings.source, output, settings.pictures)
        else:
            outcome = prepare(dataset, settings.source, output, settings.part)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return STOPPED
    for line in outcome.notes:
        print(printable(line), file=sys.stderr)
    for reason, (count, names) in outcome.left_out.items():
        shown = ", ".join(ascii(name) for name in names) + (", ..." if count > len(names) else "")
        print(f"left out, {printable(reason)}: {count:,} ({shown})", file=sys.stderr)
    counts = ", ".join(f"{outcome.counts[label]:,} {label}" for label in sorted(outcome.counts))
    left_out = sum(count for count, _ in outcome.left_out.values())
    print(f"{counts} ({outcome.written:,} of them new), {left_out:,} left out: {output}")
    if dataset == CORRECTIONS:
        print(f"to train with them: {describe_training(outcome, output)}")
    return 0


def few_epochs(outcome: Outcome) -> int | None:
    """Return how many epochs of few pictures give about 100 steps; None where the usual ones do."""
    pictures = outcome.counts.total()
    return None if pictures >= FEW else min(50, max(10, round(FEW_AT_ONCE * 125 / pictures)))


def describe_training(outcome: Outcome, output: Path) -> str:
    """Return the command that trains with corrections."""
    labels = sorted(outcome.counts)
    classes = [] if set(labels) <= set(CLASSES) else [f"data.classes=[{','.join(labels)}]"]
    longer = (
        [f"data.batch_size={FEW_AT_ONCE}", f"trainer.max_epochs={epochs}"] if (epochs := few_epochs(outcome)) else []
    )
    arguments = ["init_from=bundled", f"data.root={output}", *longer, *classes]
    return " ".join(["python scripts/train.py", *map(shlex.quote, arguments)])
