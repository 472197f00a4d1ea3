"""Write the results of a check: check.json with everything, check.html to look at, and exclude.txt."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from gender_recognizer.checks.labels import MIN_PICTURES, NUM_FOLDS
from gender_recognizer.checks.looks import BLURRED, DARK
from gender_recognizer.data.duplicates import NEAR_COPY, NEAR_COPY_COARSE
from gender_recognizer.data.samples import IMBALANCE_WARNING
from gender_recognizer.evaluation.output_folder import require_own_files
from gender_recognizer.evaluation.pages import figure_image, thumbnail, write_page
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.detector import MIN_SHARE
from gender_recognizer.pictures.names import drawable, printable
from gender_recognizer.pictures.writing import replace_text, replacing

SHOWN = 48
"""Most pictures or groups of a kind that the page shows; check.json has all."""

SHOWN_FILES = 8
"""Most pictures of a group that the page shows."""

LIMITS = {
    "min_size": Limits.min_size,
    "min_contrast": Limits.min_contrast,
    "dark": DARK,
    "blurred": BLURRED,
    "share": MIN_SHARE,
    "near": NEAR_COPY,
    "near_coarse": NEAR_COPY_COARSE,
    "folds": NUM_FOLDS,
    "min_pictures": MIN_PICTURES,
}

Show = Callable[[str], np.ndarray]
"""Gives the pixels of a picture, uint8 `(100, 80, 3)`, by its name."""


def write_check(summary: Mapping[str, Any], show: Show, show_other: Show | None, folder: Path) -> None:
    """Write the results of a check: check.json, exclude.txt and check.html.

    Args:
        summary: what was found, plain values as in check.json.
        show: of the pictures.
        show_other: of those of the other folder, if there is one.
        folder: where to write.
    """
    replace_text(folder / "check.json", json.dumps(summary, indent=1) + "\n")
    left_out = certain_exclusions(summary)
    with replacing(folder / "exclude.txt") as file:
        file.write(exclude_file(summary))
    write_page(
        folder / "check.html",
        "check.html",
        summary=summary,
        left_out=len(left_out),
        limits=LIMITS,
        shown=SHOWN,
        shown_files=SHOWN_FILES,
        unbalanced=max(summary["classes"].values()) > IMBALANCE_WARNING * summary["pictures"],
        figures=[
            figure_image(balance_figure(title, counts), f"pictures by {title}")
            for title, counts in _balance(summary).items()
        ],
        show=lambda name: _thumbnail(show, name),
        show_other=lambda name: _thumbnail(show_other or show, name),
    )


def require_own_check(folder: Path) -> None:
    """Refuse to overwrite what an earlier check did not write, and an exclude.txt in which a person chose names.

    Raises:
        ValueError: naming the file.
    """
    names = ("check.json", "check.html", "exclude.txt")
    require_own_files(folder, names, "check.json", ("root", "exact_copies", "suspicious_labels"))
    chosen = folder / "exclude.txt"
    if chosen.exists() and chosen.read_bytes() != exclude_file(json.loads((folder / "check.json").read_bytes())):
        raise ValueError(f"'{chosen}' was edited since it was written; give another output_dir, or move it")


def _thumbnail(show: Show, name: str) -> Markup:
    return thumbnail(np.asarray(show(name)), name)


def certain_exclusions(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the files that should certainly be left out, and why.

    These are unreadable and blank ones, all but the first of equal pictures, and equal pictures with different labels.
    """
    found = {entry["file"]: f"cannot be read: {entry['reason']}" for entry in summary["unreadable"]}
    found |= {entry["file"]: "one colour all over" for entry in summary["blank"]}
    for group in summary["exact_copies"]:
        first, *others = (entry["file"] for entry in group["files"])
        if group["opposite_labels"]:
            found |= dict.fromkeys([first, *others], "the same picture has different labels")
        else:
            found |= dict.fromkeys(others, f"the same picture as {first}")
    return found


def doubtful(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of the files that a person should look at, and why."""
    for group in summary["near_copies"]:
        first, *others = (entry["file"] for entry in group["files"])
        if group["opposite_labels"]:
            yield from ((name, "almost the same picture has different labels") for name in (first, *others))
        else:
            yield from ((name, f"almost the same picture as {first}") for name in others)
    for entry in summary["tiny"]:
        yield entry["file"], f"only {entry['width']}x{entry['height']} pixels"
    for name in ("dark", "blurred"):
        yield from ((entry["file"], f"very {name}") for entry in summary[name])
    for entry in summary["suspicious_labels"]:
        yield entry["file"], f"suspicious label, the most suspicious first; perhaps {entry['suggested']}"


def exclude_file(summary: Mapping[str, Any]) -> bytes:
    """Return the content of exclude.txt."""
    lines = exclude_lines(summary, certain_exclusions(summary))
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def exclude_lines(summary: Mapping[str, Any], left_out: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of exclude.txt: names to leave out, and as comments those that a person should decide on."""
    yield f"# Pictures of {printable(summary['root'])} to leave out, found by check_data.py on {summary['date']}."
    yield "# To use it: python scripts/train.py data.root=... data.exclude=exclude.txt. '# ' begins a comment."
    yield "# The names in comments are doubtful: remove the '# ' before a name to leave that file out as well."
    proposals: dict[str, str] = {}
    for name, reason in doubtful(summary):
        if name not in left_out:
            proposals.setdefault(name, reason)
    for prefix, chosen in (("", left_out), ("# ", proposals)):
        reasons: dict[str, list[str]] = {}
        for name, reason in chosen.items():
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            yield f"# -- {printable(reason)}"
            yield from (prefix + _line(name) for name in names)


def _line(name: str) -> str:
    """Return a name as a line; one that begins like a comment gets `./` in front of it."""
    if "\n" in name or name.endswith("\r"):
        return f"# -- this name has a line break and cannot be listed: {name!a}"
    return f"./{name}" if name.startswith("#") else name


def _balance(summary: Mapping[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """Return the counts of each class by the values of each column; `class` itself is one."""
    classes = summary["classes"]
    own = {name: {name: count} for name, count in classes.items()}
    return {"class": own} | summary["metadata"]["groups"]


def balance_figure(title: str, counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Return bars of the number of pictures with each value, stacked by class."""
    classes = list(dict.fromkeys(name for count in counts.values() for name in count))
    figure = Figure(figsize=(5.5, 1.2 + 0.34 * len(counts)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(counts))
    for index, name in enumerate(classes):
        values = np.array([count.get(name, 0) for count in counts.values()])
        axes.barh(range(len(counts)), values, left=left, color=f"C{index}", label=drawable(name))
        left += values
    for row, total in enumerate(left):
        axes.text(total, row, f" {total:,.0f} ({total / max(1, left.sum()):.1%})", va="center", fontsize=8)
    axes.set_yticks(range(len(counts)), [drawable(name) or "(no value)" for name in counts])
    axes.set(title=f"Pictures by {drawable(title.replace('_', ' '))}", xlim=(0, max(1, left.max()) * 1.3))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=4)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    if set(counts) != set(classes):
        figure.legend(loc="outside lower center", ncols=len(classes), fontsize=8, frameon=False)
    return figure
