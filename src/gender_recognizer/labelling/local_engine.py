"""The local engine: processes that read, decode and label side by side, and outlive a file that kills one of them."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from gender_recognizer.labelling.labeller import Labeller, Limits, Record, batched
from gender_recognizer.models.model_file import ModelInfo
from gender_recognizer.models.predictor import Choice, load_predictor
from gender_recognizer.pictures.listing import File

AHEAD = 3
"""Batches that are under way for each worker."""


class LocalEngine:
    """Workers that label files; each takes a batch through all its steps, so that no core waits for a slow step.

    The workers of an ONNX model on the CPU are processes: threads, which hand Python's lock to and fro, reached 82 %
    of the ceiling of decoding and network on two cores where processes reached 87 % (medians of 5 rounds). With torch
    they are threads, so that its memory is taken once.
    """

    def __init__(self, choice: Choice, limits: Limits, num_workers: int, batch_size: int) -> None:
        """Start the workers.

        Args:
            choice: model file and device.
            limits: what is read and decided.
            num_workers: how many; the number of cores is best.
            batch_size: pictures that a worker takes at once; labels do not depend on it.
        """
        self.choice, self.limits = choice, limits
        self.num_workers, self.batch_size = num_workers, batch_size
        if choice.path.suffix == ".onnx" and choice.device == "cpu":
            self._function = _label
            self._executor = self._start(num_workers)
            self._info = self._executor.submit(_get_info)
        else:
            labeller = Labeller(load_predictor(choice.path, choice.device), limits)
            self._function = labeller.label_files
            self._executor = ThreadPoolExecutor(num_workers)
            self._info = self._executor.submit(lambda: labeller.predictor.info)

    @property
    def info(self) -> ModelInfo:
        """Return what the model file says of itself, once a worker has loaded it.

        Raises:
            ValueError: the file is not a model of ours.
        """
        return self._info.result()

    def label(self, files: Iterable[File]) -> Iterator[list[Record]]:
        """Yield the records of files, in order, in batches."""
        batches = batched(files, self.batch_size)
        running: deque[tuple[list[File], Future]] = deque()
        while True:
            missing = AHEAD * self.num_workers - len(running)
            running.extend((batch, self._submit(batch)) for batch in islice(batches, missing))
            if not running:
                return
            try:
                records = running[0][1].result()
            except BrokenProcessPool:
                for batch, _ in running:
                    yield self._label_one_by_one(batch)
                running.clear()
                self._executor = self._start(self.num_workers)
            else:
                running.popleft()
                yield records

    def close(self) -> None:
        """Stop the workers, once they have done the batch they are at.

        Not waiting for them would now and then end Python with "Bad file descriptor": its own clean-up at exit wakes
        a thread that is closing its pipe at that moment.
        """
        self._executor.shutdown(cancel_futures=True)

    def _start(self, num_workers: int) -> Executor:
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        return ProcessPoolExecutor(num_workers, context, _start_worker, (self.choice.path, self.limits))

    def _submit(self, batch: list[File]) -> Future:
        try:
            return self._executor.submit(self._function, batch)
        except BrokenProcessPool as error:
            future: Future = Future()
            future.set_exception(error)
            return future

    def _label_one_by_one(self, batch: list[File]) -> list[Record]:
        """Return the records of files of which one, perhaps, kills the process that reads it."""
        records, executor = [], self._start(1)
        for file in batch:
            try:
                records += executor.submit(_label, [file]).result()
            except BrokenProcessPool:
                reason = "the process that read it died: broken, or too large for the memory"
                records.append(Record(file.name, reason=reason))
                executor = self._start(1)
        executor.shutdown()
        return records


_labeller: Labeller | ValueError | None = None


def _start_worker(path: Path, limits: Limits) -> None:
    """Load the model into this process, and see to it that the process ends with its parent."""
    global _labeller
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    try:
        _labeller = Labeller(load_predictor(path), limits)
    except ValueError as error:
        _labeller = error


def _get_info() -> ModelInfo:
    if isinstance(_labeller, ValueError):
        raise _labeller
    return _labeller.predictor.info


def _label(files: list[File]) -> list[Record]:
    return _labeller.label_files(files)
