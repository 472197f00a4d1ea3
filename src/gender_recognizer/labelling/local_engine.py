"""The local engine: processes that read, decode and label in parallel; a file that kills one does not end the run."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from gender_recognizer.labelling.engines import Fetch, batched, sliding_window, usual_batch_size
from gender_recognizer.labelling.labeller import Labeller, Pair, Reader
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.settings import LabelSettings
from gender_recognizer.labelling.workers import Crew, Task
from gender_recognizer.models.detector import Detector
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.models.predictor import available_cores, load_predictor
from gender_recognizer.pictures.listing import File

AHEAD = 3
"""Batches in progress per worker."""


def start(
    choice: ChosenModel, limits: Limits, settings: LabelSettings, detector: Detector | None, fetch: Fetch | None
) -> tuple["LocalEngine", None]:
    """Return the engine of the settings; `engines.Start` says more."""
    batch_size = settings.batch_size or usual_batch_size(detector)
    return LocalEngine(choice, limits, settings.num_workers or available_cores(), batch_size, detector, fetch), None


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
            detector: finds faces where the limits ask for them; None for `YuNet`.
            fetch: how files are read; None for `open`.

        Raises:
            ValueError: the limits ask for faces, and the extra `faces` is not installed.
        """
        self._ahead, self._batch_size = AHEAD * num_workers, batch_size
        self._labeller: Labeller | None = None
        if choice.path.suffix == ".onnx" and choice.device == "cpu":
            self._crew = Crew(partial(_start_labelling, choice.path, limits, detector, fetch), limits, num_workers)
        else:
            self._crew = Crew(partial(_start_reading, limits, detector, fetch), limits, num_workers)
            self._labeller = Labeller(load_predictor(choice.path, choice.device, num_workers), limits, detector)
        self._threads = ThreadPoolExecutor(num_workers)  # each waits for the answer of one process

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
        if self._labeller is None:
            return sliding_window(batches, lambda batch: self._threads.submit(self.label_batch, batch), self._ahead)
        answers = sliding_window(batches, lambda batch: self._threads.submit(self._read, batch), self._ahead)
        return map(self._labeller.label_pictures, answers)

    def label_batch(self, files: list[File]) -> list[Record]:
        """Return the records of files, which one worker reads; as many threads as there are workers may call this."""
        if self._labeller is None:
            return self._crew.ask(files, _fail)
        return self._labeller.label_pictures(self._read(files))

    def _read(self, files: list[File]) -> list[Pair]:
        return self._crew.ask(files, _fail_reading)

    def close(self) -> None:
        """End the workers at once, whatever they are doing: finished work is in the records that were yielded."""
        try:
            self._crew.close()
        finally:
            self._crew.close()  # a second Ctrl-C may have interrupted this
            self._threads.shutdown(cancel_futures=True)


def _fail(file: File, reason: str) -> Record:
    return Record(file.name, reason=reason, size=file.size, modified=file.modified)


def _fail_reading(file: File, reason: str) -> Pair:
    return _fail(file, reason), None


def _start_reading(limits: Limits, detector: Detector | None, fetch: Fetch | None) -> tuple[Task, bool]:
    """Return a task that turns files into pairs of records and pictures."""
    reader, fetch = Reader(limits, detector), fetch or _open

    def read(batch: list[Any], note: Callable[[int], None]) -> list[Any]:
        pairs: list[Pair] = []
        for position, (file, content) in enumerate(fetch(batch)):
            note(position)
            pairs += reader.read(file, content)
            note(-1)
        return pairs

    return read, True


def _start_labelling(
    path: Path, limits: Limits, detector: Detector | None, fetch: Fetch | None
) -> tuple[Task, ModelInfo]:
    """Return a task that turns files into records, and the model's metadata."""
    labeller = Labeller(load_predictor(path), limits, detector)
    read, _ = _start_reading(limits, labeller.reader.detector, fetch)
    return (lambda batch, note: labeller.label_pictures(read(batch, note))), labeller.predictor.info


def _open(files: list[File]) -> Iterator[tuple[File, None]]:
    return ((file, None) for file in files)
