"""Frames: where in a picture a face crop, framed like the training pictures, lies.

A frame is four numbers `(x, y, log_size, log_aspect)`: the centre, -1..1 from the left and the top edge of the picture
to the others; the logarithm of its height as a share of the picture's; and the logarithm of how much wider the picture
is than high, before it became 100x80. Zeros are the whole picture. Frames stand upright, which lets rows and columns be
resampled by two small matrix products: ONNX Runtime does that several times as fast as its general `GridSample`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

FRAME_SIZE = 4
"""Numbers of a frame."""

_LARGEST = 4.0
"""Largest absolute value of each number of a frame: 54 times the picture's size, or two pictures away."""


def crop_frames(images: Tensor, frames: Tensor, image_size: Sequence[int] | None = None) -> Tensor:
    """Return the contents of frames, interpolated linearly.

    Beyond the picture its edge is repeated.

    Args:
        images: float `(N, 3, H, W)`.
        frames: `(N, 4)`.
        image_size: height and width of the result; None for those of the images. Of a smaller result, each pixel is
            a mean over as many of the picture's as it stands for where the frame is as large as the picture.

    Returns:
        float `(N, 3, *image_size)`.
    """
    height, width = images.shape[2:] if image_size is None else image_size
    x, y, log_size, log_aspect = frames.float().unbind(dim=1)
    columns = _interpolation(x, (log_size - log_aspect).exp(), images.shape[3], width)
    rows = _interpolation(y, log_size.exp(), images.shape[2], height)
    return rows @ (images @ columns.mT)


def _interpolation(centre: Tensor, size: Tensor, count: int, new_count: int) -> Tensor:
    """Return matrices `(N, 1, new_count, count)` that resample lines of pixels to a part of them.

    Args:
        centre: `(N,)`, of the part, in -1..1.
        size: `(N,)`, of the part, as a share of the whole.
        count: pixels of a line.
        new_count: pixels of the resampled line, no more than `count`.
    """
    step = count / new_count
    pixels = torch.arange(count, device=centre.device, dtype=torch.float32)
    steps = (2 * pixels[:new_count] + 1 - new_count) * (step / 2)  # from the middle
    position = centre[:, None] * (count / 2) + size[:, None] * steps + (count - 1) / 2
    distance = (position.clamp(step - 1, count - step) / step**2)[:, :, None] - pixels / step**2
    return functional.relu(1 / step - distance.abs()).unsqueeze(1)


def limit_frames(frames: Tensor) -> Tensor:
    """Return frames `(N, 4)` no larger, smaller or farther away than makes sense.

    A barely trained network can predict values whose exponential overflows.
    """
    return frames.clamp(-_LARGEST, _LARGEST)


def combine_frames(outer: Tensor, inner: Tensor) -> Tensor:
    """Return frames `(N, 4)` relative to the picture, from frames `inner` relative to the frames `outer`."""
    x, y, log_size, log_aspect = outer.unbind(dim=1)
    inner_x, inner_y, inner_log_size, inner_log_aspect = inner.unbind(dim=1)
    x, y = x + (log_size - log_aspect).exp() * inner_x, y + log_size.exp() * inner_y
    return torch.stack([x, y, log_size + inner_log_size, log_aspect + inner_log_aspect], dim=1)


def frames_within(frames: Tensor, outer: Tensor) -> Tensor:
    """Invert `combine_frames`: return `frames`, `(N, 4)`, relative to the frames `outer`."""
    _, _, log_size, log_aspect = outer.unbind(dim=1)
    off_x, off_y, log_zoom, log_stretch = (frames - outer).unbind(dim=1)
    off_x, off_y = off_x * (log_aspect - log_size).exp(), off_y * (-log_size).exp()
    return torch.stack([off_x, off_y, log_zoom, log_stretch], dim=1)


def frame_maps(frames: Tensor, tilt: Tensor) -> Tensor:
    """Return the affine maps `(N, 2, 3)` from coordinates in the crop to those in the picture, both -1..1.

    Args:
        frames: `(N, 4)`.
        tilt: `(N,)`, turn of the crop about its centre, clockwise in radians.
    """
    x, y, log_size, log_aspect = frames.unbind(dim=1)
    size, narrow = log_size.exp(), (log_size - log_aspect).exp()
    row_x = torch.stack([narrow * tilt.cos(), -narrow * tilt.sin(), x], dim=1)
    row_y = torch.stack([size * tilt.sin(), size * tilt.cos(), y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def inverse_maps(maps: Tensor) -> Tensor:
    """Return the inverse maps, `(N, 2, 3)`."""
    (a, b), (c, d) = maps[:, 0, :2].unbind(1), maps[:, 1, :2].unbind(1)
    linear = torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2) / (a * d - b * c).view(-1, 1, 1)
    return torch.cat([linear, -linear @ maps[:, :, 2:]], dim=2)


def sampling_grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Return what `affine_grid(maps, (N, 3, H, W))` returns, `(N, H, W, 2)`, at a fraction of its cost on a CPU."""
    y = (torch.arange(height, device=maps.device) * 2 + 1) / height - 1
    x = (torch.arange(width, device=maps.device) * 2 + 1) / width - 1
    along_y = maps[:, :, 1, None] * y + maps[:, :, 2, None]
    along_x = maps[:, :, 0, None] * x
    return (along_y[:, :, :, None] + along_x[:, :, None, :]).permute(0, 2, 3, 1)
