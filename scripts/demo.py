"""Label pictures on a page in the browser; nothing leaves this machine.

    python scripts/demo.py [port=7860] [model_path=latest] [host=0.0.0.0]

Drop pictures, see label, probability and status of each and, if wanted, which parts speak for the label, and download
the process_results.json that process.py would write. Needs the extra demo.
"""

import sys

from gender_recognizer.cli import main

if __name__ == "__main__":
    sys.exit(main("demo"))
