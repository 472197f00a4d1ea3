import math

import pytest
import torch

from gender_recognizer.data.augment import Augmentation
from gender_recognizer.models.framing import crop_frames

SIZE = (100, 80)
FRAMING = {"scale": (1, 1), "aspect": 0, "shift": 0, "rotation": 0, "reframe": 0}
LOOKS = {"light": 0, "dark": 0, "grey": 0, "coarse": 0, "noise": 0, "erase": 0}
NOTHING = Augmentation(**FRAMING, **LOOKS)


def smooth_images(count):
    """Return pictures whose pixels change slowly, so that resampling loses little, uint8 `(count, 3, 100, 80)`."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, 256, (count, 3, 5, 4), generator=generator).float()
    return torch.nn.functional.interpolate(coarse, (100, 80), mode="bicubic").clamp(0, 255).byte()


@pytest.fixture
def images():
    return torch.randint(0, 256, (16, 3, 100, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_gives_float_pixels_in_range_and_leaves_its_input_alone(images):
    before = images.clone()
    changed = Augmentation()(images, SIZE)[0]
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert 0 <= changed.min() < changed.max() <= 255
    assert torch.equal(images, before)


def test_larger_pictures_become_as_sharp_as_those_that_are_loaded():
    """Stripes, tilted a little: they lose a fifth of their contrast if the pictures were no larger before."""
    large = (torch.arange(100) // 2.5 % 2 * 255).byte().expand(64, 3, 125, 100)
    small = torch.nn.functional.interpolate(large.float(), (100, 80), mode="bilinear", antialias=True).byte()
    tilted = Augmentation(**FRAMING | {"rotation": 10}, **LOOKS)
    of_large, of_small = (tilted(pictures, SIZE)[0].std(dim=(2, 3)).mean() for pictures in (large, small))
    loaded = small.float().std(dim=(2, 3)).mean()
    assert of_small < 0.95 * loaded < of_large


@pytest.mark.parametrize("size", [(128, 128), (64, 96)])
def test_pictures_of_any_size_are_changed(size):
    images = torch.randint(0, 256, (16, 3, *(5 * side // 4 for side in size)), dtype=torch.uint8)
    every = dict.fromkeys(("dark", "grey", "coarse", "noise", "erase"), 1.0)
    changed, frames = Augmentation(reframe=1.0, **every)(images, size)
    assert changed.shape == (16, 3, *size)
    assert frames.shape == (16, 4)
    assert 0 <= changed.min() < changed.max() <= 255


def test_without_ranges_a_picture_stays_or_is_mirrored(images):
    changed, frames = NOTHING(images, SIZE)
    assert torch.equal(frames, torch.zeros(16, 4))
    stays = [torch.allclose(new, old.float(), atol=0.01) for new, old in zip(changed, images, strict=True)]
    mirrored = [torch.allclose(new, old.flip(2).float(), atol=0.01) for new, old in zip(changed, images, strict=True)]
    assert all(one or other for one, other in zip(stays, mirrored, strict=True))
    assert any(stays)
    assert any(mirrored)


def test_same_seed_same_changes_and_each_picture_its_own(images):
    same = images[:1].expand(4, -1, -1, -1)
    torch.manual_seed(3)
    first = Augmentation()(same, SIZE)[0]
    torch.manual_seed(3)
    assert torch.equal(first, Augmentation()(same, SIZE)[0])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("reframe", [0.0, 1.0])
def test_frames_say_where_the_picture_went(reframe):
    images = smooth_images(64)
    upright = {"rotation": 0, "reframe_rotation": 0}
    changed, frames = Augmentation(reframe=reframe, **LOOKS, **upright)(images, SIZE)
    seen = crop_frames(changed, frames)
    ways = torch.stack([images.float(), images.float().flip(3)])
    middle = (ways - seen).abs()[:, :, :, 35:65, 28:52].mean(dim=(2, 3, 4))  # of which no mask cuts anything off
    visible = frames[:, :2].abs().amax(dim=1) < 0.5
    assert visible.sum() > 20
    assert middle.min(dim=0).values[visible].median() < 6
    assert middle.max(dim=0).values.median() > 20  # the other way round does not fit: the test can fail


def test_ranges_are_kept_and_used():
    options = {"scale": (0.9, 1.1), "reframe_scale": (0.4, 1.5), "rotation": 10, "reframe_rotation": 25}
    anew = torch.arange(2000) % 2 == 0
    frames, tilts = Augmentation(**options)._draw_frames(anew)
    for chosen, low, high, degrees in ((~anew, 0.9, 1.1, 10), (anew, 0.4, 1.5, 25)):
        sizes, turned = frames[chosen, 2].exp(), tilts[chosen].abs()
        assert low - 1e-5 <= sizes.min() < low * 1.05
        assert high * 0.95 < sizes.max() <= high + 1e-5
        assert math.radians(0.9 * degrees) < turned.max() <= math.radians(degrees) + 1e-5


def test_shift_is_a_fraction_of_the_picture_and_small_ones_go_anywhere_they_fit():
    augmentation = Augmentation(shift=0.2, aspect=0.0, reframe_aspect=0.0)
    frames, _ = augmentation._draw_frames(torch.zeros(500, dtype=torch.bool))
    assert 0.35 < frames[:, :2].abs().max() <= 0.4  # the picture is 2 wide in these coordinates
    frames, _ = augmentation._draw_frames(torch.ones(5000, dtype=torch.bool))
    reach = frames[:, :2].abs() + frames[:, 2:3].exp() - 1
    small = frames[:, 2] < math.log(0.6)
    assert 0.3 < reach[small].max() <= 0.4 + 1e-5


def test_surroundings_are_new_and_have_no_line_around_the_picture():
    images = torch.stack([torch.full((3, 100, 80), 40), torch.full((3, 100, 80), 200)]).byte().repeat(16, 1, 1, 1)
    augmentation = Augmentation(reframe=1.0, reframe_scale=(0.5, 0.5), **LOOKS)
    changed = augmentation(images, SIZE)[0]
    both = (changed.amax(dim=(1, 2, 3)) > 150) & (changed.amin(dim=(1, 2, 3)) < 90)
    assert 5 < both.sum() < 32  # most have some of another picture, some continue their own


def test_dark_and_coarse_pictures(images):
    dark = Augmentation(**FRAMING, **LOOKS | {"dark": 1.0})(images, SIZE)[0]
    shares = dark.mean(dim=(1, 2, 3)) / images.float().mean(dim=(1, 2, 3))
    assert ((shares > 0.15) & (shares < 0.65)).all()
    moved = Augmentation(**FRAMING, **LOOKS | {"coarse": 1.0})(images, SIZE)[0]
    assert (moved.diff(dim=3).abs().mean(dim=(1, 2, 3)) < 40).float().mean() > 0.5  # of noise, 85 before


def test_erased_patch_has_one_colour(images):
    changed = Augmentation(**FRAMING, **LOOKS | {"erase": 1.0})(images, SIZE)[0]
    for new, picture in zip(changed, images.float(), strict=True):
        old = min(picture, picture.flip(2), key=lambda side: (new - side).abs().mean())  # it may be mirrored
        rows, columns = ((new - old).abs() > 0.01).any(dim=0).nonzero().T
        patch = new[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert 10 <= patch.shape[1] <= 40
        assert 8 <= patch.shape[2] <= 32
        assert (patch == patch[:, :1, :1]).all()


@pytest.mark.parametrize("options", [{"scale": (0, 1)}, {"scale": (1.2, 0.8)}, {"grey": 1.5}, {"shift": -0.1}])
def test_ranges_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=f"augmentation.{next(iter(options))} is .*; expected"):
        Augmentation(**options)


def test_noise_has_the_spread_that_it_names():
    images = torch.full((400, 3, 100, 80), 127, dtype=torch.uint8)
    changed = Augmentation(**FRAMING, **LOOKS | {"noise": 1.0})(images, SIZE)[0]
    spreads = (changed - 127).std(dim=(1, 2, 3))
    assert 17 < spreads.max() < 20.5
    assert spreads.min() < 3
    assert abs(changed.mean() - 127) < 0.1
