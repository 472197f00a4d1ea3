import math

import pytest
import torch
from torch.nn import functional

from gender_recognizer.augment import Augmentation, _sampling_grid

NOTHING = Augmentation(scale=(1, 1), aspect=0, shift=0, rotation=0, light=0, grey=0, erase=0)


@pytest.fixture
def images():
    return torch.randint(0, 256, (16, 3, 100, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_gives_float_pixels_in_range_and_leaves_its_input_alone(images):
    before = images.clone()
    changed = Augmentation()(images)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert 0 <= changed.min() < changed.max() <= 255
    assert torch.equal(images, before)


def test_without_ranges_a_picture_stays_or_is_mirrored(images):
    changed = NOTHING(images)
    stays = [torch.allclose(new, old.float(), atol=0.01) for new, old in zip(changed, images, strict=True)]
    mirrored = [torch.allclose(new, old.flip(2).float(), atol=0.01) for new, old in zip(changed, images, strict=True)]
    assert all(one or other for one, other in zip(stays, mirrored, strict=True))
    assert any(stays)
    assert any(mirrored)


def test_same_seed_same_changes_and_each_picture_its_own(images):
    same = images[:1].expand(4, -1, -1, -1)
    torch.manual_seed(3)
    first = Augmentation()(same)
    torch.manual_seed(3)
    assert torch.equal(first, Augmentation()(same))
    assert not torch.equal(first[0], first[1])


def test_grid_equals_torchs():
    maps = torch.randn(5, 2, 3)
    expected = functional.affine_grid(maps, (5, 3, 100, 80), align_corners=False)
    assert torch.allclose(_sampling_grid(maps, 100, 80), expected, atol=1e-5)


def test_rotation_and_scale_keep_shapes_in_pixels():
    maps = Augmentation(scale=(0.5, 0.5), aspect=0, rotation=25)._draw_maps(50, 80 / 100, torch.device("cpu"))
    to_pixels = torch.diag(torch.tensor([80.0, 100.0]))
    linear = to_pixels @ maps[:, :, :2] @ to_pixels.inverse()
    assert torch.allclose(linear @ linear.transpose(1, 2), 4 * torch.eye(2).expand(50, 2, 2), atol=1e-4)
    angles = torch.atan2(linear[:, 0, 1], linear[:, 1, 1]).abs()
    assert math.radians(15) < angles.max() <= math.radians(25) + 1e-6


def test_shift_is_a_fraction_of_the_picture():
    maps = Augmentation(shift=0.2)._draw_maps(500, 0.8, torch.device("cpu"))
    assert 0.35 < maps[:, :, 2].abs().max() <= 0.4  # the picture is 2 wide in these coordinates


def test_erased_patch_has_one_colour(images):
    moved = images.float()
    Augmentation(erase=1.0)._erase(moved)
    for new, old in zip(moved, images, strict=True):
        rows, columns = (new != old).any(dim=0).nonzero().T
        patch = new[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert 10 <= patch.shape[1] <= 40
        assert 8 <= patch.shape[2] <= 32
        assert (patch == patch[:, :1, :1]).all()


@pytest.mark.parametrize("options", [{"scale": (0, 1)}, {"scale": (1.2, 0.8)}, {"grey": 1.5}, {"shift": -0.1}])
def test_ranges_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=f"augmentation.{next(iter(options))} is .*; expected"):
        Augmentation(**options)
