"""The interface of engines, and the sliding window of batches that all of them use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Protocol, TypeVar

from gender_recognizer.labelling.records import Record
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.pictures.listing import File

T = TypeVar("T")
R = TypeVar("R")


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


def sliding_window(items: Iterable[T], submit: Callable[[T], "Future[R]"], ahead: int) -> Iterator[R]:
    """Yield the results for items, in order, with up to `ahead` of them in progress; memory stays flat."""
    futures = map(submit, items)
    running: deque[Future[R]] = deque()
    while True:
        running.extend(islice(futures, ahead - len(running)))
        if not running:
            return
        yield running.popleft().result()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last may be shorter; `itertools.batched` needs Python 3.12."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])
