"""The networks: uint8 or float images `(N, 3, H, W)` in 0..255 to logits `(N, num_classes)`."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from gender_recognizer.models.face_resnet import FaceResNet
from gender_recognizer.models.framing import FRAME_SIZE, combine_frames, crop_frames, limit_frames
from gender_recognizer.pictures.loading import IMAGE_SIZE

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Normalize(nn.Module):
    """Bring pixels of 0..255 to about mean 0 and standard deviation 1, so that callers need not know how."""

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        """Keep the mean and standard deviation of each channel, in 0..255, as buffers."""
        super().__init__()
        self.register_buffer("gain", 1 / torch.tensor(std).view(1, -1, 1, 1))
        self.register_buffer("offset", -torch.tensor(mean).view(1, -1, 1, 1) * self.gain)

    def forward(self, images: Tensor) -> Tensor:
        """Return float `(N, 3, H, W)`."""
        return torch.addcmul(self.offset, images.to(self.gain.dtype), self.gain)


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation and, unless told otherwise, ReLU."""

    def __init__(self, channels: int, out_channels: int, size: int, stride: int = 1, relu: bool = True) -> None:
        layers = [
            nn.Conv2d(channels, out_channels, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016); the shortcut averages where it halves the size."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ConvNorm(channels, out_channels, 3, stride), ConvNorm(out_channels, out_channels, 3, relu=False)
        )
        self.shortcut = nn.Identity()
        if stride > 1 or channels != out_channels:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, ConvNorm(channels, out_channels, 1, relu=False))

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, out_channels, H / stride, W / stride)`."""
        return nn.functional.relu(self.branch(maps) + self.shortcut(maps))


class FaceFinder(nn.Module):
    """A tiny network that says where in a picture the face crop lies (a spatial transformer, Jaderberg et al. 2015).

    Untrained it says that the whole picture is the crop.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """Build the network.

        Args:
            widths: channels of its convolutions: the first makes one value of 4x4 pixels, the last keeps the size,
                the others halve it.
        """
        super().__init__()
        first, *others, last = widths
        layers = [nn.Conv2d(3, first, 4, 4, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True)]
        for channels, width in itertools.pairwise([first, *others]):
            layers.append(ConvNorm(channels, width, 3, stride=2))
        self.maps = nn.Sequential(*layers, ConvNorm([first, *others][-1], last, 3))
        rows, columns = (math.ceil(size / 4 / 2 ** len(others)) for size in IMAGE_SIZE)
        self.frame = nn.Linear(last * rows * columns, FRAME_SIZE)
        nn.init.zeros_(self.frame.weight)
        nn.init.zeros_(self.frame.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return frames `(N, 4)`, as `framing` describes them, of normalised images `(N, 3, 100, 80)`."""
        return self.frame(self.maps(images).flatten(1))


class PositionPool(nn.Module):
    """A weighted mean over positions, with weights of its own for each channel; untrained, the plain mean.

    Worth having where faces are aligned: what stands at the chin means something else at the hair (the global
    depthwise convolution of MobileFaceNet, Chen et al. 2018).
    """

    def __init__(self, channels: int, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, rows, columns), 1 / (rows * columns)))

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, channels)` of maps `(N, channels, rows, columns)`."""
        return (maps * self.weight).sum(dim=(2, 3))


FINDER_WIDTHS = ((16, 32, 48, 48), (16, 24, 32, 32))
"""Channels of the finder that sees the whole picture, and of the one that sees what the first took for the face."""


class SmallCNN(nn.Module):
    """A small residual network: two strided convolutions, one block a stage, mean over positions, one layer.

    With `find_face` it looks three times: a `FaceFinder` says where the face is, a second one looks there and corrects
    it, and the rest sees that part of the picture, framed like the training pictures, and weighs positions in it. With
    the other defaults: 636 thousand parameters and 24.7 million multiply-adds for a 100x80 picture.
    """

    def __init__(
        self,
        num_classes: int = 2,
        stem_width: int = 16,
        widths: Sequence[int] = (24, 48, 96, 160),
        depth: int = 1,
        dropout: float = 0.1,
        width: int | None = None,
        find_face: bool = False,
    ) -> None:
        """Build the network.

        Args:
            num_classes: number of logits.
            stem_width: channels of the first convolution, at half the size of the picture.
            widths: channels of the stages; the first works at a quarter of the size, each next one at half of
                the one before.
            depth: blocks in each stage.
            dropout: share of the last features zeroed in training.
            width: channels of the first stage, in place of `stem_width` and `widths`; the first convolution and the
                other stages then keep the proportions that they have in the defaults.
            find_face: find the face first, in pictures of 100x80.

        Raises:
            ValueError: `width` is no whole number, 2 or more.
        """
        super().__init__()
        if width is not None:
            if not isinstance(width, int) or width < 2:
                raise ValueError(f"model.width is {width}; expected a whole number, 2 or more")
            stem_width, widths = round(width * 2 / 3), [width, 2 * width, 4 * width, round(width * 20 / 3)]
        self.normalize = Normalize()
        self.finders = nn.ModuleList([FaceFinder(channels) for channels in FINDER_WIDTHS] if find_face else [])
        self.stem = nn.Sequential(ConvNorm(3, stem_width, 3, 2), ConvNorm(stem_width, widths[0], 3, 2))
        blocks, channels = [], widths[0]
        for stage, width in enumerate(widths):
            for index in range(depth):
                blocks.append(ResidualBlock(channels, width, stride=2 if stage > 0 and index == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        rows, columns = (math.ceil(size / 4 / 2 ** (len(widths) - 1)) for size in IMAGE_SIZE)
        self.pool = PositionPool(channels, rows, columns) if find_face else None
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))

    def look(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return features `(N, widths[-1])` of images `(N, 3, H, W)` in 0..255, and the frames that the finders said.

        Each of the frames `(N, 4)` lies in what the frames before it show. They learn from where they should be alone,
        not from the features.
        """
        images = seen = self.normalize(images)
        said: list[Tensor] = []
        frames: Tensor | None = None
        for finder in self.finders:
            said.append(finder(seen))
            latest = limit_frames(said[-1].detach().float())
            frames = latest if frames is None else combine_frames(frames, latest)
            seen = crop_frames(images, frames)
        maps = self.blocks(self.stem(seen))
        return (maps.mean(dim=(2, 3)) if self.pool is None else self.pool(maps)), said

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `(N, num_classes)` of images `(N, 3, H, W)` in 0..255."""
        return self.head(self.look(images)[0])


NETWORKS: dict[str, Callable[..., nn.Module]] = {"smallcnn": SmallCNN, "faceresnet": FaceResNet}
"""Our own networks by name. Any classifier of torchvision is known by its name as well."""


def build_network(name: str, num_classes: int, **arguments: Any) -> nn.Module:
    """Return the network of this name, from `NETWORKS` or torchvision's classifiers.

    Args:
        name: a key of `NETWORKS`, or a name such as `resnet18`.
        num_classes: number of logits.
        **arguments: the network's own arguments; for torchvision also `pretrained`.

    Raises:
        ValueError: the name is unknown, or the network cannot take pictures of 100x80 pixels.
    """
    if name in NETWORKS:
        return NETWORKS[name](num_classes=num_classes, **arguments)
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ValueError(f"no network is called '{name}'; known: {', '.join([*NETWORKS, *known])}")
    network = nn.Sequential(Normalize(), _torchvision_network(name, num_classes, **arguments))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *IMAGE_SIZE))
    except (AssertionError, RuntimeError) as error:
        height, width = IMAGE_SIZE
        raise ValueError(f"'{name}' cannot take pictures of {height}x{width} pixels: {error}") from None
    return network.train()


def _torchvision_network(name: str, num_classes: int, pretrained: bool = False, **arguments: Any) -> nn.Module:
    if name in ("googlenet", "inception_v3"):
        arguments = {"aux_logits": pretrained, "init_weights": not pretrained} | arguments
    if not pretrained:
        return torchvision.models.get_model(name, num_classes=num_classes, **arguments)
    try:
        network = torchvision.models.get_model(name, weights="DEFAULT", **arguments)
    except URLError as error:
        raise ValueError(
            f"the weights of '{name}' cannot be fetched ({error.reason}); set model.pretrained=false"
        ) from None
    _replace_last_linear(network, num_classes)
    network.aux_logits = False
    return network


def _replace_last_linear(network: nn.Module, num_classes: int) -> None:
    layers = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no last linear layer to replace; set model.pretrained=false")
    path, last = layers[-1]
    parent, _, attribute = path.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Linear(last.in_features, num_classes))
