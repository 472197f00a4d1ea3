"""The interface of engines, and the sliding window of batches that all of them use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import islice
from typing import Protocol, TypeVar

from gender_recognizer.interruption import raise_if_interrupted
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.settings import LabelSettings
from gender_recognizer.models.detector import Detector
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.pictures.listing import File

T = TypeVar("T")
R = TypeVar("R")

Fetch = Callable[[list[File]], Iterator[tuple[File, bytes | None]]]
"""Yields files with their contents, where they are not in the machine's own folders."""

PICTURES = 48
"""Pictures that a worker takes at once, where each gets one label.

Fewer are slower: reading and the network push each other out of the core's cache. Of FairFace's validation pictures
each takes 0.62, 0.63, 0.60, 0.59 and 0.58 ms of a core of an AMD EPYC with 16, 32, 48, 64 and 128 at once. More need
more memory."""

PATIENCE = 0.1
"""Seconds until who waits for a result looks whether there was a Ctrl-C."""


class Engine(Protocol):
    """Labels files, on this machine or others."""

    @property
    def info(self) -> ModelInfo:
        """The metadata of the model file.

        Raises:
            ValueError: the file was not made by this package.
        """
        ...

    def label(self, files: Iterable[File]) -> Iterator[list[Record]]:
        """Yield the records of files, in order, in batches; the record of an unreadable file holds the reason."""
        ...

    def close(self) -> None:
        """End the workers at once, whatever they are doing."""
        ...


class Start(Protocol):
    """Returns an engine; the function `start` of `labelling/<name>_engine.py`, which `engine=<name>` calls."""

    def __call__(
        self,
        choice: ChosenModel,
        limits: Limits,
        settings: LabelSettings,
        detector: Detector | None,
        fetch: Fetch | None,
    ) -> tuple[Engine, str | None]:
        """Return the engine, ready to label, and what to tell the user of it, if anything.

        Args:
            choice: model file and device.
            limits: what is read and decided, and what a file may take.
            settings: the options of the command, `batch_size` and `num_workers` among them.
            detector: finds faces in photographs; None for `YuNet`.
            fetch: how files are read; None for `open`.

        Raises:
            ValueError: an option of the engine makes no sense, or what it needs is not there.
        """
        ...


def usual_batch_size(limits: Limits, detector: Detector | None) -> int:
    """Return how many pictures, or photographs where each face in them is labelled, a worker takes at once."""
    return detector.batch_size if detector and limits.faces == "crop" else PICTURES


def sliding_window(items: Iterable[T], submit: Callable[[T], "Future[R]"], ahead: int) -> Iterator[R]:
    """Yield the results for items, in order, with up to `ahead` of them in progress; memory stays flat.

    Raises:
        KeyboardInterrupt: there was a Ctrl-C, which a patient `Interruption` has put off.
    """
    futures = map(submit, items)
    running: deque[Future[R]] = deque()
    while True:
        running.extend(islice(futures, ahead - len(running)))
        if not running:
            return
        raise_if_interrupted()
        while not wait([running[0]], PATIENCE).done:
            raise_if_interrupted()
        yield running.popleft().result()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last may be shorter; `itertools.batched` needs Python 3.12."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])
