"""How sure it is that one model labels the same pictures better than another."""

import numpy as np


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % interval of a share: Wilson's, which holds for few pictures, and where none is wrong.

    Args:
        part: pictures of which something is so, such as that they got the right label.
        whole: all of them, one or more.
    """
    from scipy.stats import binomtest

    interval = binomtest(part, whole).proportion_ci(0.95, method="wilson")
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
