"""Turn the official archive of a public data set, downloaded under its terms, into folders to train on.

python scripts/prepare_data.py dataset=utkface|fairface|celeba|lfw source=archive-or-folder [output_dir=folder]
[part=train]
"""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("prepare"))
