import logging
from functools import partial

import numpy as np
import pytest
from conftest import PROJECT

from gender_recognizer.models.faceres import FaceRes
from gender_recognizer.models.smallcnn import SmallCNN
from gender_recognizer.pictures.loading import load_image
from gender_recognizer.training.faces import count_without_face, tell_of_faces


@pytest.mark.parametrize(
    "build", [partial(SmallCNN, detector=True), partial(FaceRes, pretrained=False, image_size=(64, 64))]
)
def test_training_pictures_without_a_face_are_counted_in_one_line(build, caplog):
    faces = [load_image(path) for path in sorted((PROJECT / "data/sample/female").glob("*.jpg"))[:5]]
    noise = np.random.default_rng(0).integers(0, 256, (6, 100, 80, 3), np.uint8)
    images, rows = np.concatenate([np.stack(faces), noise]), np.arange(8)
    network = build(find_face=True).train()
    assert count_without_face(network, images, rows) == 3
    assert network.training
    with caplog.at_level(logging.INFO):
        tell_of_faces(network, images, rows)
        tell_of_faces(SmallCNN(), images, rows)
    assert [record.getMessage() for record in caplog.records] == [
        "no face was found in 3 of 8 training pictures; they are trained on as they are"
    ]
