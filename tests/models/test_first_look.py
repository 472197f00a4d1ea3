"""The detector that looks at thumbnails."""

import numpy as np
import torch
from conftest import PROJECT
from PIL import Image

from gender_recognizer.models.first_look import FirstLook
from gender_recognizer.pictures.loading import load_image

FACES = sorted((PROJECT / "data/sample").glob("*/00*.jpg"))


def scores(images):
    with torch.no_grad():
        return FirstLook()(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))[1]


def test_faces_are_found_in_pictures_without_colour_too():
    grey = [np.asarray(Image.fromarray(load_image(path)).convert("L").convert("RGB")) for path in FACES]
    assert (scores(grey) > 0.5).all()


def test_only_pictures_without_colour_are_tinted():
    look, seen = FirstLook(), []
    look.stem.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    red, grey = torch.full((1, 3, 100, 80), 60.0), torch.full((1, 3, 100, 80), 60.0)
    red[:, 0] = 90
    with torch.no_grad():
        look(torch.cat([red, grey]))
    torch.testing.assert_close(seen[0][:, :, 50, 40], torch.tensor([[90.0, 60.0, 60.0], [66.0, 57.0, 48.0]]))
