"""Help texts of options, and messages about mistakes in them, in plain words."""

import dataclasses
import inspect
import re

from gender_recognizer.arguments import option_types, suggest

EXPECTED = {
    "to Integer": "a whole number",
    "to Float": "a number",
    "valid bool": "true or false",
    "to Path": "a path",
    "'None' for field": "a value",
}
"""What replaces OmegaConf's words for types."""


def explain(error: Exception, kind: type) -> str:
    """Return an error of Hydra or OmegaConf as one line of plain words."""
    text, key = str(error), getattr(error, "full_key", None)
    if found := re.search(r"Could not override '(.+?)'", text):
        return suggest(found[1], kind)
    if key and f"Key '{key.rpartition('.')[2]}' not in" in text:
        return suggest(key, kind)
    if found := re.search(r"Could not find '(.+)/(.+)'\s+Available options in .+:\n((?:\s*\t.+\n)+)", text):
        return f"{found[1]} is '{found[2]}'; there are {', '.join(found[3].split())}"
    if isinstance(error.__cause__, Exception) and key is None and getattr(error.__cause__, "full_key", None):
        return explain(error.__cause__, kind)
    if "issing mandatory value" in text:
        return f"{key} is not set; give {key}=..."
    value = re.search(r"[Vv]alue:? '?(.*?)'?(?: of type| is not a valid| for field|$)", text, re.M)
    for word, expected in EXPECTED.items():
        if word in text and value:
            return f"{key} is {value[1]}; expected {expected}"
    return f"{key}: {text.splitlines()[0]}" if key else text.splitlines()[0]


def help_text(kind: type) -> str:
    """Return the docstring of a command's settings, then the options they inherit and those of groups."""
    text = (inspect.getdoc(kind) or "").replace("Attributes:\n", "Options:\n")
    for base in kind.__mro__[1:-1]:
        text += f"\n\nOptions it shares with others:\n{_attributes(base)}"
    for name, part in option_types(kind):
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            text += f"\n\nOptions of {name}:\n{_attributes(part)}"
    return text


def _attributes(kind: type) -> str:
    """Return the part of a dataclass's docstring that explains its fields."""
    return (inspect.getdoc(kind) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
