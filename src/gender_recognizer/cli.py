"""The commands: read a command line, check it against the command's settings, call its `run`. Only here is Hydra used.

python scripts/train.py model=smallcnn        the same as        gender-recognizer train model=smallcnn
"""

import difflib
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from gender_recognizer.arguments import Overrides, read_arguments
from gender_recognizer.extras import find_extra, how_to_install, require_packages, was_stopped
from gender_recognizer.interruption import STOPPED, Interruption
from gender_recognizer.option_texts import explain, help_text
from gender_recognizer.pictures.writing import replace_text
from gender_recognizer.streams import prepare_streams, show

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = (PACKAGE.parents[1] / "configs").is_dir()
PROJECT = PACKAGE.parents[1] if IS_CHECKOUT else Path.cwd()
"""Folder that holds `data` and `outputs`: the project's or, for an installed package, the current one."""

CONFIGS = PROJECT / "configs" if IS_CHECKOUT else PACKAGE / "configs"
WRONG_USAGE, BROKEN = 2, 1


class Command(NamedTuple):
    """One command.

    Attributes:
        config: name of its YAML in `configs/`.
        settings: the dataclass of its settings, as `package.module:name`; light to import.
        run: the function that does the work, as `package.module:name`.
        inputs: the option that arguments without a key belong to; None where each argument needs a key.
        keeps_runs: whether Hydra makes a run folder, with the configuration in it, and sweeps with `-m`.
        objective: what a sweep calls instead of `run`; returns a number that is better the larger it is.
    """

    config: str
    settings: str
    run: str
    inputs: str | None = None
    keeps_runs: bool = False
    objective: str | None = None


COMMANDS = {
    "label": Command("process", "labelling.settings:LabelSettings", "labelling.run:run", inputs="input_dir"),
    "train": Command(
        "train", "training.settings:TrainSettings", "training.command:run", None, True, "training.command:best_accuracy"
    ),
    "evaluate": Command("evaluate", "evaluation.settings:EvaluateSettings", "evaluation.run:run"),
    "check": Command("check_data", "checks.settings:CheckSettings", "checks.run:run"),
    "export": Command("export", "models.settings:ExportSettings", "training.exporting:run"),
    "prepare": Command("prepare_data", "data.settings:PrepareSettings", "data.preparing:run"),
    "tune": Command("tune", "training.settings:TuneSettings", "training.command:search", keeps_runs=True),
    "demo": Command("demo", "demo.settings:DemoSettings", "demo.run:run"),
}


def app() -> int:
    """Run `gender-recognizer COMMAND ...` and return its exit code."""
    prepare_streams()
    name, arguments = (sys.argv[1] if len(sys.argv) > 1 else "--help"), sys.argv[2:]
    if name in COMMANDS:
        return main(name, arguments)
    if name in ("-sc", "--shell-completion") or name.startswith("--shell-completion="):
        return _complete(sys.argv[1:])
    if name == "--version":
        show(f"gender-recognizer {version('gender_recognizer')}")
        return 0
    if name in ("-h", "--help"):
        rows = [(known, help_text(_load(command.settings)).splitlines()[0]) for known, command in COMMANDS.items()]
        show(
            "usage: gender-recognizer COMMAND [option=value ...]; COMMAND --help shows its options\n\n"
            + "\n".join(f"  {known:9} {text}" for known, text in rows)
        )
        return 0
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    print(f"error: no command is called '{name}'; {hint}", file=sys.stderr)
    return WRONG_USAGE


def _complete(arguments: list[str]) -> int:
    """Print what may follow on the command line that a shell gives in COMP_LINE: a command, or its options."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    if len(words) == 2:
        show(" ".join(name for name in COMMANDS if name.startswith(words[1])))
        return 0
    name = words.pop(1) if words[1:] else "label"  # any will do where a shell asks how it is to ask
    os.environ["COMP_LINE"] = " ".join(words)  # Hydra knows programs of one command only
    return main(name, arguments) if name in COMMANDS else 0


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        name: a key of `COMMANDS`.
        arguments: what follows its name on the command line; None for `sys.argv[1:]`.
    """
    prepare_streams()
    command = COMMANDS[name]
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"-h", "--help"} & set(arguments):
        show(help_text(_load(command.settings)))
        return 0
    with Interruption():
        try:
            code = _run(name, command, arguments)
        except MISTAKES as error:
            code = _report(error)
        except (KeyboardInterrupt, ImportError) as error:
            if not was_stopped(error):
                raise
            code = STOPPED
    if code == STOPPED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: one more Ctrl-C does not change the exit code
    return code


def _run(name: str, command: Command, arguments: list[str]) -> int:
    line = read_arguments(arguments, _load(command.settings), command.inputs)
    if {"-m", "--multirun"} & set(line.flags) and not command.keeps_runs:
        raise ValueError(f"{name} runs once; -m tries several values of options of train")
    if line.flags or command.keeps_runs:
        return _run_with_hydra(name, command, line, arguments)
    settings = _compose(command, line.overrides)  # before the import of what does the work, which takes seconds
    return _load(command.run)(settings)


def read_settings(name: str, arguments: Sequence[str] = ()) -> Any:
    """Return the settings of a command, an object of its dataclass, as its YAML and the command line say.

    Args:
        name: a key of `COMMANDS`.
        arguments: what follows its name on the command line, such as `data.root=photos (1)`.

    Raises:
        ValueError: an option is unknown, not set, or of the wrong type or range.
    """
    return _compose(COMMANDS[name], read_arguments(arguments, settings_class(name), COMMANDS[name].inputs).overrides)


def _compose(command: Command, overrides: Sequence[str]) -> Any:
    """Return the settings that a command's YAML and Hydra's overrides give."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register_resolvers()
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose(command.config, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(explain(error, _load(command.settings))) from None
    return to_settings(config, _load(command.settings), overrides)


def to_settings(config: Any, kind: type, overrides: Sequence[str] = ()) -> Any:
    """Return a composed configuration as an object of its dataclass.

    Raises:
        ValueError: an option is unknown, not set, or of the wrong type or range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        settings: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), config))
    except OmegaConfBaseException as error:
        raise ValueError(explain(error, kind)) from None
    model_is_chosen = any(part.lstrip("+~").startswith(("model=", "model.", "experiment=")) for part in overrides)
    if getattr(settings, "init_from", None) is not None and not model_is_chosen:
        settings.model = {}  # that of the weights to start from
    if hasattr(settings, "logger") and "logger" not in config:  # logger=[]
        settings.trainer.logger = False
    return settings


def register_resolvers() -> None:
    """Register the resolvers that the configurations use: `${project:path}` and `${run_dir:outputs,ckpt_path}`."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path), replace=True)
    OmegaConf.register_new_resolver("run_dir", choose_run_dir, use_cache=True, replace=True)


def choose_run_dir(outputs: str, ckpt_path: str | None) -> str:
    """Return the run folder: a new one, or that of the checkpoint to resume from.

    Raises:
        ValueError: there is no run to resume.
    """
    from gender_recognizer.models.model_file import newest_run

    if ckpt_path is None:
        return str(Path(outputs) / time.strftime(f"%Y-%m-%d_%H-%M-%S_{os.getpid()}"))
    if ckpt_path == "last":
        return str(newest_run(Path(outputs)))
    return str(Path(ckpt_path).absolute().parents[1])


def _run_with_hydra(name: str, command: Command, line: Overrides, arguments: list[str]) -> int:
    """Run a command in a run folder that Hydra makes, or act on one of Hydra's own flags."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not line.flags:
        _compose(command, line.overrides)  # a mistake is reported here in one line, before a folder is made
    if set(line.flags) <= {"-m", "--multirun"}:
        require_packages(name)  # and a package that is missing, too
    typed, codes = sys.argv, [0]

    def task(config: Any) -> float | None:
        sys.argv = typed  # Lightning starts its other processes with these
        hydra_config = HydraConfig.get()
        run_dir = Path(hydra_config.runtime.output_dir)
        if hydra_config.mode == RunMode.MULTIRUN:
            return _run_in_sweep(command, config, hydra_config.overrides.task, run_dir)
        try:
            settings = to_settings(config, _load(command.settings), hydra_config.overrides.task)
            settings.run_dir, settings.typed = run_dir, arguments
            codes[0] = _load(command.run)(settings)
        except MISTAKES as error:
            codes[0] = _report(error)
        return None

    register_resolvers()
    sys.argv = [typed[0], *line.flags, *line.overrides, f"hydra.job.name={command.config}", *_own_folder(line)]
    try:
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=command.config)(task)()
    finally:
        sys.argv = typed
    return codes[0]


def _run_in_sweep(command: Command, config: Any, overrides: Sequence[str], run_dir: Path) -> float:
    """Return a run's objective; a failure is logged, noted in failed.txt and gives `nan`, and the sweep continues."""
    try:
        settings = to_settings(config, _load(command.settings), overrides)
        settings.run_dir = run_dir
        return _load(command.objective or command.run)(settings)
    except Exception as error:
        logger.error("this run failed: %s", error, exc_info=not isinstance(error, MISTAKES))
        replace_text(run_dir / "failed.txt", f"{type(error).__name__}: {error}\n", errors="backslashreplace")
        return float("nan")


def _own_folder(line: Overrides) -> list[str]:
    """Return the overrides that keep Hydra from writing into the folder of a run that is resumed.

    Other processes of one training (Lightning, torchrun, SLURM) share the folder of the first and write nothing.
    """
    ranks = [os.environ.get(name, "0") for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")]
    if any(rank.isdigit() and int(rank) > 0 for rank in ranks):
        return ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]
    goes_on = any(part.startswith("ckpt_path=") and part != "ckpt_path=null" for part in line.overrides)
    return ["hydra.output_subdir=null"] if goes_on else []


MISTAKES = (ValueError, TypeError, KeyError, OSError, ModuleNotFoundError)
"""Errors that a user's mistake causes; any other is a bug and shows its traceback."""

WRONG_PATH = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""File errors that mean a wrong path in an option (a full disk does not)."""


def _report(error: Exception) -> int:
    """Print in one line what is wrong, and return the exit code."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    if isinstance(error, ModuleNotFoundError):
        if str(error.name).startswith("gender_recognizer"):
            raise error
        module = str(error.name).partition(".")[0]
        message = f"this command needs {module}: {how_to_install(find_extra(module))}"
    print(f"error: {message} (HYDRA_FULL_ERROR=1 shows where)", file=sys.stderr)
    of_machine = isinstance(error, OSError) and not isinstance(error, WRONG_PATH)
    return BROKEN if of_machine else WRONG_USAGE


def settings_class(name: str) -> type:
    """Return the dataclass of a command's settings."""
    return _load(COMMANDS[name].settings)


def _load(name: str) -> Any:
    """Return what `package.module:name` names in this package."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"gender_recognizer.{module}"), attribute)
