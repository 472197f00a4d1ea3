"""The outputs of trained teachers for the training pictures, which a smaller network learns (Hinton et al. 2015)."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gender_recognizer.data.cache import ImageCache, read_blocks
from gender_recognizer.data.dataset import GuidedMixtures
from gender_recognizer.data.mixtures import Mixtures, draw_mixtures
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import load_classifier

logger = logging.getLogger(__name__)

_FARTHEST = 8.0
"""Largest absolute value of a feature, in standard deviations: a few larger ones would outweigh all others."""

_BLOCK = 64
"""Pictures that a teacher sees at once."""


def load_teacher(path: Path, classes: list[str]) -> GenderClassifier:
    """Return the classifier of a checkpoint that can teach these classes.

    Raises:
        ValueError: there is no such checkpoint, or it was trained on other classes.
    """
    if not path.is_file() or path.suffix != ".ckpt":
        raise ValueError(f"teacher is '{path}'; expected bundled or the .ckpt file of a trained model")
    teacher = load_classifier(path)[0]
    if teacher.hparams["classes"] != classes:
        raise ValueError(
            f"teacher '{path}' was trained on the classes {teacher.hparams['classes']}, not {classes}; "
            "teachers=[] does without one"
        )
    return teacher


def teach(cache: ImageCache, paths: Sequence[Path], classes: list[str]) -> np.ndarray:
    """Return the teachers' outputs for every picture of a cache.

    Args:
        cache: of `num_files` pictures.
        paths: the teachers' checkpoints.
        classes: names of the classes.

    Returns:
        float16 `(num_files, num_classes + num_features)`: the mean of the teachers' logits, then the features of all of
        them, with mean 0 and standard deviation 1 over the pictures. Each is the mean over a picture and its mirror
        image.

    Raises:
        ValueError: as `load_teacher`.
    """
    outputs = [_ask(cache, path, classes) for path in paths]
    return _join([(output, output) for output in outputs], len(classes))


def teach_mixtures(
    cache: ImageCache, rows: np.ndarray, paths: Sequence[Path], classes: list[str], count: int
) -> GuidedMixtures:
    """Return mixtures of pictures and the teachers' outputs for them.

    Args:
        cache: of the pictures.
        rows: int64 `(num_pictures,)`, the pictures that are mixed.
        paths: the teachers' checkpoints.
        classes: names of the classes.
        count: mixtures of each.

    Returns:
        the mixtures, and float16 `(count, num_pictures, num_classes + num_features)` as `teach` returns them.

    Raises:
        ValueError: as `load_teacher`.
    """
    mixtures = draw_mixtures(rows, count)
    outputs = [(_ask_about(cache, path, classes, rows, mixtures), _ask(cache, path, classes)) for path in paths]
    joined = _join(outputs, len(classes))
    return mixtures, joined.reshape(count, len(rows), -1)


def _join(outputs: Sequence[tuple[np.ndarray, np.ndarray]], num_classes: int) -> np.ndarray:
    """Return the outputs of several teachers as `teach` does.

    Args:
        outputs: of each teacher what is joined, and its outputs for all pictures, whose features get mean 0 and
            standard deviation 1.
        num_classes: number of logits.
    """
    logits = np.mean([these[:, :num_classes] for these, _ in outputs], axis=0, dtype=np.float32)
    features = []
    for these, all_of_them in outputs:
        known = all_of_them[:, num_classes:].astype(np.float32)
        away = (these[:, num_classes:] - known.mean(axis=0)) / known.std(axis=0).clip(1e-6)
        features.append(away.clip(-_FARTHEST, _FARTHEST))
    return np.hstack([logits, *features]).astype(np.float16)


def _ask(cache: ImageCache, path: Path, classes: list[str]) -> np.ndarray:
    """Return one teacher's logits and features for every picture, computed once and kept beside the cache.

    Raises:
        ValueError: as `load_teacher`.
    """
    teacher = load_teacher(path, classes)

    def ask(pictures: np.ndarray) -> np.ndarray:
        logger.info("computing the outputs of teacher %s for %d pictures", path, len(pictures))
        return _collect(teacher, read_blocks(cache.images_of(teacher.network.image_size), _BLOCK))

    return cache.remember(f"teacher-{_fingerprint(path.read_bytes())}", ask)


def _ask_about(cache: ImageCache, path: Path, classes: list[str], rows: np.ndarray, mixtures: Mixtures) -> np.ndarray:
    """Return one teacher's logits and features for mixtures, one after another, computed once and kept."""
    teacher = load_teacher(path, classes)
    count, pictures = mixtures.others.shape
    which, places = (numbers.ravel() for numbers in np.indices((count, pictures)))

    def ask(_: np.ndarray) -> np.ndarray:
        logger.info("computing the outputs of teacher %s for %d mixtures of pictures", path, len(which))
        images = cache.images_of(teacher.network.image_size)
        blocks = (slice(start, start + _BLOCK) for start in range(0, len(which), _BLOCK))
        return _collect(teacher, (mixtures.mix(images, rows, which[block], places[block]) for block in blocks))

    drawn = _fingerprint(rows.tobytes() + mixtures.shares.tobytes())
    return cache.remember(f"teacher-{_fingerprint(path.read_bytes())}-mixtures-{drawn}", ask)


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _collect(teacher: GenderClassifier, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return a teacher's outputs for blocks of pictures, float16 `(N, num_classes + num_features)`."""
    return torch.cat([_outputs(teacher, block).half() for block in blocks]).numpy()


@torch.inference_mode()
def _outputs(teacher: GenderClassifier, images: np.ndarray) -> Tensor:
    """Return float32 logits and features, side by side, of uint8 images `(N, H, W, 3)`."""
    batch = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
    both = torch.cat([batch, batch.flip(3)])
    with torch.autocast(both.device.type, torch.bfloat16):
        features = teacher.network.forward_features(both).features.float()
    # The unscaled logits, without `ModelInfo.scaling`: the bundled weights were trained with these.
    logits = teacher.network.forward_head(features)
    return torch.cat([logits, features], dim=1).view(2, len(batch), -1).mean(dim=0)
