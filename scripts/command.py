"""What the Hydra commands share: where the project is, where a run goes, how a mistake of the user ends."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from omegaconf import OmegaConf

from gender_recognizer.models.model_file import newest_run

PROJECT = Path(__file__).resolve().parents[1]
logger = logging.getLogger("command")


def register_resolvers() -> None:
    """Make known what the configurations use: `${project:path}` and `${run_dir:outputs,ckpt_path}`."""
    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path), replace=True)
    OmegaConf.register_new_resolver("run_dir", choose_run_dir, use_cache=True, replace=True)


def find_root(root: Path, classes: Sequence[str]) -> Path:
    """Return the folder of the pictures; without any of the user's own that of the sample, and say so."""
    if root != PROJECT / "data" or any((root / name).is_dir() for name in classes):
        return root
    folders = " or ".join(f"data/{name}" for name in classes)
    logger.warning("no pictures in %s: taking the sample in data/sample", folders)
    return root / "sample"


def choose_run_dir(outputs: str, ckpt_path: str | None) -> str:
    """Return the run folder: a new one, or that of the checkpoint to go on from."""
    if ckpt_path is None:
        return str(Path(outputs) / time.strftime(f"%Y-%m-%d_%H-%M-%S_{os.getpid()}"))
    if ckpt_path != "last":
        return str(Path(ckpt_path).absolute().parents[1])
    try:
        return str(newest_run(Path(outputs)))
    except ValueError as error:
        fail(error)


def fail(error: Exception) -> NoReturn:
    """End with one line about a user's mistake."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {error} (HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
    sys.exit(2)
