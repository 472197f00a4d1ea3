"""Turn command-line arguments into Hydra overrides that keep every path and class name unchanged."""

import dataclasses
import difflib
import os
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FLAGS = ("-m", "--multirun", "--resolve", "--info", "--version", "--hydra-help", "-r", "--run")
FLAGS_WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-sc", "--shell-completion", "-cn", "-cd", "--config-dir", "-i")
"""Hydra's own options that a user may need; what follows `--`name`=` belongs to the flag as well."""

SWEEPS = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.S)
OVERRIDE = re.compile(r"(\+\+|\+|~)?([A-Za-z_][\w.@:/-]*)(?:=(.*))?", re.S)


OPTION = re.compile(r"[+~]*[A-Za-z_][\w.@]*=")
"""What looks like an option, whether or not there is one of that name."""


class Overrides(NamedTuple):
    """A command line as Hydra reads it.

    Attributes:
        overrides: such as `data.root='photos (1)'`.
        flags: Hydra's own options, such as `-m`.
    """

    overrides: list[str]
    flags: list[str]


def read_arguments(arguments: Sequence[str], settings: type, inputs: str | None = None) -> Overrides:
    """Return the overrides and flags of a command line.

    Hydra's grammar refuses or changes many folder names. Values of options that are text, paths or lists of them are
    therefore quoted, `~` is expanded in paths, and the items of a list stay text (`[0,1]` names the classes `0` and
    `1`). With `-m` their commas separate the values of a sweep.

    Args:
        arguments: what follows the command's name.
        settings: the dataclass of the command's settings.
        inputs: the option, a list, that arguments without a known key belong to; None where there is none.

    Raises:
        ValueError: an argument is not understood.
    """
    kinds = dict(option_types(settings))
    flags, others = _split_flags(arguments)
    typed = [argument for argument in others if _is_override(argument, kinds)]
    named = [argument for argument in typed if inputs and argument.startswith(f"{inputs}=")]
    bare = [part for argument in named for part in _items(argument.partition("=")[2])]
    bare += [argument for argument in others if argument not in typed]
    sweeping = bool({"-m", "--multirun"} & set(flags))
    overrides = [_translate(argument, kinds, sweeping) for argument in typed if argument not in named]
    return Overrides(overrides + _translate_inputs(bare, kinds, inputs), flags)


def _split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return Hydra's own options, with their values, and the other arguments."""
    flags, others = [], []
    rest = iter(arguments)
    for argument in rest:
        if argument in FLAGS_WITH_VALUE:
            flags += [argument, next(rest, "")]
        elif argument in FLAGS or argument.split("=")[0] in FLAGS_WITH_VALUE:
            flags.append(argument)
        elif argument.startswith("-"):
            raise ValueError(f"unknown option '{argument}'; --help lists the options")
        else:
            others.append(argument)
    return flags, others


def _is_override(argument: str, kinds: dict[str, Any]) -> bool:
    """Say whether an argument begins with the name of an option or a group of them."""
    match = OVERRIDE.fullmatch(argument)
    if not match or (match[3] is None and not match[1]):
        return False
    return re.split(r"[./@]", match[2])[0] in {*kinds, "hydra", "experiment"}


def option_types(settings: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name of each option, such as `data.root`, and its type, without `| None`."""
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        kind = _without_none(hints[field.name])
        yield prefix + field.name, kind
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from option_types(kind, f"{prefix}{field.name}.")


def suggest(name: str, settings: type) -> str:
    """Return the message about an option that does not exist."""
    known = [key for key, _ in option_types(settings)]
    if name in known:
        return f"'{name}' is an option of {name.partition('.')[0]}, which was not chosen"
    near = difflib.get_close_matches(name, [key for key in known if "." in key or "." not in name], 1)
    hint = f"did you mean {near[0]}?" if near else "--help lists the options"
    return f"unknown option '{name}'; {hint}"


def quote(text: str) -> str:
    """Return text in the quotes that Hydra's grammar and OmegaConf's interpolation leave unchanged."""
    from hydra.core.override_parser.types import Quote, QuotedString

    text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + "\\${", text)
    return QuotedString(text, Quote.single).with_quotes()


def _translate_inputs(bare: list[str], kinds: dict[str, Any], inputs: str | None) -> list[str]:
    """Return the override that arguments without a key stand for."""
    for argument in bare:
        if inputs is not None and (os.path.lexists(argument) or not OPTION.match(argument)):
            continue
        near = difflib.get_close_matches(argument.partition("=")[0].lstrip("+~"), kinds, 1)
        hint = f"did you mean {near[0]}=?" if near and "=" in argument else "--help lists the options"
        expected = "" if "=" in argument else "; expected option=value"
        raise ValueError(f"'{argument}' is not an option{' or a file' if inputs else ''}{expected or f'; {hint}'}")
    return [f"{inputs}=[{','.join(quote(_plain(path, Path)) for path in bare)}]"] if bare else []


def _translate(argument: str, kinds: dict[str, Any], sweeping: bool) -> str:
    """Return one override with its value in Hydra's grammar."""
    match = OVERRIDE.fullmatch(argument)
    assert match, "only overrides come here"
    prefix, key, value = match.groups()
    if prefix == "+" and "." in key and key in kinds:  # an option that is there needs no `+`, and may have one
        prefix, argument = "", argument[1:]
    kind: Any = Path if key in ("hydra.run.dir", "hydra.sweep.dir") else kinds.get(key)
    item = typing.get_args(kind)[0] if typing.get_origin(kind) is list else None
    if value is None or value == "null" or (kind not in (str, Path) and item not in (str, Path)):
        return argument
    if sweeping and (SWEEPS.fullmatch(value) or (item is None and "," in value)):
        return argument
    if item is None:
        return f"{prefix or ''}{key}={quote(_plain(value, kind))}"
    return f"{prefix or ''}{key}=[{','.join(quote(_plain(part, item)) for part in _items(value))}]"


def _items(value: str) -> list[str]:
    """Return the items of `[a,b]`; anything else, and a file or folder of that name, is one item."""
    whole = value.startswith("[") and value.endswith("]") and not os.path.lexists(value)
    return split_list(value[1:-1]) if whole else [value]


def _plain(value: str, kind: type) -> str:
    """Return the text that a value stands for: without quotes meant for Hydra, and with the home folder for `~`."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and not os.path.lexists(value):
        value = value[1:-1]
    is_path = kind is Path or value.startswith("~/")  # of those that may also be a word, such as model_path
    return os.path.expanduser(value) if is_path else value  # noqa: PTH111 - Path drops a slash at the end


def split_list(text: str) -> list[str]:
    """Return the items of a list without its brackets; commas inside of quotes do not separate."""
    items = re.findall(r"""\s*("[^"]*"|'[^']*'|[^,]*?)\s*(?:,|$)""", text)
    return items[:-1] if text.strip() == "" or not text.rstrip().endswith(",") else items


def _without_none(kind: Any) -> Any:
    """Return the type `X` of `X | None`."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    kinds = [part for part in typing.get_args(kind) if part is not type(None)]
    return kinds[0] if len(kinds) == 1 else kind
