"""Save a trained model as small files, for keeping and for labelling without torch.

    python scripts/export.py model_path=latest output_dir=folder [name=model] [training_data="where from"]
        [calibration_data=folder]

`--help` explains each option.
"""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("export"))
