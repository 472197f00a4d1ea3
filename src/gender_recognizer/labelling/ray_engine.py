"""The Ray engine: the same labelling on all cores of a cluster. Needs the extra `ray`.

Its files lie in folders that all machines see, or in object stores such as s3:// and gs://. They are read where
they are labelled; Ray Data's own reader, `read_binary_files`, ends the whole job at one file that cannot be read.
"""

import logging
import os
import pickle
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gender_recognizer.labelling.labeller import Labeller, Limits, Record, batched
from gender_recognizer.models.predictor import Choice, load_predictor
from gender_recognizer.pictures.listing import File, is_picture_name

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from ray import ObjectRef

READERS = 16
"""Files of an object store that a worker reads at the same time."""


class RayEngine:
    """Actors of a Ray cluster that label files.

    Attributes:
        info: what the model file says of itself.
        dashboard: address of the cluster's page; None if it has none.
    """

    def __init__(
        self,
        choice: Choice,
        limits: Limits,
        batch_size: int = 256,
        num_workers: int | None = None,
        address: str | None = None,
        remote: "RemoteFolder | None" = None,
    ) -> None:
        """Join a cluster, or start one on this machine.

        Args:
            choice: model file and device; its content is sent to the workers.
            limits: what is read and decided.
            batch_size: pictures in one task.
            num_workers: actors, with a core each; None for as many as the cluster has cores.
            address: of a running cluster, `host:port` or `auto`; None to start one.
            remote: where the files are, if not in the machines' own folders.

        Raises:
            ValueError: Ray or what the limits ask for is not installed, there is no such cluster, or the file is not a
                model of ours.
        """
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        try:
            import ray
        except ImportError:
            raise ValueError("engine=ray needs the extra ray: pip install 'gender_recognizer[ray]'") from None
        self.info = Labeller(load_predictor(choice.path), limits).predictor.info
        self.batch_size, self._device, self._remote = batch_size, choice.device, remote
        self._leave = not ray.is_initialized()
        _require_answer(address)
        try:
            context = ray.init(address or "local", ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"ray.address is '{address}', but no Ray cluster answers there: {reason}") from None
        self.dashboard = context.dashboard_url or None
        model = [ray.put(choice.path.read_bytes())]  # in a list, so that a worker that is started again still finds it
        self._arguments = (model, choice.path.suffix, choice.device, limits, remote)
        self.num_workers = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def label(self, files: Iterable[File]) -> Iterator[list[Record]]:
        """Yield the records of files in batches, in the order in which they are done."""
        import ray

        settings = ray.data.DataContext.get_current()
        settings.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        files = (file if self._remote else file._replace(path=str(Path(file.path).absolute())) for file in files)
        tasks = [pickle.dumps(batch) for batch in batched(files, self.batch_size)]
        if not tasks:
            return
        dataset = ray.data.from_items([{"files": task} for task in tasks], override_num_blocks=len(tasks))
        done = dataset.map_batches(
            _Worker,
            batch_size=None,
            fn_constructor_args=self._arguments,
            compute=ray.data.ActorPoolStrategy(size=min(self.num_workers, len(tasks))),
            num_cpus=1,
            num_gpus=1 if self._device == "cuda" else 0,
        )
        for batch in done.iter_batches(batch_size=None):
            for records in batch["records"]:
                yield pickle.loads(records)

    def close(self) -> None:
        """Leave the cluster, and stop it if it was started here."""
        import ray

        if self._leave:
            ray.shutdown()


def _require_answer(address: str | None) -> None:
    """Refuse `host:port` where nothing listens; Ray itself would wait for many minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ValueError(f"ray.address is '{address}', but no Ray cluster answers there: {error}") from None


class _Worker:
    """One copy of the model in an actor."""

    def __init__(
        self, model: list["ObjectRef"], suffix: str, device: str, limits: Limits, remote: "RemoteFolder | None"
    ) -> None:
        import ray

        with TemporaryDirectory() as folder:
            path = Path(folder, "model" + suffix)
            path.write_bytes(ray.get(model[0]))
            self._labeller = Labeller(load_predictor(path, device), limits)
        self._remote = remote

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Turn pickled lists of files into pickled lists of their records."""
        return {"records": [pickle.dumps(self._label(pickle.loads(files))) for files in batch["files"]]}

    def _label(self, files: list[File]) -> list[Record]:
        return (
            self._labeller.label_files(*self._remote.read(files)) if self._remote else self._labeller.label_files(files)
        )


class RemoteFolder:
    """A folder of an object store, through pyarrow, or through fsspec where pyarrow does not know its kind."""

    def __init__(self, uri: str, sniff: bool = False) -> None:
        """Take an address such as `s3://bucket/folder`.

        Args:
            uri: may end with options of pyarrow, such as `?endpoint_override=host:port&scheme=http`.
            sniff: also take files without an ending for pictures.
        """
        self.uri, self.sniff = uri, sniff
        self.ignored = 0

    def __iter__(self) -> Iterator[File]:
        """Yield every picture once, in the order of their names.

        Raises:
            ValueError: the address is not understood, or there is no such folder.
        """
        from pyarrow.fs import FileSelector, FileType

        self.ignored = 0
        filesystem, root = self._open()
        try:
            entries = filesystem.get_file_info(FileSelector(root, recursive=True))
        except OSError as error:
            raise ValueError(f"input_dir '{self.uri}' cannot be listed: {str(error).splitlines()[0]}") from None
        prefix = root.rstrip("/") + "/"
        found = []
        for entry in entries:
            name = entry.path.removeprefix(prefix)
            if entry.type != FileType.File:
                continue
            if is_picture_name(name, self.sniff):
                found.append(File(name, entry.path, None, entry.size, entry.mtime_ns))
            else:
                self.ignored += 1
        yield from sorted(found)

    def read(self, files: list[File]) -> tuple[list[File], list[bytes]]:
        """Return the contents of files, and the files, with the problem of each that could not be read."""
        filesystem, _ = self._open()

        def read(file: File) -> tuple[File, bytes]:
            try:
                with filesystem.open_input_file(file.path) as stream:
                    return file, stream.read()
            except OSError as error:
                return file._replace(problem=str(error).splitlines()[0]), b""

        with ThreadPoolExecutor(READERS) as readers:
            pairs = list(readers.map(read, files))
        return [file for file, _ in pairs], [content for _, content in pairs]

    def _open(self) -> "tuple[FileSystem, str]":
        from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

        try:
            return FileSystem.from_uri(self.uri)
        except ValueError as error:  # pyarrow's ArrowInvalid
            if "Unrecognized filesystem" not in str(error):
                raise ValueError(f"input_dir '{self.uri}' is not understood: {str(error).splitlines()[0]}") from None
        import fsspec

        try:
            filesystem, path = fsspec.core.url_to_fs(self.uri)
        except (ValueError, ImportError) as error:
            raise ValueError(f"input_dir '{self.uri}' is not understood: {error}") from None
        return PyFileSystem(FSSpecHandler(filesystem)), path
