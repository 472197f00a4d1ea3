import logging

import numpy as np
import pytest
from conftest import PROJECT

from gender_recognizer.data.dataset import FaceDataset
from gender_recognizer.models.smallcnn import SmallCNN
from gender_recognizer.pictures.loading import load_image
from gender_recognizer.training.faces import count_without_face, tell_of_faces


@pytest.mark.parametrize("size", [(100, 80), (125, 100)])
def test_training_pictures_without_a_face_are_counted_in_one_line(size, caplog):
    faces = [load_image(path, size) for path in sorted((PROJECT / "data/sample/female").glob("*.jpg"))[:5]]
    noise = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    pictures = FaceDataset(np.concatenate([np.stack(faces), noise]), np.arange(8), np.zeros(8, np.int64))
    network = SmallCNN(find_face=True, detector=True).train()
    assert count_without_face(network, pictures) == 3
    assert network.training
    with caplog.at_level(logging.INFO):
        tell_of_faces(network, pictures)
        tell_of_faces(SmallCNN(), pictures)
    assert [record.getMessage() for record in caplog.records] == [
        "no face was found in 3 of 8 training pictures; they are trained on as they are"
    ]
