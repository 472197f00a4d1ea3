"""Faces of a photograph as pictures: all of them, or the main one, searched for from coarse to fine."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from gender_recognizer.models.detector import Detector, Face
from gender_recognizer.pictures.loading import IMAGE_SIZE, Photograph, Picture

Read = Callable[[int | None], Photograph]
"""Returns a photograph with at least this many pixels along its longer side; None for all."""

LOOKS = (320, 640)
"""Longer sides in pixels at which a photograph is searched first for its main face; then at all of the detector's."""

MIN_SIDE = 48
"""Side in pixels from which on a face is cut out of a JPEG that was decoded smaller."""

MIN_MAIN_SCORE = 0.7
"""Least score of the faces among which the main one is.

With 0.7 and 0.75 labelling takes 5.4 and 4.1 % of 296 pictures of cats for a face, and 1.1 and 0.8 % of 266 scenes. Of
faces at 0.2 of the height of 1,000 pictures 2.7 % were missed with 0.75, a fifth of them for scores above 0.7."""

SURE_SCORE = 0.85
"""Score from which on a face is taken for upright, and least one of faces in a turned photograph: parts of a head that
lies on a side reach 0.76, those of a cat that is turned upside down 0.83."""

_ENOUGH = 0.9
"""Share of the longer side of a look that is enough where no resampling, and no second reading, leads there."""

_MORE = 1.2
"""How many times as large a photograph must be as at the last look to be worth another one."""

_TURNS = (
    (Image.Transpose.ROTATE_90, math.pi / 2),
    (Image.Transpose.ROTATE_270, 3 * math.pi / 2),
    (Image.Transpose.ROTATE_180, math.pi),
)
"""Turns, counterclockwise, in which heads are searched for that lie on a side or hang down."""


def cut_faces(
    detector: Detector, read: Read, image_size: tuple[int, int] = IMAGE_SIZE
) -> tuple[list[Picture], list[list[int]]]:
    """Return the faces of a photograph as pictures of (height, width), from left to right, and their boxes.

    Raises:
        ValueError: the photograph cannot be read.
    """
    photograph = read(detector.longest)
    faces = detector.find(photograph)
    share = photograph.image.width / photograph.size[0]
    if share < 1 and any(face.side * share < image_size[0] for face in faces):
        photograph = read(None)
    return [cut_face(photograph, face, image_size) for face in faces], [face.box(photograph.size) for face in faces]


def cut_main_face(
    detector: Detector, read: Read, image_size: tuple[int, int] = IMAGE_SIZE, at_hand: Photograph | None = None
) -> tuple[Picture, list[int], int] | None:
    """Return the main face of a photograph as a picture, its box, and how many faces were found; None without a face.

    It looks from coarse to fine, and stops as soon as it finds a face: smaller ones would not be the main one.

    Args:
        detector: finds the faces.
        read: reads the photograph at the sizes that it takes.
        image_size: height and width of the picture.
        at_hand: the photograph, as far as it was read before.

    Raises:
        ValueError: the photograph cannot be read.
    """
    photograph, faces = _search(detector, read, at_hand)
    if not faces:
        return None
    face = choose_main(photograph, faces)
    share = photograph.image.width / photograph.size[0]
    if share < 1 and face.side * share < MIN_SIDE:
        photograph = read(math.ceil(max(photograph.size) * image_size[0] / face.side))
    return cut_face(photograph, face, image_size), face.box(photograph.size), len(faces)


def _search(detector: Detector, read: Read, photograph: Photograph | None) -> tuple[Photograph, list[Face]]:
    """Return the faces at the first size of a photograph that shows any, and the photograph as far as it was decoded.

    Heads that lie on a side are searched for before small ones: in the large tiles they would be missed, too.
    """
    photograph = photograph or read(LOOKS[0])
    for longest in LOOKS:
        photograph = _with_pixels(photograph, longest, read)
        if faces := _find_sure(detector, _shrink(photograph, longest)):
            if _best_score(faces) < SURE_SCORE:
                turned = _find_turned(detector, _shrink(photograph, LOOKS[0]))
                faces = max(faces, turned, key=_best_score)
            return photograph, faces
        if max(photograph.size) < _MORE * longest:
            break
    faces = _find_turned(detector, _shrink(photograph, LOOKS[0]))
    if not faces and max(photograph.size) >= _MORE * LOOKS[-1]:
        photograph = _with_pixels(photograph, detector.longest, read)
        faces = _find_sure(detector, photograph)
    return photograph, faces


def _find_sure(detector: Detector, photograph: Photograph) -> list[Face]:
    """Return the faces of which the detector is sure enough where a photograph may show none."""
    return [face for face in detector.find(photograph) if face.score >= MIN_MAIN_SCORE]


def _with_pixels(photograph: Photograph, longest: int, read: Read) -> Photograph:
    """Return a photograph with enough pixels for a look at `longest`, or all; it is read again if need be."""
    had, all_of_them = max(photograph.image.size), max(photograph.size)
    return photograph if had >= min(_ENOUGH * longest, all_of_them) else read(longest)


def _shrink(photograph: Photograph, longest: int) -> Photograph:
    """Return a photograph with `longest` pixels along its longer side, a tenth fewer, or all if it has fewer."""
    image = photograph.image
    if (factor := int(max(image.size) / (_ENOUGH * longest))) > 1:
        image = image.reduce(factor)
    if (share := longest / max(image.size)) < 1:
        width, height = (max(1, round(side * share)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return photograph._replace(image=image)


def _find_turned(detector: Detector, photograph: Photograph) -> list[Face]:
    """Return the faces of heads that do not stand upright: those at the turn of which the detector is most sure."""
    best: list[Face] = []
    for turn, angle in _TURNS:
        swapped = photograph.size if angle == math.pi else photograph.size[::-1]
        found = detector.find(photograph._replace(image=photograph.image.transpose(turn), size=swapped))
        if _best_score(found) > _best_score(best):
            best = [_turn_back(face, angle, swapped, photograph.size) for face in found]
    return [face for face in best if face.score >= SURE_SCORE]


def _best_score(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _turn_back(face: Face, angle: float, turned: tuple[int, int], size: tuple[int, int]) -> Face:
    """Return a face of a photograph that was turned by an angle, counterclockwise, where it is in the photograph."""
    x, y = face.centre[0] - turned[0] / 2, face.centre[1] - turned[1] / 2
    cos, sin = math.cos(angle), math.sin(angle)
    centre = size[0] / 2 + x * cos - y * sin, size[1] / 2 + x * sin + y * cos
    return face._replace(centre=centre, tilt=face.tilt + angle)


def choose_main(photograph: Photograph, faces: Sequence[Face]) -> Face:
    """Return the main one of several faces: it is large, near the middle, and among faces of similar size sharp."""
    ranks = [_rank(face, photograph.size) for face in faces]
    first = max(ranks)
    near = [(face, rank) for face, rank in zip(faces, ranks, strict=True) if rank >= first / 2]
    if len(near) == 1:
        return near[0][0]
    sharp = [_sharpness(cut_face(photograph, face).pixels) for face, _ in near]
    most = max(sharp) or 1.0
    return max(zip(near, sharp, strict=True), key=lambda item: item[0][1] * (0.5 + item[1] / most / 2))[0][0]


def _rank(face: Face, size: tuple[int, int]) -> float:
    """Return how much a face looks like the main one of a photograph, by its size, place and score."""
    x, y = (2 * middle / side - 1 for middle, side in zip(face.centre, size, strict=True))
    return face.side * face.score * max(0.1, 1 - (x**2 + y**2) / 4)


def _sharpness(pixels: np.ndarray) -> float:
    """Return how sharp a picture `(100, 80, 3)` is: its mean second difference, as a share of its contrast."""
    grey = pixels.mean(axis=2)
    second = np.abs(np.diff(grey, 2, axis=0)).mean() + np.abs(np.diff(grey, 2, axis=1)).mean()
    return float(second / (grey.std() + 1))


def cut_face(photograph: Photograph, face: Face, image_size: tuple[int, int] = IMAGE_SIZE) -> Picture:
    """Return a face turned upright; beyond the edges of the photograph there is black, as in the training pictures."""
    height, width = image_size
    share = photograph.image.width / photograph.size[0]
    x, y, side = face.centre[0] * share, face.centre[1] * share, face.side * share
    image, factor = photograph.image, int(side / (2 * min(image_size)))
    if factor > 1:
        left, top, reach = round(x - 0.75 * side), round(y - 0.75 * side), round(1.5 * side)
        image = image.crop((left, top, left + reach, top + reach)).reduce(factor)
        x, y, side = (x - left) / factor, (y - top) / factor, side / factor
    finer = 2 if side > min(image_size) else 1  # a mean over 2 x 2 pixels, where the face shrinks
    columns, lines = finer * width, finer * height
    across, down = side * math.cos(face.tilt), side * math.sin(face.tilt)
    step_x, step_y = (across / columns, down / columns), (-down / lines, across / lines)
    start = x - (across - down) / 2, y - (across + down) / 2
    rows = [(*steps, first) for *steps, first in zip(step_x, step_y, start, strict=True)]
    upright = image.transform((columns, lines), Image.Transform.AFFINE, rows[0] + rows[1], Image.Resampling.BILINEAR)
    pixels = np.asarray(upright.reduce(finer))
    length = round(face.side)
    return Picture(pixels, (length, length), photograph.pages, photograph.truncated, is_face=True)
