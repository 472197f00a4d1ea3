"""Which device a model runs on. No GPU is needed: what is installed is made up."""

import pytest
import torch

from gender_recognizer.cli import main
from gender_recognizer.models import devices
from gender_recognizer.models.devices import PROVIDERS, choose_device
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.settings import DEVICES

CHECKPOINT = BUNDLED_MODEL.with_name("smallcnn.ckpt")


@pytest.fixture
def machine(monkeypatch):
    """Return a function that says what this machine has; at first nothing but its processor."""

    def has(cuda=False, mps=False, driver=False, packages=(), onnx=()):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(devices, "has_nvidia_driver", lambda: driver)
        monkeypatch.setattr(devices, "is_installed", lambda package: package in packages)
        providers = [*(PROVIDERS[name] for name in onnx), "CPUExecutionProvider"]
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)

    has()
    return has


def test_without_a_gpu_everything_runs_on_the_cpu(machine):
    assert choose_device(BUNDLED_MODEL)[:2] == (BUNDLED_MODEL, "cpu")
    assert choose_device(CHECKPOINT)[:2] == (CHECKPOINT, "cpu")
    assert "no usable GPU" in choose_device(CHECKPOINT).why
    for path in (BUNDLED_MODEL, CHECKPOINT):
        with pytest.raises(ValueError, match="device is 'cuda', but torch finds no usable GPU"):
            choose_device(path, "cuda")
        with pytest.raises(ValueError, match="device is 'mps', but torch finds no usable Apple GPU; use device=cpu"):
            choose_device(path, "mps")


@pytest.mark.parametrize(("device", "there"), [("cuda", {"cuda": True}), ("mps", {"mps": True})])
def test_with_a_gpu_torch_takes_the_checkpoint_beside_an_onnx_file(machine, device, there):
    machine(**there)
    assert choose_device(CHECKPOINT, device)[:2] == (CHECKPOINT, device)
    assert choose_device(BUNDLED_MODEL, device)[:2] == (CHECKPOINT, device)
    assert choose_device(BUNDLED_MODEL)[1] == "cpu"
    assert choose_device(CHECKPOINT, "cpu")[1] == "cpu"


def test_a_checkpoint_runs_on_an_nvidia_gpu_by_itself(machine):
    machine(cuda=True)
    assert choose_device(CHECKPOINT) == (CHECKPOINT, "cuda", "Some GPU")


def test_onnxruntime_gpu_is_used_by_itself_where_there_is_a_gpu(machine):
    machine(packages=["onnxruntime-gpu"], driver=True)
    assert choose_device(BUNDLED_MODEL)[:2] == (BUNDLED_MODEL, "cuda")
    machine(packages=["onnxruntime-gpu"])
    assert choose_device(BUNDLED_MODEL) == (BUNDLED_MODEL, "cpu", "there is no driver of an NVIDIA GPU")


@pytest.mark.parametrize("device", PROVIDERS)
def test_what_onnxruntime_was_built_for_can_be_named(machine, device):
    machine(onnx=[device])
    assert choose_device(BUNDLED_MODEL, device)[:2] == (BUNDLED_MODEL, device)
    assert choose_device(BUNDLED_MODEL, "cpu")[:2] == (BUNDLED_MODEL, "cpu")


@pytest.mark.parametrize("device", ["coreml", "directml", "openvino"])
def test_devices_of_onnxruntime_that_are_not_there_are_named(machine, device):
    with pytest.raises(ValueError, match=f"device is '{device}', which the installed onnxruntime does not reach"):
        choose_device(BUNDLED_MODEL, device)
    with pytest.raises(ValueError, match=rf"device is '{device}', which runs .onnx files; '.+ckpt' is for torch"):
        choose_device(CHECKPOINT, device)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_model_alone_cannot_be_taken_by_torch(machine, tmp_path, device):
    with pytest.raises(ValueError, match=r"alone.onnx'; install its onnxruntime, or give a .ckpt"):
        choose_device(tmp_path / "alone.onnx", device)


def test_unknown_devices_are_refused_by_every_command(capsys):
    expected = f"device is 'tpu'; expected {', '.join(DEVICES[:-1])} or openvino"
    with pytest.raises(ValueError, match=expected):
        choose_device(BUNDLED_MODEL, "tpu")
    for name, arguments in (("label", ["input_dir=x"]), ("evaluate", [])):
        assert main(name, [*arguments, "device=tpu"]) == 2
        assert f"error: {expected}" in capsys.readouterr().err
