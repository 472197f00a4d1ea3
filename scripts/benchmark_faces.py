"""The part of `benchmark.py` that measures whole photographs, on ones composed of crops."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gender_recognizer import Recognizer
from gender_recognizer.models.detector import CROP_SCALE, YuNet
from gender_recognizer.models.face_crops import cut_face
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.loading import convert_photograph

SCALES = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15)
TILTS = (0, 10, 30)


class Pasted(NamedTuple):
    """A crop in a composed photograph: the file, and left, top, right and bottom in pixels."""

    path: Path
    box: tuple[int, int, int, int]


class Found(NamedTuple):
    """What labelling made of composed photographs.

    Attributes:
        pasted: number of crops in them.
        boxes: number of boxes.
        pairs: for each crop that was found, its label by itself, the label in the photograph, and the true one.
        seconds: of processor time for a photograph.
    """

    pasted: int
    boxes: int
    pairs: list[tuple[str | None, str | None, str]]
    seconds: float


def make_texture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return a background of clouds, stripes, chequers or coloured bricks with noise, RGB."""
    rows, columns = np.mgrid[:height, :width]
    side = int(rng.integers(10, 80))
    kind = rng.integers(4)
    if kind == 0:
        grid = rng.integers(0, 256, (height // side + 2, width // side + 2, 3), dtype=np.uint8)
        values = np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    elif kind == 1:
        across, down = rng.uniform(0.02, 0.3, 2)
        values = (128 + 100 * np.sin(columns * across + rows * down))[..., None] * rng.uniform(0.4, 1.2, 3)
    elif kind == 2:
        values = rng.integers(0, 256, (2, 3))[(columns // side + rows // side) % 2]
    else:
        values = rng.integers(0, 256, (height // side + 1, width // side + 1, 3))[rows // side, columns // side]
    noise = rng.normal(0, rng.uniform(2, 20), (height, width, 3))
    return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))


def compose(
    rng: np.random.Generator, paths: Sequence[Path], size: tuple[int, int], sides: tuple[int, int] = (90, 300)
) -> tuple[Image.Image, list[Pasted]]:
    """Return a photograph with crops pasted on a texture, and where they are; one that finds no room is left out.

    Args:
        rng: decides everything.
        paths: the crops.
        size: width and height in pixels.
        sides: smallest and largest side of a pasted crop in pixels.
    """
    photograph, pasted = make_texture(rng, *size), []
    for path in paths:
        for _ in range(60):
            side = int(rng.integers(sides[0], sides[1] + 1))
            left, top = (int(rng.integers(0, length - side + 1)) for length in size)
            box = (left, top, left + side, top + side)
            if all(overlap(box, other.box) == 0 for other in pasted):
                crop = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
                photograph.paste(crop, (left, top))
                pasted.append(Pasted(path, box))
                break
    return photograph, pasted


def overlap(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the area that two boxes share, divided by the area that they cover together."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def composed(
    crops: Path, count: int, size: tuple[int, int] = (1200, 900), seed: int = 0
) -> Iterator[tuple[Image.Image, list[Pasted]]]:
    """Yield photographs with three to six random crops of a folder each."""
    rng = np.random.default_rng(seed)
    paths = sorted(crops.glob("*/*.jpg"))
    for _ in range(count):
        chosen = rng.choice(len(paths), int(rng.integers(3, 7)), replace=False)
        yield compose(rng, [paths[index] for index in chosen], size)


def label_composed(photographs: Iterator[tuple[Image.Image, list[Pasted]]]) -> Found:
    """Label composed photographs; a crop is found by a box that shares 40 % of what both cover."""
    whole, alone = Recognizer(faces="crop"), Recognizer()
    pasted, boxes, pairs, seconds, count = 0, 0, [], 0.0, 0
    for photograph, crops in photographs:
        started = time.process_time()
        records = [record for record in whole.label(photograph) if record.box]
        seconds += time.process_time() - started
        count, pasted, boxes = count + 1, pasted + len(crops), boxes + len(records)
        for path, box in crops:
            best = max(records, key=lambda record: overlap(record.box, box), default=None)
            if best and overlap(best.box, box) > 0.4:
                pairs.append((alone.label(path).label, best.label, path.parent.name))
    return Found(pasted, boxes, pairs, seconds / count)


def measure_margins(crops: Path, count: int, tilt: float) -> dict[float, tuple[float, float]]:
    """Return accuracy and log loss of the bundled model on faces cut out at several scales.

    The pictures are crops, turned by up to 5 degrees more or less than `tilt` to either side, each on its own colours.

    Args:
        crops: folder with a folder for each class.
        count: pictures to try.
        tilt: in degrees.
    """
    rng, detector, predictor = np.random.default_rng(0), YuNet(), load_predictor(BUNDLED_MODEL)
    paths = sorted(crops.glob("*/*.jpg"))
    images: dict[float, list[np.ndarray]] = {scale: [] for scale in SCALES}
    targets = []
    for index in rng.choice(len(paths), count, replace=False):
        crop = Image.open(paths[index]).convert("RGB").resize((144, 144))
        around = crop.resize((4, 4), Image.Resampling.BOX).resize((344, 344), Image.Resampling.BICUBIC)
        around.paste(crop, (100, 100))
        turn = rng.choice([-1, 1]) * rng.uniform(tilt - 5, tilt + 5) if tilt else 0
        photograph = convert_photograph(around.rotate(turn, Image.Resampling.BICUBIC))
        near = [face for face in detector.find(photograph) if np.abs(np.array(face.centre) - 172).max() < 60]
        if near:
            targets.append(predictor.info.classes.index(paths[index].parent.name))
            for scale in SCALES:
                face = near[0]._replace(side=near[0].side * scale / CROP_SCALE)
                images[scale].append(cut_face(photograph, face).pixels)
    results = {}
    for scale in SCALES:
        probabilities = predictor.predict(np.stack(images[scale])).probabilities
        right = probabilities[np.arange(len(targets)), targets].clip(1e-6)
        results[scale] = (float((right > 0.5).mean()), float(-np.log(right).mean()))
    return results


def report_faces(crops: Path, count: int, margins: Path | None) -> None:
    """Print what is found in composed photographs, and with which margin faces are labelled best."""
    for size in ((1200, 900), (5472, 3648)):
        found = label_composed(composed(crops, count if size[0] < 2000 else max(1, count // 5), size))
        count_found, (alone, whole, true) = len(found.pairs), np.array(found.pairs).T
        print(
            f"{size[0]}x{size[1]}: {count_found} of {found.pasted} faces found ({count_found / found.pasted:.1%}), "
            f"{found.boxes - count_found} of {found.boxes} boxes false; labels agree with the crops' in "
            f"{np.mean(alone == whole):.1%}, right {np.mean(whole == true):.1%} (crops {np.mean(alone == true):.1%}); "
            f"{found.seconds * 1000:.0f} ms of a core a photograph"
        )
    for tilt in TILTS if margins else ():
        for scale, (accuracy, loss) in measure_margins(margins, 20 * count, tilt).items():
            print(f"tilt {tilt}, scale {scale}: accuracy {accuracy:.2%}, log loss {loss:.4f}")
