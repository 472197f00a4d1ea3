import json

import numpy as np
import pytest

from gender_recognizer.models import tensorflow_js
from gender_recognizer.models.tensorflow_js import read_weights

HALF = {"dtype": "float16", "original_dtype": "float32"}
WEIGHTS = [
    {"name": "kernel", "shape": [2, 3], "dtype": "float32"},
    {"name": "bias", "shape": [3], "dtype": "float32", "quantization": HALF},
    {"name": "axes", "shape": [2], "dtype": "int32"},
    {"name": "limit", "shape": [], "dtype": "float32"},
]
CONTENT = (
    np.arange(6, dtype="<f4").tobytes()
    + np.array([0.5, -1, 2], "<f2").tobytes()
    + np.array([1, 2], "<i4").tobytes()
    + np.array(6, "<f4").tobytes()
)


def write(folder, weights=WEIGHTS, content=CONTENT, paths=("model.bin",)):
    path = folder / "model.json"
    path.write_text(json.dumps({"weightsManifest": [{"paths": list(paths), "weights": weights}]}))
    (folder / "model.bin").write_bytes(content)
    return path


def test_weights_are_read_by_name_with_shape_and_type(tmp_path):
    weights = read_weights(write(tmp_path))
    assert list(weights) == ["kernel", "bias", "axes", "limit"]
    np.testing.assert_array_equal(weights["kernel"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(weights["bias"], [0.5, -1, 2])
    assert weights["bias"].dtype == np.float32
    assert weights["axes"].tolist() == [1, 2]
    assert weights["limit"].shape == ()
    assert weights["limit"] == 6


def test_weights_may_be_split_over_files_and_groups(tmp_path):
    path = write(tmp_path)
    (tmp_path / "a.bin").write_bytes(CONTENT[:5])
    (tmp_path / "b.bin").write_bytes(CONTENT[5:24])
    (tmp_path / "c.bin").write_bytes(CONTENT[24:])
    groups = [
        {"paths": ["a.bin", "b.bin"], "weights": WEIGHTS[:1]},
        {"paths": ["c.bin"], "weights": WEIGHTS[1:]},
    ]
    whole = read_weights(path)
    path.write_text(json.dumps({"weightsManifest": groups}))
    parts = read_weights(path)
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": CONTENT[:-1]}, "its binary files end within 'limit'"),
        ({"content": CONTENT + b"\0"}, "it describes 42 bytes, its binary files have 43"),
        ({"paths": ["other.bin"]}, "there is no file 'other.bin' beside it"),
        ({"paths": ["../model.bin"]}, "there is no file '../model.bin' beside it"),
        ({"paths": [""]}, "there is no file '' beside it"),
        ({"paths": [7]}, "there is no file 7 beside it"),
        ({"weights": ["kernel"]}, "it describes a weight as 'kernel'"),
        ({"weights": [WEIGHTS[0] | {"dtype": "string"}]}, "it describes a weight as"),
        ({"weights": [WEIGHTS[0] | {"dtype": ["float32"]}]}, "it describes a weight as"),
        ({"weights": [WEIGHTS[0] | {"shape": [-2, -3]}]}, "it describes a weight as"),
        ({"weights": [WEIGHTS[0] | {"shape": [2.0, 3]}]}, "it describes a weight as"),
        ({"weights": [WEIGHTS[0] | {"shape": [10**12, 10**12]}]}, "its binary files end within 'kernel'"),
        ({"weights": [WEIGHTS[1] | {"quantization": {"dtype": "uint8", "scale": 2}}]}, "it describes a weight as"),
    ],
)
def test_hostile_files_are_refused_in_one_line(tmp_path, change, message):
    path = write(tmp_path, **change)
    with pytest.raises(ValueError, match="is refused") as error:
        read_weights(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000, '{"weightsManifest": [{"paths": "a"}]}', "\xff"])
def test_another_json_file_is_refused(tmp_path, text):
    path = tmp_path / "model.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"is not a TensorFlow\.js model: it lists no weights"):
        read_weights(path)


def test_huge_files_are_not_read(tmp_path, monkeypatch):
    path = write(tmp_path)
    monkeypatch.setattr(tensorflow_js, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match="10 are allowed"):
        read_weights(path)
