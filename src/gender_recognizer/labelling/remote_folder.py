"""A folder of an object store, such as s3:// or gs://. Needs the extra `ray`."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gender_recognizer.labelling.engines import batched
from gender_recognizer.pictures.listing import File, is_picture_name

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

READERS = 16
"""Files that a worker reads at the same time."""


class RemoteFolder:
    """A folder of an object store, through pyarrow, or through fsspec where pyarrow does not know its kind.

    Attributes:
        ignored: files that were left out so far.
    """

    def __init__(self, uri: str, sniff: bool = False, max_file_size: int = 100_000_000) -> None:
        """Take an address such as `s3://bucket/folder`.

        Args:
            uri: may end with options of pyarrow, such as `?endpoint_override=host:port&scheme=http`.
            sniff: also take files without an ending for pictures.
            max_file_size: length in bytes above which a file is not read.
        """
        self.uri, self.sniff, self.max_file_size = uri, sniff, max_file_size
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

    def fetch(self, files: list[File]) -> Iterator[tuple[File, bytes]]:
        """Yield files with their contents; a file that could not be read with its problem."""
        filesystem, _ = self._open()

        def read(file: File) -> tuple[File, bytes]:
            if file.size is not None and file.size > self.max_file_size:
                problem = f"{file.size:,} bytes are more than max_file_size={self.max_file_size:,}"
                return file._replace(problem=problem), b""
            try:
                with filesystem.open_input_file(file.path) as stream:
                    return file, stream.read()
            except OSError as error:
                return file._replace(problem=str(error).splitlines()[0]), b""

        with ThreadPoolExecutor(READERS) as readers:
            for part in batched(files, READERS):
                yield from readers.map(read, part)

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
