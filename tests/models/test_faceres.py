import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from gender_recognizer.models.faceres import FETCH, WEIGHTS, FaceRes
from gender_recognizer.models.networks import build_network
from gender_recognizer.models.tensorflow_js import read_weights

ORIGINAL = Path(__file__).parents[2] / WEIGHTS
STRIDE_2 = (2, 4, 6, 12)
"""Blocks that halve the picture."""


def pictures(height, width):
    """Two smooth pictures, as uint8 `(2, 3, height, width)`."""
    y, x = torch.meshgrid(torch.linspace(0, 6, height), torch.linspace(0, 5, width), indexing="ij")
    waves = [torch.sin(x * (channel + 1) + y) + torch.cos(y * (3 - channel)) for channel in range(3)]
    picture = (torch.stack(waves) + 2) * 63
    return torch.stack([picture, picture.flip(1, 2) / 2]).to(torch.uint8)


def same_padding(maps, stride):
    """Return maps padded as TensorFlow's `SAME` does it for kernels of 3."""
    pads = []
    for size in (maps.shape[3], maps.shape[2]):
        total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(maps, pads)


def original_features(weights, images):
    """Return the pooled features of the original graph: its operations, one after the other."""
    weights = {name: torch.from_numpy(array) for name, array in weights.items()}
    blue_first = images.float().flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)

    def finish(maps, name):
        return (maps + weights[f"{name}_bn/batchnorm_1/sub"].view(1, -1, 1, 1)).clamp(0, 6)

    kernel = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
    maps = finish(functional.conv2d(same_padding(blue_first, 2), kernel, stride=2), "conv1")
    for block in range(1, 14):
        stride, name = 2 if block in STRIDE_2 else 1, f"conv_dw_{block}"
        kernel = weights[f"{name}/depthwise_kernel"].permute(2, 3, 0, 1)
        maps = functional.conv2d(same_padding(maps, stride), kernel, stride=stride, groups=maps.shape[1])
        maps = finish(maps * weights[f"{name}_bn/batchnorm_1/mul"].view(1, -1, 1, 1), name)
        kernel = weights[f"conv_pw_{block}/convolution/merged_input"].permute(3, 2, 0, 1)
        maps = finish(functional.conv2d(maps, kernel), f"conv_pw_{block}")
    return maps.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A file as TensorFlow.js writes it, with the names of the original and random weights."""
    rng, entries, content = np.random.default_rng(0), [], b""

    def add(name, array):
        nonlocal content
        entries.append({"name": name, "shape": list(array.shape), "dtype": "float32"})
        entries[-1]["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        content += array.astype("<f2").tobytes()

    def draw(*shape, inputs):
        return rng.normal(0, (2 / inputs) ** 0.5, shape)

    widths = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    add("conv1/convolution/merged_input", draw(3, 3, 3, 32, inputs=27) / 30)
    add("conv1_bn/batchnorm_1/sub", rng.normal(0, 0.1, 32))
    for block, (channels, width) in enumerate(pairwise(widths), 1):
        add(f"conv_dw_{block}/depthwise_kernel", draw(3, 3, channels, 1, inputs=9))
        add(f"conv_dw_{block}_bn/batchnorm_1/mul", rng.normal(1, 0.1, channels))
        add(f"conv_dw_{block}_bn/batchnorm_1/sub", rng.normal(0, 0.1, channels))
        add(f"conv_pw_{block}/convolution/merged_input", draw(1, 1, channels, width, inputs=channels))
        add(f"conv_pw_{block}_bn/batchnorm_1/sub", rng.normal(0, 0.1, width))
    path = tmp_path_factory.mktemp("faceres") / "faceres.json"
    path.write_text(json.dumps({"weightsManifest": [{"paths": ["faceres.bin"], "weights": entries}]}))
    path.with_name("faceres.bin").write_bytes(content)
    return path


@pytest.mark.parametrize("size", [(64, 64), (100, 80), (71, 53)])
def test_features_are_those_of_the_original_graph(weights_file, size):
    network = FaceRes(weights=str(weights_file), find_face=False).eval()
    images = pictures(*size)
    with torch.no_grad():
        seen = network.forward_features(images)
        expected = original_features(read_weights(weights_file), images)
    assert seen.frames is None
    assert expected.std() > 0.01
    torch.testing.assert_close(seen.features, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.skipif(not ORIGINAL.is_file(), reason=f"'{WEIGHTS}' is missing: {FETCH}")
def test_the_original_weights_give_the_original_answers():
    weights = read_weights(ORIGINAL)
    images = pictures(128, 128)
    with torch.no_grad():
        features = FaceRes(weights=str(ORIGINAL), find_face=False).eval().forward_features(images).features
    torch.testing.assert_close(features, original_features(weights, images), atol=1e-3, rtol=1e-3)


def test_the_mirror_image_is_seen_too_once_trained(weights_file):
    plain, both = (FaceRes(weights=str(weights_file), find_face=False, mirror=mirror) for mirror in (False, True))
    images = pictures(64, 64)
    with torch.no_grad():
        torch.testing.assert_close(both.forward_features(images).features, plain.forward_features(images).features)
        both.eval()
        one, other = (both.forward_features(images).features, both.forward_features(images.flip(3)).features)
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, plain.forward_features(images).features)


def test_the_first_convolutions_do_not_learn():
    network = FaceRes(pretrained=False)
    learns = [layer[0].weight.requires_grad for layer in network.layers]
    assert learns == [False] * 8 + [True] * 19
    assert all(parameter.requires_grad for parameter in network.head.parameters())
    every = FaceRes(pretrained=False, frozen_convolutions=0)
    assert all(parameter.requires_grad for parameter in every.layers.parameters())
    assert not any(parameter.requires_grad for parameter in every.look.parameters())


def test_a_picture_without_a_face_is_seen_whole():
    torch.manual_seed(0)
    network = FaceRes(pretrained=False).eval()
    images = pictures(64, 64)
    with torch.no_grad():
        seen = network.forward_features(images)
        whole = network.layers(network.normalize(images)).mean(dim=(2, 3))
    assert seen.face_scores.max() < 0.5
    assert not seen.frames.any()
    torch.testing.assert_close(seen.features, whole, atol=1e-3, rtol=1e-3)


def test_the_part_of_a_picture_with_the_face_is_seen(monkeypatch):
    network = FaceRes(pretrained=False, find_face=True).eval()
    frames = torch.tensor([[0.5, 0.5, math.log(0.5), 0.0]]).expand(2, -1)
    monkeypatch.setattr(network.look, "forward", lambda images: (frames, torch.ones(2)))
    images = torch.zeros(2, 3, 64, 64)
    images[:, :, 22:, 22:] = 200  # around the quarter that the frames show
    with torch.no_grad():
        seen = network.forward_features(images)
        bright = network.layers(network.normalize(torch.full((2, 3, 64, 64), 200.0))).mean(dim=(2, 3))
    torch.testing.assert_close(seen.features, bright, atol=1e-2, rtol=1e-2)
    assert seen.face_scores.tolist() == [1, 1]


def test_pictures_framed_as_usual_are_seen_whole(monkeypatch):
    network = FaceRes(pretrained=False, find_face=True).eval()
    frames = torch.tensor([[0.1, -0.1, 0.15, 0.0], [-0.1, 0.05, -0.05, 0.0]])
    monkeypatch.setattr(network.look, "forward", lambda images: (frames, torch.ones(2)))
    images = pictures(64, 64)
    with torch.no_grad():
        seen = network.forward_features(images)
        whole = network.layers(network.normalize(images)).mean(dim=(2, 3))
    torch.testing.assert_close(seen.features, whole, atol=1e-3, rtol=1e-3)
    assert torch.equal(seen.frames, frames)


def test_random_weights_keep_the_size_of_the_signal():
    torch.manual_seed(0)
    with torch.no_grad():
        features = FaceRes(pretrained=False).forward_features(pictures(100, 80)).features
    assert 0.01 < features.std() < 6


def test_missing_weights_end_in_one_line_that_says_how_to_fetch_them(tmp_path):
    with pytest.raises(ValueError, match="fetch them") as error:
        build_network("faceres", 2, weights=str(tmp_path / "faceres.json"))
    assert str(error.value).endswith(f"faceres.json'; fetch them: {FETCH}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("conv_pw_3/convolution/merged_input", None, "it lacks the weights of convolution 6"),
        ("conv_dw_2_bn/batchnorm_1/mul", {"shape": [8, 8]}, "it lacks the weights of convolution 3"),
        ("conv_pw_1/convolution/merged_input", {"shape": [1, 1, 64, 32]}, "convolution 2 has weights of shape"),
        ("conv1_bn/batchnorm_1/sub", {"shape": [4, 8]}, "convolution 0 has weights of shape"),
    ],
)
def test_another_model_is_refused(weights_file, tmp_path, name, change, message):
    described = json.loads(weights_file.read_text())
    entry = next(entry for entry in described["weightsManifest"][0]["weights"] if entry["name"] == name)
    entry.update(change or {"name": "other"})
    path = tmp_path / "faceres.json"
    path.write_text(json.dumps(described))
    path.with_name("faceres.bin").write_bytes(weights_file.with_name("faceres.bin").read_bytes())
    with pytest.raises(ValueError, match="is not faceres") as error:
        FaceRes(weights=str(path))
    assert message in str(error.value)


@pytest.mark.parametrize("image_size", [(10, 128), (128, 10_000), (128,), (128.0, 128), "128"])
def test_sizes_that_no_picture_can_have_are_refused(image_size):
    with pytest.raises(ValueError, match="expected height and width, each 32 to 512 pixels"):
        FaceRes(pretrained=False, image_size=image_size)


def test_in_mixed_precision_depthwise_convolutions_at_stride_2_are_computed_in_32_bits():
    """Their gradients in bf16 take a third of a training step."""
    network = FaceRes(pretrained=False, find_face=False)
    computed = {}

    def note(module, _, maps):
        computed[module] = maps.dtype

    for layer in network.layers:
        layer[0].register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16):
        network.forward_features(pictures(64, 64))
    strided = {module for module in computed if module.groups > 1 and module.stride == (2, 2)}
    assert len(strided) == len(STRIDE_2)
    assert {module for module, dtype in computed.items() if dtype == torch.float32} == strided
