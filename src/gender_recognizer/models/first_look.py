"""The face detector inside a network: where the main face of a thumbnail is, and how sure that is.

It is YuNet (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023) with the weights 2023mar of
OpenCV's model zoo (MIT licence), on nothing but the 100x80 thumbnail that the network labels. Of its three grids only
the finest is used: at this size it finds 99.6 % of FairFace's validation pictures (every third, score 0.5 or more), the
other two alone 25 %.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from gender_recognizer.models.detector import MIN_LOOK_SCORE, OUTPUTS, WEIGHTS
from gender_recognizer.pictures.loading import IMAGE_SIZE

CELL = 8
"""Distance in pixels of the cells of the finest grid."""

MARGIN = 2
"""Rows of black above and below the picture: 104 rows are 13 cells. Without them fewer faces at the edge are found."""

FACE_SCALE = 1.2
"""Side of the frame, as a share of the square root of the area of the detector's box.

On every twentieth picture of FairFace's training part the true side is 1.13 of this root. A little more keeps the hair
and chin in view of what corrects the frame: 90.3 % of FairFace's validation pictures were right with 1.2, 89.7 with
1.13, 90.3 with 1.3, 89.9 with 1.4 (every third picture; the second finder and classifier of commit 25f6a1b)."""

GREY_TINT = (1.1, 0.95, 0.8)
"""Factors of red, green and blue in pictures without colour, as in a sepia print: the detector learned from skin.

Of 2,000 of FairFace's training pictures without colour it finds 99.0 instead of 96.4 % with a score of 0.5 or more, of
the pictures of cats without colour 2.4 instead of 0.3 %, of the scenes 0.8 instead of 0 %. With (1.2, 0.9, 0.7) that
would be 99.7, 8.1 and 2.6 %."""

_COLOURFUL = 8.0
"""Mean difference of red and blue from which on a picture is not tinted at all."""

_STAGES = ((16, 16, 32), (32, 32, 64), (64, 64, 64), (64, 64, 64), (64, 64, 64))
"""Channels of the convolutions of each stage; each but the second begins at half the size of the one before."""

_OTHERS = 4
"""Convolutions at the end of the file that are not used: those of the outputs of the two coarser grids."""


class _BlueFirst(nn.Conv2d):
    """A convolution of RGB images whose weights are for BGR: turning the weights costs less than turning pictures."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps of images `(N, 3, H, W)`."""
        return self._conv_forward(images, self.weight.flip(1), self.bias)


class _Separable(nn.Sequential):
    """A convolution over channels and one over positions, and ReLU."""

    def __init__(self, channels: int, out_channels: int, relu: bool = True) -> None:
        over_channels = nn.Conv2d(channels, out_channels, 1)
        over_positions = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels)
        super().__init__(over_channels, over_positions, *([nn.ReLU(inplace=True)] if relu else []))


class FirstLook(nn.Module):
    """Finds the main face in thumbnails. Its weights are pretrained, and not trained further."""

    def __init__(self) -> None:
        """Build the network with the bundled weights."""
        super().__init__()
        self.stem = nn.Sequential(_BlueFirst(3, 16, 3, 2, 1), nn.ReLU(inplace=True), _Separable(16, 16))
        stages = (nn.Sequential(*(_Separable(*pair) for pair in pairwise(widths))) for widths in _STAGES)
        self.stages = nn.ModuleList(stages)
        self.joins = nn.ModuleList(_Separable(64, 64) for _ in range(3))
        self.outputs = _Separable(64, sum(OUTPUTS), relu=False)
        self._load_weights()
        self.requires_grad_(False)

    def _load_weights(self) -> None:
        """Take the weights from the bundled file, in which the convolutions have the order of this module's."""
        import onnx

        graph = onnx.load(WEIGHTS).graph
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        sources = [node.input[1:] for node in graph.node if node.op_type == "Conv"][:-_OTHERS]
        own = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        for module, names in zip(own, sources, strict=True):
            for parameter, name in zip(module.parameters(), names, strict=True):
                parameter.data.copy_(torch.from_numpy(arrays[name].copy()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the main face is, and the score of being one.

        Of several faces the main one is large, near the middle and has a high score. The frame is a mean over the cells
        that see the same face: their errors differ.

        Args:
            images: `(N, 3, 100, 80)` in 0..255.

        Returns:
            frames `(N, 4)` as `framing` describes them, zeros where no face is found; scores `(N,)` in [0, 1].
        """
        with torch.autocast(images.device.type, enabled=False):
            scores, places = self._cells(_tint(images.float()))
        best = _ranks(scores, places).argmax(dim=1, keepdim=True)
        score = scores.gather(1, best)
        main = places.gather(1, best.unsqueeze(2).expand(-1, -1, 3))
        share = scores**2 * _likeness(places, main)
        # A product of matrices: ONNX Runtime sums a single picture's cells in another order than those of several.
        sums = (share.unsqueeze(1) @ functional.pad(places, (0, 1), value=1.0))[:, 0]
        place = sums[:, :3] / sums[:, 3:].clamp(1e-6)
        frames = functional.pad(place, (0, 1))  # the aspect stays that of the picture
        return torch.where(score >= MIN_LOOK_SCORE, frames, 0.0), score[:, 0]

    def _cells(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores `(N, cells)`, and centres and logarithms of sizes as in frames, `(N, cells, 3)`."""
        maps = self._maps(functional.pad(images, (0, 0, MARGIN, MARGIN)))
        face, box, item, points = self.outputs(maps).split(OUTPUTS, dim=1)
        scores = (face.sigmoid() * item.sigmoid()).sqrt().flatten(1)
        height, width = IMAGE_SIZE
        rows, columns = (torch.arange(size, device=maps.device) * CELL for size in maps.shape[2:])
        eyes_and_mouth = points.unflatten(1, (5, 2))[:, [0, 1, 3, 4]].mean(dim=1) * CELL
        x = (eyes_and_mouth[:, 0] + columns) * (2 / width) - 1
        y = (eyes_and_mouth[:, 1] + rows[:, None] - MARGIN) * (2 / height) - 1
        log_area = box[:, 2] + box[:, 3] + math.log(CELL**2 / (height * width))
        places = torch.stack([x, y, log_area / 2 + math.log(FACE_SCALE)], dim=3)
        return scores, places.flatten(1, 2)

    def _maps(self, images: Tensor) -> Tensor:
        """Return features of the cells, `(N, 64, H / 8, W / 8)`, of images."""
        maps, by_size = self.stem(images), []
        for index, stage in enumerate(self.stages):
            maps = stage(maps if index == 1 else functional.max_pool2d(maps, 2, ceil_mode=True))
            by_size.append(maps)
        maps = self.joins[0](by_size[-1])
        for join, finer in zip(self.joins[1:], by_size[-2:-4:-1], strict=True):
            larger = functional.interpolate(maps, scale_factor=2.0, mode="nearest")
            maps = join(finer + larger[:, :, : finer.shape[2], : finer.shape[3]])
        return maps


def join_outputs(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a network with a `look`, its outputs joined: each had its own until commit 0dd805a.

    Raises:
        KeyError: an output is missing.
        RuntimeError: their shapes do not fit together.
    """
    joined = dict(weights)
    for name in [name for name in weights if name.startswith("look.outputs.0.") and name.count(".") == 4]:
        parts = [joined.pop(name.replace(".0.", f".{kind}.", 1)) for kind in range(len(OUTPUTS))]
        joined[name.replace(".0.", ".", 1)] = torch.cat(parts)
    return joined


def _tint(images: Tensor) -> Tensor:
    """Return images `(N, 3, H, W)` in 0..255, those without colour tinted."""
    few = images[:, :, ::4, ::4]
    colour = (few[:, 0] - few[:, 2]).abs().mean(dim=(1, 2))
    missing = (1 - colour / _COLOURFUL).clamp(0, 1)
    tint = images.new_tensor(GREY_TINT) - 1
    return images * (1 + missing[:, None] * tint)[:, :, None, None]


def _ranks(scores: Tensor, places: Tensor) -> Tensor:
    """Return how much each cell's face looks like the main one, `(N, cells)`: by score, size and place."""
    x, y, log_size = places.unbind(dim=2)
    return scores**4 * log_size.exp() * (1 - (x**2 + y**2) / 4).clamp(min=0.1)


def _likeness(places: Tensor, main: Tensor) -> Tensor:
    """Return how much faces `(N, cells, 3)` are the same as others `(N, 1, 3)`: 1 the same, 0 another one."""
    away = (places[:, :, :2] - main[:, :, :2]).abs().sum(dim=2) / main[:, :, 2].exp()
    return (1 - away - (places[:, :, 2] - main[:, :, 2]).abs()).clamp(min=0)
