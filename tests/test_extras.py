"""What a message says is to be installed."""

import sys

import pytest

from gender_recognizer import extras
from gender_recognizer.extras import find_extra, how_to_install


@pytest.mark.parametrize(
    ("config", "tool"), [("home = /usr/bin\nuv = 0.13.9\n", "uv pip"), ("home = /home/uv = 1\n", "pip"), (None, "pip")]
)
def test_environments_of_uv_have_no_pip_of_their_own(tmp_path, monkeypatch, config, tool):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    if config is not None:
        (tmp_path / "pyvenv.cfg").write_text(config)
    assert how_to_install("tune") == f"{tool} install -e '.[tune]'"


def test_an_installed_wheel_has_no_project_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "PROJECT", tmp_path)
    assert how_to_install("ray").endswith("pip install 'gender_recognizer[ray]'")


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "train"),
        ("sklearn", "train"),
        ("optuna", "tune"),
        ("gradio", "demo"),
        ("ray", "ray"),
        ("pillow_heif", "heic"),
        ("face_recognition_models", "teacher"),
    ],
)
def test_each_module_is_found_in_its_extra(module, extra):
    assert find_extra(module) == extra
