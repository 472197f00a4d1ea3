"""A folder of an object store, such as s3:// or gs://. Needs the extra `ray`."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gender_recognizer.labelling.engines import batched
from gender_recognizer.labelling.records import Limits
from gender_recognizer.pictures.formats import find_format
from gender_recognizer.pictures.listing import File, find_ending, is_picture_name

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

READERS = 16
"""Files that a worker reads at the same time."""


class RemoteFolder:
    """A folder of an object store, through pyarrow, or through fsspec for kinds that pyarrow does not know.

    Attributes:
        ignored: files that were left out so far.
        ignored_endings: their number by ending, as in `listing.Folder`.
    """

    def __init__(self, uri: str, sniff: bool = False, max_file_size: int = Limits.max_file_size) -> None:
        """Set an address such as `s3://bucket/folder`.

        Args:
            uri: may end with options of pyarrow, such as `?endpoint_override=host:port&scheme=http`.
            sniff: also accept files with unknown endings that begin like a picture.
            max_file_size: length in bytes above which a file is not read.
        """
        self.uri, self.sniff, self.max_file_size = uri, sniff, max_file_size
        self.ignored, self.ignored_endings = 0, Counter[str]()

    def __iter__(self) -> Iterator[File]:
        """Yield every picture once, in the order of their names.

        Raises:
            ValueError: the address is not valid, or there is no such folder.
        """
        from pyarrow.fs import FileSelector, FileType

        self.ignored, self.ignored_endings = 0, Counter[str]()
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
            possible = is_picture_name(name, sniff=True)
            if is_picture_name(name) or (self.sniff and possible and _begins_like_picture(filesystem, entry.path)):
                found.append(File(name, entry.path, None, entry.size, entry.mtime_ns))
            else:
                self.ignored += 1
                self.ignored_endings.update([find_ending(name)] if possible else [])
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
                reason = str(error).splitlines()[0]
                raise ValueError(f"input_dir '{self.uri}' is not a valid address: {reason}") from None
        import fsspec

        try:
            filesystem, path = fsspec.core.url_to_fs(self.uri)
        except (ValueError, ImportError) as error:
            raise ValueError(f"input_dir '{self.uri}' is not a valid address: {error}") from None
        return PyFileSystem(FSSpecHandler(filesystem)), path


def _begins_like_picture(filesystem: "FileSystem", path: str) -> bool:
    try:
        with filesystem.open_input_file(path) as stream:
            return find_format(stream.read(64)) is not None
    except OSError:
        return False
