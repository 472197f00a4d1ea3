"""Samples of `<root>/<class>/`, decoded once into a memory-mapped cache, and the dataset that reads it."""

import csv
import functools
import hashlib
import json
import logging
import os
import shutil
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from mmap import mmap
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from gender_recognizer.pictures.listing import find_images
from gender_recognizer.pictures.loading import IMAGE_SIZE, LOADER_VERSION, load_or_reason

logger = logging.getLogger(__name__)

LARGE_SIZE = (125, 100)
"""Height and width, in pixels, of what augmentation starts from: resampled once more, pictures stay as sharp as the
loader makes them."""


class Sample(NamedTuple):
    """A file and the index of its class."""

    path: Path
    target: int


def list_samples(root: Path, classes: Sequence[str], need_all: bool = True) -> list[Sample]:
    """Return the pictures below `<root>/<class>/` for every class, sorted by class and path.

    Folders may be nested; names are matched by extension in any case; hidden files and folders are left out.

    Args:
        root: folder that holds a folder of pictures for each class.
        classes: names of the class folders.
        need_all: whether every class must have pictures; else one is enough.

    Raises:
        ValueError: a class has no folder, or its folder holds no picture, and it needs some.
    """
    found = {name: find_images(root / name) for name in classes if (root / name).is_dir()}
    needed = classes if need_all or not any(found.values()) else []
    for name in needed:
        folder = root / name
        if name not in found:
            raise ValueError(f"no folder '{folder}'; put the pictures of class '{name}' there, or set data.root")
        if not found[name]:
            raise ValueError(f"no pictures in '{folder}'; class '{name}' needs some")
    return [Sample(path, target) for target, name in enumerate(classes) for path in sorted(found.get(name, []))]


def read_metadata(root: Path) -> dict[str, dict[str, str]]:
    """Return the rows of `<root>/metadata.csv` by `file_name` (relative to `root`, with `/`), or {} without one.

    Raises:
        ValueError: the table has no column `file_name`.
    """
    path = root / "metadata.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "file_name" not in (rows.fieldnames or ()):
            raise ValueError(f"'{path}' has no column 'file_name'; its columns are {rows.fieldnames}")
        return {row["file_name"]: row for row in rows}


def read_split(path: Path, root: Path) -> dict[str, str]:
    """Return the part of each picture below `root`, by its name relative to it, from what `save_split` wrote.

    Raises:
        ValueError: the table has other columns.
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.DictReader(file)
        if not {"part", "file_name", "root"} <= set(rows.fieldnames or ()):
            raise ValueError(f"'{path}' is not the split.csv of a training run: no columns part, file_name and root")
        return {row["file_name"]: row["part"] for row in rows if row["root"] == str(root.resolve())}


def read_exclude(path: Path) -> list[str]:
    """Return the names, relative to the root, that a file lists one per line; `# ` begins a comment.

    Raises:
        ValueError: there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"data.exclude '{path.absolute()}' does not exist")
    lines = (line.rstrip("\r") for line in os.fsdecode(path.read_bytes().removeprefix(BOM_UTF8)).split("\n"))
    return [PurePosixPath(line).as_posix() for line in lines if line.strip() and not line.startswith("# ")]


class ImageCache:
    """The decoded pictures of a list of files, kept on disk.

    One folder for each data root holds `images.npy`, uint8 `(num_files, 100, 80, 3)`, and `index.json`, which
    says what it was made from and is written last: a cache that was not finished is never used. A lock lets one
    process build while the others wait; a lock dies with its process.

    Attributes:
        images: read-only memory map, uint8 `(num_files, 100, 80, 3)`; the row of an unreadable file is zero.
        unreadable: reason by row, for the files that could not be decoded.
    """

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        """Open the cache of `paths` in `folder`, building it when it is missing or any file has changed."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._paths = folder, paths
        key = _cache_key(paths)
        with FileLock(folder / "lock"):
            if self._read_index().get("key") != key:
                self._build(key)
            self.images: np.ndarray = np.load(folder / "images.npy", mmap_mode="r")
            self.unreadable = {int(row): why for row, why in self._read_index()["unreadable"].items()}

    def large_images(self) -> np.ndarray:
        """Return the same pictures at `LARGE_SIZE`, uint8 `(num_files, 125, 100, 3)`, decoded once."""
        with FileLock(self.folder / "lock"):
            if not (self.folder / "large.npy").exists():
                self._decode("large.npy", LARGE_SIZE)
            return np.load(self.folder / "large.npy", mmap_mode="r")

    def near_duplicate_groups(self) -> np.ndarray:
        """Return `duplicates.near_duplicate_groups` of the images, int64 `(num_files,)`, computed once."""
        from gender_recognizer.data.duplicates import near_duplicate_groups

        path = self.folder / "groups.npy"
        with FileLock(self.folder / "lock"):
            if not path.exists():
                save_atomically(path, near_duplicate_groups(self.images))
            return np.load(path)

    def _read_index(self) -> dict:
        try:
            return json.loads((self.folder / "index.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def _build(self, key: str) -> None:
        """Decode all files; what was made of earlier ones goes."""
        names = ("index.json", "groups.npy", "large.npy")
        for path in [*(self.folder / name for name in names), *self.folder.glob("teacher-*.npy")]:
            path.unlink(missing_ok=True)
        unreadable = self._decode("images.npy", IMAGE_SIZE)
        (self.folder / "index.json").write_text(json.dumps({"key": key, "unreadable": unreadable}))

    def _decode(self, name: str, shape: tuple[int, int]) -> dict[int, str]:
        """Decode all files with all cores into a file of this name; return why some could not be, by row."""
        paths = self._paths
        _require_free_space(self.folder, len(paths) * 3 * shape[0] * shape[1])
        partial = self.folder / f"{name.removesuffix('.npy')}.partial.npy"
        unreadable = {}
        empty = np.zeros((*shape, 3), np.uint8)
        load = functools.partial(load_or_reason, shape=shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool, partial.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *empty.shape)}
            np.lib.format.write_array_header_1_0(file, header)
            starts = range(0, len(paths), 1024)  # decoded no further ahead than this, however slow the disk is
            results = chain.from_iterable(pool.map(load, paths[start : start + 1024]) for start in starts)
            for row, result in enumerate(tqdm(results, "decoding", len(paths), unit="img", disable=None)):
                if isinstance(result, str):
                    unreadable[row], result = result, empty
                file.write(result)  # in order, so that no page of a whole map stays in memory
        os.replace(partial, self.folder / name)
        return unreadable


def open_pictures(
    root: Path, classes: Sequence[str], cache_dir: Path, need_all: bool = True
) -> tuple[ImageCache, list[Path], np.ndarray]:
    """Return the decoded pictures below `<root>/<class>/`, their paths, and their targets, int64 `(num_files,)`.

    Args:
        root: folder that holds a folder of pictures for each class.
        classes: names of the class folders.
        cache_dir: where the decoded pictures of all roots are kept.
        need_all: whether every class must have pictures; else one is enough.

    Raises:
        ValueError: a class has no folder, or its folder holds no picture, and it needs some.
    """
    samples = list_samples(root, classes, need_all)
    name = hashlib.sha256("\0".join([str(root.resolve()), *classes]).encode(errors="surrogateescape"))
    paths = [sample.path for sample in samples]
    cache = ImageCache(paths, cache_dir / f"{root.resolve().name}-{name.hexdigest()[:12]}")
    return cache, paths, np.array([sample.target for sample in samples], dtype=np.int64)


def read_blocks(images: np.ndarray, size: int = 1024) -> Iterator[np.ndarray]:
    """Yield images block by block.

    Of a whole memory map each block gets a map of its own: the pages that were read leave this process's memory with
    it, where those of one map for all would stay and fill it with the file.

    Args:
        images: uint8 `(N, 100, 80, 3)`.
        size: images in a block.
    """
    is_file = isinstance(images, np.memmap) and isinstance(images.base, mmap)
    for start in range(0, len(images), size):
        source = np.load(images.filename, mmap_mode="r") if is_file else images
        yield source[start : start + size]


def _cache_key(paths: Sequence[Path]) -> str:
    """Return a digest of the loader's version and of each file's path, size and time of change."""
    digest = hashlib.sha256(f"{LOADER_VERSION} {IMAGE_SIZE} {LARGE_SIZE}".encode())
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            digest.update(f"\0{path}\0missing".encode(errors="surrogateescape"))
        else:
            digest.update(f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def save_atomically(path: Path, array: np.ndarray) -> None:
    """Write an array to a `.npy` file that is whole or not there."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, array)
    os.replace(partial, path)


def _require_free_space(folder: Path, needed: int) -> None:
    """Refuse to start what would fill the disk: writing to a memory map on a full disk kills the process."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"'{folder}' has {free / 1e6:,.0f} MB free, the image cache needs {needed / 1e6:,.0f} MB")


class FaceDataset(Dataset):
    """Pictures of a cache with their targets: `(3, H, W)` uint8 tensor and int64 target.

    With `guidance`, what teachers make of a picture, float32 `(num_outputs,)`, comes third. `__getitems__` reads a
    whole batch at once, `(N, 3, H, W)` uint8 and `(N,)` int64, for loaders whose `collate_fn` hands it on; that is
    many times faster than one sample after another.
    """

    def __init__(
        self, images: np.ndarray, rows: np.ndarray, targets: np.ndarray, guidance: np.ndarray | None = None
    ) -> None:
        """Take the pictures `images[rows]`.

        Args:
            images: uint8 `(num_files, H, W, 3)`.
            rows: int64 `(num_samples,)`, rows of `images`.
            targets: int64 `(num_samples,)`.
            guidance: float `(num_samples, num_outputs)` as `distillation.teach` makes it, or None.
        """
        self.images, self.rows, self.targets, self.guidance = images, rows, targets, guidance

    def __getstate__(self) -> dict:
        """Send a memory map to a worker process by its file's name, not by its content."""
        path = self.images.filename if isinstance(self.images, np.memmap) else None
        return self.__dict__ | ({"images": path} if path else {})

    def __setstate__(self, state: dict) -> None:
        """Open the memory map again."""
        self.__dict__ = state
        if isinstance(self.images, str | Path):
            self.images = np.load(self.images, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(values[0] for values in self.__getitems__([index]))

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        """Return the batch `(N, 3, H, W)` uint8, `(N,)` int64 of these samples, and their guidance, if any."""
        images = torch.from_numpy(self.images[self.rows[indices]]).permute(0, 3, 1, 2)
        targets = torch.from_numpy(self.targets[indices])
        if self.guidance is None:
            return images, targets
        return images, targets, torch.from_numpy(self.guidance[indices].astype(np.float32))
