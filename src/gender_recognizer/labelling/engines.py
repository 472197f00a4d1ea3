"""What every engine is, and the one window in which batches are under way."""

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
    """Labels files, here or elsewhere."""

    @property
    def info(self) -> ModelInfo:
        """What the model file says of itself.

        Raises:
            ValueError: the file is not a model of ours.
        """
        ...

    def label(self, files: Iterable[File]) -> Iterator[list[Record]]:
        """Yield the records of files, in order, in batches; of a file that cannot be read the record says why."""
        ...

    def close(self) -> None:
        """End the workers at once, whatever they are at."""
        ...


def sliding_window(items: Iterable[T], submit: Callable[[T], "Future[R]"], ahead: int) -> Iterator[R]:
    """Yield what becomes of items, in order, while up to `ahead` of them are under way; memory stays flat."""
    futures = map(submit, items)
    running: deque[Future[R]] = deque()
    while True:
        running.extend(islice(futures, ahead - len(running)))
        if not running:
            return
        yield running.popleft().result()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last perhaps shorter; `itertools.batched` came with Python 3.12."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])
