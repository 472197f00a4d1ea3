import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from gender_recognizer.models.curves import risk_coverage
from gender_recognizer.training.figures import class_balance_figure, named_grid_figure, result_figures, worst_errors

CLASSES = ["female", "male"]


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 300)
    male = (0.25 + 0.5 * targets + rng.normal(0, 0.25, 300)).clip(0.01, 0.99).round(2)
    return np.stack([1 - male, male], axis=1), targets


@pytest.fixture(scope="module")
def figures(predictions):
    return result_figures(*predictions, CLASSES)


def line(figure, label):
    """Return the points of a line by its label."""
    (found,) = (line for line in figure.axes[0].lines if line.get_label() == label)
    return np.array(found.get_xdata()), np.array(found.get_ydata())


def test_confusion_matrix_counts_the_labels(figures, predictions):
    probabilities, targets = predictions
    labels = probabilities.argmax(axis=1)
    expected = [((targets == row) & (labels == column)).sum() for row in range(2) for column in range(2)]
    assert [int(text.get_text().split("\n")[0]) for text in figures["confusion_matrix"].axes[0].texts] == expected


def test_curves_are_those_of_scikit_learn(figures, predictions):
    probabilities, targets = predictions
    for index, name in enumerate(CLASSES):
        own, scores = targets == index, probabilities[:, index]
        false_positives, recall = line(figures["roc"], name)
        expected = roc_curve(own, scores, drop_intermediate=False)
        assert np.allclose(false_positives, expected[0])
        assert np.allclose(recall, expected[1])
        recall, precision = line(figures["precision_recall"], name)
        expected = precision_recall_curve(own, scores)
        assert np.allclose(recall, expected[1][-2::-1])
        assert np.allclose(precision, expected[0][-2::-1])


def test_reliability_and_coverage_show_what_was_measured(figures, predictions):
    probabilities, targets = predictions
    sure, share = line(figures["reliability"], "this model")
    confidence = probabilities.max(axis=1)
    inside = (confidence > 14 / 15) & (confidence <= 1)
    assert sure[-1] == pytest.approx(confidence[inside].mean())
    assert share[-1] == pytest.approx((probabilities.argmax(axis=1) == targets)[inside].mean())
    (curve,) = figures["risk_coverage"].axes[0].lines
    assert np.allclose(curve.get_ydata()[-20:], risk_coverage(probabilities, targets)[1][-20:])
    heights = [bar.get_height() for bar in figures["confidence"].axes[0].patches]
    assert sum(heights) == 300


def test_figures_of_one_class_alone(predictions):
    probabilities, _ = predictions
    figures = result_figures(probabilities, np.zeros(300, int), CLASSES)
    assert not figures["roc"].axes[0].lines
    shown = [text.get_text() for text in figures["confusion_matrix"].axes[0].texts]
    assert shown[2:] == ["0\n-", "0\n-"]  # no share of a class that is not there


def test_hostile_names_are_drawn_as_text(predictions):
    classes = ["$x_{$", "_under\x07"]
    figures = result_figures(*predictions, classes)
    for figure in (*figures.values(), class_balance_figure({"train": dict.fromkeys(classes, 1)})):
        figure.canvas.draw()
    shown = [text.get_text() for text in figures["roc"].axes[0].get_legend().get_texts()]
    assert shown == [r"\$x_{\$", r" _under\x07"]
    named_grid_figure(np.zeros((2, 10, 8, 3), np.uint8), ["$\\frac{$.jpg\n0.93", "caf\udce9.jpg\n0.5"]).canvas.draw()


def test_worst_errors_are_the_surest_wrong_answers():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.0, 1.0], [0.7, 0.3]])
    targets = np.array([0, 0, 0, 0, 1])
    assert worst_errors(probabilities, targets, 10).tolist() == [3, 1, 4, 2]
    assert worst_errors(probabilities, targets, 2).tolist() == [3, 1]


def test_figures_show_every_class_and_name():
    figure = class_balance_figure({"train": {"female": 3, "male": 5}, "test": {"female": 1, "male": 0}})
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "3", "5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["female", "male"]
    figure = named_grid_figure(np.zeros((7, 10, 8, 3), np.uint8), [f"{index}.jpg" for index in range(7)])
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [f"{index}.jpg" for index in range(7)]
