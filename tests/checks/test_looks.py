import numpy as np
from conftest import RED, save_picture
from PIL import Image, ImageFilter

from gender_recognizer.checks.looks import (
    count_groups,
    find_flaws,
    measure_looks,
    read_facts,
)


def texture(seed):
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(30, 225, (10, 8, 3), dtype=np.uint8)).resize((80, 100))
    return (np.asarray(shapes) + rng.normal(0, 10, (100, 80, 3))).clip(0, 255).astype(np.uint8)


def test_blank_dark_and_blurred_pictures_are_found_and_no_others():
    sharp = texture(0)
    images = {
        "blank": np.full((100, 80, 3), 90, np.uint8),
        "dark": sharp // 8,
        "blurred": np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(4))),
        "dark but readable": sharp // 3,
        "low contrast": sharp // 8 + 120,
        "soft": np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(0.7))),
        "half plain": np.where(np.arange(80)[None, :, None] < 40, np.uint8(255), sharp),
        "sharp": sharp,
    }
    found = find_flaws(measure_looks(np.stack([*images.values()])))
    assert {name: [list(images)[row] for row in rows] for name, rows in found.items()} == {
        name: [name] for name in ("blank", "dark", "blurred")
    }


def test_the_worst_come_first():
    images = np.stack([texture(0) // 8, texture(0) // 12, texture(0) // 10])
    assert find_flaws(measure_looks(images))["dark"].tolist() == [1, 2, 0]


def test_facts_of_a_file_are_its_digest_and_original_size(tmp_path):
    first, second = (save_picture(tmp_path / name, RED, 0, size=(60, 71)) for name in ("a.png", "b.png"))
    assert read_facts(first) == read_facts(second)
    assert read_facts(first)[1] == (60, 71)
    (tmp_path / "broken.png").write_bytes(b"")
    assert read_facts(tmp_path / "broken.png") is None
    assert read_facts(tmp_path / "missing.png") is None


def test_groups_are_the_columns_with_few_values_in_the_order_of_their_numbers():
    names = ["a", "b", "c", "d"]
    metadata = {
        name: {"file_name": name, "label": "x", "age": age, "id": str(number), "same": "1"}
        for number, (name, age) in enumerate(zip("abc", ("10-19", "3-9", "10-19"), strict=True))
    }
    groups = count_groups(names, np.array([0, 1, 0, 1]), ["x", "y"], metadata)
    assert list(groups["age"]) == ["3-9", "10-19", ""]
    assert groups["age"]["10-19"] == {"x": 2, "y": 0}
    assert groups["age"][""] == {"x": 0, "y": 1}
    assert groups.keys() == {"age", "id"}
    assert count_groups(names, np.zeros(4, int), ["x"], {}) == {}


def test_a_column_with_many_values_names_no_groups():
    names = [str(number) for number in range(31)]
    metadata = {name: {"file_name": name, "id": name, "pair": str(int(name) // 2)} for name in names}
    assert count_groups(names, np.zeros(31, int), ["x"], metadata).keys() == {"pair"}
