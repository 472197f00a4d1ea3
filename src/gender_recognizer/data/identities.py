"""Find pictures of one person, so that a split can keep them in one part: a network that knows them is no test."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gender_recognizer.data.cache import ImageCache, read_blocks
from gender_recognizer.data.duplicates import join_pairs, near_duplicate_groups
from gender_recognizer.models.faceres import FaceRes

SAME_PERSON_COSINE = 0.78
"""Cosine of faceres's features above which two pictures are taken to show one person.

Of the pairs among FairFace's 40,000 training pictures above it, 3,696 have the same label and 104 have not: as many of
the former, about 3 %, must be errors. At 0.74 it is 24 % and chains join 1,744 pictures, at 0.83 1 %, but half of the
groups are lost."""

_BLOCK = 1000

logger = logging.getLogger(__name__)


def identity_groups(cache: ImageCache, weights: Path) -> np.ndarray:
    """Return a group number for every picture of a cache, int64 `(num_files,)`: people and near duplicates share one.

    Args:
        cache: the pictures.
        weights: path of faceres.json, whose network tells people apart.

    Raises:
        ValueError: as `FaceRes`.
    """
    network = FaceRes(weights=str(weights), find_face=False).eval()

    def group(pictures: np.ndarray) -> np.ndarray:
        logger.info("looking for pictures of one person among %d", len(pictures))
        return join_alike(embed(network, cache.images_of(network.image_size)), SAME_PERSON_COSINE)

    people = cache.remember("people", group)
    duplicates = cache.remember("groups", near_duplicate_groups)
    rows = range(len(people))
    return join_pairs(
        [*zip(people.tolist(), rows, strict=True), *zip(duplicates.tolist(), rows, strict=True)], len(rows)
    )


def describe_groups(groups: np.ndarray) -> str:
    """Return in words how many groups of more than one picture there are."""
    sizes = np.unique(groups, return_counts=True)[1]
    several = sizes[sizes > 1]
    return f"{len(several)} groups of {several.sum()} pictures, the largest of {sizes.max()}"


@torch.inference_mode()
def embed(network: FaceRes, images: np.ndarray) -> Tensor:
    """Return features of length 1, float32 `(N, num_features)`, of uint8 images `(N, H, W, 3)`."""
    blocks = (torch.from_numpy(block.copy()).permute(0, 3, 1, 2) for block in read_blocks(images, 64))
    return torch.cat([functional.normalize(network.forward_features(block).features) for block in blocks])


def join_alike(features: Tensor, limit: float) -> np.ndarray:
    """Return a group number for each row, int64 `(N,)`: rows whose cosine is above a limit, and chains of them.

    Args:
        features: float32 `(N, num_features)` of length 1.
        limit: of the cosine.
    """
    pairs: list[list[int]] = []
    for start in range(0, len(features), _BLOCK):
        alike = (features[start : start + _BLOCK] @ features[start:].T).triu(1) > limit
        pairs += (alike.nonzero() + start).tolist()
    return join_pairs(pairs, len(features))
