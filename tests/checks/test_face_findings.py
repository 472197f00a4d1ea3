import numpy as np
from benchmark_faces import make_texture
from conftest import PROJECT, Redness
from PIL import Image

from gender_recognizer.checks.faces import check_faces
from gender_recognizer.checks.findings import CheckedFolder
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.predictor import load_predictor

WOMAN, MAN = PROJECT / "data/sample/female/001.jpg", PROJECT / "data/sample/male/001.jpg"


def test_pictures_without_a_face_with_several_and_with_a_small_one_are_found(tmp_path):
    texture = make_texture(np.random.default_rng(0), 700, 500)
    two = texture.copy()
    for path, left in ((WOMAN, 80), (MAN, 400)):
        two.paste(Image.open(path).convert("RGB").resize((110, 110)), (left, 150))
    for name in ("female", "male"):
        (tmp_path / name).mkdir()
    texture.save(tmp_path / "female/none.png")
    two.save(tmp_path / "female/two.png")
    Image.open(MAN).save(tmp_path / "male/crop.jpg")
    Image.new("RGB", (90, 90)).save(tmp_path / "male/blank.png")
    folder = CheckedFolder(tmp_path, ["female", "male"], tmp_path / "cache")
    found = check_faces(folder, load_predictor(BUNDLED_MODEL))
    assert [entry["file"] for entry in found["no_face"]] == ["female/none.png"]
    assert [(entry["file"], entry["faces"]) for entry in found["several_faces"]] == [("female/two.png", 2)]
    ((name, share),) = [(entry["file"], entry["share"]) for entry in found["small_face"]]
    assert name == "female/two.png"
    assert 0.1 < share < 0.3
    assert check_faces(folder, Redness()) == {"no_face": [], "several_faces": [], "small_face": []}
