"""Measure a model on pictures that are framed differently or degraded: the same changes for every model.

The random changes depend on the file's name. They act on the decoded picture at its own size, before the loader turns
it into 100x80 pixels.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from gender_recognizer.evaluation.intervals import estimate_values, percentile_interval, resample, share_estimate
from gender_recognizer.evaluation.predictions import EVERYTHING
from gender_recognizer.evaluation.settings import EvaluateSettings
from gender_recognizer.labelling.labeller import Labeller
from gender_recognizer.labelling.reader import Pair
from gender_recognizer.labelling.records import Record
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.loading import IMAGE_SIZE, Picture, convert_picture, read_photograph
from gender_recognizer.pictures.opening import open_regular

Change = Callable[[Image.Image, Image.Image, np.random.Generator], Image.Image]
"""Takes an RGB picture, another picture of the set, and a generator; returns the changed picture."""

_BLOCK = 256


def crop_centre(image: Image.Image, other: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Return the middle of a picture, `share` of its height and width."""
    width, height = image.size
    x, y = width * (1 - share) / 2, height * (1 - share) / 2
    return image.crop((round(x), round(y), round(width - x), round(height - y)))


def paste(
    image: Image.Image, other: Image.Image, rng: np.random.Generator, share: float, height: int | None = None
) -> Image.Image:
    """Return a picture with another background, `share` of whose height it takes, at a random place.

    The background is a texture: clouds of colour, stripes, or the blurred other picture. With a height it is as high.
    """
    if height:
        side = max(1, round(share * height))
        image = image.resize((max(1, round(image.width * side / image.height)), side), Image.Resampling.LANCZOS)
    width, height = (round(side / share) for side in image.size)
    canvas = (_clouds, _stripes, _blurred)[rng.integers(3)](width, height, other, rng)
    canvas.paste(image, (int(rng.integers(width - image.width + 1)), int(rng.integers(height - image.height + 1))))
    return canvas


def shift(image: Image.Image, other: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Return a picture moved by `share` of its size in a random direction; its edge is repeated."""
    angle = rng.uniform(0, 2 * math.pi)
    return _move(image, (image.width * share * math.cos(angle), image.height * share * math.sin(angle)), 0.0)


def rotate(image: Image.Image, other: Image.Image, rng: np.random.Generator, degrees: float) -> Image.Image:
    """Return a picture turned by `degrees` to either side; its edge is repeated."""
    return _move(image, (0.0, 0.0), degrees * (1 if rng.random() < 0.5 else -1))


def blur(image: Image.Image, other: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Return a picture blurred by a Gaussian whose standard deviation is `share` of the height."""
    return image.filter(ImageFilter.GaussianBlur(image.height * share))


def shrink(image: Image.Image, other: Image.Image, rng: np.random.Generator, height: int) -> Image.Image:
    """Return a picture at `height` pixels."""
    return image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.BOX)


def compress(image: Image.Image, other: Image.Image, rng: np.random.Generator, quality: int) -> Image.Image:
    """Return a picture after saving it as a JPEG of this quality."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def make_grey(image: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a picture without colour."""
    return ImageOps.grayscale(image).convert("RGB")


def darken(image: Image.Image, other: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Return a picture at `share` of its brightness."""
    return ImageEnhance.Brightness(image).enhance(share)


def leave(image: Image.Image, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture as it is."""
    return image


CHANGES: dict[str, Change] = {
    "as they come": leave,
    "centre crop 0.85": partial(crop_centre, share=0.85),
    "centre crop 0.7": partial(crop_centre, share=0.7),
    "pasted at 0.8 of the height": partial(paste, share=0.8),
    "pasted at 0.6 of the height": partial(paste, share=0.6),
    "pasted at 0.45 of the height": partial(paste, share=0.45),
    "pasted at 0.3 of the height": partial(paste, share=0.3, height=500),
    "pasted at 0.2 of the height": partial(paste, share=0.2, height=500),
    "shifted by 15 %": partial(shift, share=0.15),
    "turned by 15 degrees": partial(rotate, degrees=15.0),
    "blurred by 2 % of the height": partial(blur, share=0.02),
    "shrunk to 32 pixels": partial(shrink, height=32),
    "JPEG quality 20": partial(compress, quality=20),
    "without colour": make_grey,
    "a third of the light": partial(darken, share=1 / 3),
}


def measure_robustness(
    predictor: Predictor,
    paths: Sequence[Path],
    targets: np.ndarray,
    num_draws: int = EvaluateSettings.num_draws,
    seed: int = EvaluateSettings.seed,
) -> list[dict[str, Any]]:
    """Return for each of `CHANGES` a model's results on the pictures changed that way.

    Args:
        predictor: the model.
        paths: readable pictures.
        targets: int `(N,)`.
        num_draws: bootstrap resamples of the pictures.
        seed: of the resamples.

    Returns:
        Rows with the `change`, the `accuracy`, and `less`, by how much it lies below the first row's, all with the
        ends `low` and `high` of their 95 % intervals.
    """
    right = {name: _is_right(predictor, paths, targets, name) for name in CHANGES}
    draws = resample(len(paths), num_draws, seed)
    plain = right[next(iter(CHANGES))]
    rows = []
    for name, values in right.items():
        accuracy = share_estimate(values.sum(), len(paths))
        less = percentile_interval(float((plain - values).mean()), draws @ (plain - values) / len(paths))
        rows.append({"change": name, "accuracy": estimate_values(accuracy), "less": estimate_values(less)})
    return rows


def _is_right(predictor: Predictor, paths: Sequence[Path], targets: np.ndarray, name: str) -> np.ndarray:
    """Return 1.0 for each picture that gets its label after a change, found and labelled as ever, else 0.0."""
    labels: list[str | None] = []
    labeller = Labeller(predictor, EVERYTHING)
    for block in changed_blocks(paths, name, predictor.info.image_size):
        rows = range(len(labels), len(labels) + len(block))
        pairs = [(Record(""), picture) for picture in block]

        def look_again(places: list[int], first: list[Pair], rows: range = rows) -> list[Pair]:
            images = (_changed(paths, rows[place], name) for place in places)
            return [labeller.reader.convert_again(*again) for again in zip(first, images, strict=True)]

        labels += [record.label for record in labeller.label_pictures(pairs, look_again)]
    wanted = [predictor.info.classes[target] for target in targets]
    return np.array([label == own for label, own in zip(labels, wanted, strict=True)], np.float64)


def changed_blocks(
    paths: Sequence[Path], name: str, image_size: tuple[int, int] = IMAGE_SIZE
) -> Iterator[list[Picture]]:
    """Yield the pictures after a change, up to 256 at once; it depends on the picture's name."""
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(paths), _BLOCK):
            block = range(start, min(start + _BLOCK, len(paths)))
            yield list(threads.map(lambda row: convert_picture(_changed(paths, row, name), image_size), block))


def _changed(paths: Sequence[Path], row: int, name: str) -> Image.Image:
    image, other = (_read(path) for path in (paths[row], paths[(row + len(paths) // 2) % len(paths)]))
    rng = np.random.default_rng(zlib.crc32(f"{name} {paths[row].name}".encode(errors="surrogateescape")))
    return CHANGES[name](image, other, rng)


def _read(path: Path) -> Image.Image:
    with open_regular(path)[0] as file:
        return read_photograph(file).image


def _move(image: Image.Image, offset: tuple[float, float], degrees: float) -> Image.Image:
    """Return a picture moved by `offset` pixels and turned about its middle; its edge is repeated."""
    margin = round(0.5 * max(image.size))
    pixels = np.pad(np.asarray(image), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    wide = Image.fromarray(pixels)
    wide = wide.rotate(degrees, Image.Resampling.BILINEAR, translate=offset)  # type: ignore[arg-type] # takes floats
    return wide.crop((margin, margin, margin + image.width, margin + image.height))


def _clouds(width: int, height: int, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    rows = int(rng.integers(2, 24))
    return Image.fromarray(rng.integers(0, 256, (rows, rows, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def _stripes(width: int, height: int, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    first, second = rng.integers(0, 256, (2, 3))
    angle, period = rng.uniform(0, math.pi), rng.uniform(0.03, 0.3) * height
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period)[..., None] > rng.uniform(
        -0.5, 0.5
    )
    return Image.fromarray(np.where(wave, first, second).astype(np.uint8))


def _blurred(width: int, height: int, other: Image.Image, rng: np.random.Generator) -> Image.Image:
    return other.resize((width, height)).filter(ImageFilter.GaussianBlur(height * rng.uniform(0.08, 0.2)))
