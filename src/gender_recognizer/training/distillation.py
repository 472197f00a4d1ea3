"""The outputs of trained teachers for the training pictures, which a smaller network learns (Hinton et al. 2015)."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gender_recognizer.data.cache import ImageCache, read_blocks
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import load_classifier

logger = logging.getLogger(__name__)


def load_teacher(path: Path, classes: list[str]) -> GenderClassifier:
    """Return the classifier of a checkpoint that can teach these classes.

    Raises:
        ValueError: there is no such checkpoint, or it was trained on other classes.
    """
    if not path.is_file() or path.suffix != ".ckpt":
        raise ValueError(f"teacher is '{path}'; expected the .ckpt file of a trained model")
    teacher = load_classifier(path)[0]
    if teacher.hparams["classes"] != classes:
        raise ValueError(f"teacher '{path}' was trained on the classes {teacher.hparams['classes']}, not {classes}")
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
    logits = np.mean([output[:, : len(classes)] for output in outputs], axis=0)
    return np.hstack([logits, *(output[:, len(classes) :] for output in outputs)])


def _ask(cache: ImageCache, path: Path, classes: list[str]) -> np.ndarray:
    """Return one teacher's outputs for every picture, computed once and kept beside the cache.

    Raises:
        ValueError: as `load_teacher`.
    """
    teacher = load_teacher(path, classes)
    name = hashlib.sha256(path.read_bytes()).hexdigest()[:12]

    def ask(pictures: np.ndarray) -> np.ndarray:
        logger.info("computing the outputs of teacher %s for %d pictures", path, len(pictures))
        images = cache.images_of(teacher.network.image_size)
        outputs = torch.cat([_outputs(teacher, block) for block in read_blocks(images, 64)])
        logits, features = outputs[:, : len(classes)], outputs[:, len(classes) :]
        features = (features - features.mean(dim=0)) / features.std(dim=0).clamp(min=1e-6)
        return torch.cat([logits, features], dim=1).half().numpy()

    return cache.remember(f"teacher-{name}", ask)


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
