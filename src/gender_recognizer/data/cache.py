"""Decoded pictures on disk, and everything that is derived from them, under one key.

Contract: everything under a key was made from exactly the files, and the loader, that the key is a digest of. A run
whose pictures change while it is running keeps its own list under its own key; a later run uses another key.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from mmap import mmap
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from gender_recognizer.data.samples import list_samples
from gender_recognizer.pictures.loading import IMAGE_SIZE, LOADER_VERSION, load_or_reason
from gender_recognizer.pictures.writing import replacing

try:
    import fcntl
except ImportError:  # Windows, where no file can be removed while it is open
    fcntl = None  # type: ignore[assignment]

_in_use: dict[Path, IO[bytes]] = {}
"""Files that this process keeps locked until it ends, so that no other process removes their folders."""


class ImageCache:
    """The decoded pictures of a list of files, kept on disk.

    One folder for each data root holds one for each key, a digest of the list. In it are `images.npy`, uint8
    `(num_files, 100, 80, 3)`, the same pictures at other sizes, what is derived from them, and `index.json`, which is
    written last: a cache that was not finished is never used. A lock lets one process build while the others wait; a
    lock dies with its process. Folders of other keys are removed when a new one is built, unless a process is still
    using them.

    Attributes:
        folder: of this key.
        images: read-only memory map, uint8 `(num_files, 100, 80, 3)`; the row of an unreadable file is zero.
        unreadable: reason by row, for the files that could not be decoded.
    """

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        """Open the cache of `paths` in `folder`, building it when it is missing or any file has changed."""
        folder.mkdir(parents=True, exist_ok=True)
        self._paths, self._key = paths, _cache_key(paths)
        self._lock = FileLock(folder / "lock")
        self.folder = folder / self._key[:16]
        with self._lock:
            self.folder.mkdir(exist_ok=True)
            _hold(self.folder)
            if self._read_index().get("key") != self._key or not (self.folder / "images.npy").exists():
                _remove_others(folder, self.folder)
                self._build()
            self.images: np.ndarray = np.load(self.folder / "images.npy", mmap_mode="r")
            self.unreadable = {int(row): why for row, why in self._read_index()["unreadable"].items()}

    def remember(self, name: str, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the result of `compute` for the images: computed once, then read from disk.

        Args:
            name: of the file; another computation needs another name.
            compute: receives uint8 `(num_files, 100, 80, 3)`.
        """
        return self._remember(name, lambda file: np.save(file, compute(self.images)))

    def images_of(self, image_size: tuple[int, int], rows: np.ndarray | None = None) -> np.ndarray:
        """Return the same pictures with this height and width, uint8 `(num_files, H, W, 3)`, decoded once.

        Args:
            image_size: height and width.
            rows: int `(num_wanted,)`, those that are wanted; others may be zero. None for all.

        Raises:
            ValueError: the pictures have changed since the cache was opened.
        """
        if image_size == IMAGE_SIZE:
            return self.images
        if rows is not None and not len(rows):
            return np.broadcast_to(np.uint8(0), (len(self._paths), *image_size, 3))
        name = "images-{}x{}".format(*image_size)
        if rows is not None and not (self.folder / f"{name}.npy").exists():
            name += f"-{hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()[:12]}"
        return self._remember(name, lambda file: self._decode_again(file, image_size, rows))

    def _remember(self, name: str, write: Callable[[IO[bytes]], object]) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        with self._lock:
            if not path.exists():
                with replacing(path) as file:
                    write(file)
        return np.load(path, mmap_mode="r")

    def _read_index(self) -> dict:
        try:
            return json.loads((self.folder / "index.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def _build(self) -> None:
        """Decode all files, and remove what an earlier call left unfinished."""
        for path in self.folder.glob("*.npy"):
            path.unlink()
        with replacing(self.folder / "images.npy") as file:
            unreadable = self._decode(file, IMAGE_SIZE)
        with replacing(self.folder / "index.json") as file:
            file.write(json.dumps({"key": self._key, "unreadable": unreadable}).encode())

    def _decode_again(self, file: IO[bytes], image_size: tuple[int, int], rows: np.ndarray | None) -> None:
        self._decode(file, image_size, rows)
        if _cache_key(self._paths) != self._key:
            raise ValueError("pictures were changed or removed while this run was reading them; start it again")

    def _decode(self, file: IO[bytes], shape: tuple[int, int], rows: np.ndarray | None = None) -> dict[int, str]:
        """Decode files with all cores into a `.npy` file; return why some could not be, by row."""
        wanted = range(len(self._paths)) if rows is None else sorted(rows.tolist())
        unreadable: dict[int, str] = {}
        empty = np.zeros((*shape, 3), np.uint8)
        _require_free_space(self.folder, len(wanted) * empty.nbytes)
        load = functools.partial(load_or_reason, shape=shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(self._paths), *empty.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        begin = file.tell()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            starts = range(0, len(wanted), 1024)  # bounds how far decoding runs ahead of a slow disk
            chunks = (wanted[start : start + 1024] for start in starts)
            results = chain.from_iterable(pool.map(load, [self._paths[row] for row in chunk]) for chunk in chunks)
            shown = tqdm(results, f"decoding at {shape[0]}x{shape[1]}", len(wanted), unit="img", disable=None)
            for row, result in zip(wanted, shown, strict=True):
                if isinstance(result, str):
                    unreadable[row], result = result, empty
                file.seek(begin + row * empty.nbytes)  # a memory map would keep its pages in memory
                file.write(result)
        file.truncate(begin + len(self._paths) * empty.nbytes)
        return unreadable


def larger(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the copies that augmentation resamples: large enough for a result as sharp as the loader's."""
    return round(1.25 * image_size[0]), round(1.25 * image_size[1])


def open_pictures(
    root: Path, classes: Sequence[str], cache_dir: Path, need_all: bool = True
) -> tuple[ImageCache, list[Path], np.ndarray]:
    """Return the decoded pictures below `<root>/<class>/`, their paths, and their targets, int64 `(num_files,)`.

    Args:
        root: folder that holds a folder of pictures for each class.
        classes: names of the class folders.
        cache_dir: where the decoded pictures of all roots are kept.
        need_all: whether every class must have pictures; otherwise one is enough.

    Raises:
        ValueError: a class has no folder, or its folder holds no picture, and it needs some.
    """
    samples = list_samples(root, classes, need_all)
    name = hashlib.sha256("\0".join([str(root.resolve()), *classes]).encode(errors="surrogateescape"))
    paths = [sample.path for sample in samples]
    cache = ImageCache(paths, cache_dir / f"{root.resolve().name[:60]}-{name.hexdigest()[:12]}")
    return cache, paths, np.array([sample.target for sample in samples], dtype=np.int64)


def read_blocks(images: np.ndarray, size: int = 1024) -> Iterator[np.ndarray]:
    """Yield images block by block.

    Each block of a memory map is opened as a map of its own, so that the pages it read are freed with it; a single map
    would fill the memory with the whole file.

    Args:
        images: uint8 `(N, H, W, 3)`.
        size: images in a block.
    """
    path = images.filename if isinstance(images, np.memmap) and isinstance(images.base, mmap) else None
    for start in range(0, len(images), size):
        source = images if path is None else np.load(path, mmap_mode="r")
        yield source[start : start + size]


def _cache_key(paths: Sequence[Path]) -> str:
    """Return a digest of the loader's version and of each file's path, size and time of change."""
    digest = hashlib.sha256(f"{LOADER_VERSION} {IMAGE_SIZE}".encode())
    for path in map(os.path.abspath, paths):
        try:
            status = os.stat(path)
        except OSError:
            digest.update(f"\0{path}\0missing".encode(errors="surrogateescape"))
        else:
            digest.update(f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _hold(folder: Path) -> None:
    """Keep other processes from removing a folder until this one ends."""
    if fcntl is not None and folder not in _in_use:
        _in_use[folder] = (folder / "in_use").open("ab")
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(_in_use[folder], fcntl.LOCK_SH)


def _remove_others(folder: Path, kept: Path) -> None:
    """Remove the caches of other lists of files from a folder, unless a process uses them."""
    for path in folder.iterdir():
        if path.is_dir() and path != kept and not _is_in_use(path):
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix in (".npy", ".json"):  # of versions up to 1.0, which kept no key with them
            path.unlink(missing_ok=True)


def _is_in_use(folder: Path) -> bool:
    if fcntl is None:
        return folder in _in_use
    try:
        with (folder / "in_use").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _require_free_space(folder: Path, needed: int) -> None:
    """Refuse to start work that would fill the disk: writing to a memory map on a full disk kills the process."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"'{folder}' has {free / 1e6:,.0f} MB free, the image cache needs {needed / 1e6:,.0f} MB")
