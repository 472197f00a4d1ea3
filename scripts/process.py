"""Label every picture of a folder with a trained model.

    python scripts/process.py folder/
    python scripts/process.py input_dir=folder/ [output_path=results.json] [model_path=latest] [batch_size=64]

Saves process_results.json, {"img_1.jpg": "male", ...}, beside this script or at output_path, and next to it
process_results.jsonl with one record for each file: status, label, probability, and why a file failed.
model_path: an .onnx or .ckpt file; latest for the newest training run; without it the bundled model.
Exit code: 0 all labelled, 2 wrong usage or nothing to label, 3 finished but some files failed.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from gender_recognizer.images import find_images
from gender_recognizer.labelling import FAILED, label_images, write_record, write_results
from gender_recognizer.model_file import find_model
from gender_recognizer.predictor import load_predictor

PROJECT = Path(__file__).resolve().parents[1]
CONFIGS = PROJECT / "configs"
PATHS = ("input_dir", "output_path", "model_path", "outputs")


def read_settings(arguments: list[str]) -> dict[str, Any]:
    """Return the settings of a command line: `key=value` pairs, and the folder by itself.

    Paths do not pass through Hydra's grammar, which refuses or changes many names of folders. An argument whose
    first part is no key is the folder, also when its name contains `=`.

    Raises:
        ValueError: an argument is not understood, or there is no folder, or more than one.
    """
    keys = OmegaConf.load(CONFIGS / "process.yaml").keys()
    paths: dict[str, str | None] = {}
    overrides, folders = [], []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in PATHS:
            paths[key] = value
        elif equals and key in keys:
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
    return OmegaConf.to_container(config) | paths | {"input_dir": folders[0]}


def process(settings: dict[str, Any]) -> int:
    """Label the folder, write both files, and return the exit code."""
    input_dir = Path(settings["input_dir"])
    if not input_dir.is_dir():
        raise ValueError(f"input_dir '{input_dir.absolute()}' is not a folder")
    if not isinstance(settings["batch_size"], int) or settings["batch_size"] < 1:
        raise ValueError(f"batch_size is {settings['batch_size']}; expected a whole number, 1 or more")
    output_path = find_output(settings["output_path"])
    model_path = find_model(settings["model_path"], Path(settings["outputs"] or PROJECT / "outputs"))
    paths = list(find_images(input_dir))
    if not paths:
        raise ValueError(f"no pictures in '{input_dir.absolute()}'")
    predictor = load_predictor(model_path)
    tell(f"{len(paths)} pictures, model {model_path.name}, classes {', '.join(predictor.info.classes)}")
    labels, reasons = {}, {}
    with output_path.with_suffix(".jsonl").open("w", encoding="utf-8") as log:
        records = label_images(paths, input_dir, predictor, settings["batch_size"])
        for record in tqdm(records, "labelling", len(paths), unit="img", disable=None):
            write_record(record, log)
            if record.status == FAILED:
                reasons[record.file] = record.reason
            else:
                labels[record.file] = record.label
    write_results(labels, output_path)
    for file, reason in reasons.items():
        tell(f"failed: {file!r}: {reason}")
    counts = ", ".join(f"{count} {label}" for label, count in sorted(Counter(labels.values()).items()))
    tell(f"{len(labels)} labelled ({counts or 'none'}), {len(reasons)} failed: {output_path}")
    return 3 if reasons else 0


def find_output(output_path: str | None) -> Path:
    """Return the absolute path of the JSON file, and refuse one that cannot be written before the work starts."""
    path = Path(output_path) if output_path else Path(__file__).parent / "process_results.json"
    if path.is_dir():
        path /= "process_results.json"
    if path.suffix == ".jsonl":
        raise ValueError(f"output_path '{path}' is the name of the JSON file; the .jsonl is written next to it")
    try:
        path.with_suffix(".jsonl").open("a").close()
    except OSError as error:
        raise ValueError(f"output_path '{path.absolute()}' cannot be written: {error.strerror}") from None
    return path.absolute()


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


if __name__ == "__main__":
    sys.exit(main())
