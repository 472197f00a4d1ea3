"""Count results, and describe the counts in sentences."""

from collections import Counter
from pathlib import Path

from gender_recognizer.labelling.records import BLANK, FAILED, LABELLED, NO_FACE, TOO_SMALL, UNSURE, Record

SHOWN = 20
"""The number of failures, and of ignored endings, that are listed."""


class Summary:
    """Counts of statuses and labels, the number of files, and the first failures."""

    def __init__(self) -> None:
        """Start with no records."""
        self.statuses: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.files = 0
        self.failures: list[Record] = []

    def add(self, record: Record) -> None:
        """Count a record."""
        self.statuses[record.status] += 1
        self.files += record.is_last
        if record.status == LABELLED and record.label is not None:
            self.labels[record.label] += 1
        if record.status == FAILED and len(self.failures) < SHOWN:
            self.failures.append(record)

    def lines(self, output_path: Path, ignored: int = 0, endings: dict[str, int] | None = None) -> list[str]:
        """Return the lines of the summary at the end of a run.

        Args:
            output_path: of the JSON file.
            ignored: number of files and folders that were left out.
            endings: their number by ending.
        """
        lines = [f"failed: {record.file!r}: {record.reason}" for record in self.failures]
        if hidden := self.statuses[FAILED] - len(self.failures):
            lines.append(f"... and {hidden} more, listed in {output_path.with_suffix('.jsonl').name}")
        if endings:
            lines.append(f"ignored because their endings are not those of pictures: {_count(endings)}")
        labels = ", ".join(f"{count} {label}" for label, count in sorted(self.labels.items())) or "none"
        parts = [f"{self.statuses[LABELLED]} labelled ({labels})"]
        for status in (UNSURE, TOO_SMALL, BLANK, NO_FACE):
            if self.statuses[status]:
                parts.append(f"{self.statuses[status]} {status.replace('_', ' ')}")
        parts += [f"{ignored} ignored"] if ignored else []
        parts.append(f"{self.statuses[FAILED]} failed")
        files = f"{self.files} file{'s' if self.files != 1 else ''}"
        return [*lines, f"{files}: {', '.join(parts)}: {output_path}"]


def _count(endings: dict[str, int]) -> str:
    """Return `3 .xyz, 1 .abc`, the most frequent first."""
    ordered = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {ending or 'without an ending'}" for ending, count in ordered[:SHOWN]]
    return ", ".join(shown) + (f" and {len(ordered) - SHOWN} other endings" if len(ordered) > SHOWN else "")
