"""Random changes to a training batch, on the batch's device: framing, surroundings, light, sharpness, patches."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from gender_recognizer.data.settings import AugmentationSettings
from gender_recognizer.models.framing import frame_maps, inverse_maps, sampling_grid

MID_GREY = 127.5
"""Pixel value around which contrast changes."""


class Augmentation(AugmentationSettings):
    """Random changes to a training batch, drawn for each of its pictures."""

    def __call__(self, images: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return changed copies of pictures, and where each original lies in its copy.

        Args:
            images: uint8 `(N, 3, H, W)`; if they are a quarter larger than the result, no sharpness is lost.
            image_size: (height, width) of the result.

        Returns:
            float32 `(N, 3, *image_size)` in 0..255, and frames `(N, 4)` as `framing` describes them.
        """
        images = images.contiguous().float()
        anew = torch.rand(len(images), device=images.device) < self.reframe
        frames, tilt = self._draw_frames(anew)
        grid = sampling_grid(inverse_maps(frame_maps(frames, tilt)), *image_size)
        mirror = torch.where(torch.rand(len(images), device=images.device) < 0.5, -1.0, 1.0)
        source = grid * torch.stack([mirror, torch.ones_like(mirror)], dim=1).view(-1, 1, 1, 2)
        moved = images.new_empty(len(images), 3, *image_size)
        moved[~anew] = functional.grid_sample(
            images[~anew], source[~anew], padding_mode="reflection", align_corners=False
        )
        others = images[anew.nonzero()[:, 0] - 1]
        moved[anew] = self._surround(_soften(images[anew], frames[anew]), others, source[anew], grid[anew])
        self._erase(moved)
        self._blur(moved)
        return self._change_colours(moved), frames

    def _draw_frames(self, anew: Tensor) -> tuple[Tensor, Tensor]:
        """Return random frames `(N, 4)` and turns `(N,)` in radians, from the wide ranges where `anew` `(N,)`."""

        def uniform() -> Tensor:
            return torch.empty(len(anew), device=anew.device).uniform_(-1, 1)

        def scaled(near: Sequence[float], far: Sequence[float]) -> Tensor:
            share = (uniform() + 1) / 2
            return torch.where(anew, far[0] + (far[1] - far[0]) * share, near[0] + (near[1] - near[0]) * share)

        log_size = scaled([math.log(scale) for scale in self.scale], [math.log(scale) for scale in self.reframe_scale])
        log_aspect = scaled((-self.aspect, self.aspect), (-self.reframe_aspect, self.reframe_aspect))
        tilt = torch.deg2rad(scaled((-self.rotation, self.rotation), (-self.reframe_rotation, self.reframe_rotation)))
        room_x, room_y = (anew * (1 - log.exp()).clamp(0) for log in (log_size - log_aspect, log_size))
        x, y = uniform() * (2 * self.shift + room_x), uniform() * (2 * self.shift + room_y)
        return torch.stack([x, y, log_size, log_aspect], dim=1), tilt

    def _surround(self, images: Tensor, others: Tensor, source: Tensor, grid: Tensor) -> Tensor:
        """Return pictures, moved, with other surroundings.

        Their edge is repeated, something else surrounds them, or both are mixed. A sharp border would show where the
        picture is better than the face does: the border is soft and cuts off a random part of the margins.
        """
        near = functional.grid_sample(images, source, padding_mode="border", align_corners=False)
        kind = torch.rand(len(near), device=images.device)
        far = torch.empty_like(near)
        for make, chosen in ((_clouds, kind < 0.2), (_stripes, (kind >= 0.2) & (kind < 0.4)), (_pieces, kind >= 0.4)):
            if chosen.any():
                far[chosen] = make(others[chosen], near.shape[2:])
        continued = torch.empty(len(near), 1, 1, 1, device=images.device).uniform_(-0.5, 1.5).clamp_(0, 1)
        around = torch.lerp(far, near, continued)
        return torch.lerp(around, near, self._draw_masks(grid))

    def _draw_masks(self, grid: Tensor) -> Tensor:
        """Return how much of each pixel `(N, 1, H, W)` is picture, from coordinates `(N, H, W, 2)` in it."""
        count, device = len(grid), grid.device
        centre = torch.empty(count, 1, 1, 2, device=device).uniform_(-0.1, 0.1)
        reach = torch.empty(count, 1, 1, 2, device=device).uniform_(0.8, 1.05) - centre.abs()
        squareness = torch.empty(count, 1, 1, device=device).uniform_(0.3, 1)
        softness = torch.empty(count, 1, 1, device=device).uniform_(0.02, 0.4)
        x, y = ((grid - centre) / reach).abs_().unbind(dim=3)
        distance = torch.lerp(torch.hypot(x, y), torch.maximum(x, y), squareness)
        return ((1 - distance) / softness).clamp_(0, 1).unsqueeze(1)

    def _change_colours(self, images: Tensor) -> Tensor:
        """Return the pictures with random brightness, contrast and, for some, no colour or little light, in 0..255."""
        count, device = len(images), images.device
        brightness = 1 + torch.empty((count, 1, 1, 1), device=device).uniform_(-self.light, self.light)
        contrast = 1 + torch.empty((count, 1, 1, 1), device=device).uniform_(-self.light, self.light)
        grey = (torch.rand(count, device=device) < self.grey).nonzero()[:, 0]
        images[grey] = images[grey].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        changed = torch.empty_like(images, memory_format=torch.channels_last)
        torch.addcmul(MID_GREY * (brightness - contrast), images, contrast, out=changed).clamp_(0, 255)
        noisy, dark = ((torch.rand(count, device=device) < share).nonzero()[:, 0] for share in (self.noise, self.dark))
        changed[dark] *= torch.empty((len(dark), 1, 1, 1), device=device).uniform_(0.2, 0.6)
        spread = torch.empty((len(noisy), 1, 1, 1), device=device).uniform_(0, 20)
        uniform = (
            torch.rand(len(noisy), *images.shape[1:], device=device) - 0.5
        )  # normally distributed numbers take ten times as long
        changed[noisy] += uniform * (spread * math.sqrt(12))
        return changed.clamp_(0, 255)

    def _blur(self, images: Tensor) -> None:
        """Bring some pictures to a lower resolution and back, in place."""
        height, width = images.shape[2:]
        for factor in (2, 3, 5):
            chosen = (torch.rand(len(images), device=images.device) < self.coarse / 3).nonzero()[:, 0]
            if len(chosen):
                small = functional.interpolate(images[chosen], (height // factor, width // factor), mode="area")
                images[chosen] = functional.interpolate(small, (height, width), mode="bilinear")

    def _erase(self, images: Tensor) -> None:
        """Cover a random patch of some pictures with a random colour, in place."""
        chosen = (torch.rand(len(images)) < self.erase).nonzero()[:, 0].tolist()
        for index, (top, left, height, width) in zip(chosen, torch.rand(len(chosen), 4).tolist(), strict=True):
            rows, columns = images.shape[2:]
            box_rows, box_columns = int((0.1 + 0.3 * height) * rows), int((0.1 + 0.3 * width) * columns)
            top, left = int(top * (rows - box_rows)), int(left * (columns - box_columns))
            colour = torch.rand(3, 1, 1, device=images.device) * 255
            images[index, :, top : top + box_rows, left : left + box_columns] = colour


def _soften(images: Tensor, frames: Tensor) -> Tensor:
    """Return pictures, those that will become much smaller blurred against aliasing."""
    small = frames[:, 2] < math.log(0.65)
    softened = images.clone()
    half = functional.avg_pool2d(images[small], 2)
    softened[small] = functional.interpolate(half, images.shape[2:], mode="bilinear")
    return softened


def _pieces(images: Tensor, image_size: Sequence[int]) -> Tensor:
    """Return magnified pieces of pictures `(N, 3, H, W)`, float `(N, 3, *image_size)`."""
    count, device = len(images), images.device
    zoom = torch.empty(count, 1, 1, device=device).uniform_(0.08, 0.5)
    corner = torch.empty(count, 2, 1, device=device).uniform_(-1, 1) * (1 - zoom)
    maps = torch.cat([torch.eye(2, device=device) * zoom, corner], dim=2)
    grid = sampling_grid(maps, *image_size)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _clouds(images: Tensor, image_size: Sequence[int]) -> Tensor:
    """Return smooth gradients of random colours, float `(N, 3, *image_size)`."""
    cells = int(torch.randint(2, 24, ()))
    colours = torch.rand(len(images), 3, cells, cells, device=images.device) * 255
    return functional.interpolate(colours, tuple(image_size), mode="bilinear")


def _stripes(images: Tensor, image_size: Sequence[int]) -> Tensor:
    """Return stripes of two random colours, float `(N, 3, *image_size)`."""
    count, (height, width) = len(images), image_size
    angle, thickness = torch.rand(2, count, 1, 1, 1, device=images.device)
    y = torch.arange(height, device=images.device).view(-1, 1) / height
    x = torch.arange(width, device=images.device) / height
    along = (x * torch.cos(math.pi * angle) + y * torch.sin(math.pi * angle)) / (0.03 + 0.3 * thickness)
    first, second = torch.rand(2, count, 3, 1, 1, device=images.device) * 255
    return torch.where(along.frac().abs() < 0.5, first, second)
