from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_faces import make_texture
from conftest import PROJECT, Redness
from PIL import Image

from gender_recognizer.evaluation.predictions import predict
from gender_recognizer.evaluation.run import describe_faces
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.pictures.loading import load_image

WOMAN, MAN = PROJECT / "data/sample/female/001.jpg", PROJECT / "data/sample/male/001.jpg"


@pytest.fixture
def selection(tmp_path):
    """Return a crop, a photograph from afar, and a picture without a face, in another order on disk."""
    far = make_texture(np.random.default_rng(0), 700, 500)
    none = far.copy()
    far.paste(Image.open(WOMAN).convert("RGB").resize((90, 90)), (400, 150))
    Image.open(MAN).convert("RGB").save(tmp_path / "crop.png")
    far.save(tmp_path / "far.png")
    none.save(tmp_path / "none.png")
    paths = [tmp_path / name for name in ("crop.png", "far.png", "none.png")]
    images = np.stack([load_image(path) for path in paths[::-1]])
    names = [path.name for path in paths]
    cache = SimpleNamespace(images_of={images.shape[1:3]: images}.__getitem__)
    return SimpleNamespace(cache=cache, rows=np.array([2, 1, 0]), paths=paths, names=names, targets=np.array([1, 0, 0]))


def test_pictures_are_found_and_labelled_as_in_labelling(selection):
    said = predict(load_predictor(BUNDLED_MODEL), selection)
    assert said.found.tolist() == [True, True, False]
    assert said.probabilities.argmax(axis=1)[:2].tolist() == [1, 0]
    assert said.probabilities.sum(axis=1) == pytest.approx(np.ones(3))
    faces = describe_faces(said, selection)
    assert (faces["labelled"], faces["no_face"], faces["without"]) == (2, 1, ["none.png"])
    assert (faces["accuracy_of_labelled"], faces["accuracy_of_all"]) == (1.0, pytest.approx(2 / 3))


def test_a_model_that_does_not_look_for_faces_labels_all(selection):
    assert predict(Redness(), selection).found.all()


def test_without_any_face_there_is_nothing_to_evaluate(selection):
    said = predict(load_predictor(BUNDLED_MODEL), selection)
    with pytest.raises(ValueError, match="no face was found in any of the 3 pictures: nothing to evaluate"):
        describe_faces(said._replace(found=np.zeros(3, bool)), selection)
