"""The rule for lists of classes. Standard library only, so that settings can call it before anything heavy loads."""

from collections.abc import Sequence
from typing import Any

MAX_LENGTH = 100
"""Characters of the longest class name: it is printed, drawn and written into result files."""


def check_classes(classes: Any, name: str = "classes", least: int = 2) -> list[str]:
    """Return the names of classes as strings; numbers become names.

    Args:
        classes: a list or tuple of different names. Each is the name of a folder.
        name: of the option or field, for the message.
        least: how many there must be; one is enough to check pictures.

    Raises:
        ValueError: it is not a list, has too few names, one twice, or one that cannot name a folder.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise ValueError(f"{name} is {_shown(classes)}; expected a list of names such as [female,male]")
    names = [_check_name(value, name) for value in classes]
    if len(names) < least:
        wanted = "two or more names" if least > 1 else "a name or more,"
        raise ValueError(f"{name} is {_shown(names)}; expected {wanted} such as [female,male]")
    if twice := [value for value in names if names.count(value) > 1]:
        raise ValueError(f"{name} has {_shown(twice[0])} twice; expected different names")
    return names


def _check_name(value: Any, name: str) -> str:
    """Return one class name, of a string or a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} has {_shown(value)}, which is not a name; put names in quotes")
    if not value.strip() or value != value.strip() or len(value) > MAX_LENGTH:
        raise ValueError(
            f"{name} has {_shown(value)}; expected 1 to {MAX_LENGTH} characters without spaces at the ends"
        )
    if not value.isprintable() or value in (".", "..") or "/" in value or "\\" in value:
        raise ValueError(f"{name} has {_shown(value)}; a class is named as its folder: printable, without / and \\")
    return value


def _shown(value: Any) -> str:
    """Return a value for a message: in one short line, whatever it holds."""
    text = ascii(value) if not isinstance(value, str) or not value.isprintable() else repr(value)
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + "..."
