import pytest

from gender_recognizer.data.default_root import find_root

CLASSES = ("female", "male")


@pytest.fixture
def data(tmp_path):
    for name in CLASSES:
        (tmp_path / "data/sample" / name).mkdir(parents=True)
    return tmp_path / "data"


def test_without_pictures_of_the_users_own_the_sample_is_taken_and_it_is_said(data, caplog):
    assert find_root(data, CLASSES) == data / "sample"
    assert "using the sample in data/sample" in caplog.text


@pytest.mark.parametrize("folders", [["female"], ["Male"], ["Training/female", "Validation/female"]])
def test_pictures_of_the_users_own_are_taken_in_any_layout(data, caplog, folders):
    for folder in folders:
        (data / folder).mkdir(parents=True)
    assert find_root(data, CLASSES) == data
    assert not caplog.records


def test_another_folder_is_never_replaced_by_a_sample(data):
    assert find_root(data.rename(data.with_name("mine")), CLASSES).name == "mine"
