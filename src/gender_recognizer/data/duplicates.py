"""Find copies among pictures or between two sets: the same file, the same pixels, or almost the same picture."""

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gender_recognizer.data.cache import read_blocks

NEAR_DUPLICATE_CORRELATION = 0.95
"""Two pictures can be near duplicates when their 20x16 grey thumbnails correlate more than this."""

NEAR_DUPLICATE_DETAIL = 0.7
"""They are near duplicates when the thumbnails' details correlate more than this. Details are what remains after
subtracting a 5x5 local mean and dividing by the local contrast. Half-dark profiles before a bright wall pass the first
test in chains of over a hundred people; on 40,000 FairFace pictures the pairs that pass it form two peaks: different
people around 0.6, near duplicates above 0.85. Between 0.7 and 0.8 about one pair in seven is the same picture: keeping
a pair together needlessly costs nothing, separating a true pair leaks."""

NEAR_COPY = 0.755
"""Correlation of details at 50x40 pixels above which a near copy is reported; the details of the thumbnails find the
candidates."""

NEAR_COPY_COARSE = 0.86
"""Correlation of the thumbnails' details above which a pair is reported whatever the finer correlation is: in bursts
the subject moves. Of the 40,000 FairFace pictures 156 groups pass one of the two limits. Of the 44 pairs closest to the
limits (inspected) none shows different people; the first below that does has a finer correlation of 0.750 and a coarser
one of 0.856. ImageHash's phash found 64 true pairs among 66 at a distance of 2, and at 6 about 107 among 877."""

_CANDIDATE = 0.72

_BLOCK = 512


class Pairs(NamedTuple):
    """Pairs of pictures that are near copies.

    Attributes:
        rows: int64 `(num_pairs, 2)`, the two pictures of each pair.
        correlations: float32 `(num_pairs,)`, of their details at 50x40 pixels.
    """

    rows: np.ndarray
    correlations: np.ndarray


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
    near = []
    for left, right in _alike(described.thumbnails, described.thumbnails, NEAR_DUPLICATE_CORRELATION, among=True):
        same = (described.details[left] * described.details[right]).sum(1) > NEAR_DUPLICATE_DETAIL
        near += torch.stack([left[same], right[same]], dim=1).tolist()
    return join_pairs([*equal, *near], len(images))


def near_copies(images: np.ndarray, others: np.ndarray | None = None) -> Pairs:
    """Return the pairs of near copies among images or, with `others`, between the two sets.

    Every pair is compared, block by block: 40,000 images take about 30 s on two cores. Blank images count as copies of
    no other image.

    Args:
        images: uint8 `(N, 100, 80, 3)`.
        others: uint8 `(M, 100, 80, 3)`; the second picture of a pair is then one of these.
    """
    among, others = others is None, images if others is None else others
    first = _describe(images).details
    second = first if among else _describe(others).details
    rows, correlations = [torch.empty(0, 2, dtype=torch.int64)], [torch.empty(0)]
    for left, right in _alike(first, second, _CANDIDATE, among):
        coarse = (first[left] * second[right]).sum(1)
        fine = (_fine_details(images, left) * _fine_details(others, right)).sum(1)
        kept = (fine > NEAR_COPY) | (coarse > NEAR_COPY_COARSE)
        rows.append(torch.stack([left[kept], right[kept]], dim=1))
        correlations.append(fine[kept])
    return Pairs(torch.cat(rows).numpy(), torch.cat(correlations).numpy())


def _alike(first: Tensor, second: Tensor, limit: float, among: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of pairs that correlate more than a limit, block by block; `among` one set each pair once."""
    for start in range(0, len(first), _BLOCK):
        skipped = start if among else 0
        alike = first[start : start + _BLOCK] @ second[skipped:].T > limit
        left, right = (alike.triu(1) if among else alike).nonzero(as_tuple=True)
        if len(left):
            yield from zip((left + start).split(_BLOCK), (right + skipped).split(_BLOCK), strict=True)


class _Description(NamedTuple):
    """What images are compared by: rows of mean 0 and length 1, float32 `(N, 320)`; products are correlations."""

    thumbnails: Tensor
    details: Tensor


def _describe(images: np.ndarray) -> _Description:
    described = _Description(*torch.empty(2, len(images), 320))
    for start, block in zip(range(0, len(images), _BLOCK), read_blocks(images, _BLOCK), strict=True):
        thumbnails = _thumbnails(block)
        described.thumbnails[start : start + _BLOCK] = _normalised(thumbnails)
        described.details[start : start + _BLOCK] = _normalised(_details(thumbnails, 5))
    return described


def _thumbnails(images: np.ndarray) -> Tensor:
    """Return grey thumbnails, float32 `(N, 20, 16)`, of uint8 `(N, 100, 80, 3)`."""
    grey = images.mean(axis=3, dtype=np.float32)
    return torch.from_numpy(grey.reshape(-1, 20, 5, 16, 5).mean(axis=(2, 4)))


def _fine_details(images: np.ndarray, rows: Tensor) -> Tensor:
    """Return the details of some images at 50x40 pixels, float32 `(len(rows), 2000)`, normalised."""
    grey = torch.from_numpy(images[rows.numpy()].mean(axis=3, dtype=np.float32))
    return _normalised(_details(functional.avg_pool2d(grey, 2), 9))


def _details(maps: Tensor, size: int) -> Tensor:
    """Return grey maps `(N, H, W)` without slow changes of light and contrast, over `size` pixels."""

    def local_mean(maps: Tensor) -> Tensor:
        padded = functional.pad(maps[:, None], [size // 2] * 4, mode="replicate")
        return functional.avg_pool2d(padded, size, stride=1)[:, 0]

    details = maps - local_mean(maps)
    return details / (local_mean(details.square()).sqrt() + 4)  # 4 grey levels: noise does not count as contrast


def _normalised(maps: Tensor) -> Tensor:
    """Return rows of mean 0 and length 1, `(N, H * W)`, so that a product is a correlation; zeros for a blank map."""
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
