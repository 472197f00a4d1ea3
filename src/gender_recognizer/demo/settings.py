"""The settings of the page in the browser."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class DemoSettings:
    """Label pictures on a page in the browser; nothing leaves this machine.

        python scripts/demo.py
        python scripts/demo.py port=8000 model_path=latest
        python scripts/demo.py host=0.0.0.0 max_total_mb=500

    Drop pictures, see label, probability and status of each and, if wanted, which parts speak for the label, and
    download the process_results.json that process.py would write. Needs the extra demo.

    Attributes:
        host: address to listen at; with 0.0.0.0 anyone who can reach this machine can use the page, without a password.
        port: 0 for any free one.
        model_path: .onnx or .ckpt file to begin with; null for the bundled model, accurate for the larger bundled one,
            latest for the newest training run's.
        outputs: where training runs are, for latest.
        sample: folder of pictures that the page offers to try; without one the page has no button for it.
        min_confidence: probability below which a picture is "unsure", to begin with; 0 always decides.
        max_files: pictures that a visitor may have on the page at once.
        max_file_mb: largest file, in MB of a million bytes.
        max_visitor_mb: disk space for the files of one visitor, in MB.
        max_total_mb: disk space for the files of all visitors together, in MB.

    Exit codes: 0 stopped by Ctrl-C or a signal, 1 internal error, 2 wrong usage, 130 stopped before the page was ready
    or by a second Ctrl-C.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    model_path: str | None = None
    outputs: Path = Path("outputs")
    sample: Path = Path("data/sample")
    min_confidence: float = 0.0
    max_files: int = 200
    max_file_mb: float = 20
    max_visitor_mb: float = 1000
    max_total_mb: float = 4000

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ValueError: an option has a value out of its range.
        """
        for name, low, high in (("port", 0, 65535), ("max_files", 1, None), ("min_confidence", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= (value if high is None else high):
                expected = f"from {low}" + (" on" if high is None else f" to {high}")
                raise ValueError(f"{name} is {value}; expected a number {expected}")
        self._check_sizes()

    def _check_sizes(self) -> None:
        if not self.max_file_mb > 0:
            raise ValueError(f"max_file_mb is {self.max_file_mb}; expected a number above 0")
        for name, least in (("max_visitor_mb", "max_file_mb"), ("max_total_mb", "max_visitor_mb")):
            value, smallest = getattr(self, name), getattr(self, least)
            if not value >= smallest:
                raise ValueError(f"{name} is {value}; expected at least {least}, which is {smallest}")
