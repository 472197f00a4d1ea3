"""Label every picture of a folder: folder to records to `process_results.json`."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from gender_recognizer.images import load_or_reason
from gender_recognizer.predictor import Predictor

LABELLED, FAILED = "labelled", "failed"


@dataclass(frozen=True)
class Record:
    """What became of one file.

    Attributes:
        file: path relative to the input folder, with `/`.
        status: `labelled` or `failed`.
        label: name of the most probable class; None for a failed file.
        probability: its probability, in [0, 1]; None for a failed file.
        reason: why it failed; None for a labelled file.
    """

    file: str
    status: str
    label: str | None = None
    probability: float | None = None
    reason: str | None = None


def label_images(
    paths: Iterable[Path], input_dir: Path, predictor: Predictor, batch_size: int = 64
) -> Iterator[Record]:
    """Yield one record for each file, in the order given; decoding runs ahead of the network in threads.

    Args:
        paths: files below `input_dir`.
        input_dir: the folder to which the records' names are relative.
        predictor: the model.
        batch_size: pictures that go through the network at once; labels do not depend on it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = _ahead(((path, pool.submit(load_or_reason, path)) for path in paths), 2 * batch_size)
        while batch := list(islice(decoded, batch_size)):
            results = [future.result() for _, future in batch]
            images = [result for result in results if not isinstance(result, str)]
            rows = iter(predictor.predict(np.stack(images)) if images else ())
            for (path, _), result in zip(batch, results, strict=True):
                name = path.relative_to(input_dir).as_posix()
                if isinstance(result, str):
                    yield Record(name, FAILED, reason=result)
                else:
                    probabilities = next(rows)
                    best = int(probabilities.argmax())
                    yield Record(name, LABELLED, predictor.info.classes[best], float(probabilities[best]))


def _ahead(jobs: Iterator[tuple[Path, Future]], count: int) -> Iterator[tuple[Path, Future]]:
    """Yield the jobs in order, with `count` of them started before the first is asked for."""
    started = deque(islice(jobs, count))
    while started:
        yield started.popleft()
        started.extend(islice(jobs, 1))


def write_record(record: Record, file: TextIO) -> None:
    """Append a record to a JSON Lines file."""
    file.write(_to_json({name: value for name, value in asdict(record).items() if value is not None}) + "\n")


def write_results(labels: dict[str, str], path: Path) -> None:
    """Write `{file: label}` as sorted JSON, to a temporary file that then takes the place of `path`."""
    text = _to_json(dict(sorted(labels.items())), indent=2) + "\n"
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _to_json(value: dict, indent: int | None = None) -> str:
    r"""Return readable JSON that is valid UTF-8; bytes of a name that are not UTF-8 become their `\udcXX` escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
