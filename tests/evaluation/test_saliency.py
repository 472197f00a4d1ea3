import numpy as np
from conftest import Redness

from gender_recognizer.evaluation.saliency import overlay, saliency_maps


def test_what_speaks_for_a_class_is_found():
    images = np.full((2, 100, 80, 3), 127, np.uint8)
    images[0, 20:60, 10:40, 0] = 255  # the only red there is
    maps = saliency_maps(Redness(), images, np.array([0, 1]))
    assert maps.shape == (2, 100, 80)
    inside, outside = maps[0, 20:60, 10:40], maps[0, 80:, 60:]
    assert inside.min() > 0
    assert np.abs(outside).max() < 1e-6
    assert np.abs(maps[1]).max() < 1e-6
    assert (saliency_maps(Redness(), images[:1], np.array([1]))[0, 20:60, 10:40] < 0).all()  # it speaks against male


def test_overlay_is_red_for_and_blue_against():
    image = np.full((100, 80, 3), 100, np.uint8)
    saliency = np.zeros((100, 80))
    saliency[:10], saliency[90:] = 0.3, -0.3
    shown = overlay(image, saliency).astype(int)
    assert (shown[:10, :, 0] > shown[:10, :, 2] + 50).all()
    assert (shown[90:, :, 2] > shown[90:, :, 0] + 50).all()
    assert (shown[50] == 100).all()
    assert (np.abs(overlay(image, saliency / 1000) - 100.0) < 2).all()  # noise stays grey
