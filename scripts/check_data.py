"""Find problems in folders of pictures, one folder a class, before training on them.

    python scripts/check_data.py data.root=folder-with-female-and-male
        [against=other-folder] [split=outputs/RUN/split.csv] [model_path=latest]

Writes check.html to look at, check.json with everything, and exclude.txt, for `train.py data.exclude=exclude.txt`,
to outputs/check_DATE_TIME/. The pictures are only read.
"""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("check"))
