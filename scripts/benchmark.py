"""Measure where the time goes. Run it with nothing else on the machine.

    python scripts/benchmark.py training [data.root=folder] [model=... data.batch_size=... and so on]
    python scripts/benchmark.py labelling [crops=folder] [photos=folder] [rounds=5]
    python scripts/benchmark.py ray [crops=folder] [rounds=3]
    python scripts/benchmark.py faces [crops=folder] [photographs=60] [margins=folder]
    python scripts/benchmark.py sets folder=../shared/faces [every=1]
    python scripts/benchmark.py versions other=checkout scenes=folder [crops=folder] [portraits=folder] [rounds=5]

training alternates (a) bare steps: forward, backward and optimizer on one random batch, and (b) the same steps by
`Trainer.fit` on real pictures: cache, loader, augmentation, metrics, callbacks.

labelling alternates, on 10,000 crops and on 500 photos of 1 MP (the sample, repeated and enlarged, unless folders are
given): (a) decoding alone with all cores, (b) the network alone with all cores, (c) labelling from the folder to the
result files, (d) the plain way, one picture at a time through Pillow and torch, and (e) `import torch` against the
whole command on 100 crops. The ceiling is what (a) and (b) imply: their core-seconds added, divided by the cores.

Both print every round and the medians, and save them below outputs/benchmark/.

ray labels 20,000 crops on a local Ray cluster with one and with two workers, alternating, start-up left out.

faces pastes crops (the sample) on textures and says how many faces are found there and how they are labelled; margins=
also tries how much around a face is best cut out, on 20 times as many pictures of a folder such as fairface/train.

versions alternates process.py, with one worker, of another checkout and of this one, and says how much CPU time a
picture takes without the start: crops as they come (the sample), portraits enlarged to 1 MP (the crops), and crops
pasted into scenes of 1 MP so that the face has 0.15 of the height; far=name=value is an option of the other checkout
for these.
"""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from gender_recognizer.labelling.local_engine import LocalEngine
from gender_recognizer.labelling.records import Limits
from gender_recognizer.labelling.result_log import ResultLog
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import available_cores, load_predictor
from gender_recognizer.pictures.listing import Folder, find_images
from gender_recognizer.pictures.loading import IMAGE_SIZE, load_image

PROJECT = Path(__file__).resolve().parents[1]
BATCH = 32
PLAIN = 300
"""Pictures that the plain way labels in a round."""


def label_folder(folder: Path) -> int:
    """Label a folder as `process.py` does, with workers that are running; returns the number of files."""
    with TemporaryDirectory() as output:
        log = ResultLog(Path(output, "out.json"), {"gender_recognizer": "benchmark"}, Limits())
        for records in _engine.label(log.skip_done(Folder(folder))):
            log.add(records)
        return log.finish().statuses.total()


def label_plainly(paths: list[Path]) -> list[int]:
    """Label pictures one by one: open, resize as torchvision's `Resize` does, to a tensor, through the network."""
    import torch

    from gender_recognizer.models.model_file import load_classifier

    global _classifier
    _classifier = _classifier or load_classifier(BUNDLED_MODEL.with_name("smallcnn.ckpt"))[0]
    labels = []
    for path in paths:
        image = Image.open(path).convert("RGB").resize(IMAGE_SIZE[::-1], Image.Resampling.BILINEAR)
        with torch.no_grad():
            logits = _classifier(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float())
        labels.append(int(logits.argmax()))
    return labels


def decode(paths: list[Path]) -> None:
    """Decode pictures as labelling does."""
    for path in paths:
        load_image(path)


def predict(count: int) -> None:
    """Run the network on so many pictures of noise."""
    global _predictor, _noise
    if _predictor is None:
        _predictor = load_predictor(BUNDLED_MODEL)
        _noise = np.random.default_rng(0).integers(0, 255, (BATCH, *IMAGE_SIZE, 3), dtype=np.uint8)
    for _ in range(0, count, BATCH):
        _predictor.predict(_noise)


_predictor = _noise = _classifier = _engine = None


def benchmark_folder(folder: Path, rounds: int) -> dict[str, Any]:
    """Return, for each round, the pictures/s of decoding, network, labelling and the plain way, and the ratios."""
    paths = find_images(folder)
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    cores = available_cores()
    measures: dict[str, Callable[[], int]] = {
        "decoding": lambda: len(list(pool.map(decode, batches))) and len(paths),
        "network": lambda: len(list(pool.map(predict, [BATCH] * len(batches)))) * BATCH,
        "labelling": lambda: label_folder(folder),
        "plain": lambda: len(label_plainly(paths[:PLAIN])),
    }
    global _engine
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(predict, [BATCH] * 4 * cores))
        _engine = LocalEngine(ChosenModel(BUNDLED_MODEL, "cpu", ""), Limits(), cores, BATCH)
        decode(paths)  # from now on they are in memory
        label_plainly(paths[:10])
        speeds: dict[str, list[float]] = {name: [] for name in measures}
        for _ in range(rounds):
            for name, measure in measures.items():
                started = time.perf_counter()
                count = measure()
                speeds[name].append(count / (time.perf_counter() - started))
        _engine.close()
    speeds["ceiling"] = [1 / (1 / a + 1 / b) for a, b in zip(speeds["decoding"], speeds["network"], strict=True)]
    return {
        "pictures": len(paths),
        "speeds": speeds,
        "share_of_ceiling": ratio(speeds["labelling"], speeds["ceiling"]),
        "times_the_plain_way": ratio(speeds["labelling"], speeds["plain"]),
    }


def benchmark_start(crops: Path, rounds: int) -> dict[str, Any]:
    """Return, for each round, the seconds of `import torch` and of the whole command on 100 crops."""
    with TemporaryDirectory() as folder:
        fill(Path(folder, "in"), find_images(crops), 100)
        command = [PROJECT / "scripts/process.py", Path(folder, "in"), f"output_path={folder}/out.json", "resume=false"]
        commands = {"import_torch": ["-c", "import torch"], "label_100": command}
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for index in range(rounds + 1):
            for name, arguments in commands.items():
                started = time.perf_counter()
                subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
                if index:  # the first warms the disk's cache
                    seconds[name].append(time.perf_counter() - started)
    return {"seconds": seconds, "share_of_import": ratio(seconds["label_100"], seconds["import_torch"])}


def benchmark_labelling(crops: Path | None, photos: Path | None, rounds: int) -> dict[str, Any]:
    """Return the results of the three parts and the machine they were measured on."""
    sample = find_images(PROJECT / "data" / "sample")
    with TemporaryDirectory() as folder:
        if crops is None:
            crops = fill(Path(folder, "crops"), sample, 10_000)
        if photos is None:
            photos = fill(Path(folder, "photos"), enlarged(sample[:50], Path(folder)), 500)
        return {
            "crops": benchmark_folder(crops, rounds),
            "photos": benchmark_folder(photos, rounds),
            "start": benchmark_start(crops, rounds),
            "machine": {"cores": available_cores(), "processor": processor(), "python": platform.python_version()},
        }


def fill(folder: Path, sources: list[Path], count: int) -> Path:
    """Fill a new folder with so many copies of files."""
    folder.mkdir()
    for index, source in enumerate(islice(cycle(sources), count)):
        (folder / f"{index:06}{source.suffix}").write_bytes(source.read_bytes())
    return folder


def enlarged(sources: list[Path], folder: Path) -> list[Path]:
    """Save pictures as photos of 870x1150 pixels, with noise so that they are as hard to decode."""
    targets = []
    for index, source in enumerate(sources):
        pixels = np.asarray(Image.open(source).convert("RGB").resize((870, 1150), Image.Resampling.BICUBIC), np.float32)
        pixels += np.random.default_rng(index).normal(0, 6, pixels.shape)
        targets.append(folder / f"photo{index:03}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(targets[-1], quality=90)
    return targets


def ratio(first: list[float], second: list[float]) -> float:
    """Return the median of the ratios, round by round."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def show(unit: str, rows: dict[str, list[float]], digits: int = 0) -> None:
    """Print a table with every round and the median."""
    rounds = len(next(iter(rows.values())))
    table = Table(unit, *(str(index + 1) for index in range(rounds)), "median")
    for name, values in rows.items():
        table.add_row(name, *(f"{value:.{digits}f}" for value in values), f"{statistics.median(values):.{digits}f}")
    Console().print(table)


def save(name: str, results: dict[str, Any], outputs: Path) -> None:
    """Save results as JSON below outputs/benchmark/."""
    folder = outputs / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")


def run_training(arguments: list[str]) -> None:
    """Measure training, print and save."""
    import torch
    from benchmark_training import benchmark_training

    from gender_recognizer.cli import read_settings
    from gender_recognizer.training.trainer import keep_freed_memory

    keep_freed_memory()
    settings = read_settings("train", arguments)
    results = benchmark_training(settings)
    show("images/s", {name: results[name] for name in ("bare", "training")})
    setting = f"{results['precision']}, {torch.get_num_threads()} threads"
    print(f"training reaches {results['ratio']:.1%} of the bare steps ({setting})")
    save("training", results, settings.outputs)


def read_options(arguments: list[str], folders: tuple[str, ...], number: str, default: int) -> dict[str, Any]:
    """Return what `name=value` arguments say: paths of folders, None where not given, and a whole number.

    Raises:
        ValueError: an option is unknown or its value makes no sense.
    """
    options = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := options.keys() - {*folders, number}:
        known = "=, ".join(folders)
        raise ValueError(f"unknown option '{unknown.pop()}'; expected {known}= or {number}=")
    paths = {name: Path(options[name]) if name in options else None for name in folders}
    for name, folder in paths.items():
        if folder and not folder.is_dir():
            raise ValueError(f"{name} '{folder.absolute()}' is not a folder")
    count = options.get(number, str(default))
    if not count.isdigit() or not int(count):
        raise ValueError(f"{number} is '{count}'; expected a whole number, 1 or more")
    return paths | {number: int(count)}


def run_labelling(arguments: list[str]) -> None:
    """Measure labelling, print and save."""
    results = benchmark_labelling(**read_options(arguments, ("crops", "photos"), "rounds", 5))
    for name in ("crops", "photos"):
        part = results[name]
        show(f"{part['pictures']} {name}, pictures/s", part["speeds"])
        print(
            f"labelling reaches {part['share_of_ceiling']:.1%} of the ceiling "
            f"and {part['times_the_plain_way']:.1f} times the plain way"
        )
    show("seconds", results["start"]["seconds"], 2)
    print(f"labelling 100 crops takes {results['start']['share_of_import']:.1%} of the time of import torch")
    save("labelling", results, PROJECT / "outputs")


def run_ray(arguments: list[str]) -> None:
    """Measure labelling with one and with two Ray workers, print and save."""
    from benchmark_ray import benchmark_ray

    options = read_options(arguments, ("crops",), "rounds", 3)
    with TemporaryDirectory() as folder:
        crops = fill(Path(folder, "crops"), find_images(options["crops"] or PROJECT / "data" / "sample"), 20_000)
        speeds = benchmark_ray(crops, options["rounds"])
    show("pictures/s", {f"{workers} Ray workers": values for workers, values in speeds.items()})
    print(f"two workers are {ratio(speeds[2], speeds[1]):.2f} times as fast as one")
    save("ray", {"speeds": speeds, "processor": processor()}, PROJECT / "outputs")


def run_faces(arguments: list[str]) -> None:
    """Measure whole photographs and print."""
    from benchmark_faces import report_faces

    options = read_options(arguments, ("crops", "margins"), "photographs", 60)
    report_faces(options["crops"] or PROJECT / "data" / "sample", options["photographs"], options["margins"])


def run_sets(arguments: list[str]) -> None:
    """Label sets of pictures as they come, and print how many faces are found in each and labelled rightly."""
    from benchmark_sets import report_sets

    options = read_options(arguments, ("folder",), "every", 1)
    report_sets(options["folder"] or PROJECT.parent / "shared" / "faces", options["every"])


def run_versions(arguments: list[str]) -> None:
    """Measure labelling in another checkout and in this one, print and save."""
    from benchmark_versions import compare_versions, fill_folders

    far = [argument.removeprefix("far=") for argument in arguments if argument.startswith("far=")]
    names = ("other", "crops", "portraits", "scenes")
    options = read_options([argument for argument in arguments if not argument.startswith("far=")], names, "rounds", 5)
    if missing := next((name for name in ("other", "scenes") if not options[name]), None):
        raise ValueError(f"{missing}= is missing; expected {missing}=folder")
    crops = options["crops"] or PROJECT / "data" / "sample"
    if empty := next((name for name in names[1:] if options[name] and not find_images(options[name])), None):
        raise ValueError(f"{empty} '{options[empty]}' has no pictures")
    with TemporaryDirectory() as folder:
        folders = fill_folders(crops, options["portraits"] or crops, options["scenes"], Path(folder))
        results = compare_versions(options["other"].resolve(), folders, options["rounds"], far)
    for name, values in results.items():
        show(f"{name}, ms of CPU time a picture", values, 2)
        print(f"this checkout is {ratio(values['other'], values['this']):.2f} times as fast")
    save("versions", {"times": results, "processor": processor()}, PROJECT / "outputs")


def main() -> int:
    """Run the command line and return the exit code."""
    from hydra.errors import HydraException

    modes = {"training": run_training, "labelling": run_labelling, "ray": run_ray, "faces": run_faces}
    modes |= {"sets": run_sets, "versions": run_versions}
    if sys.argv[1:2] == [] or sys.argv[1] not in modes:
        print(__doc__)
        return 2
    try:
        modes[sys.argv[1]](sys.argv[2:])
    except (ValueError, OSError, HydraException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
