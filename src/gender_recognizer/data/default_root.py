"""Choose the folder of pictures where the user has none yet."""

import logging
from collections.abc import Sequence
from pathlib import Path

from gender_recognizer.data.layouts import holds_classes

logger = logging.getLogger(__name__)


def find_root(root: Path, classes: Sequence[str]) -> Path:
    """Return the folder of the pictures; where `data` has none of the user's own, that of the sample, with a warning.

    Args:
        root: folder that should hold a folder of pictures for each class.
        classes: names of the class folders.
    """
    sample = root / "sample"
    if root.name != "data" or not sample.is_dir() or holds_classes(root, classes):
        return root
    folders = " or ".join(f"data/{name}" for name in classes)
    logger.warning("no pictures in %s: using the sample in data/sample", folders)
    return sample
