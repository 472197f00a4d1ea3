"""Label every picture of a folder with a trained model.

    python scripts/process.py folder/
    python scripts/process.py input_dir=folder/ [output_path=results.json] [model_path=latest] [target_accuracy=0.97]

The input is a folder (its sub-folders included), one picture, or a .txt with one path per line. Saves
process_results.json, {"img_1.jpg": "male", ...}, beside this script or at output_path, and next to it
process_results.jsonl with one record for each file: status, label, probability, and why a file has no label.
A run that was interrupted goes on where it was when the same command is given again; resume=false starts over.
model_path: an .onnx or .ckpt file; latest for the newest training run; without it the bundled model.
faces=crop labels each face in whole photographs ("a.jpg#0", "a.jpg#1"), faces=largest the largest one.
engine=ray labels on a Ray cluster, also s3:// and gs:// folders. Every option is in configs/process.yaml.
Exit code: 0 all files done, 1 internal error, 2 wrong usage or nothing to label, 3 finished but some files failed,
130 stopped with Ctrl-C.
"""

import sys
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from gender_recognizer.labelling.labeller import BLANK, FAILED, LABELLED, NO_FACE, TOO_SMALL, UNSURE, Limits
from gender_recognizer.labelling.local_engine import LocalEngine
from gender_recognizer.labelling.result_files import FORMATS, Summary
from gender_recognizer.labelling.result_log import ResultLog
from gender_recognizer.models.calibration import confidence_for
from gender_recognizer.models.detector import find_weights
from gender_recognizer.models.model_file import find_model
from gender_recognizer.models.predictor import Choice, available_cores, choose_device, load_predictor
from gender_recognizer.pictures.listing import EXTENSIONS, File, Folder, read_list
from gender_recognizer.pictures.loading import LOADER_VERSION
from gender_recognizer.pictures.opening import has_picture_header

if TYPE_CHECKING:
    from gender_recognizer.labelling.ray_engine import RayEngine

PROJECT = Path(__file__).resolve().parents[1]
CONFIGS = PROJECT / "configs"
PATHS = ("input_dir", "output_path", "model_path", "outputs")
INTERRUPTED = 130


def read_settings(arguments: list[str]) -> dict[str, Any]:
    """Return the settings of a command line: `key=value` pairs, and the folder by itself.

    Paths do not pass through Hydra's grammar, which refuses or changes many names of folders. An argument whose
    first part is no key is the folder, also when its name contains `=`.

    Raises:
        ValueError: an argument is not understood, or there is no folder, or more than one.
    """
    keys = {*OmegaConf.load(CONFIGS / "process.yaml"), "engine"} - {"defaults"}
    paths: dict[str, str | None] = {}
    overrides, folders = [], []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in PATHS:
            paths[key] = value
        elif equals and key.split(".")[0] in keys:
            overrides.append(argument)
        elif argument.startswith("-"):
            raise ValueError(f"unknown option '{argument}'; --help shows what there is")
        else:
            folders.append(argument)
    folders += [paths["input_dir"]] if "input_dir" in paths else []
    if len(folders) != 1:
        raise ValueError(f"expected one folder, got {folders or 'none'}; usage: process.py folder/ [key=value ...]")
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("process", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from None
    paths = {key: None if value == "null" else value for key, value in paths.items()}
    settings = OmegaConf.to_container(config) | paths | {"input_dir": folders[0]}
    check_settings(settings)
    return settings


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse values of the wrong type or range.

    Raises:
        ValueError: naming the option, its value and what is expected.
    """
    for name in ("batch_size", "num_workers"):
        value = settings[name]
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} is {value}; expected a whole number, 1 or more")
    for name in ("min_confidence", "min_size", "min_contrast", "max_pixels"):
        if not isinstance(settings[name], int | float) or isinstance(settings[name], bool):
            raise ValueError(f"{name} is {settings[name]}; expected a number")
    target = settings["target_accuracy"]
    if target is not None and (not isinstance(target, int | float) or isinstance(target, bool)):
        raise ValueError(f"target_accuracy is {target}; expected a share from 0 to 1, such as 0.97")
    if target is not None and settings["min_confidence"]:
        raise ValueError("min_confidence and target_accuracy are both set; target_accuracy chooses min_confidence")
    for name in ("resume", "follow_links", "sniff", "allow_truncated"):
        if not isinstance(settings[name], bool):
            raise ValueError(f"{name} is {settings[name]}; expected true or false")
    formats = settings["formats"]
    if not isinstance(formats, list) or not formats or not set(formats) <= set(FORMATS):
        raise ValueError(f"formats is {formats}; expected a list of {', '.join(FORMATS)}, such as [json,csv]")


def process(settings: dict[str, Any]) -> int:
    """Label what the settings name, write the result files, and return the exit code."""
    limits = Limits(**{field.name: settings[field.name] for field in fields(Limits)})
    output_path = find_output(settings["output_path"])
    model_path = find_model(settings["model_path"], Path(settings["outputs"] or PROJECT / "outputs"))
    source = find_input(settings)
    choice = choose_device(model_path, settings["device"])
    if settings["target_accuracy"] is not None:
        limits = aim_at(settings["target_accuracy"], choice, limits)
    engine = start_engine(choice, limits, source, settings)
    try:
        files = iter(source)
        try:
            first = next(files, None)
        except OSError as error:
            raise ValueError(f"input_dir '{locate(settings['input_dir'])}' cannot be read: {error.strerror}") from None
        if first is None:
            raise ValueError(f"no pictures in '{locate(settings['input_dir'])}'")
        classes = engine.info.classes
        log = ResultLog(output_path, describe(settings["input_dir"], choice, limits), limits, settings["resume"])
        tell(f"model {choice.path.name}, classes {', '.join(classes)}, on {choice.device} ({choice.why})")
        if log.problem:
            tell(f"starting over: {log.log_path.name} was {log.problem}")
        if log.resumed:
            tell(f"going on after {log.resumed} files of an earlier run; resume=false starts over")
        complete = run(engine, source, chain([first], files), log)
    finally:
        engine.close()
    summary = log.finish(settings["formats"], complete)
    report(summary, source, output_path)
    if not complete:
        tell("stopped before the end; the same command goes on from here")
        return INTERRUPTED
    return 3 if summary.statuses[FAILED] else 0


def aim_at(target_accuracy: float, choice: Choice, limits: Limits) -> Limits:
    """Return the limits with the smallest confidence that gave an accuracy on the model's validation pictures."""
    point = confidence_for(load_predictor(choice.path).info.operating_points, target_accuracy)
    tell(
        f"target_accuracy {target_accuracy}: labelling from a confidence of {point.confidence:.4f} on; of the model's "
        f"validation pictures {point.accuracy:.2%} of the labels were right and {1 - point.share:.0%} were left unsure"
    )
    return replace(limits, min_confidence=point.confidence)


def start_engine(
    choice: Choice, limits: Limits, source: Iterable[File], settings: dict[str, Any]
) -> "LocalEngine | RayEngine":
    """Return the engine of the settings, ready to label."""
    size_here, size_there = (32, 256) if limits.faces == "none" else (4, 16)  # photographs take much longer
    if settings["engine"]["name"] == "local":
        batch_size, num_workers = settings["batch_size"] or size_here, settings["num_workers"] or available_cores()
        return LocalEngine(choice, limits, num_workers, batch_size)
    from gender_recognizer.labelling.ray_engine import RayEngine, RemoteFolder

    remote = source if isinstance(source, RemoteFolder) else None
    address = settings["ray"]["address"]
    batch_size = settings["batch_size"] or size_there
    engine = RayEngine(choice, limits, batch_size, settings["num_workers"], address, remote)
    tell(f"Ray with {engine.num_workers} workers, dashboard at {engine.dashboard or 'no address'}")
    return engine


def run(engine: "LocalEngine | RayEngine", source: Iterable[File], files: Iterable[File], log: ResultLog) -> bool:
    """Label the files that are not in the log yet; says whether nobody stopped it with Ctrl-C."""
    try:
        with tqdm(desc="labelling", unit="img", disable=None) as bar:
            if isinstance(source, Folder) and not bar.disable:
                Thread(target=count, args=(source, bar), daemon=True).start()
            for records in engine.label(log.skip_done(files)):
                log.add(records)
                bar.update(len(log) - bar.n)
    except KeyboardInterrupt:
        return False
    return True


def count(folder: Folder, bar: tqdm) -> None:
    """Tell a progress bar how many files there are, while they are being labelled."""
    bar.total = sum(1 for _ in Folder(folder.path, folder.follow_links))


def find_input(settings: dict[str, Any]) -> Iterable[File]:
    """Return the files that `input_dir` names.

    Raises:
        ValueError: there is nothing of that name, or it is no folder, picture or list.
    """
    if "://" in settings["input_dir"]:
        if settings["engine"]["name"] != "ray":
            raise ValueError(f"input_dir '{settings['input_dir']}' needs engine=ray")
        from gender_recognizer.labelling.ray_engine import RemoteFolder

        return RemoteFolder(settings["input_dir"], settings["sniff"])
    path = Path(settings["input_dir"])
    if path.is_dir() and settings["input_dir"]:
        return Folder(path, settings["follow_links"], settings["sniff"])
    if path.is_file():
        if path.suffix.lower() == ".txt":
            return read_list(path)
        if path.suffix.lower() in EXTENSIONS or has_picture_header(path):
            return [File(path.name, str(path))]
    why = "" if path.exists() else ": it does not exist"
    raise ValueError(f"input_dir '{path.absolute()}' is not a folder, a picture or a .txt with one path per line{why}")


def find_output(output_path: str | None) -> Path:
    """Return the absolute path of the JSON file."""
    path = Path(output_path) if output_path else Path(__file__).parent
    if path.is_dir() or str(output_path).endswith("/"):
        path /= "process_results.json"
    if path.suffix in (".jsonl", ".csv"):
        raise ValueError(f"output_path '{path}' is the name of the JSON file; the {path.suffix} is written next to it")
    return path.absolute()


def describe(input_dir: str, choice: Choice, limits: Limits) -> dict[str, Any]:
    """Return the head of the log: what makes the records of two runs comparable."""
    decided = {name: value for name, value in asdict(limits).items() if name != "min_confidence"}
    detector = {} if limits.faces == "none" else {"detector_sha256": sha256(find_weights().read_bytes()).hexdigest()}
    return {
        "gender_recognizer": version("gender_recognizer"),
        "loader_version": LOADER_VERSION,
        "model": choice.path.name,
        "model_sha256": sha256(choice.path.read_bytes()).hexdigest(),
        "input_dir": locate(input_dir),
        "limits": decided,
        **detector,
    }


def locate(input_dir: str) -> str:
    """Return an address as it is and a path as an absolute one."""
    return input_dir if "://" in input_dir else str(Path(input_dir).absolute())


def report(summary: Summary, source: Iterable[File], output_path: Path) -> None:
    """Say what became of the files."""
    for record in summary.failures:
        tell(f"failed: {record.file!r}: {record.reason}")
    counts = summary.statuses
    if hidden := counts[FAILED] - len(summary.failures):
        tell(f"... and {hidden} more, listed in {output_path.with_suffix('.jsonl').name}")
    labels = ", ".join(f"{count} {label}" for label, count in sorted(summary.labels.items())) or "none"
    others = [
        f"{counts[status]} {status.replace('_', ' ')}"
        for status in (UNSURE, TOO_SMALL, BLANK, NO_FACE)
        if counts[status]
    ]
    others += [f"{ignored} ignored"] if (ignored := getattr(source, "ignored", 0)) else []
    parts = [f"{counts[LABELLED]} labelled ({labels})", *others, f"{counts[FAILED]} failed"]
    files = f"{summary.files} file{'s' if summary.files != 1 else ''}"
    tell(f"{files}: {', '.join(parts)}: {output_path}")


def tell(message: str) -> None:
    """Print a line for the user, to standard error; results are files."""
    print(message.encode(errors="backslashreplace").decode(), file=sys.stderr)


def main() -> int:
    """Run the command line and return the exit code."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    try:
        return process(read_settings(sys.argv[1:]))
    except ValueError as error:
        tell(f"error: {error}")
        return 2
    except OSError as error:
        tell(f"error: {error}; what was done so far is kept")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
