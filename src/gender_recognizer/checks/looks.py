"""Problems of a set of pictures: unbalanced classes and groups, and pictures that show hardly anything."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from gender_recognizer.data.cache import read_blocks
from gender_recognizer.data.samples import class_counts
from gender_recognizer.evaluation.groups import group_columns, natural_order
from gender_recognizer.labelling.records import Limits
from gender_recognizer.pictures.opening import open_regular, read_size

DARK = 45.0
"""Brightness, of 255, below which a picture is very dark: of 40,000 FairFace pictures 46, all hard to make out. From 55
on there are faces that are merely dark, some of dark skin in ordinary light."""

BLURRED = 0.17
"""Sharpness below which a picture is very blurred: of 40,000 FairFace pictures 164; the 65 looked at are all
blurred, or shrunk and enlarged again. Of a dozen from 0.18 to 0.2 about half are merely soft; the median is 0.35."""


class Looks(NamedTuple):
    """Measurements of pictures, float32 `(N,)` each.

    Attributes:
        contrast: largest difference between two values of one colour channel, in 0..255.
        brightness: grey value that 95 % of the pixels stay below.
        sharpness: the contrast between neighbouring pixels, divided by that within nine pixels: a ratio, so that
            neither low contrast nor a plain background counts as blur.
    """

    contrast: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray


def measure_looks(images: np.ndarray) -> Looks:
    """Return the contrast, brightness and sharpness of each image.

    Args:
        images: uint8 `(N, 100, 80, 3)`.
    """
    looks = np.empty((3, len(images)), np.float32)  # one array: many small ones would keep freed memory in pieces
    for start, block in zip(range(0, len(images), 256), read_blocks(images, size=256), strict=True):
        looks[:, start : start + 256] = _measure_block(block)
    return Looks(*looks)


def _measure_block(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pixels = torch.from_numpy(images.reshape(len(images), -1, 3).copy())  # a memory map is read-only
    contrast = (pixels.amax(1) - pixels.amin(1)).amax(1).float()
    grey = torch.from_numpy(images.mean(axis=3, dtype=np.float32))
    brightness = np.partition(grey.numpy().reshape(len(images), -1), -400, axis=1)[:, -400]  # 5 % of 8,000 pixels
    near = functional.avg_pool2d(grey[:, None], 3, stride=1)[:, 0, 3:-3, 3:-3]  # a mean of 3x3 pixels
    wide = functional.avg_pool2d(functional.avg_pool2d(grey[:, None], (9, 1), stride=1), (1, 9), stride=1)[:, 0]
    fine, coarse = ((grey[:, 4:-4, 4:-4] - near).flatten(1).std(1), (near - wide).flatten(1).std(1))
    return contrast.numpy(), brightness, (fine / (coarse + 1)).numpy()  # 1 grey level: noise is not sharpness


def find_flaws(looks: Looks) -> dict[str, np.ndarray]:
    """Return the rows of the pictures that show hardly anything, by `blank`, `dark` and `blurred`, the worst first.

    Blank are those that labelling calls so; they are neither dark nor blurred.
    """
    blank = looks.contrast < Limits.min_contrast
    flaws = {"blank": np.flatnonzero(blank)}
    for name, values, limit in (("dark", looks.brightness, DARK), ("blurred", looks.sharpness, BLURRED)):
        rows = np.flatnonzero((values < limit) & ~blank)
        flaws[name] = rows[values[rows].argsort(kind="stable")]
    return flaws


def read_facts(path: Path) -> tuple[str, tuple[int, int]] | None:
    """Return the digest of a file and the width and height of its picture in pixels; None if it cannot be read."""
    try:
        with open_regular(path)[0] as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # BinaryIO lacks readinto
            file.seek(0)
            return digest, read_size(file)
    except (OSError, ValueError):
        return None


def count_groups(
    names: Sequence[str], targets: np.ndarray, classes: Sequence[str], metadata: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Return the pictures of each class by each value of each column of the metadata that names groups.

    `groups.group_columns` chooses these columns. Pictures without a value are counted under "".

    Args:
        names: of the pictures, as in the metadata.
        targets: int `(N,)`.
        classes: names of the classes.
        metadata: what `samples.read_metadata` returned.
    """
    counts = {}
    for column, groups in group_columns(names, metadata).items():
        values = np.array(groups, dtype=object)
        known = sorted({*groups}, key=lambda value: (not value, natural_order(value)))  # "" comes last
        counts[column] = {value: class_counts(targets[values == value], classes) for value in known}
    return counts
