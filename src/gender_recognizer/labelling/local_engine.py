"""The local engine: processes that read, decode and label in parallel; a file that kills one does not end the run."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gender_recognizer.labelling.engines import Fetch, batched, sliding_window, usual_batch_size
from gender_recognizer.labelling.labeller import Labeller
from gender_recognizer.labelling.reader import Pair, Reader
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.settings import LabelSettings
from gender_recognizer.labelling.workers import Crew, Task
from gender_recognizer.models.detector import Detector
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.models.predictor import Prediction, Predictor, available_cores, load_predictor
from gender_recognizer.pictures.listing import File

AHEAD = 3
"""Batches in progress per worker."""


def start(
    choice: ChosenModel, limits: Limits, settings: LabelSettings, detector: Detector | None, fetch: Fetch | None
) -> tuple["LocalEngine", None]:
    """Return the engine of the settings; `engines.Start` says more."""
    batch_size = settings.batch_size or usual_batch_size(limits, detector)
    return LocalEngine(choice, limits, settings.num_workers or available_cores(), batch_size, detector, fetch), None


class Again(NamedTuple):
    """A file that is to be read again, for its main face, and what was read of it before."""

    file: File
    first: Pair


class _InTurn:
    """A predictor that several threads use, one at a time."""

    def __init__(self, predictor: Predictor) -> None:
        self.info, self._predictor, self._lock = predictor.info, predictor, threading.Lock()

    def predict(self, images: np.ndarray) -> Prediction:
        """Return what the model says about uint8 images `(N, *image_size, 3)`."""
        with self._lock:
            return self._predictor.predict(images)


class LocalEngine:
    """Workers that label files; each takes a batch through all its steps, so that no core waits for a slow step.

    They are processes: threads, which pass Python's lock back and forth, reached 82 % of the ceiling of decoding and
    network on two cores where processes reached 87 % (medians of 5 rounds), and a thread that hangs on a file cannot be
    ended. A model in torch or on a GPU is loaded once, in this process; then the workers only read.
    """

    def __init__(
        self,
        choice: ChosenModel,
        limits: Limits,
        num_workers: int,
        batch_size: int,
        detector: Detector | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        """Start the workers.

        Args:
            choice: model file and device.
            limits: of what is read, of decisions, and of the resources for a file.
            num_workers: how many; the number of cores is best.
            batch_size: pictures that a worker takes at once; labels do not depend on it.
            detector: finds faces in photographs; None for `YuNet`.
            fetch: how files are read; None for `open`.

        Raises:
            ValueError: the model is loaded here, and was not made by this package or contradicts the limits.
        """
        self._ahead, self._batch_size = AHEAD * num_workers, batch_size
        self._labeller: Labeller | None = None
        if choice.path.suffix == ".onnx" and choice.device == "cpu":
            self._crew = Crew(partial(_start_labelling, choice.path, limits, detector, fetch), limits, num_workers)
        else:
            predictor = _InTurn(load_predictor(choice.path, choice.device, num_workers))
            self._labeller = Labeller(predictor, limits, detector)
            start = partial(_start_reading, limits, detector, fetch, predictor.info.image_size)
            self._crew = Crew(start, limits, num_workers)
        # Each waits for the answer of one process; one more labels meanwhile.
        self._threads = ThreadPoolExecutor(num_workers + (self._labeller is not None))

    @property
    def info(self) -> ModelInfo:
        """The metadata of the model file, once a worker has loaded it.

        Raises:
            ValueError: the file was not made by this package.
        """
        return self._crew.wait() if self._labeller is None else self._labeller.predictor.info

    @property
    def pids(self) -> list[int | None]:
        """The process ids of the workers."""
        return self._crew.pids

    def label(self, files: Iterable[File]) -> Iterator[list[Record]]:
        """Yield the records of files, in order, in batches."""
        batches = batched(files, self._batch_size)
        return sliding_window(batches, lambda batch: self._threads.submit(self.label_batch, batch), self._ahead)

    def label_batch(self, files: list[File]) -> list[Record]:
        """Return the records of files, which one worker reads; several threads may call this."""
        if self._labeller is None:
            return self._crew.ask(files, _fail)

        def look_again(rows: list[int], first: list[Pair]) -> list[Pair]:
            return self._read([Again(files[row], pair) for row, pair in zip(rows, first, strict=True)])

        return self._labeller.label_pictures(self._read(files), look_again)

    def _read(self, items: Sequence["File | Again"]) -> list[Pair]:
        return self._crew.ask(items, _fail_reading)

    def close(self) -> None:
        """End the workers at once, whatever they are doing: finished work is in the records that were yielded."""
        try:
            self._crew.close()
        finally:
            self._crew.close()  # a second Ctrl-C may have interrupted this
            self._threads.shutdown(cancel_futures=True)


def _fail(file: File, reason: str) -> Record:
    return Record(file.name, reason=reason, size=file.size, modified=file.modified)


def _fail_reading(item: "File | Again", reason: str) -> Pair:
    return _fail(item.file if isinstance(item, Again) else item, reason), None


def _start_reading(
    limits: Limits, detector: Detector | None, fetch: Fetch | None, image_size: tuple[int, int]
) -> tuple[Task, bool]:
    """Return a task that turns files into pairs of records and pictures of (height, width)."""
    reader = Reader(limits, detector, image_size)

    def read(batch: list[Any], note: Callable[[int], None]) -> list[Any]:
        if batch and isinstance(batch[0], Again):
            return _read_again(reader, fetch, batch, note)
        pairs: list[Pair] = []
        for position, (file, content) in enumerate((fetch or _open)(batch)):
            note(position)
            pairs += reader.read(file, content)
            note(-1)
        return pairs

    return read, True


def _read_again(reader: Reader, fetch: Fetch | None, batch: list[Again], note: Callable[[int], None]) -> list[Pair]:
    """Return the main faces of files; one that is fetched is fetched again only if what is at hand is not enough."""
    found: dict[int, Pair] = {}
    for place, again in enumerate(batch if fetch else []):
        note(place)
        if pair := reader.search_at_hand(again.first):
            found[place] = pair
        note(-1)
    rest = [place for place in range(len(batch)) if place not in found]
    contents = (fetch or _open)([batch[place].file for place in rest])
    for place, (file, content) in zip(rest, contents, strict=True):
        note(place)
        found[place] = reader.read_again(file, batch[place].first, content)
        note(-1)
    return [found[place] for place in range(len(batch))]


def _start_labelling(
    path: Path, limits: Limits, detector: Detector | None, fetch: Fetch | None
) -> tuple[Task, ModelInfo]:
    """Return a task that turns files into records, and the model's metadata."""
    labeller = Labeller(load_predictor(path), limits, detector)
    read, _ = _start_reading(limits, labeller.reader.detector, fetch, labeller.reader.image_size)

    def label(batch: list[Any], note: Callable[[int], None]) -> list[Any]:
        def look_again(rows: list[int], first: list[Pair]) -> list[Pair]:
            again = [Again(batch[row], pair) for row, pair in zip(rows, first, strict=True)]
            return read(again, lambda place: note(rows[place] if place >= 0 else -1))

        return labeller.label_pictures(read(batch, note), look_again)

    return label, labeller.predictor.info


def _open(files: list[File]) -> Iterator[tuple[File, None]]:
    return ((file, None) for file in files)
