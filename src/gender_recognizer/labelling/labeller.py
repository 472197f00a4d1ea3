"""Turn pictures into records: look, look again where that was not enough, decide.

Every engine, the Python API and the evaluation use the same `Labeller`.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gender_recognizer.labelling.reader import Pair, Reader, without_face
from gender_recognizer.labelling.records import BLANK, FAILED, TOO_SMALL, Limits, Record
from gender_recognizer.labelling.regions import (
    DETAILED_SIDE,
    Region,
    cut_near,
    find_box,
    find_square,
    is_smooth,
    mirror,
    whole,
    widen,
)
from gender_recognizer.models.detector import (
    CUT_SHARE,
    ENOUGH_SHARE,
    MIN_FAR_SCORE,
    MIN_HINT_SCORE,
    MIN_LOOK_SCORE,
    MIN_SHARE,
    MIN_WIDE_SCORE,
    NEAR_SHARE,
    SURE,
    Detector,
)
from gender_recognizer.models.predictor import Predictor
from gender_recognizer.pictures.loading import Picture

LookAgain = Callable[[list[int], list[Pair]], list[Pair]]
"""Returns the main faces of pictures, of which it is given the numbers and what was read: `Reader.read_again`."""


class Decision(NamedTuple):
    """What became of a picture.

    Attributes:
        record: of the file or the face.
        probabilities: `(num_classes,)`, of a picture without a face those of the whole picture; None if the model did
            not see it.
        picture: what was looked at last: the whole picture, or a face in it; None if there is none.
    """

    record: Record
    probabilities: np.ndarray | None
    picture: Picture | None


class Look(NamedTuple):
    """What a model says about a picture or a part of it.

    Attributes:
        probabilities: as in `predictor.Prediction`, like the next two.
        frame: where in the part the face is.
        face_score: that it is one.
        picture: what was looked at; its size is that of the whole picture.
        region: where in the whole picture that is.
        share: the side of the face's frame, as a share of the root of the whole picture's area.
    """

    probabilities: np.ndarray
    frame: np.ndarray
    face_score: float
    picture: Picture
    region: Region
    share: float

    def shows_face(self) -> bool:
        """Return whether this look at a whole picture shows a face."""
        return self.face_score >= (MIN_LOOK_SCORE if self.share >= NEAR_SHARE else MIN_FAR_SCORE)

    def is_part(self) -> bool:
        """Return whether it is a look at a part of the picture, not at all of it or more."""
        return self.region.width * self.region.height < math.prod(self.picture.size)

    def settles(self) -> bool:
        """Return whether it shows a face that is large enough to be the main one."""
        return self.shows_face() and self.share >= MIN_SHARE

    def hints_at_larger_face(self) -> bool:
        """Return whether a look within a border makes another one worth its time."""
        is_wider = self.region.width * self.region.height > math.prod(self.picture.size)
        return is_wider and self.face_score >= MIN_HINT_SCORE

    def is_cut(self) -> bool:
        """Return whether the picture's edge cuts the face."""
        return self.shows_face() and self.share >= CUT_SHARE


class Labeller:
    """One model, its limits and its reader; may be used by several threads at once."""

    def __init__(self, predictor: Predictor, limits: Limits | None = None, detector: Detector | None = None) -> None:
        """Take a model.

        Args:
            predictor: the model.
            limits: None for the default ones.
            detector: finds faces in photographs; None for `YuNet`.

        Raises:
            ValueError: the limits ask for each face, and the model does not look for faces.
        """
        self.predictor, self.limits = predictor, limits or Limits()
        self.reader = Reader(self.limits, detector, predictor.info.image_size)
        self._local = threading.local()
        self._looks = self.limits.faces == "auto" and predictor.info.looks_for_faces
        if self.limits.faces == "crop" and not predictor.info.looks_for_faces:
            raise ValueError("faces is crop, but the model does not look for faces; use faces=none or another model")

    def label_pictures(self, read: Sequence[Pair], look_again: LookAgain | None = None) -> list[Record]:
        """Fill in and return the records of pictures; see `decide`."""
        return [decision.record for decision in self.decide(read, look_again)]

    def decide(self, read: Sequence[Pair], look_again: LookAgain | None = None) -> list[Decision]:
        """Return what becomes of pictures, and fill in their records.

        A picture whose face does not fill enough of it, or that shows none, is looked at again.

        Args:
            read: the pictures.
            look_again: reads some of them again; None where there is nothing more to read.
        """
        looks = self._look(read)
        cut_out = {row: look for row, look in enumerate(looks) if look and look.picture.is_face}
        closer = self._look_closer(read, looks) if self._looks else self._look_mirrored(read, cut_out)
        rows = [row for row, look in enumerate(looks) if look and self._is_far(closer.get(row, look))]
        found = look_again(rows, [read[row] for row in rows]) if rows and look_again else []
        again = dict(zip(rows, found, strict=False))
        faces = {row: look for row, look in zip(again, self._look(list(again.values())), strict=True) if look}
        faces |= self._look_mirrored(read, faces)
        return [
            self._choose(pair, closer.get(row, look), again.get(row), faces.get(row))
            for row, (pair, look) in enumerate(zip(read, looks, strict=True))
        ]

    def _is_far(self, look: Look) -> bool:
        """Return whether a photograph must be searched for its face, after the last look at it or a part of it.

        There may be a sharp one before a blurred one, and what seems larger than the picture may be no face.
        """
        if not self._looks or look.is_part():
            return False
        if look.share >= 1 and look.region != whole(look.picture):
            return look.face_score < MIN_FAR_SCORE
        if not look.settles():
            return True
        return min(look.picture.size) >= DETAILED_SIDE and is_smooth(look.picture, look.frame)

    def _look_closer(self, read: Sequence[Pair], looks: Sequence[Look | None]) -> dict[int, Look]:
        """Return second looks, by row, that need no second reading; only those that show a face.

        A face that does not fill the picture is seen in more of the picture's pixels, unless the model is sure anyway.
        One that is larger than the picture is found once there is a border around it; there are two, and the mean of
        what is seen in both counts.
        """
        closer: dict[int, Look] = {}
        parts = {row: part for row, look in enumerate(looks) if look and (part := _choose_part(look))}
        self._join_looks(read, parts, closer)
        hints = {row for row, look in closer.items() if look.hints_at_larger_face()}
        wider = {row: widen(look.picture, 1) for row, look in enumerate(looks) if look and row in hints}
        self._join_looks(read, wider, closer)
        closer = {row: look for row, look in closer.items() if _confirms(look)}
        near = {row: look for row, look in closer.items() if look.is_part()}
        cut = {row: look for row, look in enumerate(looks) if look and look.is_cut()}
        return closer | self._look_mirrored(read, near | cut)

    def _look_mirrored(self, read: Sequence[Pair], looks: Mapping[int, Look]) -> dict[int, Look]:
        """Return those looks at faces, by row, of whose label the model is not sure; their mirror images count, too."""
        doubtful = {row: look for row, look in looks.items() if look.probabilities.max() < SURE}
        mirrored = self._look([(read[row][0], mirror(look.picture)) for row, look in doubtful.items()])
        return {
            row: look._replace(probabilities=(look.probabilities + other.probabilities) / 2)
            for (row, look), other in zip(doubtful.items(), mirrored, strict=True)
            if other and other.shows_face()
        }

    def _join_looks(
        self, read: Sequence[Pair], parts: Mapping[int, tuple[Picture, Region]], looks: dict[int, Look]
    ) -> None:
        """Look at parts of pictures, by row, and join what is seen with the looks so far."""
        pairs = [(read[row][0], picture) for row, (picture, _) in parts.items()]
        for row, look in zip(parts, self._look(pairs, [region for _, region in parts.values()]), strict=True):
            if look:
                looks[row] = _join(looks[row], look) if row in looks else look

    def _choose(self, first: Pair, look: Look | None, second: Pair | None, face: Look | None) -> Decision:
        """Return what becomes of a picture, given a look at it and, if it was searched, the face that was found."""
        record, picture = first
        if look is None or picture is None:
            return Decision(record, None, picture)
        if second:
            again, part = second
            if face and face.face_score >= MIN_LOOK_SCORE:
                return self._decide(again, face)
            is_failed = again.status == TOO_SMALL or (part is None and again.status == FAILED)
            if is_failed and not look.settles():
                return Decision(again, None, picture)
        if self._looks and look.picture is picture and not look.shows_face():
            return Decision(without_face(record), look.probabilities, picture)
        if self._looks:
            record.box, record.faces = find_box(look.frame, look.region, picture.size), 1
        return self._decide(record, look)

    def _decide(self, record: Record, look: Look) -> Decision:
        """Return the decision for a picture by what the model says about it."""
        if not np.isfinite(look.probabilities).all():
            record.status, record.reason = FAILED, "the model gave no probability: its result is not a number"
            return Decision(record, look.probabilities, look.picture)
        best = int(look.probabilities.argmax())
        record.label = self.predictor.info.classes[best]
        record.probability = round(float(look.probabilities[best]), 6)
        record.status, record.reason = self.limits.status(record.probability), None
        return Decision(record, look.probabilities, look.picture)

    def _look(self, read: Sequence[Pair], regions: Sequence[Region] | None = None) -> list[Look | None]:
        """Return what the model says about pictures; None where there is nothing to look at.

        Args:
            read: the pictures.
            regions: what they are parts of; None if they are whole.
        """
        rows = [row for row, (record, picture) in enumerate(read) if picture and self._accept(record, picture)]
        looks: list[Look | None] = [None] * len(read)
        if rows:
            pictures: list[Picture] = [read[row][1] for row in rows]  # type: ignore[misc] # which was asked above
            images = self._buffer(len(rows))
            for place, picture in enumerate(pictures):
                images[place] = picture.pixels
            said = zip(*self.predictor.predict(images), strict=True)
            for row, picture, (probabilities, frame, score) in zip(rows, pictures, said, strict=True):
                region = regions[row] if regions else whole(picture)
                share = find_square(frame, region).width / math.sqrt(math.prod(picture.size))
                looks[row] = Look(probabilities, frame, score, picture, region, share)
        return looks

    def _accept(self, record: Record, picture: Picture) -> bool:
        """Return whether there is something to label; if not, set the record's status and reason."""
        record.pages = picture.pages if picture.pages > 1 else None
        record.truncated = picture.truncated or None
        width, height = picture.size
        if min(width, height) < self.limits.min_size:
            record.status, record.reason = TOO_SMALL, f"{width}x{height} pixels"
        elif _is_below(picture.pixels, self.limits.min_contrast):
            record.status, record.reason = BLANK, "one colour all over"
        else:
            return True
        return False

    def _buffer(self, count: int) -> np.ndarray:
        """Return this thread's memory for `count` pictures, uint8 `(count, *image_size, 3)`."""
        images = getattr(self._local, "images", None)
        if images is None or len(images) < count:
            images = self._local.images = np.empty((count, *self.reader.image_size, 3), np.uint8)
        return images[:count]


def _choose_part(look: Look) -> tuple[Picture, Region] | None:
    """Return what to look at after a look at a whole picture, and where it is; None if nothing else would help."""
    if not look.shows_face():
        return widen(look.picture, 0)
    is_doubtful = look.share < ENOUGH_SHARE and look.probabilities.max() < SURE
    if look.settles() and is_doubtful and not is_smooth(look.picture, look.frame):
        return cut_near(look.picture, look.frame)
    return None


def _join(first: Look, second: Look) -> Look:
    """Return the first of two looks at the same face with the mean of what both say."""
    return first._replace(
        probabilities=(first.probabilities + second.probabilities) / 2,
        face_score=(first.face_score + second.face_score) / 2,
        share=min(first.share, second.share),
    )


def _confirms(look: Look) -> bool:
    """Return whether a second look shows a face: in a part of the picture, or one that fills it."""
    if look.is_part():
        return look.face_score >= MIN_LOOK_SCORE
    if look.face_score >= MIN_FAR_SCORE:
        return look.share >= ENOUGH_SHARE
    return look.face_score >= MIN_WIDE_SCORE and look.share >= 1


def _is_below(pixels: np.ndarray, contrast: int) -> bool:
    """Return whether the values of each colour channel of `(100, 80, 3)` stay within less than `contrast`."""
    if np.ptp(pixels[50, :, 1]) >= contrast:  # the green values across the middle almost always decide it
        return False
    return bool((np.ptp(pixels.reshape(-1, 3), axis=0) < contrast).all())
