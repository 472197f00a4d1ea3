"""Classify pictures of faces as female or male: train a small network and label whole folders with it."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gender_recognizer.labelling.recognizer import Recognizer
    from gender_recognizer.labelling.records import Record

    __version__: str

# Libraries read these switches of their telemetry when they are imported, so they are set first; ONNX Runtime's
# `disable_telemetry_events()` would come too late. Values that the user has set are kept.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "OTEL_SDK_DISABLED": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(_name, _value)

__all__ = ["Recognizer", "Record", "__version__"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that settings and help texts do not wait for ONNX Runtime."""
    if name == "Recognizer":
        from gender_recognizer.labelling.recognizer import Recognizer

        return Recognizer
    if name == "Record":
        from gender_recognizer.labelling.records import Record

        return Record
    if name == "__version__":
        from importlib.metadata import version

        return version("gender_recognizer")
    raise AttributeError(f"module 'gender_recognizer' has no attribute '{name}'")
