"""Second looks at parts of a picture that need no second reading."""

import math
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gender_recognizer.labelling.labeller import Labeller
from gender_recognizer.labelling.records import Limits, Record
from gender_recognizer.labelling.regions import MARGINS, Region, cut_near, find_box, is_smooth, whole, widen
from gender_recognizer.models.predictor import Prediction
from gender_recognizer.pictures.loading import convert_picture, read_picture


def picture_with_square(size=(600, 800), box=(200, 260, 500, 560)):
    """Return a picture of noise with a square of red and orange stripes."""
    pixels = np.random.default_rng(0).integers(0, 120, (size[1], size[0], 3), np.uint8)
    square = pixels[box[1] : box[3], box[0] : box[2]]
    square[..., 0], square[..., 1:] = 250, 0
    square[..., 1] = np.arange(square.shape[1]) // 15 % 2 * 30
    return convert_picture(Image.fromarray(pixels))


def frame_of(box, size):
    """Return the frame of a square box in a picture of this size."""
    (width, height), side = size, box[2] - box[0]
    x, y = (box[0] + box[2]) / width - 1, (box[1] + box[3]) / height - 1
    return np.array([x, y, math.log(side / height), math.log(width / height)], np.float32)


class Scripted:
    """A model that says of each batch what it is told; keeps what it saw."""

    info = SimpleNamespace(looks_for_faces=True, image_size=(100, 80), classes=("female", "male"))

    def __init__(self, *answers):
        """Take the frame, the face score and the probability of the second class, for each batch in turn."""
        self.answers, self.seen = list(answers), []

    def predict(self, images):
        frame, score, male = self.answers.pop(0)
        self.seen.append(images.copy())
        count = len(images)
        probabilities = np.full((count, 2), (1 - male, male), np.float32)
        return Prediction(probabilities, np.tile(frame, (count, 1)).astype(np.float32), np.full(count, score))


NOTHING = np.zeros(4)
BOX = (200, 260, 500, 560)


def decide(model, picture, **limits):
    (decision,) = Labeller(model, Limits(**limits)).decide([(Record("a"), picture)])
    return decision


def test_a_square_is_cut_out_with_more_pixels_where_it_is():
    picture = picture_with_square()
    near, region = cut_near(picture, frame_of(BOX, picture.size))
    assert near.pixels.shape == (100, 80, 3)
    assert region == pytest.approx((215, 275, 270, 270), abs=1)
    assert (near.pixels[..., 0] > 240).all()
    assert near.size == picture.size


def test_a_square_that_reaches_beyond_the_picture_is_black_there():
    picture = picture_with_square(box=(0, 0, 240, 240))
    near, _ = cut_near(picture, frame_of((-120, -120, 120, 120), picture.size))
    assert near.pixels[:40, :30].max() < 20
    assert near.pixels[-40:, -30:, 0].min() > 240


def test_a_picture_without_more_pixels_has_no_closer_look():
    assert cut_near(convert_picture(Image.new("RGB", (90, 110), "red")), NOTHING) is None


def test_a_truncated_jpeg_has_no_closer_look():
    file = BytesIO()
    picture_with_square().larger.resize((225, 275)).save(file, "JPEG")
    box = [60, 80, 160, 180]
    for content, again in ((file.getvalue(), True), (file.getvalue()[:-2000], False)):
        picture = read_picture(BytesIO(content), allow_truncated=True)
        assert picture.truncated is not again
        assert (cut_near(picture, frame_of(box, picture.size)) is not None) == again


def test_a_border_makes_a_picture_smaller_and_boxes_stay_in_its_pixels():
    picture = picture_with_square()
    borders = [widen(picture, border) for border in range(len(MARGINS))]
    for margin, (wide, region) in zip(MARGINS, borders, strict=True):
        assert wide.pixels.shape == (100, 80, 3)
        assert region == pytest.approx((-600 * margin, -800 * margin, 600 * (1 + 2 * margin), 800 * (1 + 2 * margin)))
        frame = np.array([0, 0, math.log(picture.size[1] / region.height), 0.0])
        assert find_box(frame, region, picture.size) == [0, pytest.approx(53, abs=2), 600, pytest.approx(747, abs=2)]
    (continued, _), (plain, _) = borders
    assert tuple(continued.pixels[2, 2]) == tuple(picture.pixels[0, 0])
    assert tuple(plain.pixels[2, 2]) == pytest.approx(tuple(picture.pixels.mean(axis=(0, 1))), abs=1)
    assert find_box(frame_of(BOX, picture.size), whole(picture), picture.size) == list(BOX)


def test_a_face_that_does_not_fill_the_picture_is_labelled_by_a_closer_look():
    model = Scripted((frame_of(BOX, (600, 800)), 0.9, 0.4), (NOTHING, 0.8, 0.9))
    decision = decide(model, picture_with_square())
    assert (decision.record.label, decision.record.probability) == ("male", 0.9)
    assert decision.record.box == pytest.approx([215, 275, 485, 545], abs=1)
    assert (model.seen[1][0, :, :, 0] > 240).all()  # the square alone
    assert decision.picture.is_face


def test_of_a_face_that_is_seen_closer_the_mirror_image_counts_where_the_model_is_still_in_doubt():
    model = Scripted((frame_of(BOX, (600, 800)), 0.9, 0.4), (NOTHING, 0.8, 0.3), (NOTHING, 0.8, 0.8))
    decision = decide(model, picture_with_square())
    assert (decision.record.label, decision.record.probability) == ("male", 0.55)
    assert decision.record.box == pytest.approx([215, 275, 485, 545], abs=1)
    assert np.array_equal(model.seen[2], model.seen[1][:, :, ::-1])


@pytest.mark.parametrize(("score", "probability"), [(0.8, 0.65), (0.2, 0.6)])
def test_of_a_far_face_the_mirror_image_counts_where_the_model_is_in_doubt_and_it_shows_the_face(score, probability):
    far = (np.array([0, 0, -3.0, 0]), 0.9, 0.1)
    model = Scripted(far, (NOTHING, 0.9, 0.4), (NOTHING, score, 0.9))
    found = Record("a", box=[1, 2, 3, 4], faces=1), picture_with_square()._replace(is_face=True)
    (decision,) = Labeller(model, Limits()).decide([(Record("a"), picture_with_square())], lambda rows, first: [found])
    assert (decision.record.probability, decision.record.box) == (probability, [1, 2, 3, 4])
    assert np.array_equal(model.seen[2], model.seen[1][:, :, ::-1])


def test_of_each_face_of_a_photograph_the_mirror_image_counts_where_the_model_is_in_doubt():
    model = Scripted((NOTHING, 0.9, 0.4), (NOTHING, 0.9, 0.9))
    face = picture_with_square()._replace(is_face=True)
    record = Record("a#0", face=0, faces=1, box=[1, 2, 3, 4])
    (decision,) = Labeller(model, Limits(faces="crop")).decide([(record, face)])
    assert (decision.record.label, decision.record.probability, decision.record.box) == ("male", 0.65, [1, 2, 3, 4])


def test_a_model_that_is_sure_does_not_look_closer():
    model = Scripted((frame_of(BOX, (600, 800)), 0.9, 0.04))
    decision = decide(model, picture_with_square())
    assert (decision.record.label, decision.record.box, len(model.seen)) == ("female", list(BOX), 1)


def test_a_closer_look_that_finds_nothing_changes_nothing():
    model = Scripted((frame_of(BOX, (600, 800)), 0.9, 0.4), (NOTHING, 0.1, 0.9))
    decision = decide(model, picture_with_square())
    assert (decision.record.label, decision.record.box) == ("female", list(BOX))


def test_a_face_that_fills_the_picture_needs_one_look():
    model = Scripted((np.array([0, 0, -0.05, 0.0]), 0.9, 0.4))
    assert decide(model, picture_with_square()).record.label == "female"


def test_of_a_face_that_the_edge_cuts_the_mirror_image_counts_where_the_model_is_in_doubt():
    cut = np.array([0.1, 0, 0.3, 0.0])
    model = Scripted((cut, 0.9, 0.4), (cut * (-1, 1, 1, 1), 0.8, 0.9))
    record = decide(model, picture_with_square()).record
    assert (record.label, record.probability) == ("male", 0.65)
    assert np.array_equal(model.seen[1], model.seen[0][:, :, ::-1])
    assert record.box == decide(Scripted((cut, 0.9, 0.1)), picture_with_square()).record.box  # sure: one look
    unseen = Scripted((cut, 0.5, 0.4), (NOTHING, 0.1, 0.9))
    assert decide(unseen, picture_with_square()).record.probability == 0.6


@pytest.mark.parametrize(("log_size", "status"), [(0.0, "labelled"), (-0.7, "no_face")])
def test_a_face_larger_than_the_picture_is_found_behind_a_border_and_a_smaller_one_is_not(log_size, status):
    larger = np.array([0, 0, log_size, 0])
    model = Scripted((NOTHING, 0.1, 0.4), (larger, 0.9, 0.9), (larger, 0.9, 0.9))
    decision = decide(model, picture_with_square())
    assert decision.record.status == status
    if status == "labelled":
        assert decision.record.box == [0, 0, 600, 800]


@pytest.mark.parametrize(
    ("scores", "sizes", "status"),
    [
        ((0.1, 0.6), (0.0, 0.0), "labelled"),
        ((0.1, 0.4), (0.0, 0.0), "no_face"),
        ((0.9, 0.9), (0.0, -0.6), "labelled"),  # 0.93 of the picture's side, and clearly a face
        ((0.5, 0.5), (0.0, -0.6), "no_face"),
        ((0.9, 0.9), (0.0, -1.0), "no_face"),
    ],
)
def test_the_mean_of_what_is_seen_within_both_borders_counts(scores, sizes, status):
    frames = [np.array([0, 0, size, 0]) for size in sizes]
    model = Scripted((NOTHING, 0.1, 0.4), (frames[0], scores[0], 0.1), (frames[1], scores[1], 0.7))
    record = decide(model, picture_with_square()).record
    assert record.status == status
    if status == "labelled":
        assert (record.label, record.probability) == ("female", 0.6)


def test_without_a_hint_of_a_face_within_one_border_the_other_is_not_tried():
    model = Scripted((NOTHING, 0.1, 0.4), (np.array([0, 0, 0.0, 0]), 0.09, 0.1))
    assert decide(model, picture_with_square()).record.status == "no_face"
    assert len(model.seen) == 2


@pytest.mark.parametrize(("score", "label"), [(0.45, "female"), (0.9, "male")])
def test_what_is_hardly_a_face_behind_a_border_gives_way_to_a_smaller_face(score, label):
    larger = np.array([0, 0, 0.0, 0.0])
    model = Scripted((NOTHING, 0.1, 0.4), *[(larger, score, 0.9)] * 2, (NOTHING, 0.9, 0.1))
    smaller = picture_with_square()._replace(is_face=True)
    labeller = Labeller(model, Limits())
    (decision,) = labeller.decide(
        [(Record("a"), picture_with_square())], lambda rows, first: [(Record("b"), smaller)] * len(rows)
    )
    assert decision.record.label == label


def test_nothing_is_looked_at_again_where_nothing_is_refused():
    model = Scripted((NOTHING, 0.1, 0.4))
    assert decide(model, picture_with_square(), faces="none").record.label == "female"
    assert find_box(NOTHING, Region(0, 0, 10, 20), (10, 20)) == [0, 3, 10, 17]


def test_before_a_face_far_out_of_focus_a_sharp_one_is_searched_for():
    blurred = convert_picture(Image.linear_gradient("L").convert("RGB").resize((600, 800)))
    assert is_smooth(blurred, NOTHING)
    assert not is_smooth(picture_with_square(), NOTHING)
    asked = []
    for second in ((Record("a", box=[1, 2, 3, 4], faces=1), picture_with_square()), (Record("a"), None)):
        model = Scripted((NOTHING, 0.9, 0.1), (NOTHING, 0.9, 0.9))

        def look_again(rows, first, second=second):
            asked.append(rows)
            assert [picture for _, picture in first] == [blurred]
            return [second]

        (decision,) = Labeller(model, Limits()).decide([(Record("a"), blurred)], look_again)
        label, box = ("male", [1, 2, 3, 4]) if second[1] else ("female", [0, 53, 600, 747])
        assert decision.record.label == label
        assert decision.record.box == pytest.approx(box, abs=2)
    assert asked == [[0], [0]]


def test_a_small_picture_out_of_focus_is_not_searched_for_a_face_that_it_has_no_pixels_for():
    small = convert_picture(Image.linear_gradient("L").convert("RGB").resize((144, 144)))
    assert is_smooth(small, NOTHING)
    model = Scripted((NOTHING, 0.9, 0.1))
    (decision,) = Labeller(model, Limits()).decide([(Record("a"), small)], lambda rows, first: pytest.fail("searched"))
    assert decision.record.label == "female"
