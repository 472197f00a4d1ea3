"""Tell female from male in a picture of a face: train a small network, label whole folders."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gender_recognizer.labelling.recognizer import Recognizer
    from gender_recognizer.labelling.records import Record

# Each of these is read when a library that reports to its makers is imported, so it is set before anything else is.
# ONNX Runtime: `disable_telemetry_events()` comes too late. What the user has set stays.
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

__all__ = ["Recognizer", "Record"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: whoever wants settings or a help text does not wait for ONNX Runtime."""
    if name == "Recognizer":
        from gender_recognizer.labelling.recognizer import Recognizer

        return Recognizer
    if name == "Record":
        from gender_recognizer.labelling.records import Record

        return Record
    raise AttributeError(f"module 'gender_recognizer' has no attribute '{name}'")
