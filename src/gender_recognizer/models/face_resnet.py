"""A larger network that starts from weights trained to recognise people: the teacher of the small one.

The architecture and the weights are dlib's face recognition network (King, dlib.net, weights under CC0), as the
package `face-recognition-models` carries them. It has learned faces before it sees the first label.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gender_recognizer.extras import how_to_install
from gender_recognizer.models.base import FaceNetwork, Seen

PACKAGE = "face_recognition_models"
_FILE = "dlib_face_recognition_resnet_model_v1.dat"
SIDE = 150
"""Height and width in pixels of its input."""

_MEAN = (122.782, 117.001, 104.298)
_STAGES = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))


class ConvAffine(nn.Module):
    """Convolution and, in place of batch normalisation, a factor and an offset for each channel.

    As in dlib, strided convolutions are not padded.
    """

    def __init__(self, channels: int, out_channels: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, size, stride, size // 2 if stride == 1 else 0, bias=False)
        self.factor = nn.Parameter(torch.ones(out_channels))
        self.offset = nn.Parameter(torch.zeros(out_channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, out_channels, H', W')`; factors multiply weights, not maps: a quarter less time."""
        weight = self.conv.weight * self.factor.view(-1, 1, 1, 1)
        return functional.conv2d(maps, weight, self.offset, self.conv.stride, self.conv.padding)


class PaddedResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without weights, padded with zeros where it is smaller."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = ConvAffine(channels, out_channels, 3, stride)
        self.second = ConvAffine(out_channels, out_channels, 3, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, out_channels, H / stride, W / stride)`."""
        branch = self.second(functional.relu(self.first(maps)))
        shortcut = functional.avg_pool2d(maps, 2) if self.stride == 2 else maps
        sizes = [max(pair) for pair in zip(branch.shape[1:], shortcut.shape[1:], strict=True)]
        return functional.relu(_fill_up(branch, sizes) + _fill_up(shortcut, sizes))


class FaceResNet(FaceNetwork):
    """dlib's residual network of 29 convolutions: 5.6 million parameters.

    It was trained on squares of 150 pixels; pictures of 100x80 are brought to that size first, which restores their
    proportions.
    """

    mean: Tensor

    def __init__(
        self, num_classes: int = 2, pretrained: bool = True, frozen_blocks: int = 3, dropout: float = 0.2
    ) -> None:
        """Build the network.

        Args:
            num_classes: number of logits.
            pretrained: take the weights of the package `face-recognition-models`, all but the last layer's.
            frozen_blocks: residual blocks from the first on, and the convolution before them, that do not learn.
            dropout: share of the last features zeroed in training.

        Raises:
            ValueError: the package is not installed.
        """
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.stem = ConvAffine(3, 32, 7, 2)
        blocks: list[nn.Module] = []
        channels = 32
        for stage, (width, depth) in enumerate(_STAGES):
            for index in range(depth):
                blocks.append(PaddedResidualBlock(channels, width, stride=2 if stage > 0 and index == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.num_features = channels
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        if pretrained:
            self._load(_weights_file())
        for frozen in (self.stem, *blocks[:frozen_blocks]) if frozen_blocks else ():
            frozen.requires_grad_(False)

    def forward_features(self, images: Tensor) -> Seen:
        """Return features `(N, 256)` of images `(N, 3, H, W)` in 0..255. It sees the whole picture."""
        square = functional.interpolate(images.to(self.mean.dtype), (SIDE, SIDE), mode="bilinear")
        maps = functional.relu(self.stem((square - self.mean) / 256))
        return Seen(self.blocks(functional.max_pool2d(maps, 3, 2)).mean(dim=(2, 3)))

    @torch.no_grad()
    def _load(self, path: Path) -> None:
        arrays = [torch.from_numpy(array) for array in read_arrays(path)]
        layers = [module for module in self.modules() if isinstance(module, ConvAffine)]
        for layer, weights, affine in zip(layers, arrays[0::2], arrays[1::2], strict=True):
            weight, bias = weights.split([layer.conv.weight.numel(), len(layer.factor)])
            factor, offset = affine.view(2, -1)
            layer.conv.weight.copy_(weight.view_as(layer.conv.weight))
            layer.factor.copy_(factor)
            layer.offset.copy_(offset + factor * bias)


def read_arrays(path: Path) -> Iterator[np.ndarray]:
    """Yield the weights of each convolution (its bias last) and of the affine layer behind it, float32, in order.

    dlib writes integers as a byte count and the bytes, an array as a version, four sizes and its values.
    """
    content = path.read_bytes()
    for name in re.finditer(rb"con_4|affine_", content):
        position, numbers = name.end(), []
        for _ in range(5):
            count = content[position] & 15
            numbers.append(int.from_bytes(content[position + 1 : position + 1 + count], "little"))
            position += 1 + count
        yield np.frombuffer(content, "<f4", int(np.prod(numbers[1:])), position).copy()


def _weights_file() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError(
            f"the weights of 'faceresnet' need the extra teacher: {how_to_install('teacher')}; "
            "or set model.pretrained=false"
        )
    return Path(spec.origin).parent / "models" / _FILE


def _fill_up(maps: Tensor, sizes: list[int]) -> Tensor:
    """Return maps `(N, *sizes)`, with zeros behind those of each dimension."""
    channels, height, width = (size - have for size, have in zip(sizes, maps.shape[1:], strict=True))
    return functional.pad(maps, (0, width, 0, height, 0, channels)) if channels or height or width else maps
