"""Mixtures of two training pictures, about which teachers are asked as well.

A teacher has seen its training pictures, and its answers about them are too good; of pictures that nobody has seen a
student learns more (Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022).
"""

from typing import NamedTuple

import numpy as np


class Mixtures(NamedTuple):
    """For each of some pictures, `count` mixtures with others; it is at least half of each.

    Attributes:
        others: int64 `(count, num_pictures)`, rows of the pictures that are mixed in.
        shares: float32 `(count, num_pictures)`, of the first picture, 0.5 to 1.
        mirrored: bool `(count, num_pictures)`, whether the other one is mirrored.
    """

    others: np.ndarray
    shares: np.ndarray
    mirrored: np.ndarray

    def mix(self, images: np.ndarray, rows: np.ndarray, which: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return mixtures, uint8 `(N, H, W, 3)`.

        Args:
            images: uint8 `(num_files, H, W, 3)`.
            rows: int64 `(num_pictures,)`, rows of `images`: the pictures that these are mixtures of.
            which: `(N,)`, numbers of mixtures, below `count`.
            places: `(N,)`, of which pictures: places in `rows`.
        """
        shares = self.shares[which, places, None, None, None]
        others = images[self.others[which, places]]
        mirrored = self.mirrored[which, places]
        others[mirrored] = others[mirrored][:, :, ::-1]
        return np.rint(shares * images[rows[places]] + (1 - shares) * others).astype(np.uint8)


def draw_mixtures(rows: np.ndarray, count: int) -> Mixtures:
    """Return mixtures of the pictures in `rows`, int64 `(num_pictures,)`; the same for the same pictures."""
    generator = np.random.default_rng(0)
    shape = (count, len(rows))
    others = np.stack([generator.permutation(rows) for _ in range(count)])
    return Mixtures(others, generator.uniform(0.5, 1, shape).astype(np.float32), generator.random(shape) < 0.5)
