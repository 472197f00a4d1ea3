"""Tell in how many training pictures no face is found; they are trained on as they are."""

import logging

import numpy as np
import torch

from gender_recognizer.models.base import FaceNetwork
from gender_recognizer.models.detector import MIN_LOOK_SCORE

logger = logging.getLogger(__name__)

_BATCH = 256


def count_without_face(network: FaceNetwork, images: np.ndarray, rows: np.ndarray) -> int:
    """Return in how many pictures a network that looks for faces finds none.

    Args:
        network: one whose `looks_for_faces` is true.
        images: thumbnails, uint8 `(num_files, 100, 80, 3)`.
        rows: int `(num_samples,)`, those of the pictures.
    """
    count, training = 0, network.training
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            batch = torch.from_numpy(images[rows[start : start + _BATCH]]).permute(0, 3, 1, 2)
            count += int((network.find_faces(batch)[1] < MIN_LOOK_SCORE).sum())
    network.train(training)
    return count


def tell_of_faces(network: FaceNetwork, images: np.ndarray, rows: np.ndarray) -> None:
    """Log in how many training pictures no face is found, if any; the arguments are those of `count_without_face`."""
    if network.looks_for_faces and (count := count_without_face(network, images, rows)):
        logger.info(
            "no face was found in %s of %s training pictures; they are trained on as they are",
            f"{count:,}",
            f"{len(rows):,}",
        )
