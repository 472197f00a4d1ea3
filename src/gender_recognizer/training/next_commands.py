"""Commands to type next: complete, with the paths of the run, quoted for a shell."""

import os
import shlex
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

SCRIPTS = {"label": "process", "check": "check_data"}
"""Names of the scripts that are not called as their command is."""


def command_line(name: str, *arguments: str) -> str:
    """Return a command to type, called the way this one was: as a script, or as `gender-recognizer`."""
    script = Path(sys.argv[0])
    if script.suffix == ".py" and (script.parent / f"{SCRIPTS.get(name, name)}.py").is_file():
        start = ["python", short_path(script.parent / f"{SCRIPTS.get(name, name)}.py")]
    else:
        start = ["gender-recognizer", name]
    return shlex.join([*start, *arguments])


def short_path(path: Path) -> str:
    """Return a path as seen from the current folder if it lies in it, else the whole one."""
    whole = path.absolute()
    return os.path.relpath(whole) if whole.is_relative_to(Path.cwd()) else str(whole)


def without_options(typed: Iterable[str], names: Collection[str]) -> list[str]:
    """Return the typed arguments without flags, some options, and those of some groups.

    Args:
        typed: such as `data.root=my pictures`.
        names: such as `init_from`, or `model`, which stands for `model.width` as well.
    """
    return [argument for argument in typed if not argument.startswith("-") and not _names(argument) & {*names}]


def _names(argument: str) -> set[str]:
    """Return the option that an argument sets, and its groups."""
    parts = argument.partition("=")[0].lstrip("+~").split(".")
    return {".".join(parts[: count + 1]) for count in range(len(parts))}
