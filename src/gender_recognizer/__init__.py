"""Tell female from male in a picture of a face: train a small network, label whole folders."""

import os

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

from gender_recognizer.labelling.labeller import Record  # noqa: E402
from gender_recognizer.labelling.recognizer import Recognizer  # noqa: E402

__all__ = ["Recognizer", "Record"]
