"""Model files that come from anyone: each is refused in one line, at once, and nothing is run, fetched or filled."""

import json
import os
import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from gender_recognizer.evaluation.run import predict
from gender_recognizer.labelling.labeller import Labeller, Record
from gender_recognizer.models.classifier import GenderClassifier
from gender_recognizer.models.model_file import BUNDLED_MODEL, ModelInfo, load_classifier, save_checkpoint
from gender_recognizer.models.model_info import METADATA_KEY
from gender_recognizer.models.predictor import Prediction, load_predictor
from gender_recognizer.pictures.loading import Picture

INFO = {"classes": ["female", "male"], "image_size": [100, 80], "loader_version": 1, "version": "0.1.0"}
NETWORK = {"name": "smallcnn", "widths": [4, 4], "stem_width": 4}


def graph_of(
    values=(0.25, 0.75), taken=("images", TensorProto.UINT8, ["n", 100, 80, 3]), given="probabilities", rows="n"
):
    """Return a model that gives each picture the same values, whatever is in it."""
    inputs = [helper.make_tensor_value_info(*taken)]
    outputs = [helper.make_tensor_value_info(given, TensorProto.FLOAT, [rows, len(values)])]
    constants = [
        helper.make_tensor("values", TensorProto.FLOAT, [1, len(values)], values),
        helper.make_tensor("start", TensorProto.INT64, [1], [0]),
        helper.make_tensor("end", TensorProto.INT64, [1], [1]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Shape", [taken[0]], ["shape"]),
        helper.make_node("Slice", ["shape", "start", "end"], ["count"]),
        helper.make_node("Concat", ["count" if rows == "n" else "one", "one"], ["repeats"], axis=0),
        helper.make_node("Tile", ["values", "repeats"], [given]),
    ]
    return helper.make_graph(nodes, "constant", inputs, outputs, constants)


def save_onnx(path, graph=None, metadata=None, **changes):
    """Write a model with this metadata, or that of a good model with these changes."""
    model = helper.make_model(graph or graph_of(), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    text = json.dumps(INFO | changes) if metadata is None else metadata
    helper.set_model_props(model, {METADATA_KEY: text})
    path.write_bytes(model.SerializeToString())
    return path


def looking_graph(**outputs):
    """Return a model of constant results that looks for faces; each output is its values and what its shape repeats."""
    given = {"probabilities": ((0.25, 0.75), [2]), "frames": ((0.0,) * 4, [4]), "face_scores": ((0.9,), [])} | outputs
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["count"]),
    ]
    initializers = [helper.make_tensor(name, TensorProto.INT64, [1], [n]) for n, name in enumerate(("zero", "one"))]
    values = []
    for name, (numbers, columns) in given.items():
        initializers.append(helper.make_tensor(f"{name}_row", TensorProto.FLOAT, [1, *columns], numbers))
        ones = ["one"] * len(columns)
        nodes.append(helper.make_node("Concat", ["count", *ones], [f"{name}_repeats"], axis=0))
        nodes.append(helper.make_node("Tile", [f"{name}_row", f"{name}_repeats"], [name]))
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *columns]))
    taken = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 100, 80, 3])]
    return helper.make_graph(nodes, "looking", taken, values, initializers)


def refuse(path, message):
    """Check that a model is refused in one short line."""
    with pytest.raises(ValueError, match=message) as raised:
        load_predictor(path)
    assert str(raised.value).isprintable()
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_constant_model_is_accepted(tmp_path):
    predictor = load_predictor(save_onnx(tmp_path / "a.onnx", colour="of a later version"))
    assert predictor.info.classes == ("female", "male")
    assert predictor.predict(np.zeros((3, 100, 80, 3), np.uint8)).probabilities.tolist() == [[0.25, 0.75]] * 3


def test_a_model_that_looks_for_faces_is_accepted_and_one_that_does_not_sees_the_whole_picture(tmp_path):
    pictures = np.zeros((3, 100, 80, 3), np.uint8)
    graph = looking_graph(frames=((0.5, 0.0, -1.0, 0.0), [4]))
    seen = load_predictor(save_onnx(tmp_path / "a.onnx", graph, looks_for_faces=True)).predict(pictures)
    assert seen.frames.tolist() == [[0.5, 0.0, -1.0, 0.0]] * 3
    assert seen.face_scores == pytest.approx([0.9] * 3)
    whole = load_predictor(save_onnx(tmp_path / "b.onnx", graph)).predict(pictures)
    assert (whole.frames.tolist(), whole.face_scores.tolist()) == ([[0.0] * 4] * 3, [1.0] * 3)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (graph_of(), "it does not give float32 'frames'"),
        (looking_graph(frames=((0.0,) * 3, [3])), "it gives frames or face_scores of another shape"),
        (looking_graph(frames=((0.0,) * 4, [1, 4])), "it gives frames or face_scores of another shape"),
        (looking_graph(face_scores=((0.9,), [1])), "it gives frames or face_scores of another shape"),
        (looking_graph(frames=((0.0, float("nan"), 0.0, 0.0), [4])), "its frames are not numbers"),
        (looking_graph(face_scores=((float("inf"),), [])), "its face_scores are not numbers"),
        (looking_graph(face_scores=((1.5,), [])), "its face_scores are not numbers from 0 to 1"),
        (looking_graph(face_scores=((-0.1,), [])), "its face_scores are not numbers from 0 to 1"),
    ],
)
def test_onnx_files_that_look_for_faces_wrongly_are_refused(tmp_path, graph, message):
    refuse(save_onnx(tmp_path / "a.onnx", graph, looks_for_faces=True), message)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (graph_of((float("nan"), 1.0)), "is refused: its probabilities are not numbers"),
        (graph_of((float("inf"), 0.0)), "is refused: its probabilities are not numbers"),
        (graph_of((0.5, 0.6)), "are not probabilities that add up to 1"),
        (graph_of((-0.5, 1.5)), "are not probabilities that add up to 1"),
        (graph_of((0.2, 0.3, 0.5)), r"it gives \(2, 3\) probabilities, not \(2, 2\)"),
        (graph_of((1.0,)), r"it gives \(2, 1\) probabilities"),
        (graph_of(rows=1), r"it gives \(1, 2\) probabilities"),
        (graph_of(given="logits"), "it does not give float32 'probabilities'"),
        (graph_of(taken=("pictures", TensorProto.UINT8, ["n", 100, 80, 3])), "it does not accept uint8 'images'"),
        (graph_of(taken=("images", TensorProto.FLOAT, ["n", 100, 80, 3])), "it does not accept uint8 'images'"),
        (graph_of(taken=("images", TensorProto.UINT8, ["n", 80, 100, 3])), "it does not accept uint8 'images'"),
        (graph_of(taken=("images", TensorProto.UINT8, ["n", 100, 80])), "it does not accept uint8 'images'"),
        (graph_of(taken=("images", TensorProto.UINT8, [1, 100, 80, 3])), "it fails on a picture"),
    ],
)
def test_onnx_files_that_give_no_probabilities_are_refused(tmp_path, graph, message):
    refuse(save_onnx(tmp_path / "a.onnx", graph), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["female"]}, "expected two or more names"),
        ({"classes": []}, "expected two or more names"),
        ({"classes": ["male", "male"]}, "has 'male' twice"),
        ({"classes": ["a", ""]}, "expected 1 to 100 characters"),
        ({"classes": ["a", "\x1b[2Jb"]}, r"has '\\x1b\[2Jb'"),
        ({"classes": ["a", "b\nc"]}, r"has 'b\\nc'"),
        ({"classes": ["a", "b" * 10_000]}, "expected 1 to 100 characters"),
        ({"classes": ["a", "../b"]}, "a class is named as its folder"),
        ({"classes": [0, 1]}, "its classes are not a list of names"),
        ({"classes": "female"}, "its classes are not a list"),
        ({"classes": None}, "its classes are not a list"),
        ({"image_size": [64, 64]}, r"does not accept uint8 'images' \(N, 64, 64, 3\)"),
        ({"image_size": [100_000, 80]}, r"its image_size is \[100000, 80\]; expected height and width, each 32 to 512"),
        ({"image_size": [100]}, r"its image_size is \[100\]; expected height and width"),
        ({"image_size": [100.0, 80]}, "expected height and width"),
        ({"image_size": [True, 80]}, "expected height and width"),
        ({"image_size": 100}, "its image_size are not a list"),
        ({"image_size": [[[]]] * 2}, "expected height and width"),
        ({"loader_version": "1"}, "its loader_version is '1', which is not a whole number"),
        ({"loader_version": 1e999}, "its loader_version is inf"),
        ({"loader_version": None}, "its loader_version is None"),
        ({"temperature": 0}, "its temperature is 0; expected a number above 0"),
        ({"temperature": float("nan")}, "its temperature is nan"),
        ({"temperature": "hot"}, "its temperature is 'hot'"),
        ({"curvature": -1}, "its curvature is -1; expected a number, 0 or more"),
        ({"curvature": []}, r"its curvature is \[\]"),
        ({"version": "1\n2"}, r"its version is '1\\n2', which is not a version"),
        ({"version": 3}, "its version is 3"),
        ({"training_data": ["x"]}, "its training_data is not text"),
        ({"metrics": [1]}, "its metrics are not named numbers"),
        ({"metrics": {"a": "b"}}, "its metrics are not named numbers"),
        ({"operating_points": [[1, 2]]}, "one of its operating_points is .*; expected three numbers"),
        ({"operating_points": [[0.5, 0.5, "x"]]}, "expected three numbers"),
        ({"operating_points": [[0.5, 0.5, 7]]}, "expected numbers from 0 to 1"),
        ({"operating_points": {"a": 1}}, "its operating_points are not a list"),
        ({"looks_for_faces": 1}, "its looks_for_faces is 1; expected true or false"),
        ({"looks_for_faces": "\n"}, r"its looks_for_faces is '\\n'; expected true or false"),
    ],
)
def test_onnx_files_that_describe_themselves_wrongly_are_refused(tmp_path, changes, message):
    refuse(save_onnx(tmp_path / "a.onnx", **changes), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its metadata is not JSON"),
        ("{", "its metadata is not JSON"),
        ("[1, 2]", "it does not name its classes"),
        ("null", "it does not name its classes"),
        ('"text"', "it does not name its classes"),
        ("{}", "it does not name its classes"),
        ("[" * 200_000, "its metadata is not JSON"),
        ('{"classes": ' + "[" * 50_000 + "]" * 50_000 + "}", "is refused"),
        (
            json.dumps(INFO | {"training_data": "x" * 2_000_000}),
            "its metadata has 2000.* characters, 1000000 are allowed",
        ),
    ],
)
def test_metadata_that_is_none_is_refused(tmp_path, text, message):
    refuse(save_onnx(tmp_path / "a.onnx", metadata=text), message)


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "/dev/zero", "/etc/passwd"])
def test_weights_in_other_files_are_refused(tmp_path, place):
    (tmp_path / "weights.bin").write_bytes(bytes(64))
    graph = graph_of()
    tensor = graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", str(10**12))):
        tensor.external_data.add(key=key, value=value)
    refuse(save_onnx(tmp_path / "a.onnx", graph), "it reads weights from other files; export it as one file")


def test_loops_are_refused(tmp_path):
    graph = graph_of()
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 2])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    more = helper.make_tensor_value_info("more", TensorProto.BOOL, [])
    again = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    after = helper.make_tensor_value_info("after", TensorProto.FLOAT, [1, 2])
    nodes = [helper.make_node("Identity", ["more"], ["again"]), helper.make_node("Identity", ["state"], ["after"])]
    body = helper.make_graph(nodes, "body", [turn, more, state], [again, after])
    graph.node.insert(0, helper.make_node("Loop", ["", "", "values"], ["forever"], body=body))
    graph.node[-1].input[0] = "forever"
    refuse(save_onnx(tmp_path / "a.onnx", graph), "it has loops, which may never end")


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand"])
def test_results_that_no_memory_holds_are_refused(tmp_path, operator):
    graph = graph_of()
    graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [2], [10**13, 1]))
    given = ["huge"] if operator == "ConstantOfShape" else ["values", "huge"]
    graph.node.insert(0, helper.make_node(operator, given, ["lots"]))
    graph.node.insert(1, helper.make_node("ReduceMax", ["lots"], ["largest"], keepdims=0))
    graph.node.insert(2, helper.make_node("Mul", ["values", "largest"], ["changed"]))
    graph.node[-1].input[0] = "changed"
    refuse(save_onnx(tmp_path / "a.onnx", graph), "is refused: it fails on a picture|is not an ONNX model")


def test_onnx_files_that_are_damaged_or_none_are_refused(tmp_path):
    content = BUNDLED_MODEL.read_bytes()
    for number, wrong in enumerate(
        (b"", b"\x00" * 1000, content[: len(content) // 2], b"\x80\x04N.", content[5000:9000])
    ):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(wrong)
        refuse(path, "is not an ONNX model|was not exported by")
    with (tmp_path / "sparse.onnx").open("wb") as file:
        file.truncate(10**12)
    refuse(tmp_path / "sparse.onnx", "it has 1000000000000 bytes, more than a model can have")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Return the content of a good checkpoint."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("good") / "good.ckpt"
    save_checkpoint(GenderClassifier(["female", "male"], NETWORK), ModelInfo(("female", "male")), path)
    return torch.load(path, weights_only=True)


def save(path, checkpoint, settings=(), weights=(), said=()):
    """Write a checkpoint with changes of its hyperparameters, its weights and what it says of itself."""
    content = dict(checkpoint)
    for name, changes in (("hyper_parameters", settings), ("state_dict", weights), (METADATA_KEY, said)):
        content[name] = content[name] | dict(changes)
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["female"]}, "expected two or more names"),
        ({"classes": ["a", "a"]}, "has 'a' twice"),
        ({"classes": ["a", "b\x07"]}, r"has 'b\\x07'"),
        ({"classes": 2}, "its classes are not a list"),
        ({"classes": ["a", "b", "c"]}, "of another version"),
        ({"network": None}, "does not name its network"),
        ({"network": {"name": 3}}, "does not name its network"),
        ({"network": {"name": "none"}}, "cannot be built: there is no network 'none'"),
        ({"network": NETWORK | {"colour": 1}}, "cannot be built"),
        ({"network": NETWORK | {"widths": []}}, "cannot be built"),
        ({"network": NETWORK | {"widths": "wide"}}, "cannot be built"),
        ({"network": NETWORK | {"widths": [10**6, 10**6]}}, "of another version"),
        ({"network": NETWORK | {"depth": 10**9}}, "cannot be built: model.depth is 1000000000; expected 1 to 100"),
        ({"network": {"name": "resnet152"}}, "of another version"),
        ({"network": {"name": "regnet_x_400mf"}}, "of another version"),
        ({"network": {"name": "regnet_x_400mf", "stem_width": 10**9}}, "its network has 'stem_width'=1000000000"),
        ({"network": {"name": "resnet18", "pretrained": True}}, "of another version"),
    ],
)
def test_checkpoints_that_describe_themselves_wrongly_are_refused(tmp_path, checkpoint, settings, message):
    refuse(save(tmp_path / "a.ckpt", checkpoint, settings), message)


@pytest.mark.parametrize("said", [{"temperature": "x"}, {"temperature": -1.0}, {"version": 7}, {"metrics": 1}])
def test_checkpoints_say_as_much_of_themselves_as_onnx_files(tmp_path, checkpoint, said):
    refuse(save(tmp_path / "a.ckpt", checkpoint, said=said), "is refused: its ")


def test_weights_that_are_none_are_refused(tmp_path, checkpoint):
    name = "network.head.1.weight"
    for weights, message in (
        ({name: torch.full((2, 4), float("nan"))}, "holds numbers that are not finite"),
        ({name: torch.zeros(2, 5)}, "of another version"),
        ({name: "text"}, "is not an array of numbers"),
        ({name: torch.zeros(2, 4, dtype=torch.complex64)}, "is not an array of numbers"),
        ({name: torch.eye(4)[:2].to_sparse()}, "is not an array of numbers"),
        ({name: torch.zeros(1).expand(10**7, 10**6)}, "is larger than what the file stores for it"),
        ({"network.stem.0.1.running_var": torch.full((4,), -1.0)}, "its probabilities are not numbers"),
    ):
        refuse(save(tmp_path / "a.ckpt", checkpoint, weights=weights), message)


def test_unused_options_of_a_checkpoint_are_left_alone(tmp_path, checkpoint):
    settings = {"teacher_features": 10**12, "learning_part": "finders", "of_a_later_version": [1]}
    assert load_classifier(save(tmp_path / "a.ckpt", checkpoint, settings))[0].hparams["teacher_features"] == 0


@pytest.mark.parametrize("content", [[], {}, {"state_dict": {}}, {"hyper_parameters": [], "state_dict": {}}, 7])
def test_other_contents_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    refuse(tmp_path / "a.ckpt", "is not a checkpoint of gender_recognizer")


def test_pickles_run_nothing(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "a.ckpt"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(Attack(), protocol=protocol))
        refuse(path, "is refused|is not a checkpoint")
    for zipped in (True, False):
        torch.save({"hyper_parameters": {}, "state_dict": Attack()}, path, _use_new_zipfile_serialization=zipped)
        refuse(path, "could run code")
    assert not (tmp_path / "ran").exists()


def test_checkpoints_that_unpack_to_more_than_they_are_are_refused(tmp_path):
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**8))
    assert path.stat().st_size < 10**6
    refuse(path, "it unpacks to more than its size")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1000):
            archive.writestr(f"archive/{number}", b"")
        archive.writestr("archive/data", bytes(10**5))
        for number, member in enumerate(archive.filelist[:-1]):  # all are the same bytes
            archive.filelist[number].header_offset = archive.filelist[-1].header_offset
            member.file_size = member.compress_size = 10**5
    refuse(path, "it unpacks to more than its size")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_half_a_checkpoint_is_refused(tmp_path, checkpoint, share):
    torch.save(checkpoint, tmp_path / "a.ckpt")
    content = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(content[: int(len(content) * share)])
    refuse(tmp_path / "a.ckpt", "is not a checkpoint, or is only part of one")


class Undecided:
    """A predictor that gives no number for dark pictures."""

    info = ModelInfo(("female", "male"))

    def predict(self, images):
        probabilities = np.where(images[:, 0, 0, :1] > 100, [[0.2, 0.8]], [[float("nan"), 0.5]]).astype(np.float32)
        return Prediction(probabilities, np.zeros((len(images), 4), np.float32), np.ones(len(images), np.float32))


@pytest.fixture
def dark_and_bright():
    images = np.stack([np.full((100, 80, 3), value, np.uint8) for value in (30, 200)])
    images[:, 50] += np.arange(80, dtype=np.uint8)[:, None] // 2
    return images


def test_a_picture_that_gets_no_probability_is_failed(dark_and_bright):
    pairs = [(Record(name), Picture(pixels, (80, 100))) for name, pixels in zip("ab", dark_and_bright, strict=True)]
    records = Labeller(Undecided()).label_pictures(pairs)
    assert [(record.status, record.label) for record in records] == [("failed", None), ("labelled", "male")]
    assert records[0].probability is None
    assert "not a number" in records[0].reason


def test_pictures_that_get_no_probability_are_not_measured(dark_and_bright, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, pixels in zip(paths, dark_and_bright, strict=True):
        Image.fromarray(pixels).save(path)
    selection = SimpleNamespace(rows=np.arange(2), paths=paths)
    with pytest.raises(ValueError, match="results for 1 of 2 pictures are not numbers"):
        predict(Undecided(), selection)
