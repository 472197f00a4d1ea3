"""Tell in how many training pictures no face is found; they are trained on as they are."""

import logging

import torch
from torch.nn import functional

from gender_recognizer.data.dataset import FaceDataset
from gender_recognizer.models.base import FaceNetwork
from gender_recognizer.models.detector import MIN_LOOK_SCORE
from gender_recognizer.pictures.loading import IMAGE_SIZE

logger = logging.getLogger(__name__)

_BATCH = 256


def count_without_face(network: FaceNetwork, pictures: FaceDataset) -> int:
    """Return in how many pictures a network that looks for faces finds none."""
    count, training = 0, network.training
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(pictures), _BATCH):
            images = pictures.__getitems__(list(range(start, min(start + _BATCH, len(pictures)))))[0].float()
            if images.shape[2:] != IMAGE_SIZE:
                images = functional.interpolate(images, IMAGE_SIZE, mode="bilinear", antialias=True)
            scores = network.find_faces(images)[1]
            count += int((scores < MIN_LOOK_SCORE).sum())
    network.train(training)
    return count


def tell_of_faces(network: FaceNetwork, pictures: FaceDataset) -> None:
    """Log in how many training pictures no face is found, if there are any."""
    if network.looks_for_faces and (count := count_without_face(network, pictures)):
        logger.info(
            "no face was found in %s of %s training pictures; they are trained on as they are",
            f"{count:,}",
            f"{len(pictures):,}",
        )
