"""The small network that labels by default: it finds the face, then classifies that part of the picture."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gender_recognizer.models.base import FaceNetwork, Normalize, Seen
from gender_recognizer.models.first_look import FirstLook
from gender_recognizer.models.framing import FRAME_SIZE, combine_frames, crop_frames, limit_frames
from gender_recognizer.pictures.loading import IMAGE_SIZE


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation and, by default, ReLU."""

    def __init__(self, channels: int, out_channels: int, size: int, stride: int = 1, relu: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(channels, out_channels, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class ChannelGate(nn.Module):
    """Weighs channels by what the whole picture shows (squeeze-and-excitation, Hu et al. 2018); untrained, alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Linear(channels // 4, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.gate = nn.Sequential(nn.Linear(channels, channels // 4), nn.ReLU(inplace=True), last, nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps `(N, channels, H, W)`, each channel times 0 to 2."""
        return maps * (2 * self.gate(maps.mean(dim=(2, 3))))[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016); the shortcut averages where it halves the size."""

    def __init__(self, channels: int, out_channels: int, stride: int, gate: bool = False) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            ConvNorm(channels, out_channels, 3, stride), ConvNorm(out_channels, out_channels, 3, relu=False)
        )
        self.gate: nn.Module = ChannelGate(out_channels) if gate else nn.Identity()
        self.averages = stride > 1
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out_channels:
            # There is no padding to count; told to count it, ONNX Runtime takes five times as long.
            pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if self.averages else nn.Identity()
            self.shortcut = nn.Sequential(pool, ConvNorm(channels, out_channels, 1, relu=False))

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, out_channels, H / stride, W / stride)`."""
        return nn.functional.relu(self.gate(self.branch(maps)) + self.shortcut(maps))


class FaceFinder(nn.Module):
    """A tiny network that finds where in a picture the face crop lies (a spatial transformer, Jaderberg et al. 2015).

    Untrained, it predicts the whole picture.
    """

    def __init__(self, widths: Sequence[int], halved: bool = False) -> None:
        """Build the network.

        Args:
            widths: channels of its convolutions: the first makes one value of 4x4 pixels, the last keeps the size,
                the others halve it.
            halved: the pictures have half the height and width; the first convolution then takes 2x2 pixels.
        """
        super().__init__()
        first, *others, last = widths
        step = 2 if halved else 4
        self.image_size = tuple(size * step // 4 for size in IMAGE_SIZE)
        layers: list[nn.Module] = [nn.Conv2d(3, first, step, step, bias=False)]
        layers += [nn.BatchNorm2d(first), nn.ReLU(inplace=True)]
        for channels, width in itertools.pairwise([first, *others]):
            layers.append(ConvNorm(channels, width, 3, stride=2))
        self.maps = nn.Sequential(*layers, ConvNorm([first, *others][-1], last, 3))
        rows, columns = (math.ceil(size / 4 / 2 ** len(others)) for size in IMAGE_SIZE)
        self.frame = nn.Linear(last * rows * columns, FRAME_SIZE)
        nn.init.zeros_(self.frame.weight)
        nn.init.zeros_(self.frame.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return frames `(N, 4)`, as `framing` describes them, of normalised images `(N, 3, 100, 80)`, or of 50x40."""
        return self.frame(self.maps(images).flatten(1))


class PositionPool(nn.Module):
    """A weighted mean over positions, with weights of its own for each channel; untrained, the plain mean.

    Useful where faces are aligned: the same feature means something different at the chin and at the hair (the global
    depthwise convolution of MobileFaceNet, Chen et al. 2018).
    """

    def __init__(self, channels: int, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, rows, columns), 1 / (rows * columns)))

    def forward(self, maps: Tensor) -> Tensor:
        """Return `(N, channels)` of maps `(N, channels, rows, columns)`."""
        return (maps * self.weight).sum(dim=(2, 3))


_MAX_DEPTH = 100
"""Most blocks in a stage, more than anything needs; a file may ask for any number."""

FINDER_WIDTHS = ((16, 32, 48, 48), (16, 24, 32, 32))
"""Channels of the finder that sees the whole picture, and of the one that sees the part that the first found."""


class SmallCNN(FaceNetwork):
    """A small residual network: two strided convolutions, one block a stage, mean over positions, one layer.

    With `find_face` and `detector`, a pretrained face detector finds the main face, a `FaceFinder` corrects its frame,
    and the rest sees that part of the picture, framed like the training pictures, and weights its positions. With the
    defaults of `model=smallcnn`: 724 thousand parameters and 30.0 million multiply-adds for a 100x80 picture.
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
        detector: bool = False,
        gates: bool = False,
        last_width: int | None = None,
        halved_finder: bool = False,
    ) -> None:
        """Build the network.

        Args:
            num_classes: number of logits.
            stem_width: channels of the first convolution, at half the size of the picture.
            widths: channels of the stages; the first works at a quarter of the size, each next one at half of
                the one before.
            depth: blocks in each stage.
            dropout: share of the last features zeroed in training.
            width: channels of the first stage, in place of `stem_width` and `widths`; the first convolution, the other
                stages and `last_width`, if there is one, then keep the proportions that they have in `model=smallcnn`.
            find_face: find the face first, in pictures of 100x80.
            detector: find it with a pretrained face detector, which also tells whether there is one; False, as in
                files of version 0.1.0, for a `FaceFinder`.
            gates: weigh the channels of each block by what the whole picture shows.
            last_width: channels of a last convolution of 1x1, before the mean over positions; None for none.
            halved_finder: the finder behind a detector sees its part of the picture at half the height and width.

        Raises:
            ValueError: `width` is not a whole number, 2 or more, `depth` not one from 1 to 100, or `last_width` not one
                from 1 on.
        """
        super().__init__()
        if not isinstance(depth, int) or not 1 <= depth <= _MAX_DEPTH:
            raise ValueError(f"model.depth is {depth}; expected 1 to {_MAX_DEPTH} blocks in a stage")
        if width is not None:
            if not isinstance(width, int) or width < 2:
                raise ValueError(f"model.width is {width}; expected a whole number, 2 or more")
            stem_width, widths = round(width * 2 / 3), [width, 2 * width, 4 * width, round(width * 20 / 3)]
            last_width = last_width and 16 * width
        if last_width is not None and (not isinstance(last_width, int) or last_width < 1):
            raise ValueError(f"model.last_width is {last_width}; expected a whole number, 1 or more, or null")
        self.normalize = Normalize()
        self.looks_for_faces = find_face and detector
        self.look = FirstLook() if self.looks_for_faces else None
        widths_of_finders = FINDER_WIDTHS[1:] if self.looks_for_faces else FINDER_WIDTHS
        halved = halved_finder and self.looks_for_faces
        self.finders = nn.ModuleList(FaceFinder(channels, halved) for channels in widths_of_finders if find_face)
        self.stem = nn.Sequential(ConvNorm(3, stem_width, 3, 2), ConvNorm(stem_width, widths[0], 3, 2))
        blocks: list[nn.Module] = []
        channels = widths[0]
        for stage, stage_width in enumerate(widths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(ResidualBlock(channels, stage_width, stride, gates))
                channels = stage_width
        if last_width is not None:
            blocks.append(ConvNorm(channels, last_width, 1))
            channels = last_width
        self.blocks = nn.Sequential(*blocks)
        rows, columns = (math.ceil(size / 4 / 2 ** (len(widths) - 1)) for size in IMAGE_SIZE)
        self.pool = PositionPool(channels, rows, columns) if find_face else None
        self.num_features = channels
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))

    def forward_features(self, images: Tensor) -> Seen:
        """Return what it sees in images `(N, 3, H, W)` in 0..255: features `(N, widths[-1])`, frames, face scores.

        The finders learn only from the true frames, not from the features.
        """
        start = frames = scores = None
        normal = self.normalize(images)
        if self.look is not None:
            start, scores = self.look(images)
            frames = start
        steps: list[Tensor] = []
        for finder in self.finders:
            assert isinstance(finder, FaceFinder)
            steps.append(finder(normal if frames is None else crop_frames(normal, frames, finder.image_size)))
            latest = limit_frames(steps[-1].detach().float())
            frames = latest if frames is None else combine_frames(frames, latest)
        seen = normal if frames is None else crop_frames(normal, frames)
        maps = self.blocks(self.stem(seen))
        features = maps.mean(dim=(2, 3)) if self.pool is None else self.pool(maps)
        return Seen(features, steps, start, frames, scores)

    def find_faces(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames `(N, 4)` of the first look at images, and face scores `(N,)`, where it looks for faces."""
        assert self.look is not None  # see `looks_for_faces`
        return self.look(images)

    def exact_parts(self) -> list[str]:
        """Return the detector, the finders and the shortcuts that average.

        Errors of finders would move everything that follows. ONNX Runtime 1.32 computes a convolution behind a mean
        over positions differently at the edges when it is quantised.
        """
        averages = [getattr(block, "averages", False) for block in self.blocks]
        shortcuts = [f"blocks.{index}.shortcut" for index, average in enumerate(averages) if average]
        return [*(["look"] if self.looks_for_faces else []), "finders", *shortcuts]
