r"""Names of files, folders, classes and groups as text that does no harm where it is shown.

A name may hold anything: control characters that a terminal obeys, line ends, marks that turn the direction of what
follows, bytes that are no UTF-8. Result files keep names as they are; what people read shows such characters as
escapes, `\x1b` or `\u202e`.
"""

import re
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of control and format characters, halves of pairs (bytes that are no UTF-8), line separators."""

_JOINERS = "\u200c\u200d"
"""Format characters that names in many scripts, and many emoji, need."""


def printable(name: str) -> str:
    r"""Return a name in one line, with escapes such as `\n`, `\x1b` or `\u202e` for what a terminal or page obeys."""
    if name.isascii() and name.isprintable():
        return name
    return "".join(_escape(character) if _is_hidden(character) else character for character in name)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def drawable(name: str) -> str:
    """Return a name as matplotlib draws it: `$` begins no formula, and a legend leaves no name out."""
    shown = printable(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def markdown(name: str) -> str:
    """Return a name as Markdown that shows it, also in a table: no markup, link, HTML or formula comes of it."""
    escaped = re.sub(r"[\\`*\[\]<>|~$&]", r"\\\g<0>", printable(name))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # within a word it is no markup


def markdown_code(name: str) -> str:
    """Return a name as a code span of Markdown."""
    shown = printable(name)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"
