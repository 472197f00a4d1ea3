"""Bring the official archive of a public data set, downloaded under its terms, into folders to train on.

    python scripts/prepare_data.py dataset=utkface|fairface|celeba|lfw source=archive-or-folder [output_dir=folder]
        [part=train]

Copies the pictures to data/NAME/{female,male}/ and writes data/NAME/metadata.csv. Interrupted, it goes on when it is
called again.
"""

import sys
from pathlib import Path

import hydra
from command import fail, register_resolvers
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from gender_recognizer.data.preparing import Summary, prepare
from gender_recognizer.data.public_sets import DATA_SETS


def tell_result(summary: Summary, output: Path) -> None:
    """Say what was left out, with some names, and in the last line how many pictures there are."""
    for reason, (count, names) in summary.left_out.items():
        shown = ", ".join(ascii(name) for name in names) + (", ..." if count > len(names) else "")
        print(f"left out, {reason}: {count:,} ({shown})", file=sys.stderr)
    counts = ", ".join(f"{summary.counts[label]:,} {label}" for label in sorted(summary.counts))
    left_out = sum(count for count, _ in summary.left_out.values())
    print(f"{counts} ({summary.written:,} of them new), {left_out:,} left out: {output}")


@hydra.main(version_base="1.3", config_path="../configs", config_name="prepare_data")
def main(cfg: DictConfig) -> None:
    """Name the terms, prepare the pictures and say what came of it."""
    try:
        dataset, output = str(cfg.dataset), Path(cfg.output_dir).absolute()
        for line in DATA_SETS[dataset].terms if dataset in DATA_SETS else ():
            print(line, file=sys.stderr)
        tell_result(prepare(dataset, Path(str(cfg.source)), output, cfg.part), output)
    except (ValueError, OSError) as error:
        fail(error)
    except MissingMandatoryValue as error:
        fail(ValueError(f"{str(error).splitlines()[0]}; set dataset=utkface source=UTKFace.tar.gz"))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    register_resolvers()
    main()
