import math

import pytest
import torch
from torch.nn import functional

from gender_recognizer.models.framing import (
    combine_frames,
    crop_frames,
    frame_maps,
    frames_within,
    inverse_maps,
    sampling_grid,
)


def random_frames(count=6):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 4, generator=generator) - 0.5) * torch.tensor([1.0, 1.0, 1.5, 0.8])


def test_grid_equals_torchs():
    maps = torch.randn(5, 2, 3)
    expected = functional.affine_grid(maps, (5, 3, 100, 80), align_corners=False)
    assert torch.allclose(sampling_grid(maps, 100, 80), expected, atol=1e-5)


def test_zeros_are_the_whole_picture():
    images = torch.rand(2, 3, 100, 80) * 255
    assert torch.allclose(crop_frames(images, torch.zeros(2, 4)), images, atol=1e-2)


def test_crops_equal_those_of_torchs_general_sampling():
    images, frames = torch.rand(6, 3, 100, 80) * 255, random_frames()
    grid = sampling_grid(frame_maps(frames, torch.zeros(6)), 100, 80)
    expected = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    assert torch.allclose(crop_frames(images, frames), expected, atol=0.01)


def test_smaller_crops_are_means_of_the_picture():
    images = torch.rand(2, 3, 100, 80) * 255
    halved = crop_frames(images, torch.zeros(2, 4), (50, 40))
    expected = functional.interpolate(images, (50, 40), mode="bilinear", antialias=True)
    assert torch.allclose(halved[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=0.01)


def test_smaller_crops_repeat_the_edge_beyond_the_picture():
    plain = torch.full((6, 3, 100, 80), 7.0)
    assert torch.allclose(crop_frames(plain, 3 * random_frames(), (50, 40)), torch.tensor(7.0))


def test_inverse_leads_back():
    maps = frame_maps(random_frames(), torch.linspace(-0.6, 0.6, 6))
    square = torch.cat([maps, torch.tensor([0.0, 0.0, 1.0]).expand(6, 1, 3)], dim=1)
    back = torch.cat([inverse_maps(maps), torch.tensor([0.0, 0.0, 1.0]).expand(6, 1, 3)], dim=1)
    assert torch.allclose(square @ back, torch.eye(3).expand(6, 3, 3), atol=1e-5)


def test_a_frame_is_centre_height_aspect_and_turn():
    frame = torch.tensor([[0.2, -0.4, math.log(0.5), math.log(2.0)]])
    corners = torch.tensor([[-1.0, -1.0, 1.0], [1.0, 1.0, 1.0]]).T
    left_top, right_bottom = (frame_maps(frame, torch.zeros(1))[0] @ corners).T
    assert left_top.tolist() == pytest.approx([0.2 - 0.25, -0.4 - 0.5])  # half as high; half that again in width
    assert right_bottom.tolist() == pytest.approx([0.2 + 0.25, -0.4 + 0.5])


def test_a_turn_keeps_shapes_in_the_picture_as_it_was_before_its_squeeze():
    frame = torch.tensor([[0.0, 0.0, 0.0, math.log(1.6)]])
    linear = (
        torch.diag(torch.tensor([1.6, 1.0])) @ frame_maps(frame, torch.tensor([0.5]))[0, :, :2]
    )  # to units of half its height
    assert torch.allclose(linear @ linear.T, torch.eye(2), atol=1e-6)
    assert torch.atan2(linear[1, 0], linear[0, 0]).item() == pytest.approx(0.5)


def test_a_frame_in_what_a_frame_shows_is_a_frame_of_the_picture():
    outer, inner = random_frames(), random_frames().flip(0)
    upright = torch.zeros(6)
    square = torch.tensor([0.0, 0.0, 1.0]).expand(6, 1, 3)
    expected = frame_maps(outer, upright) @ torch.cat([frame_maps(inner, upright), square], dim=1)
    assert torch.allclose(frame_maps(combine_frames(outer, inner), upright), expected, atol=1e-5)


def test_frames_within_undoes_combining():
    outer, inner = random_frames(), random_frames().flip(0)
    assert torch.allclose(frames_within(combine_frames(outer, inner), outer), inner, atol=1e-5)
