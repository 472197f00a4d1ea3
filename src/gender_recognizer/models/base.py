"""The interface of all networks, and the normalisation that they begin with.

Contract: uint8 or float images `(N, 3, H, W)` in 0..255 go in, logits `(N, num_classes)` come out; normalisation is
part of the network.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gender_recognizer.models.first_look import join_outputs
from gender_recognizer.pictures.loading import IMAGE_SIZE

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Seen(NamedTuple):
    """What a network sees in pictures.

    Attributes:
        features: `(N, num_features)`.
        steps: frames `(N, 4)` of each step that learns to find the face, as `framing` describes them, each within what
            the frames before it show; empty in a network that does not learn it.
        start: frames `(N, 4)` that the first step is within; None for the whole picture.
        frames: `(N, 4)`, the part of the picture that is classified; None for the whole picture.
        face_scores: `(N,)` in [0, 1], how sure it is that there is a face; None in a network that does not say it.
    """

    features: Tensor
    steps: Sequence[Tensor] = ()
    start: Tensor | None = None
    frames: Tensor | None = None
    face_scores: Tensor | None = None


class FaceNetwork(nn.Module):
    """The base of all networks: features of pictures, and a head that turns them into logits.

    A network sets `num_features` and `head` in its `__init__` and writes `forward_features`.

    Attributes:
        num_features: length of the features of one picture.
        head: turns features `(N, num_features)` into logits `(N, num_classes)`.
        looks_for_faces: whether it knows pictures without a face.
        image_size: (height, width) of the pictures that it is trained on and labels.
    """

    num_features: int
    head: nn.Module
    looks_for_faces = False
    image_size: tuple[int, int] = IMAGE_SIZE

    def forward_features(self, images: Tensor) -> Seen:
        """Return what it sees in images `(N, 3, H, W)` in 0..255."""
        raise NotImplementedError

    def find_faces(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames `(N, 4)` of the first look at images, and face scores `(N,)`, where it looks for faces."""
        raise NotImplementedError

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits `(N, num_classes)` of features `(N, num_features)`."""
        return self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(N, num_classes)` of images `(N, 3, H, W)` in 0..255."""
        return self.forward_head(self.forward_features(images).features)

    def exact_parts(self) -> list[str]:
        """Return the names of the modules whose convolutions must not be computed with 8-bit integers."""
        return []

    def last_layer(self) -> str:
        """Return the name of the layer that makes the logits: the last one with a row of weights for each class."""
        return [name for name, module in self.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]

    def rename_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights that an earlier version saved, under the names they have now; raises as `join_outputs`."""
        return join_outputs(weights)


class Normalize(nn.Module):
    """Bring pixels of 0..255 to about mean 0 and standard deviation 1, so that callers need not do it."""

    gain: Tensor
    offset: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        """Keep the mean and standard deviation of each channel, in 0..255, as buffers."""
        super().__init__()
        gain = 1 / torch.tensor(std).view(1, -1, 1, 1)
        self.register_buffer("gain", gain)
        self.register_buffer("offset", -torch.tensor(mean).view(1, -1, 1, 1) * gain)

    def forward(self, images: Tensor) -> Tensor:
        """Return float `(N, 3, H, W)`."""
        return torch.addcmul(self.offset, images.to(self.gain.dtype), self.gain)
