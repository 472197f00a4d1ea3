"""Random changes to a training batch, on the batch's device: framing, light, colour and covered patches."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

MID_GREY = 127.5
"""Pixel value around which contrast changes."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; every picture of a batch gets its own.

    Attributes:
        scale: smallest and largest magnification of the picture, drawn evenly in logarithm.
        aspect: largest stretch of width against height, as a fraction.
        shift: largest shift, as a fraction of height and width.
        rotation: largest tilt to either side, in degrees.
        light: largest change of brightness and of contrast, as a fraction.
        grey: probability of a picture without colour.
        erase: probability of a patch (up to 40 % of height and width) covered by one colour.
    """

    scale: tuple[float, float] = (0.8, 1.25)
    aspect: float = 0.1
    shift: float = 0.1
    rotation: float = 15.0
    light: float = 0.35
    grey: float = 0.1
    erase: float = 0.25

    def __post_init__(self) -> None:
        """Refuse ranges that make no sense."""
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"augmentation.scale is {self.scale}; expected 0 < smallest <= largest")
        for name in ("aspect", "shift", "light", "grey", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation.{name} is {getattr(self, name)}; expected 0 to 1")

    def __call__(self, images: Tensor) -> Tensor:
        """Return a changed copy, float32 `(N, 3, H, W)` in 0..255, of uint8 `(N, 3, H, W)`."""
        count, _, height, width = images.shape
        grid = _sampling_grid(self._draw_maps(count, width / height, images.device), height, width)
        moved = functional.grid_sample(
            images.contiguous().float(), grid, padding_mode="reflection", align_corners=False
        )
        self._erase(moved)
        return self._change_colours(moved)

    def _draw_maps(self, count: int, width_per_height: float, device: torch.device) -> Tensor:
        """Return random affine maps `(N, 2, 3)` from output to input coordinates, both -1..1."""

        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(count, device=device).uniform_(low, high)

        low, high = torch.tensor(self.scale).log().tolist()
        zoom = uniform(low, high).exp()
        stretch = 1 + uniform(-self.aspect, self.aspect)
        angle = torch.deg2rad(uniform(-self.rotation, self.rotation))
        mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
        cosine, sine = angle.cos() / zoom, angle.sin() / zoom
        shift_x, shift_y = uniform(-2, 2) * self.shift, uniform(-2, 2) * self.shift
        row_x = torch.stack([mirror * cosine * stretch, -sine / width_per_height, shift_x], dim=1)
        row_y = torch.stack([mirror * sine * width_per_height * stretch, cosine, shift_y], dim=1)
        return torch.stack([row_x, row_y], dim=1)

    def _change_colours(self, images: Tensor) -> Tensor:
        """Return the pictures with random brightness, contrast and, for some, no colour, in 0..255."""
        shape = (len(images), 1, 1, 1)
        brightness = 1 + torch.empty(shape, device=images.device).uniform_(-self.light, self.light)
        contrast = 1 + torch.empty(shape, device=images.device).uniform_(-self.light, self.light)
        grey = (torch.rand(len(images), device=images.device) < self.grey).nonzero()[:, 0]
        images[grey] = images[grey].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        changed = torch.empty_like(images, memory_format=torch.channels_last)
        return torch.addcmul(MID_GREY * (brightness - contrast), images, contrast, out=changed).clamp_(0, 255)

    def _erase(self, images: Tensor) -> None:
        """Cover a random patch of some pictures with a random colour, in place."""
        chosen = (torch.rand(len(images)) < self.erase).nonzero()[:, 0].tolist()
        for index, (top, left, height, width) in zip(chosen, torch.rand(len(chosen), 4).tolist(), strict=True):
            rows, columns = images.shape[2:]
            box_rows, box_columns = int((0.1 + 0.3 * height) * rows), int((0.1 + 0.3 * width) * columns)
            top, left = int(top * (rows - box_rows)), int(left * (columns - box_columns))
            colour = torch.rand(3, 1, 1, device=images.device) * 255
            images[index, :, top : top + box_rows, left : left + box_columns] = colour


def _sampling_grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Return what `affine_grid(maps, (N, 3, H, W))` returns, `(N, H, W, 2)`, at a fraction of its cost on a CPU."""
    y = (torch.arange(height, device=maps.device) * 2 + 1) / height - 1
    x = (torch.arange(width, device=maps.device) * 2 + 1) / width - 1
    along_y = maps[:, :, 1, None] * y + maps[:, :, 2, None]
    along_x = maps[:, :, 0, None] * x
    return (along_y[:, :, :, None] + along_x[:, :, None, :]).permute(0, 2, 3, 1)
