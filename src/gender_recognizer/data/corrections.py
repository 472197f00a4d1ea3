"""Turn the corrections.csv of a review page into `<folder>/<label>/` and metadata.csv, to train on.

Contract: a table may come from anybody and through any spreadsheet. Only pictures that lie below the folder that it
names, and that can be read, are copied; the output gets names of its own. What a person judged later replaces what was
judged before: a folder may be prepared from one table after the other.
"""

import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from PIL import Image

from gender_recognizer.data.placing import Outcome, Placing, Row, claim_output, write_metadata
from gender_recognizer.data.samples import read_metadata
from gender_recognizer.data.tables import read_table
from gender_recognizer.models.classes import check_classes
from gender_recognizer.pictures.formats import EXTENSIONS
from gender_recognizer.pictures.loading import read_photograph
from gender_recognizer.pictures.opening import open_regular

CORRECTIONS = "corrections"
"""The name of this kind of data set."""

NAME = re.compile(r"[^/]+/[^/]*-[0-9a-f]{12}\.\w+", re.ASCII)
"""Names of pictures in the output: the label, some of the original's name, and what tells it from others."""

Box = tuple[int, int, int, int]


def prepare_corrections(table: Path, output: Path, pictures: Path | None = None) -> Outcome:
    """Copy the pictures of a table to `<output>/<label>/`, cut to the face that was labelled.

    Args:
        table: with the columns `file` and `label`, and `folder`, `box`, `face`, `labelled`, `classes` where there are.
        output: a folder of its own; what was prepared there before is kept, unless it is corrected again.
        pictures: the folder of the pictures; None for the one that the table names.

    Raises:
        ValueError: it is no such table, its folder is not there, the output holds other files, or no picture is left.
        OSError: something cannot be read or written.
    """
    if not table.is_file():
        raise ValueError(f"source '{table.absolute()}' does not exist; expected the corrections.csv of a review page")
    content = read_table(table, ["file", "label"])
    made = {"dataset": CORRECTIONS, "part": None}
    claim_output(output, made, lambda path: NAME.fullmatch(path) is not None)
    outcome = Outcome(notes=list(content.notes))
    earlier = read_metadata(output) if output.is_dir() else {}
    names = {row["source"]: name for name, row in earlier.items() if row.get("source")}
    rows: dict[str, Row] = {name: _without_name(row) for name, row in earlier.items() if (output / name).is_file()}
    outdated = set()
    with Placing(output, made) as placing:
        for name, picture, row in _read_rows(content.rows, table, pictures, outcome):
            old = names.get(row["source"])
            if old and old != name:
                outdated.add(old)
                rows.pop(old, None)
            if not (output / name).is_file() or (output / name).read_bytes() != picture:
                placing.add(output / name, picture)
                outcome.written += 1
            outdated.discard(name)
            names[row["source"]], rows[name] = name, row
    if not rows:
        left_out = "; ".join(f"{count} {reason}" for reason, (count, _) in outcome.left_out.items())
        raise ValueError(f"source '{table}' names no picture to train on ({left_out or 'it has no rows'})")
    for name in outdated:
        (output / name).unlink(missing_ok=True)
    write_metadata(rows, output)
    outcome.counts.update(row["label"] for row in rows.values())
    return outcome


def _without_name(row: Mapping[str, str]) -> Row:
    return {name: value for name, value in row.items() if name != "file_name"}


def _read_rows(
    rows: Mapping[int, Mapping[str, str]], table: Path, pictures: Path | None, outcome: Outcome
) -> Iterator[tuple[str, bytes, Row]]:
    """Yield the new name, the content and the row of each picture; others are counted in the outcome.

    Raises:
        ValueError: the folder of the pictures is not known, or not there.
    """
    for row in rows.values():
        folder = _find_folder(row, table, pictures)
        if (note := f"pictures of '{folder}'") not in outcome.notes:
            outcome.notes.append(note)
        why = _why_not(row)
        path = find_file(folder, row["file"]) if why is None else None
        if isinstance(path, Path):
            try:
                content, ending = _cut(path, _read_box(row.get("box", "")))
            except (OSError, ValueError, MemoryError) as error:
                why = f"{getattr(error, 'strerror', None) or error}"
            else:
                face = row.get("face", "").strip()
                source = f"{path}#{face}" if face else str(path)
                source = source.encode("utf-8", "backslashreplace").decode()
                name = f"{row['label'].strip()}/{_name(path, source)}{ending}"
                kept = {"label": row["label"].strip(), "labelled": row.get("labelled", ""), "source": source}
                yield name, content, kept
        if not isinstance(path, Path) or why:
            outcome.leave_out(row["file"], why or str(path))


def _find_folder(row: Mapping[str, str], table: Path, pictures: Path | None) -> Path:
    """Return the folder of a row's picture.

    Raises:
        ValueError: it is not known, or not there.
    """
    named = row.get("folder", "").strip()
    if pictures is None and not named:
        raise ValueError(f"'{table}' does not say in its column folder where its pictures are; set pictures=folder")
    folder = pictures or next((path for name in _forms(named) if (path := Path(name)).is_dir()), Path(named))
    if not folder.is_dir() or (not folder.is_absolute() and pictures is None):
        raise ValueError(f"the folder '{folder}' that '{table}' names is not there; set pictures=folder")
    return folder.absolute()


def _why_not(row: Mapping[str, str]) -> str | None:
    """Return why a row is not used, if its label is none."""
    label = row["label"].strip()
    classes = [name for name in row.get("classes", "").split("/") if name]
    if not label:
        return "it has no label"
    if classes and label not in classes:
        return f"its label is none of {', '.join(classes)}"
    try:
        check_classes([label], "label", least=1)
    except ValueError as error:
        return str(error)
    return None


def find_file(folder: Path, name: str) -> Path | str:
    """Return the file below a folder that a name in a table means, or why there is none."""
    if not name.strip():
        return "it has no name"
    real = folder.resolve()
    inside = False
    for form in _forms(name):
        path = folder / form
        if Path(form).is_absolute() or ".." in Path(form).parts:
            continue
        inside = True
        with suppress(OSError, ValueError):
            if path.is_file():
                return path if path.resolve().is_relative_to(real) else "it is a link out of the folder"
    return "it is not there" if inside else "it is outside of the folder"


def _forms(name: str) -> Iterator[str]:
    r"""Yield what a name in a table may stand for: itself, and what spreadsheets, systems and the page make of it."""
    plain = name.removeprefix("'")  # it stands before what a spreadsheet would take for a formula
    for form in dict.fromkeys([name, plain, plain.strip(), plain.replace("\\", "/")]):
        yield form
        yield re.sub(r"\\udc([0-9a-f]{2})", lambda match: chr(0xDC00 + int(match[1], 16)), form)
        for kind in ("NFC", "NFD"):
            yield unicodedata.normalize(kind, form)


def _read_box(text: str) -> Box | None:
    """Return left, top, right and bottom.

    Raises:
        ValueError: it is not four whole numbers.
    """
    if not text.strip():
        return None
    numbers = text.split()
    if len(numbers) != 4 or not all(re.fullmatch(r"-?\d{1,6}", number, re.ASCII) for number in numbers):
        raise ValueError("its box is not four whole numbers")
    left, top, right, bottom = map(int, numbers)
    if left >= right or top >= bottom:
        raise ValueError("its box is empty")
    return left, top, right, bottom


def _cut(path: Path, box: Box | None) -> tuple[bytes, str]:
    """Return the content and the ending of a picture: its own or, of a part of it, a PNG.

    Raises:
        OSError: it cannot be opened.
        ValueError: it cannot be read, or the box is outside of it.
    """
    file = open_regular(path)[0]
    with file:
        photograph = read_photograph(file)
        file.seek(0)
        content = file.read()
    image, (width, height) = photograph.image, photograph.size
    ending = path.suffix.lower()
    if box is None or (min(box[:2]) <= 0 and box[2] >= width and box[3] >= height and max(box[:2]) <= 0):
        return (content, ending) if ending in EXTENSIONS else (_png(image), ".png")
    if box[0] >= width or box[1] >= height or min(box[2:]) <= 0 or max(box) - min(box) > 4 * max(width, height):
        raise ValueError(f"its box is outside of its {width}x{height} pixels")
    return _png(image.crop(box)), ".png"


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _name(path: Path, source: str) -> str:
    """Return a name for a picture that no other has, without its ending."""
    stem = re.sub(r"[^\w.-]+", "_", path.stem)[:60].strip("._-") or "picture"
    return f"{stem}-{blake2b(source.encode(), digest_size=6).hexdigest()}"
