import inspect

import onnx
import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from gender_recognizer.models import torchvision_network
from gender_recognizer.models.base import FaceNetwork, Normalize, Seen
from gender_recognizer.models.classifier import GenderClassifier, TrainingBatch, frame_loss
from gender_recognizer.models.framing import combine_frames, crop_frames
from gender_recognizer.models.model_file import ModelInfo, load_classifier, save_checkpoint
from gender_recognizer.models.networks import NETWORKS, build_network
from gender_recognizer.models.onnx_export import export_onnx, quantise_onnx
from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.models.smallcnn import SmallCNN
from gender_recognizer.training.fine_tuning import DEFAULT_NETWORK, start_from

IMAGES = torch.randint(0, 256, (3, 3, 100, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


ATEN = torch.ops.aten

EVERY = [*NETWORKS, "resnet18", "mobilenet_v3_small", "googlenet", "squeezenet1_1"]


def convolutions(path):
    """Return whether each convolution of a file is computed with 8-bit integers, by the name of its module."""
    graph = onnx.load(path).graph
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        if node.op_type == "Conv":
            maker = makers.get(node.input[1])
            name = maker.input[0].removesuffix("_quantized") if maker else node.input[1]
            found[name.removeprefix("network.").removesuffix(".weight")] = maker is not None
    return found


def untrained(name, num_classes=2):
    """Return a network of the registry, or torchvision's, without weights that would have to be fetched."""
    takes_weights = "pretrained" in inspect.signature(NETWORKS.get(name, build_network)).parameters
    return build_network(name, num_classes, **({"pretrained": False} if takes_weights else {}))


@pytest.mark.parametrize(
    ("name", "switch"),
    [("smallcnn", "halved_finder"), ("smallcnn", "gates"), ("faceres", "mirror"), ("resnet18", "pretrained")],
)
@pytest.mark.parametrize("value", [3, 1, 0, "yes", None])
def test_a_switch_that_is_neither_true_nor_false_is_refused(name, switch, value):
    with pytest.raises(ValueError, match=f"model.{switch} is {value}; expected true or false"):
        build_network(name, 2, **{switch: value})


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_logits_of_uint8_images_train_and_do_not_depend_on_the_batch(name, num_classes):
    network = untrained(name, num_classes)
    logits = network(IMAGES)
    assert logits.shape == (3, num_classes)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)
    network.eval()
    with torch.no_grad():
        together, alone = network(IMAGES), network(IMAGES[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_every_network_says_the_truth_of_itself(name):
    network = untrained(name, 3).eval()
    with torch.no_grad():
        seen = network.forward_features(IMAGES)
        assert seen.features.shape == (3, network.num_features)
        assert all(frames.shape == (3, 4) for frames in (*seen.steps, seen.start, seen.frames) if frames is not None)
        assert (seen.face_scores is not None) == network.looks_for_faces
        assert torch.equal(network.forward_head(seen.features), network(IMAGES))
    assert network.get_submodule(network.last_layer()).weight.shape[0] == 3
    for part in network.exact_parts():
        assert isinstance(network.get_submodule(part), torch.nn.Module)
    weights = network.state_dict()
    assert network.rename_weights(weights).keys() == weights.keys()


def test_the_network_that_is_trained_by_default_has_the_size_that_its_documentation_says():
    network = build_network(num_classes=2, **DEFAULT_NETWORK).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(IMAGES[:1].float())
    operations = counter.get_flop_counts()["Global"]
    counted = [count for kind, count in operations.items() if kind in (ATEN.convolution, ATEN.addmm)]  # not the crops
    assert round(sum(parameter.numel() for parameter in network.parameters()), -3) == 724_000
    assert round(sum(counted) / 2, -5) == 30_000_000
    assert "724 thousand parameters and 30.0 million multiply-adds" in " ".join(SmallCNN.__doc__.split())


class Toy(FaceNetwork):
    """What a newcomer writes."""

    def __init__(self, num_classes=2, num_features=6):
        super().__init__()
        self.normalize = Normalize()
        self.convolution = torch.nn.Conv2d(3, 24, 8, 8)
        self.second, self.third = torch.nn.Conv2d(24, 24, 3), torch.nn.Conv2d(24, num_features, 3)
        self.num_features, self.head = num_features, torch.nn.Linear(num_features, num_classes)

    def forward_features(self, images):
        maps = self.second(self.convolution(self.normalize(images)).relu()).relu()
        return Seen(self.third(maps).mean(dim=(2, 3)))

    def exact_parts(self):
        return ["second"]


def test_a_toy_network_needs_its_file_and_an_entry_for_everything(monkeypatch, tmp_path):
    monkeypatch.setitem(NETWORKS, "toy", Toy)
    classifier = GenderClassifier(["a", "b"], {"name": "toy", "num_features": 4}, teacher_features=3)
    batch = TrainingBatch(IMAGES, torch.tensor([0, 1, 0]), None, torch.randn(3, 2 + 3))
    classifier.training_step(batch, 0).backward()
    save_checkpoint(classifier, ModelInfo(("a", "b")), tmp_path / "toy.ckpt")
    start_from(GenderClassifier(["b", "c"], {"name": "toy", "num_features": 4}), tmp_path / "toy.ckpt")
    loaded, info = load_classifier(tmp_path / "toy.ckpt")
    export_onnx(loaded, info, tmp_path / "toy.onnx")
    images = IMAGES.permute(0, 2, 3, 1).contiguous().numpy()
    quantise_onnx(tmp_path / "toy.onnx", images, tmp_path / "toy-int8.onnx", loaded.network.exact_parts())
    expected = load_predictor(tmp_path / "toy.ckpt").predict(images).probabilities
    for name, difference in (("toy.onnx", 1e-5), ("toy-int8.onnx", 0.05)):
        assert abs(load_predictor(tmp_path / name).predict(images).probabilities - expected).max() < difference
    assert convolutions(tmp_path / "toy-int8.onnx") == {"convolution": False, "second": False, "third": True}


def test_a_network_without_features_says_what_is_missing():
    with pytest.raises(NotImplementedError):
        FaceNetwork()(IMAGES)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_weights_of_torchvision_networks_saved_by_the_first_version_still_fit(name):
    network = build_network(name, 3).eval()
    arguments = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    earlier = torch.nn.Sequential(Normalize(), torchvision.models.get_model(name, num_classes=3, **arguments)).eval()
    network.load_state_dict(network.rename_weights(earlier.state_dict()))
    with torch.no_grad():
        assert torch.equal(network(IMAGES), earlier(IMAGES))


def test_means_before_convolutions_of_inception_stay_exact():
    parts = build_network("inception_v3", 2).exact_parts()
    assert len(parts) == 9
    assert all(part.startswith("body.Mixed_") for part in parts)
    assert build_network("resnet18", 2).exact_parts() == []


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
        seen = network.forward_features(IMAGES)
        network.finders, network.pool = torch.nn.ModuleList(), None
        plain = network.forward_features(IMAGES)
    assert [frames.tolist() for frames in seen.steps] == [torch.zeros(3, 4).tolist()] * 2
    assert seen.frames.tolist() == torch.zeros(3, 4).tolist()
    assert (list(plain.steps), plain.frames) == ([], None)
    assert torch.allclose(seen.features, plain.features, atol=1e-3)


def test_the_second_finder_and_the_rest_look_where_the_finders_before_them_found():
    network = SmallCNN(find_face=True).eval()
    seen = []
    network.finders[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    outer, inner = torch.tensor([0.2, -0.1, -0.5, 0.1]), torch.tensor([-0.3, 0.2, 0.2, -0.1])
    with torch.no_grad():
        network.finders[0].frame.bias.copy_(outer)
        network.finders[1].frame.bias.copy_(inner)
        found = network.forward_features(IMAGES).steps
        normalized = network.normalize(IMAGES)
    outer, inner = outer.expand(3, 4), inner.expand(3, 4)
    assert torch.equal(found[0], outer)
    assert torch.equal(found[1], inner)
    assert torch.allclose(seen[0], crop_frames(normalized, outer))
    assert torch.allclose(seen[1], crop_frames(normalized, combine_frames(outer, inner)))


def test_finders_that_say_absurd_frames_still_give_numbers():
    """A finder that has hardly learned found a size of e to the 71st: the class was not a number."""
    network = SmallCNN(find_face=True).eval()
    for size in (71.0, -90.0, 1e30):
        for finder in network.finders:
            finder.frame.bias.data = torch.tensor([1.0, -1.0, size, -size])
        logits, found = (
            network(torch.rand(2, 3, 100, 80) * 255),
            network.forward_features(torch.rand(2, 3, 100, 80) * 255).steps,
        )
        assert logits.isfinite().all()
        assert frame_loss(found, torch.zeros(2, 4)).isfinite()


def test_frames_learn_from_frames_alone():
    network = SmallCNN(find_face=True)
    features, found, *_ = network.forward_features(IMAGES)
    features.sum().backward()
    assert all(parameter.grad is None for parameter in network.finders.parameters())
    found[1].sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in network.finders[0].parameters())
    found[0].sum().backward()
    assert [finder.frame.bias.grad.tolist() for finder in network.finders] == [[3.0] * 4] * 2


def test_normalize_brings_mean_to_0_and_std_to_1():
    normalized = Normalize(mean=(10, 20, 30), std=(1, 2, 5))(torch.tensor([11, 24, 40]).view(1, 3, 1, 1))
    assert torch.allclose(normalized.flatten(), torch.tensor([1.0, 2.0, 2.0]), atol=1e-5)


def test_unknown_network_is_refused_with_the_known_ones():
    known = ", ".join([*NETWORKS, "alexnet"])
    with pytest.raises(ValueError, match=f"there is no network 'smalcnn'; known networks: {known}"):
        build_network("smalcnn", 2)


def test_network_for_another_size_is_refused():
    with pytest.raises(ValueError, match="'vit_b_16' cannot take pictures of 100x80"):
        build_network("vit_b_16", 2)


def test_unreachable_weights_are_one_clear_error(monkeypatch):
    def unreachable(*args, **kwargs):
        raise torchvision_network.URLError("no route")

    monkeypatch.setattr(torchvision_network.torchvision.models, "get_model", unreachable)
    with pytest.raises(ValueError, match=r"weights of 'resnet18' cannot be fetched \(no route\); set model.pretrained"):
        build_network("resnet18", 2, pretrained=True)


def test_pretrained_network_gets_a_new_last_layer(monkeypatch):
    get_model = torchvision_network.torchvision.models.get_model
    monkeypatch.setattr(
        torchvision_network.torchvision.models, "get_model", lambda name, weights: get_model(name, weights=None)
    )
    assert build_network("mobilenet_v3_small", 3, pretrained=True)(IMAGES).shape == (3, 3)
    with pytest.raises(ValueError, match="no last linear layer"):
        build_network("squeezenet1_1", 3, pretrained=True)
