import pytest
import torch

from gender_recognizer.models import networks
from gender_recognizer.models.classifier import frame_loss
from gender_recognizer.models.framing import combine_frames, crop_frames
from gender_recognizer.models.networks import NETWORKS, Normalize, SmallCNN, build_network

IMAGES = torch.randint(0, 256, (3, 3, 100, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


OPTIONS = {"faceresnet": {"pretrained": False}}


@pytest.mark.parametrize("name", [*NETWORKS, "resnet18", "mobilenet_v3_small", "googlenet", "squeezenet1_1"])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_logits_of_uint8_images_train_and_do_not_depend_on_the_batch(name, num_classes):
    network = build_network(name, num_classes, **OPTIONS.get(name, {}))
    logits = network(IMAGES)
    assert logits.shape == (3, num_classes)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
    network.eval()
    with torch.no_grad():
        together, alone = network(IMAGES), network(IMAGES[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_float_and_uint8_pixels_give_the_same():
    network = SmallCNN().eval()
    with torch.no_grad():
        assert torch.equal(network(IMAGES), network(IMAGES.float()))


@pytest.mark.parametrize(("find_face", "parameters", "expected"), [(False, 561_858, 21.1e6), (True, 635_770, 24.7e6)])
def test_smallcnn_is_as_small_as_it_says(find_face, parameters, expected):
    network = SmallCNN(find_face=find_face).eval()
    multiply_adds = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda module, _, output: multiply_adds.append(output[0].numel() * module.weight[0].numel())
            )
    with torch.no_grad():
        network(IMAGES[:1])
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert sum(multiply_adds) == pytest.approx(expected, abs=0.05e6)


def test_before_training_the_whole_picture_is_the_face():
    network = SmallCNN(find_face=True).eval()
    with torch.no_grad():
        features, said = network.look(IMAGES)
        network.finders, network.pool = torch.nn.ModuleList(), None
        plain, nothing = network.look(IMAGES)
    assert [frames.tolist() for frames in said] == [torch.zeros(3, 4).tolist()] * 2
    assert nothing == []
    assert torch.allclose(features, plain, atol=1e-3)


def test_the_second_finder_and_the_rest_look_where_the_finders_before_them_said():
    network = SmallCNN(find_face=True).eval()
    seen = []
    network.finders[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    outer, inner = torch.tensor([0.2, -0.1, -0.5, 0.1]), torch.tensor([-0.3, 0.2, 0.2, -0.1])
    with torch.no_grad():
        network.finders[0].frame.bias.copy_(outer)
        network.finders[1].frame.bias.copy_(inner)
        said = network.look(IMAGES)[1]
        normalized = network.normalize(IMAGES)
    outer, inner = outer.expand(3, 4), inner.expand(3, 4)
    assert torch.equal(said[0], outer)
    assert torch.equal(said[1], inner)
    assert torch.allclose(seen[0], crop_frames(normalized, outer))
    assert torch.allclose(seen[1], crop_frames(normalized, combine_frames(outer, inner)))


def test_finders_that_say_absurd_frames_still_give_numbers():
    """A finder that has hardly learned said a size of e to the 71st: the class was not a number."""
    network = SmallCNN(find_face=True).eval()
    for size in (71.0, -90.0, 1e30):
        for finder in network.finders:
            finder.frame.bias.data = torch.tensor([1.0, -1.0, size, -size])
        logits, said = network(torch.rand(2, 3, 100, 80) * 255), network.look(torch.rand(2, 3, 100, 80) * 255)[1]
        assert logits.isfinite().all()
        assert frame_loss(said, torch.zeros(2, 4)).isfinite()


def test_frames_learn_from_frames_alone():
    network = SmallCNN(find_face=True)
    features, said = network.look(IMAGES)
    features.sum().backward()
    assert all(parameter.grad is None for parameter in network.finders.parameters())
    said[1].sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in network.finders[0].parameters())
    said[0].sum().backward()
    assert [finder.frame.bias.grad.tolist() for finder in network.finders] == [[3.0] * 4] * 2


def test_normalize_brings_mean_to_0_and_std_to_1():
    normalized = Normalize(mean=(10, 20, 30), std=(1, 2, 5))(torch.tensor([11, 24, 40]).view(1, 3, 1, 1))
    assert torch.allclose(normalized.flatten(), torch.tensor([1.0, 2.0, 2.0]), atol=1e-5)


def test_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no network is called 'smalcnn'; known: smallcnn, faceresnet, alexnet"):
        build_network("smalcnn", 2)


def test_network_for_another_size_is_refused():
    with pytest.raises(ValueError, match="'vit_b_16' cannot take pictures of 100x80"):
        build_network("vit_b_16", 2)


def test_unreachable_weights_are_one_clear_error(monkeypatch):
    def unreachable(*args, **kwargs):
        raise networks.URLError("no route")

    monkeypatch.setattr(networks.torchvision.models, "get_model", unreachable)
    with pytest.raises(ValueError, match=r"weights of 'resnet18' cannot be fetched \(no route\); set model.pretrained"):
        build_network("resnet18", 2, pretrained=True)


def test_pretrained_network_gets_a_new_last_layer(monkeypatch):
    get_model = networks.torchvision.models.get_model
    monkeypatch.setattr(networks.torchvision.models, "get_model", lambda name, weights: get_model(name, weights=None))
    assert build_network("mobilenet_v3_small", 3, pretrained=True)(IMAGES).shape == (3, 3)
    with pytest.raises(ValueError, match="no last linear layer"):
        build_network("squeezenet1_1", 3, pretrained=True)
