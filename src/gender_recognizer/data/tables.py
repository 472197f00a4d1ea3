"""Read tables that any program wrote: encoding and separator are detected, and a wrong line is reported."""

import csv
import io
import os
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from gender_recognizer.pictures.texts import find_encoding

SEPARATORS = ",;\t|"


class Table(NamedTuple):
    """The content of a table.

    Attributes:
        columns: names in the header, in order; needed ones as the caller spells them.
        rows: values by column, by the number of the row's last line.
        notes: what was wrong with it, each in a line that names the file.
    """

    columns: list[str]
    rows: dict[int, dict[str, str]]
    notes: list[str]


def read_table(path: Path, needed: Collection[str], unknown: tuple[str, str] = ("cp1252", "replace")) -> Table:
    """Return the rows of a table with a header, separated by commas, semicolons, tabs or bars.

    Rows with more values than the header has names are left out: nobody can say which value is which.

    Args:
        path: the table, in UTF-8, UTF-16 or UTF-32.
        needed: names of columns that it must have; case and surrounding spaces are ignored.
        unknown: encoding, and error handler, for a table in none of these.

    Raises:
        ValueError: it has no such columns.
    """
    content = path.read_bytes()
    encoding = find_encoding(content)
    text = content.decode(encoding, "replace") if encoding else content.decode(*unknown)
    text = re.sub(r"\Asep=.\r?\n", "", text)  # a line that Excel writes
    separator, columns = _read_header(text, needed)
    if missing := [name for name in needed if name not in columns]:
        raise ValueError(f"'{path}' has no column '{missing[0]}'; its columns are {', '.join(columns) or 'none'}")
    table = Table([name for name in columns if name], {}, [])
    if encoding is None and unknown[0] == "cp1252":
        table.notes.append(
            f"'{path}' is not in UTF-8 and was read as Windows-1252; if names are wrong, save it as UTF-8"
        )
    _read_rows(path, text, separator, columns, table)
    return table


def _read_header(text: str, needed: Collection[str]) -> tuple[str, list[str]]:
    """Return the separator that shows the needed columns, or else the most columns, and the columns."""
    by_separator = {}
    for separator in SEPARATORS:
        names = next(_rows(text, separator), (0, []))[1]
        known = {name.casefold(): name for name in needed}
        by_separator[separator] = [known.get(name.strip().casefold(), name.strip()) for name in names]
    best = max(by_separator, key=lambda key: (set(needed) <= set(by_separator[key]), len(by_separator[key])))
    return best, by_separator[best]


def _rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of its last line and the values of each row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    for values in reader:
        if values:
            yield reader.line_num, values


def _read_rows(path: Path, text: str, separator: str, columns: list[str], table: Table) -> None:
    """Add the rows of a table, and a note for the first one that is wrong."""
    wrong: list[int] = []
    try:
        for number, (line, values) in enumerate(_rows(text, separator)):
            if any(values[len(columns) :]):
                wrong.append(line)
            elif number:
                values += [""] * (len(columns) - len(values))
                table.rows[line] = {name: value for name, value in zip(columns, values, strict=False) if name}
    except csv.Error as error:
        table.notes.append(f"'{path}' cannot be read beyond line {max(table.rows, default=1)} ({error})")
    if wrong:
        more = f", nor {len(wrong) - 1:,} more like it" if len(wrong) > 1 else ""
        table.notes.append(
            f"'{path}', line {wrong[0]}: more values than the {len(columns)} columns; the row is not used{more}"
        )


def decode_lines(content: bytes) -> list[str]:
    """Return the lines of a list of names, in any encoding; if it cannot be detected, the bytes are kept."""
    encoding = find_encoding(content)
    if encoding in (None, "utf-8", "utf-8-sig"):
        text = os.fsdecode(content.removeprefix(BOM_UTF8))
    else:
        text = content.decode(encoding, "replace")
    return [line.rstrip("\r") for line in text.split("\n")]
