"""Search for good training options with Optuna: unpromising trials are stopped early, and the same call continues.

    python scripts/tune.py data.root=folder-with-female-and-male tune.num_trials=30

`--help` explains the options.
"""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("tune"))
