"""What is to be installed where a package is missing. Imports only the standard library."""

import re
import sys
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
"""The project, where the package is used out of it."""

_OF_TRAINING = ("torch", "lightning", "torchmetrics", "torchvision", "onnx", "matplotlib", "tensorboard", "rich")

NEEDED = {"train": _OF_TRAINING, "tune": (*_OF_TRAINING, "optuna")}
"""Modules without which a command that makes a run folder cannot begin."""


def require_packages(command: str) -> None:
    """Look for the packages that a command needs, without importing them, which takes seconds.

    Raises:
        ModuleNotFoundError: the first that is not installed.
    """
    for name in NEEDED.get(command, ()):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def how_to_install(extra: str) -> str:
    """Return the command that adds an extra, and what it needs, to this environment; it removes nothing.

    Environments that uv makes have no pip of their own: there it is uv's.
    """
    config = Path(sys.prefix, "pyvenv.cfg")
    of_uv = config.is_file() and re.search("^uv = ", config.read_text("utf-8", "replace"), re.MULTILINE)
    package = f"-e '.[{extra}]'" if (PROJECT / "pyproject.toml").is_file() else f"'gender_recognizer[{extra}]'"
    return f"{'uv ' if of_uv else ''}pip install {package}"


def find_extra(module: str) -> str:
    """Return the extra that brings a module: `train`, unless the module's package is in others only."""
    extras = []
    for line in requires("gender_recognizer") or []:
        found = re.match(r"""([\w.-]+).*;\s*extra == ['"](.+)['"]""", line)
        if found and found[1].lower().replace("-", "_") == module.lower():
            extras.append(found[2])
    return "train" if "train" in extras or not extras else extras[0]  # extras that contain train repeat its packages


def was_stopped(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error; a package that is being imported may turn it into another one."""
    return error is not None and (
        isinstance(error, KeyboardInterrupt) or was_stopped(error.__cause__) or was_stopped(error.__context__)
    )
