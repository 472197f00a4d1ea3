"""Train a network on folders of pictures, one folder a class.

    python scripts/train.py model=smallcnn data.root=folder-with-female-and-male

`--help` explains the options.
"""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("train"))
