"""Which parts of a picture matter: how covering them changes the probability of the label."""

import numpy as np

from gender_recognizer.models.predictor import Predictor

PATCHES, STEPS = 5, 10
"""How many covering patches, and how many of their steps, fit into the height and the width of a picture."""

MID_GREY = 127

WEAK = 0.05
"""Smallest drop of the probability that is shown in full colour: scaling up smaller ones would show noise."""


def saliency_maps(predictor: Predictor, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return how much the probability of a class falls when a part is covered with grey (Zeiler and Fergus 2014).

    Occlusion needs only predictions, so it explains the model file that labels, 8-bit integers included.

    Args:
        predictor: the model.
        images: uint8 `(N, H, W, 3)`.
        targets: class of each picture whose probability is watched, int `(N,)`.

    Returns:
        float32 `(N, H, W)`: mean fall of the probability over the patches that cover a pixel; negative where
        covering makes the class more likely.
    """
    import torch
    from captum.attr import Occlusion

    def probabilities(batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(predictor.predict(batch.numpy()).probabilities)

    patch, step = ([side // count for side in images.shape[1:3]] for count in (PATCHES, STEPS))
    maps = [
        Occlusion(probabilities).attribute(
            torch.from_numpy(image[None]),
            sliding_window_shapes=(*patch, 3),
            strides=(*step, 3),
            baselines=MID_GREY,
            target=int(target),
            perturbations_per_eval=32,
        )[0, :, :, 0]
        for image, target in zip(images, targets, strict=True)
    ]
    return torch.stack(maps).float().numpy() if maps else np.empty((0, *images.shape[1:3]), np.float32)


def overlay(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Return a grey copy of a picture, red where it speaks for the class and blue where it speaks against it.

    The strongest part gets the full colour, if it changes the probability by at least 5 points.

    Args:
        image: uint8 `(H, W, 3)`.
        saliency: `(H, W)`.
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    strength = saliency / max(float(np.abs(saliency).max()), WEAK)
    colour = np.where(strength[..., None] > 0, np.array([220.0, 30, 30]), np.array([30.0, 60, 220]))
    opacity = 0.65 * np.abs(strength)[..., None]
    return (grey * (1 - opacity) + colour * opacity).astype(np.uint8)
