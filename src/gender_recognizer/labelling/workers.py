"""Processes that read files for another one, which can end them whatever they are doing.

A file may kill the process that reads it, keep it busy for hours or take all memory. The process notes in shared memory
which file it is reading and since when; the other one watches that, ends it, and starts it again for the other files.
"""

import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol

from gender_recognizer.labelling.records import Limits

_BETWEEN = -1.0
"""In place of the number of a file while the process is reading none."""


class Task(Protocol):
    """The work of a process on batches."""

    def __call__(self, batch: list[Any], note: Callable[[int], None]) -> list[Any]:
        """Return the results for a batch.

        Args:
            batch: items.
            note: to be called with the number of each item before it is read, and with -1 after the last one.
        """
        ...


Start = Callable[[], tuple[Task, Any]]
"""Makes a task, and the answer of `WorkerProcess.wait`."""


class Lost(NamedTuple):
    """Why a batch has no result.

    Attributes:
        position: number of the item that the process was reading; None if it was reading none.
        reason: what happened.
        is_sure: whether this item alone is the cause; otherwise items before it may be.
    """

    position: int | None
    reason: str
    is_sure: bool


class WorkerProcess:
    """A process with a `Task`; only one thread at a time may use it."""

    def __init__(self, start: Start, limits: Limits) -> None:
        """Start the process.

        Args:
            start: makes the task, in the process, and an answer for `wait`; it is pickled where processes are not
                forked. A ValueError that it raises is raised by `wait`.
            limits: `max_seconds` for each item; the memory limit of the process follows from the others.
        """
        self._limits = limits
        self._answer: Any = None
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._progress = mmap.mmap(-1, 16) if sys.platform == "linux" else RawArray("d", 2)
        self._connection, theirs = context.Pipe()
        arguments = (start, limits, theirs, self._progress)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        with _without_interrupts():
            self._process.start()
        theirs.close()

    def wait(self) -> Any:
        """Return the answer of `start`, once the process is ready.

        Raises:
            ValueError: that `start` raised.
            OSError: the process died.
        """
        if self._answer is None:
            try:
                self._answer = self._connection.recv()
            except EOFError:
                raise OSError("a worker died while it started; is there enough memory?") from None
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def ask(self, batch: Sequence[Any]) -> Any:
        """Return the task's results for a batch, or a `Lost`, after which the process is gone.

        Raises:
            ValueError: that `start` raised.
            RuntimeError: the task raised an error.
        """
        try:
            self.wait()
            _note(self._progress, -1)
            self._connection.send(batch)
            while not self._connection.poll(self._patience()):
                if self._patience() <= 0:
                    return self._lose(f"took longer than {self._limits.max_seconds:g} s", True)
            answer = self._connection.recv()
        except (EOFError, OSError):
            return self._lose("the process that read it died: the file is broken, or too large for the memory", False)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """End the process at once; a thread that waits for its answer gets a `Lost`."""
        self._process.kill()

    def _lose(self, reason: str, is_sure: bool) -> Lost:
        position = self._position()
        self.kill()
        self._process.join()
        self._connection.close()
        return Lost(position, reason, is_sure)

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    def _position(self) -> int | None:
        position, _ = memoryview(self._progress).cast("B").cast("d")
        return None if position == _BETWEEN else int(position)

    def _patience(self) -> float:
        """Return the seconds until the time limit has to be checked again."""
        position, since = memoryview(self._progress).cast("B").cast("d")
        if position == _BETWEEN:
            return self._limits.max_seconds
        return max(0.0, since + self._limits.max_seconds - time.monotonic())


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block Ctrl-C in a new process until it ignores the signal; a fork inherits blocked signals."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _note(progress: Any, position: int) -> None:
    view = memoryview(progress).cast("B").cast("d")
    view[1] = time.monotonic()
    view[0] = position


def _serve(start: Start, limits: Limits, connection: Connection, progress: Any) -> None:
    """Answer batches until the other process ends; the main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process handles Ctrl-C
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_parent()
    _note(progress, -1)
    with suppress(EOFError, OSError):  # the other process has gone
        try:
            task, answer = start()
        except ValueError as error:
            connection.send(error)
            return
        limit_memory(limits)
        connection.send(answer)
        while True:
            batch = connection.recv()
            try:
                result: Any = task(batch, lambda position: _note(progress, position))
            except Exception as error:
                result = RuntimeError(f"{type(error).__name__} in a worker: {error}")
            connection.send(result)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_and_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()


BYTES_A_PIXEL = 24
"""Bytes of memory for each pixel of the largest picture: six layers of four bytes, which a float TIFF or a PNG with
transparency needs briefly while it becomes RGB."""


def limit_memory(limits: Limits) -> None:
    """Limit the memory of this process to the need of the largest file that the limits allow.

    The limit is `RLIMIT_DATA`, which counts memory that is written to. `RLIMIT_AS` would count the address space as
    well, of which the C library and ONNX Runtime reserve much more than they use; watching the memory from outside
    (PSS) would be too late for a file that takes gigabytes in a second.
    """
    if sys.platform != "linux":  # other systems do not enforce it
        return
    import resource

    status = Path("/proc/self/status").read_text()
    taken = int(status.partition("VmData:")[2].split()[0]) * 1024
    wanted = taken + BYTES_A_PIXEL * limits.max_pixels + 2 * limits.max_file_size + 256 * 1024**2
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [bound for bound in (wanted, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(*bounds, sys.maxsize), hard))


class Crew:
    """Worker processes for threads, which wait for an idle one; one that a file has ended is started again."""

    def __init__(self, start: Start, limits: Limits, num_workers: int) -> None:
        """Start the processes, as `WorkerProcess` does."""
        self._start, self._limits = start, limits
        self._lock, self._closed = threading.Lock(), False
        self._workers = [WorkerProcess(start, limits) for _ in range(num_workers)]
        self._idle: SimpleQueue[int] = SimpleQueue()
        for number in range(num_workers):
            self._idle.put(number)

    def wait(self) -> Any:
        """Return the answer of the first process, once it is ready, as `WorkerProcess.wait` does."""
        return self._workers[0].wait()

    @property
    def pids(self) -> list[int | None]:
        """The process ids."""
        return [worker.pid for worker in self._workers]

    def ask(self, batch: Sequence[Any], fail: Callable[[Any, str], Any]) -> list[Any]:
        """Return an idle process's results for a batch.

        When an item takes too long, the others are read without it; an item during which the process died is read once
        more alone, as another may have been the cause.

        Args:
            batch: items.
            fail: returns the result for an item that cannot be read, given the reason.

        Raises:
            EOFError: the crew was closed.
        """
        number = self._idle.get()
        try:
            return self._ask(number, batch, fail)
        finally:
            self._idle.put(number)

    def _ask(self, number: int, batch: Sequence[Any], fail: Callable[[Any, str], Any]) -> list[Any]:
        if not batch:
            return []
        answer = self._workers[number].ask(batch)
        if not isinstance(answer, Lost):
            return answer
        self._restart(number)
        if len(batch) == 1:
            return [fail(batch[0], answer.reason)]
        if answer.position is None:
            return [result for item in batch for result in self._ask(number, [item], fail)]
        middle = batch[answer.position]
        return [
            *self._ask(number, batch[: answer.position], fail),
            *([fail(middle, answer.reason)] if answer.is_sure else self._ask(number, [middle], fail)),
            *self._ask(number, batch[answer.position + 1 :], fail),
        ]

    def _restart(self, number: int) -> None:
        with self._lock:
            if self._closed:
                raise EOFError("the workers were ended")
            self._workers[number] = WorkerProcess(self._start, self._limits)

    def close(self) -> None:
        """End the processes at once, whatever they are doing."""
        with self._lock:
            self._closed = True
        for worker in self._workers:
            worker.kill()
