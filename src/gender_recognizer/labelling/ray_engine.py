"""Label on all cores of a Ray cluster. Needs the extra `ray`.

Files lie in folders that all machines see, or in object stores. They are read where they are labelled, in a process
beside Ray's own, so that a bad file can end only that process. Ray Data is not used: it ends the whole job at one
unreadable file, and has no time limit for a file.
"""

import ipaddress
import os
import pickle
import secrets
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gender_recognizer.labelling.engines import Fetch, batched, sliding_window, usual_batch_size
from gender_recognizer.labelling.labeller import Labeller
from gender_recognizer.labelling.local_engine import AHEAD, LocalEngine
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.settings import LabelSettings, RaySettings
from gender_recognizer.models.detector import Detector
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.listing import File

if TYPE_CHECKING:
    from ray import ObjectRef

TRIES = 5
"""How many actors may be lost while labelling one batch before its files are given up."""

LOST = f"the machine that read it was lost {TRIES} times"

PICTURES_TIMES, PHOTOGRAPHS_TIMES = 8, 4
"""How many times as many an actor takes at once as a worker of the local engine: pictures of which each gets one label,
or photographs of which each face does."""


def start(
    choice: ChosenModel, limits: Limits, settings: LabelSettings, detector: Detector | None, fetch: Fetch | None
) -> tuple["RayEngine", str]:
    """Return the engine of the settings, and how large its cluster is; `engines.Start` says more."""
    own = settings.ray or RaySettings()
    times = PHOTOGRAPHS_TIMES if limits.faces == "crop" else PICTURES_TIMES
    batch_size = settings.batch_size or usual_batch_size(limits, detector) * times
    engine = RayEngine(choice, limits, batch_size, settings.num_workers, own.address, own.listen, detector, fetch)
    return engine, f"Ray with {engine.num_workers} workers, dashboard at {engine.dashboard or 'no address'}"


class RayEngine:
    """Labels files with actors of a Ray cluster.

    Attributes:
        info: the metadata of the model file.
        dashboard: address of the cluster's page; None if it has none.
        num_workers: number of actors.
    """

    def __init__(
        self,
        choice: ChosenModel,
        limits: Limits,
        batch_size: int = 256,
        num_workers: int | None = None,
        address: str | None = None,
        listen: bool = False,
        detector: Detector | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        """Join a cluster, or start one on this machine.

        Args:
            choice: model file and device; its content is sent to the workers.
            limits: of what is read, of decisions, and of the resources for a file.
            batch_size: pictures that an actor takes at once.
            num_workers: actors, with a core each; None for as many as the cluster has cores.
            address: of a running cluster, `host:port` or `auto`; None to start one.
            listen: let a cluster that is started here listen on addresses that other machines reach.
            detector: finds faces in photographs; None for `YuNet`.
            fetch: how files are read; None for `open`, in folders that all machines see.

        Raises:
            ValueError: Ray is not installed, there is no such cluster, none can be started, or the file was not made
                by this package or contradicts the limits.
        """
        self.info = Labeller(load_predictor(choice.path), limits, detector).predictor.info
        context, self._leave = _join(address, listen)
        import ray

        self.dashboard = context.dashboard_url or None
        self._device, self._batch_size, self._is_remote = choice.device, batch_size, fetch is not None
        model = [ray.put(choice.path.read_bytes())]  # in a list, so that an actor gets the reference
        proxies = {name: os.environ.get(name) for name in SILENCE} if self._leave and address is None else {}
        self._arguments = (model, choice.path.suffix, choice.device, limits, detector, fetch, proxies)
        self.num_workers = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._idle: SimpleQueue[Any] = SimpleQueue()  # actors, None for a lost one, or the error that prevented one
        self._closed = False
        self._actors: list[Any] = []
        self._threads = ThreadPoolExecutor(self.num_workers)  # each waits for the answer of one actor

    def label(self, files: Iterable[File]) -> Iterator[list[Record]]:
        """Yield the records of files, in order, in batches."""
        if not self._is_remote:
            files = (file._replace(path=str(Path(file.path).absolute())) for file in files)
        batches = batched(files, self._batch_size)
        return sliding_window(batches, lambda batch: self._threads.submit(self._ask, batch), AHEAD * self.num_workers)

    def close(self) -> None:
        """End the actors at once, leave the cluster, and stop it if it was started here."""
        import ray

        self._closed = True
        for _ in range(self.num_workers):
            self._idle.put(EOFError("the actors were ended"))
        try:
            for actor in self._actors:
                with suppress(Exception):  # it is gone already
                    ray.kill(actor)
            self._threads.shutdown(cancel_futures=True)
        finally:
            if self._leave:
                ray.shutdown()

    def _ask(self, files: list[File]) -> list[Record]:
        """Return the records of files, from the first idle actor that survives the work."""
        import ray

        for _ in range(TRIES):
            actor = self._take_actor()
            try:
                records = pickle.loads(ray.get(actor.label.remote(pickle.dumps(files))))
            except ray.exceptions.RayActorError:
                self._add_actor()
                continue
            self._idle.put(actor)
            return records
        return [Record(file.name, reason=LOST) for file in files]

    def _take_actor(self) -> Any:
        if len(self._actors) < self.num_workers:
            self._add_actor()
        while (actor := self._idle.get()) is None:
            self._add_actor()
        if isinstance(actor, Exception):
            raise actor
        return actor

    def _add_actor(self) -> None:
        """Request an actor, which is idle once the cluster has a core for it and it has loaded the model."""
        import ray

        if self._closed:
            raise EOFError("the actors were ended")
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": 1 if self._device == "cuda" else 0}
        actor: Any = ray.remote(**options)(_Actor).remote(*self._arguments)
        self._actors.append(actor)

        def add(ready: Any) -> None:
            try:
                problem = ready.result()
            except ray.exceptions.RayActorError:  # its machine was lost in the meantime
                self._idle.put(None)  # Ray's own thread, which this is, must not wait for Ray
            except Exception as error:
                self._idle.put(error)
            else:
                self._idle.put(ValueError(problem) if problem else actor)

        actor.problem.remote().future().add_done_callback(add)


class _Actor:
    """One copy of the model, and one process that reads, on some machine of the cluster."""

    def __init__(
        self,
        model: list["ObjectRef"],
        suffix: str,
        device: str,
        limits: Limits,
        detector: Detector | None,
        fetch: Fetch | None,
        environment: dict[str, str | None],
    ) -> None:
        import ray

        _set_environment(environment)
        self._folder = TemporaryDirectory()  # kept as long as the actor: the process may be started again
        path = Path(self._folder.name, "model" + suffix)
        path.write_bytes(ray.get(model[0]))
        self._problem: str | None = None
        try:
            self._engine = LocalEngine(ChosenModel(path, device, "of the cluster"), limits, 1, 1, detector, fetch)
            self._engine.info  # noqa: B018
        except ValueError as error:
            self._problem = str(error)

    def problem(self) -> str | None:
        """Return why this machine cannot label; None if it can."""
        return self._problem

    def label(self, files: bytes) -> bytes:
        """Turn a pickled list of files into a pickled list of their records."""
        return pickle.dumps(self._engine.label_batch(pickle.loads(files)))


def _join(address: str | None, listen: bool) -> tuple[Any, bool]:
    """Return the context of a cluster, and whether to leave it at the end."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # else `uv run` makes workers fetch packages anew
    if address is None and not listen:
        _keep_to_this_machine()
    import ray

    leave = not ray.is_initialized()
    _require_answer(address)
    options: dict[str, Any] = {"include_dashboard": False} if address is None and leave else {}
    options |= {"ignore_reinit_error": True, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        with _silence() if address is None and leave else nullcontext():
            context: Any = ray.init(address or "local", **options)
    except Exception as error:  # Ray raises almost any type
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if address is None:
            raise ValueError(f"Ray cannot start here: {reason}") from None
        raise ValueError(f"ray.address is '{address}', but no Ray cluster answers there: {reason}") from None
    if address is None and leave and not listen:
        _refuse_listening(context.address_info["node_ip_address"])
    return context, leave


SILENCE = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1,localhost,::1"}
"""Settings with which `requests` reaches nothing outside of this machine."""


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Ray's processes from asking the cloud's metadata servers where they are.

    A process of Ray 2.60 does so even if the usage statistics, which need the answer, are off. The actors, which may
    have to reach an object store, get the previous settings back.
    """
    before = {name: os.environ.get(name) for name in SILENCE}
    os.environ.update(SILENCE)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _keep_to_this_machine() -> None:
    """Before Ray is imported, make it bind only to 127.0.0.1, and ask for a secret even there.

    `_node_ip_address` is not enough: Ray replaces 127.0.0.1 by the machine's address unless it is told that there will
    be no cluster, as on macOS and Windows. Then it does not look up its address at 8.8.8.8, either. Tried with Ray
    2.60: all its sockets are bound to 127.0.0.1 or ::1.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def _refuse_listening(address: str) -> None:
    """Stop the cluster that was started here if other machines can reach it.

    Raises:
        ValueError: they can.
    """
    import ray

    if ipaddress.ip_address(address).is_loopback:
        return
    ray.shutdown()
    raise ValueError(
        f"Ray listens on {address}, and anyone who reaches it can run programs here; "
        "give the ray.address of a cluster, or allow it with ray.listen=true"
    )


def _require_answer(address: str | None) -> None:
    """Refuse `host:port` where nothing listens; Ray itself would wait for many minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"ray.address is '{address}', but no Ray cluster answers there: {error}") from None
