"""The dataset that reads decoded pictures and their targets, one by one or a batch at a time."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


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
