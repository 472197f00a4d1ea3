"""What follows when all files are labelled: sort them, draw on copies, write the page to review them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gender_recognizer.labelling.annotating import Annotating
from gender_recognizer.labelling.inputs import Inputs
from gender_recognizer.labelling.log_lines import read_groups
from gender_recognizer.labelling.places import Places
from gender_recognizer.labelling.records import Record
from gender_recognizer.labelling.result_log import SORTED_INTO
from gender_recognizer.labelling.review import Review
from gender_recognizer.labelling.settings import LabelSettings
from gender_recognizer.labelling.sorting import Sorting, refuse_class_names


class FollowUps:
    """The steps that the settings ask for.

    Attributes:
        places: where the files are.
        left: files that a step could not do.
    """

    def __init__(self, settings: LabelSettings, inputs: Inputs, output_path: Path) -> None:
        """Look at where the steps will write, before the work begins.

        Raises:
            ValueError: a step cannot write there, or would overwrite other files.
        """
        self._settings, self._inputs, self._log = settings, inputs, output_path.with_suffix(".jsonl")
        self._review = Review(output_path, settings.limits) if settings.review else None
        self._annotating = Annotating(settings.annotate, inputs, settings.limits) if settings.annotate else None
        self.places = self._find_places()
        self.left = 0

    def _find_places(self) -> Places:
        return Places(self._inputs, self._log, self._settings.sort_into)

    @property
    def note(self) -> dict[str, list[str]]:
        """What the head of the log says of them: another run finds the files that were moved."""
        return {SORTED_INTO: self.places.folders} if self.places.folders else {}

    def __bool__(self) -> bool:
        """Whether there is a step."""
        return bool(self._settings.review or self._settings.annotate or self._settings.sort_into)

    def run(self, classes: Sequence[str], model: str) -> Iterator[str]:
        """Do the steps with the records in the log, and yield what to tell of each.

        Args:
            classes: names of the classes, in the order of the model.
            model: its name.

        Raises:
            ValueError: another run sorts into the same folder, or a class has the name of another folder there.
            OSError: something cannot be written.
        """
        if self._settings.sort_into:
            refuse_class_names(classes)
            sorting = Sorting(self._settings.sort_into, self._settings.sort_by, self._inputs, self.places)
            sorting.sort(self._groups())
            yield from sorting.lines()
            self.left += len(sorting.left)
            self.places = self._find_places()
        if self._annotating:
            self._annotating.write(self._groups(), self.places, list(classes))
            yield from self._annotating.lines()
            self.left += len(self._annotating.left)
        if self._review:
            records = (record for group in self._groups() for record in group)
            yield self._review.write(records, self.places, classes, model)

    def _groups(self) -> Iterator[list[Record]]:
        """Yield the records in the log, those of one file together."""
        with self._log.open("rb") as file:
            file.readline()
            yield from (group.records for group in read_groups(file) if group)
