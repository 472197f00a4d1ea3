"""Label every picture of a folder with a trained model: `python scripts/process.py folder/`; --help says more."""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("label"))
