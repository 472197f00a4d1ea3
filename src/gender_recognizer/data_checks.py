"""What can be wrong with a set of pictures: near duplicates and unbalanced classes."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

logger = logging.getLogger(__name__)

NEAR_DUPLICATE_CORRELATION = 0.95
"""Two pictures can be near duplicates when their 20x16 grey thumbnails correlate more than this."""

NEAR_DUPLICATE_DETAIL = 0.7
"""They are when the details of the thumbnails do so more than this: what remains less a 5x5 local mean and over the
local contrast. Half-dark profiles before a bright wall pass the first test in chains of over a hundred people; on
40,000 FairFace pictures the pairs that pass it fall apart into a hill of different people around 0.6 and one of near
duplicates above 0.85. Between 0.7 and 0.8 about one pair in seven is the same picture: a pair kept together for
nothing costs a split nothing, one torn apart leaks."""

IMBALANCE_WARNING = 0.6
"""Share of the most frequent class above which plain accuracy misleads enough to warn."""

_BLOCK = 2048


def near_duplicate_groups(images: np.ndarray) -> np.ndarray:
    """Return a group number for every image; exact and near duplicates share one.

    Every pair is compared, block by block: 40,000 images take about 20 s on two cores. A chain of near
    duplicates is one group. The number of a group is the index of its first image.

    Args:
        images: uint8 `(N, 100, 80, 3)`.

    Returns:
        int64 `(N,)`.
    """
    thumbnails = _thumbnails(images)
    details = _normalised(_details(thumbnails))
    thumbnails = _normalised(thumbnails)
    parents = np.arange(len(images))
    first_of: dict[bytes, int] = {}
    for index, thumbnail in enumerate(thumbnails.numpy()):  # blank pictures do not correlate, but may be equal
        _join(parents, first_of.setdefault(thumbnail.tobytes(), index), index)
    for start in range(0, len(images), _BLOCK):
        alike = thumbnails[start : start + _BLOCK] @ thumbnails[start:].T > NEAR_DUPLICATE_CORRELATION
        first, second = alike.triu(1).nonzero(as_tuple=True)
        same = (details[start + first] * details[start + second]).sum(1) > NEAR_DUPLICATE_DETAIL
        for pair in torch.stack([first, second], dim=1)[same].tolist():
            _join(parents, start + pair[0], start + pair[1])
    return np.array([_root(parents, index) for index in range(len(images))], dtype=np.int64)


def _thumbnails(images: np.ndarray) -> Tensor:
    """Return grey thumbnails, float32 `(N, 20, 16)`, of uint8 `(N, 100, 80, 3)`."""
    thumbnails = np.empty((len(images), 20, 16), dtype=np.float32)
    for start in range(0, len(images), _BLOCK):
        grey = images[start : start + _BLOCK].mean(axis=3, dtype=np.float32)
        thumbnails[start : start + _BLOCK] = grey.reshape(-1, 20, 5, 16, 5).mean(axis=(2, 4))
    return torch.from_numpy(thumbnails)


def _details(thumbnails: Tensor) -> Tensor:
    """Return the thumbnails without what varies slowly in light and contrast, float32 `(N, 20, 16)`."""

    def local_mean(maps: Tensor) -> Tensor:
        return functional.avg_pool2d(functional.pad(maps[:, None], [2] * 4, mode="replicate"), 5, stride=1)[:, 0]

    details = thumbnails - local_mean(thumbnails)
    return details / (local_mean(details.square()).sqrt() + 4)  # 4 grey levels: noise is no contrast


def _normalised(maps: Tensor) -> Tensor:
    """Return rows of mean 0 and length 1, `(N, 320)`, so that a product is a correlation; zeros for a blank map."""
    rows = maps.flatten(1)
    return functional.normalize(rows - rows.mean(dim=1, keepdim=True), eps=1e-3)


def _root(parents: np.ndarray, index: int) -> int:
    """Return the first member of an index's group (union-find with path halving)."""
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _join(parents: np.ndarray, first: int, second: int) -> None:
    low, high = sorted((_root(parents, first), _root(parents, second)))
    parents[high] = low


def class_counts(targets: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Return the number of samples of each class, in the order of `classes`."""
    counts = Counter(targets.tolist())
    return {name: counts[target] for target, name in enumerate(classes)}


def warn_if_unbalanced(counts: dict[str, int]) -> None:
    """Log a warning when one class holds more than 60 % of the samples."""
    name, count = max(counts.items(), key=lambda item: item[1])
    share = count / max(1, sum(counts.values()))
    if share > IMBALANCE_WARNING:
        logger.warning(
            "%.0f %% of the pictures are '%s': plain accuracy misleads; read balanced accuracy and the per-class rows",
            100 * share,
            name,
        )
