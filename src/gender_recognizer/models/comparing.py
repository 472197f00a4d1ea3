"""How sure it is that one model labels the same pictures better than another."""

import numpy as np


def accuracy_interval(right: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy: Wilson's, which holds for few pictures, too.

    Args:
        right: whether each label is right, bool `(N,)`, one picture or more.
    """
    from scipy.stats import binomtest

    interval = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: np.ndarray, second: np.ndarray, targets: np.ndarray) -> tuple[int, int, float]:
    """Return how many pictures only the first and only the second model labels right, and the exact p-value.

    Args:
        first: labels of one model as class indices, int `(N,)`.
        second: labels of another for the same pictures.
        targets: int `(N,)`.
    """
    from scipy.stats import binomtest

    only_first = int(((first == targets) & (second != targets)).sum())
    only_second = int(((first != targets) & (second == targets)).sum())
    differing = only_first + only_second
    return only_first, only_second, float(binomtest(only_first, differing).pvalue) if differing else 1.0
