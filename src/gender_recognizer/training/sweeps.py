"""One table of all runs of a sweep (`train.py -m`), on the terminal and as sweep_results.csv; Hydra calls it."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from gender_recognizer.pictures.writing import replacing

METRICS = ("val/acc", "val/balanced_acc", "test/acc", "test/balanced_acc")


class SweepTable(Callback):
    """Hydra's callback that collects the results of a sweep, whichever process or machine the runs were on."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and print the table; ends with exit code 3 if a run failed."""
        folder = Path(config.hydra.sweep.dir)
        rows = read_results(folder)
        if not rows:
            return
        write_results(rows, folder / "sweep_results.csv")
        print_results(rows)
        print(f"also saved as {folder / 'sweep_results.csv'}")
        if any(row["status"] != "done" for row in rows):
            sys.exit(3)


def read_results(folder: Path) -> list[dict[str, str]]:
    """Return a row for each run of a sweep: run, status, its options, metrics; the best by val/acc first."""
    rows = []
    for path in folder.glob("*/.hydra/overrides.yaml"):
        run_dir = path.parents[1]
        options = dict(str(override).partition("=")[::2] for override in OmegaConf.load(path))
        row = {"run": run_dir.name, "status": "failed"} | options
        if (metrics := run_dir / "metrics.json").is_file():
            values = json.loads(metrics.read_text())
            row |= {"status": "done"} | {name: f"{values[name]:.4f}" for name in METRICS if name in values}
        elif (failed := run_dir / "failed.txt").is_file():
            row["reason"] = " ".join(failed.read_text().split())
        rows.append(row)
    return sorted(rows, key=lambda row: (-float(row.get("val/acc", -1)), row["run"].zfill(9)))


def write_results(rows: list[dict[str, str]], path: Path) -> None:
    """Write the rows as CSV, the reason of a failure in the last column."""
    with replacing(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(rows), restval="")
        writer.writeheader()
        writer.writerows(rows)


def print_results(rows: list[dict[str, str]]) -> None:
    """Print the rows; options that are the same in all runs are left out."""
    from rich.console import Console  # of the extra train; Hydra imports this module before it is known to be there
    from rich.table import Column, Table

    columns = [name for name in _columns(rows) if len({row.get(name) for row in rows}) > 1 or name in METRICS]
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for row in rows:
        table.add_row(*(row.get(name, "-") for name in columns))
    Console().print(table)


def _columns(rows: list[dict[str, str]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row if name not in (*METRICS, "reason"))
    return [*names, *(name for name in (*METRICS, "reason") if any(name in row for row in rows))]
