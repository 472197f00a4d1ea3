"""The dataset that reads decoded pictures and their targets, one by one or a batch at a time."""

import logging
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gender_recognizer.data.mixtures import Mixtures

logger = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps shared memory."""

NO_LABEL = -100
"""Target of a mixture, which only teachers judge: torch's `ignore_index`."""

GuidedMixtures = tuple[Mixtures, np.ndarray]

BATCHES_AHEAD = 2
"""Batches that each process of a `DataLoader` reads ahead: torch's default."""


class FaceDataset(Dataset):
    """Pictures of a cache with their targets: `(3, H, W)` uint8 tensor and int64 target.

    With `guidance`, the teachers' outputs for a picture, float32 `(num_outputs,)`, come third. With `mixtures`, every
    second picture of a batch is mixed with another, and its target is `NO_LABEL`. `__getitems__` reads a whole batch at
    once, `(N, 3, H, W)` uint8 and `(N,)` int64, for loaders whose `collate_fn` passes it on; that is many times faster
    than one sample after another.
    """

    def __init__(
        self,
        images: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
        guidance: np.ndarray | None = None,
        mixtures: GuidedMixtures | None = None,
    ) -> None:
        """Take the pictures `images[rows]`.

        Args:
            images: uint8 `(num_files, H, W, 3)`.
            rows: int64 `(num_samples,)`, rows of `images`.
            targets: int64 `(num_samples,)`.
            guidance: float `(num_samples, num_outputs)` as `distillation.teach` makes it, or None.
            mixtures: of these pictures, with the teachers' outputs for them, float `(count, num_samples, num_outputs)`.
        """
        self.images, self.rows, self.targets, self.guidance = images, rows, targets, guidance
        self.mixtures = mixtures

    def __getstate__(self) -> dict:
        """Pickle a memory map as the name of its file, not as its content."""
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
        images, targets = self.images[self.rows[indices]], self.targets[indices]
        if self.guidance is None:
            return _to_tensors(images, targets)
        guidance = self.guidance[indices].astype(np.float32)
        if self.mixtures is not None:
            mixtures, answers = self.mixtures
            places = np.array(indices[1::2], np.int64)
            which = torch.randint(len(answers), (len(places),)).numpy()
            images[1::2] = mixtures.mix(self.images, self.rows, which, places)
            targets[1::2], guidance[1::2] = NO_LABEL, answers[which, places]
        return *_to_tensors(images, targets), torch.from_numpy(guidance)


def _to_tensors(images: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(targets)


def usable_workers(wanted: int, batch_bytes: int) -> int:
    """Return how many processes can read batches: those wanted or, with a warning, 0 where memory cannot be shared.

    Containers may have no /dev/shm, one that cannot be written, or a tiny one; a batch that does not fit kills the
    process that reads it.

    Args:
        wanted: number of processes.
        batch_bytes: size of a batch.
    """
    if wanted == 0:
        return 0
    try:
        multiprocessing.Lock()
        torch.empty(1).share_memory_()
        free = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None
    except (OSError, RuntimeError) as error:
        why = str(error)
    else:
        needed = wanted * BATCHES_AHEAD * batch_bytes
        if free is None or free > needed:
            return wanted
        why = f"{free / 1e6:.0f} MB are free and {needed / 1e6:.0f} MB needed"
    logger.warning(
        "data.num_workers=%d needs shared memory (%s): %s; reading in this process", wanted, SHARED_MEMORY, why
    )
    return 0
