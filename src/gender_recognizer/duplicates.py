"""Copies among pictures, and between two sets of them: the same file, the same pixels, or almost the same picture."""

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gender_recognizer.dataset import read_blocks

NEAR_DUPLICATE_CORRELATION = 0.95
"""Two pictures can be near duplicates when their 20x16 grey thumbnails correlate more than this."""

NEAR_DUPLICATE_DETAIL = 0.7
"""They are when the details of the thumbnails do so more than this: what remains less a 5x5 local mean and over the
local contrast. Half-dark profiles before a bright wall pass the first test in chains of over a hundred people; on
40,000 FairFace pictures the pairs that pass it fall apart into a hill of different people around 0.6 and one of near
duplicates above 0.85. Between 0.7 and 0.8 about one pair in seven is the same picture: a pair kept together for
nothing costs a split nothing, one torn apart leaks."""

NEAR_COPY_DETAIL = 0.83
"""Pairs above this are told to a person as near copies. Of the 99 pairs of different files that the 40,000 FairFace
pictures have above it none was false, of the 75 between 0.7 and it 64 were, the highest at 0.816 (all looked at)."""

_BLOCK = 512


class Pairs(NamedTuple):
    """Pairs of pictures that are near duplicates.

    Attributes:
        rows: int64 `(num_pairs, 2)`, the two pictures of each pair.
        details: float32 `(num_pairs,)`, correlation of their details, above `NEAR_DUPLICATE_DETAIL`.
    """

    rows: np.ndarray
    details: np.ndarray


def near_duplicate_groups(images: np.ndarray) -> np.ndarray:
    """Return a group number for every image; exact and near duplicates share one.

    A chain of near duplicates is one group. The number of a group is the index of its first image.

    Args:
        images: uint8 `(N, 100, 80, 3)`.

    Returns:
        int64 `(N,)`.
    """
    described = _describe(images)
    first_of: dict[bytes, int] = {}
    equal = [  # blank pictures do not correlate, but may be equal
        (first_of.setdefault(thumbnail.tobytes(), index), index)
        for index, thumbnail in enumerate(described.thumbnails.numpy())
    ]
    return join_pairs([*equal, *_compare(described).rows.tolist()], len(images))


def near_duplicate_pairs(images: np.ndarray, others: np.ndarray | None = None) -> Pairs:
    """Return the pairs of near duplicates among images or, with `others`, between the two sets.

    Every pair is compared, block by block: 40,000 images take about 20 s on two cores. Blank images correlate with
    nothing.

    Args:
        images: uint8 `(N, 100, 80, 3)`.
        others: uint8 `(M, 100, 80, 3)`; the second picture of a pair is then one of these.
    """
    return _compare(_describe(images), None if others is None else _describe(others))


class _Description(NamedTuple):
    """What is compared of images: rows of mean 0 and length 1, float32 `(N, 320)`, so that products correlate."""

    thumbnails: Tensor
    details: Tensor


def _compare(first: _Description, second: _Description | None = None) -> Pairs:
    """Return the near duplicates among the first or, with the second, between the two."""
    among, second = second is None, second or first
    rows, details = [], []
    for start in range(0, len(first.thumbnails), _BLOCK):
        skipped = start if among else 0  # no pair is looked at twice
        alike = first.thumbnails[start : start + _BLOCK] @ second.thumbnails[skipped:].T > NEAR_DUPLICATE_CORRELATION
        left, right = (alike.triu(1) if among else alike).nonzero(as_tuple=True)
        left, right = left + start, right + skipped
        detail = (first.details[left] * second.details[right]).sum(1)
        kept = detail > NEAR_DUPLICATE_DETAIL
        rows.append(torch.stack([left[kept], right[kept]], dim=1))
        details.append(detail[kept])
    return Pairs(torch.cat(rows).numpy(), torch.cat(details).numpy())


def _describe(images: np.ndarray) -> _Description:
    described = _Description(*torch.empty(2, len(images), 320))
    for start, block in zip(range(0, len(images), _BLOCK), read_blocks(images, _BLOCK), strict=True):
        thumbnails = _thumbnails(block)
        described.thumbnails[start : start + _BLOCK] = _normalised(thumbnails)
        described.details[start : start + _BLOCK] = _normalised(_details(thumbnails))
    return described


def _thumbnails(images: np.ndarray) -> Tensor:
    """Return grey thumbnails, float32 `(N, 20, 16)`, of uint8 `(N, 100, 80, 3)`."""
    grey = images.mean(axis=3, dtype=np.float32)
    return torch.from_numpy(grey.reshape(-1, 20, 5, 16, 5).mean(axis=(2, 4)))


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


def pixel_digests(images: np.ndarray) -> list[bytes]:
    """Return a digest of the pixels of each image, uint8 `(N, 100, 80, 3)`: equal ones are the same picture."""
    return [hashlib.sha256(image).digest() for block in read_blocks(images) for image in block]


def equal_groups(keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the rows of each key that occurs more than once, in order; a key that is None equals no other."""
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            rows.setdefault(key, []).append(row)
    return [group for group in rows.values() if len(group) > 1]


def join_pairs(pairs: Iterable[Sequence[int]], count: int) -> np.ndarray:
    """Return the group of each of `count` items, int64 `(count,)`: the index of the first one it is chained to."""
    parents = np.arange(count)
    for first, second in pairs:
        low, high = sorted((_root(parents, first), _root(parents, second)))
        parents[high] = low
    return np.array([_root(parents, index) for index in range(count)], dtype=np.int64)


def _root(parents: np.ndarray, index: int) -> int:
    """Return the first member of an index's group (union-find with path halving)."""
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
