"""The work of the command `label`: from settings to result files and an exit code."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any

from tqdm import tqdm

from gender_recognizer.interruption import STOPPED, Interruption, raise_if_interrupted
from gender_recognizer.labelling.engines import Engine, Start
from gender_recognizer.labelling.follow_ups import FollowUps
from gender_recognizer.labelling.inputs import Inputs
from gender_recognizer.labelling.places import Places
from gender_recognizer.labelling.records import FAILED, Limits
from gender_recognizer.labelling.result_files import refuse_other_files
from gender_recognizer.labelling.result_log import ResultLog
from gender_recognizer.labelling.settings import LabelSettings
from gender_recognizer.models.calibration import confidence_for
from gender_recognizer.models.detector import Detector, YuNet
from gender_recognizer.models.devices import ChosenModel, choose_device
from gender_recognizer.models.model_file import find_model
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.listing import File
from gender_recognizer.pictures.loading import LOADER_VERSION

RESULTS = "process_results.json"
DONE, SOME_FAILED = 0, 3


def run(settings: LabelSettings) -> int:
    """Label the inputs of the settings, write the result files, and return the exit code.

    Raises:
        ValueError: a setting is invalid, or names something that does not exist.
        OSError: a result cannot be written; what was done so far is kept.
    """
    limits, output_path = settings.limits, find_output(settings.output_path)
    model_path = find_model(settings.model_path, Path(settings.outputs).expanduser())
    inputs = Inputs.of(settings)
    follow_ups = FollowUps(settings, inputs, output_path)
    choice = choose_device(model_path, settings.device)
    if settings.target_accuracy is not None:
        limits = aim_at(settings.target_accuracy, choice, limits)
    detector = None if limits.faces == "none" else YuNet()
    with Interruption() as interruption:
        engine = start_engine(choice, limits, detector, inputs, settings)
        try:
            files = follow_ups.places.restore(inputs)
            first = next(files, None)
            if first is None:
                raise ValueError(f"no pictures in '{inputs.place}'")
            head = describe(inputs, choice, limits, detector) | follow_ups.note
            log = open_log(output_path, engine, head, settings, limits)
            classes = engine.info.classes
            tell(f"model {choice.path.name}, classes {', '.join(classes)}, on {choice.device} ({choice.why})")
            tell_of_earlier_run(log)
            interruption.is_patient = True
            complete = label(engine, settings, chain([first], files), log, follow_ups.places)
        finally:
            engine.close()
    complete = complete and not interruption.is_asked
    with Interruption():
        return finish(log, inputs, settings.formats, complete, follow_ups, (classes, choice.path.name))


def find_output(output_path: str | None) -> Path:
    """Return the absolute path of the JSON file; by default it is beside `process.py`, else in the current folder.

    Raises:
        ValueError: it does not end with .json.
    """
    script = Path(sys.argv[0])
    default = script.resolve().parent if script.name == "process.py" else Path.cwd()
    path = Path(output_path).expanduser() if output_path else default
    if path.is_dir() or _is_folder(output_path):
        path /= RESULTS
    if path.suffix != ".json":
        raise ValueError(
            f"output_path '{path}' does not end with .json; it is the name of the JSON file, beside which other "
            "formats are written, or a folder that ends with /"
        )
    return path.absolute()


def _is_folder(output_path: str | None) -> bool:
    return bool(output_path) and str(output_path).endswith(("/", os.sep))


def aim_at(target_accuracy: float, choice: ChosenModel, limits: Limits) -> Limits:
    """Return the limits with the smallest confidence that gave an accuracy on the model's validation pictures."""
    point = confidence_for(load_predictor(choice.path).info.operating_points, target_accuracy)
    tell(
        f"target_accuracy {target_accuracy}: labelling from a confidence of {point.confidence:.4f}; on the model's "
        f"validation pictures {point.accuracy:.2%} of the labels were right and {1 - point.share:.0%} were left unsure"
    )
    return replace(limits, min_confidence=point.confidence)


def start_engine(
    choice: ChosenModel, limits: Limits, detector: Detector | None, inputs: Inputs, settings: LabelSettings
) -> Engine:
    """Return the engine of the settings, ready to label."""
    start: Start = import_module(f"{__package__}.{settings.engine.name}_engine").start
    engine, message = start(choice, limits, settings, detector, inputs.remote.fetch if inputs.remote else None)
    if message:
        tell(message)
    return engine


def describe(inputs: Inputs, choice: ChosenModel, limits: Limits, detector: Detector | None) -> dict[str, Any]:
    """Return the head of the log: what makes the records of two runs comparable."""
    decided = asdict(limits)
    del decided["min_confidence"]  # is applied again to existing records
    del decided["max_seconds"]  # has no effect on a file that is labelled
    return {
        "gender_recognizer": version("gender_recognizer"),
        "loader_version": LOADER_VERSION,
        "model": choice.path.name,
        "model_sha256": sha256(choice.path.read_bytes()).hexdigest(),
        "input_dir": inputs.place,
        "limits": decided,
        **({"detector": detector.fingerprint} if detector else {}),
    }


def open_log(
    output_path: Path, engine: Engine, head: dict[str, Any], settings: LabelSettings, limits: Limits
) -> ResultLog:
    """Return the log of this run; refuse to overwrite files of other kinds.

    Raises:
        ValueError: there is such a file, or the place cannot be written to.
    """
    classes = engine.info.classes
    try:
        if _is_folder(settings.output_path):
            output_path.parent.mkdir(parents=True, exist_ok=True)
        refuse_other_files(output_path, settings.formats, classes)
    except OSError as error:
        raise ValueError(f"output_path '{output_path}' cannot be written: {error.strerror}") from None
    return ResultLog(output_path, head, limits, settings.resume)


def tell_of_earlier_run(log: ResultLog) -> None:
    """Print what is used of an earlier run with the same output."""
    if log.problem:
        tell(f"starting over: {log.log_path.name} was {log.problem}")
    if log.damaged:
        tell(f"dropped {log.damaged} damaged line{'s' if log.damaged > 1 else ''} of {log.log_path.name}")
    if log.resumed:
        tell(f"continuing after {log.resumed} files of an earlier run; resume=false starts over")


def label(engine: Engine, settings: LabelSettings, files: Iterable[File], log: ResultLog, places: Places) -> bool:
    """Label the files that are not in the log yet; return False if Ctrl-C stopped it."""
    hidden = True if sys.stderr is None else None  # None: hidden where it is not a terminal
    try:
        with tqdm(desc="labelling", unit="img", disable=hidden) as bar:
            if not bar.disable and "://" not in settings.input_dir[0]:
                Thread(target=count, args=(places.restore(Inputs.of(settings)), bar), daemon=True).start()
            for records in engine.label(log.skip_done(interruptible(files))):
                log.add(records)
                bar.update(len(log) - bar.n)
    except KeyboardInterrupt:
        return False
    return True


def interruptible(files: Iterable[File]) -> Iterator[File]:
    """Yield files until there was a Ctrl-C: many that are done already may follow each other.

    Raises:
        KeyboardInterrupt: there was one.
    """
    for file in files:
        raise_if_interrupted()
        yield file


def count(files: Iterable[File], bar: tqdm) -> None:
    """Tell a progress bar how many files there are, while they are being labelled."""
    with suppress(ValueError):  # a folder that was removed; the run itself reports it
        bar.total = sum(1 for _ in files)


def finish(
    log: ResultLog,
    inputs: Inputs,
    formats: list[str],
    complete: bool,
    follow_ups: FollowUps,
    model: tuple[Sequence[str], str],
) -> int:
    """Write the result files, print a summary, do what follows, and return the exit code.

    Args:
        log: of this run.
        inputs: for what was left out of them.
        formats: of the result files.
        complete: whether all files were labelled.
        follow_ups: what is done then.
        model: the names of its classes, and its own.
    """
    try:
        summary = log.finish([*formats, "jsonl"] if follow_ups else formats, complete)
        for line in summary.lines(log.path, inputs.ignored, inputs.ignored_endings):
            tell(line)
        for line in follow_ups.run(*model) if complete else ():
            tell(line)
    except KeyboardInterrupt:
        complete = False
    if not complete:
        tell("stopped before the end; the same command continues from here")
        return STOPPED
    if "jsonl" not in formats:
        log.log_path.unlink(missing_ok=True)
    return SOME_FAILED if summary.statuses[FAILED] or follow_ups.left else DONE


def tell(message: str) -> None:
    """Print a line for the user, to standard error if there is one; results are files."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # standard error was closed: no reason to stop
            print(message.encode(errors="backslashreplace").decode(), file=sys.stderr)
