"""95 % intervals of values measured on a sample of pictures."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from gender_recognizer.models.comparing import share_interval

LIMITS = (2.5, 97.5)
"""The percentiles at the ends of an interval."""

DEVIATIONS = 3.92
"""Standard errors between the ends of an interval of something that is normally distributed."""

_SAMPLES = 2000
_SPREADS = np.linspace(0.0025, 0.4975, 100)


class Estimate(NamedTuple):
    """A value with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def estimate_values(estimate: Estimate) -> dict[str, float | None]:
    """Return `value`, `low` and `high`, None where they are not defined."""
    return {name: None if math.isnan(value) else float(value) for name, value in estimate._asdict().items()}


def resample(count: int, num_draws: int, seed: int = 0) -> np.ndarray:
    """Return how often each of `count` pictures is drawn with replacement, int32 `(num_draws, count)`."""
    rng = np.random.default_rng(seed)
    draws = (np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(num_draws))
    return np.stack([draw.astype(np.int32) for draw in draws])


def share_estimate(part: float, whole: float) -> Estimate:
    """Return the share of `part` in `whole`, two numbers of pictures, with Wilson's interval."""
    if not whole:
        return Estimate(*[float("nan")] * 3)
    return Estimate(part / whole, *share_interval(int(part), int(whole)))


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent values, with an interval that follows from theirs (Zou and Donner 2008)."""
    values, lows, highs = np.array(estimates).reshape(-1, 3).T
    mean = float(values.mean())
    below, above = (float(np.linalg.norm(values - end)) / len(values) for end in (lows, highs))
    return Estimate(mean, mean - below, mean + above)


def percentile_interval(value: float, draws: np.ndarray) -> Estimate:
    """Return a value with the percentiles of its bootstrap draws `(num_draws,)`; NaN draws are left out.

    Draws that are all alike say nothing of what other pictures would give: no picture is wrong, or all are.
    """
    draws = draws[~np.isnan(draws)]
    if not len(draws) or np.isnan(value) or np.ptp(draws) < 1e-9:
        return Estimate(value, float("nan"), float("nan"))
    return Estimate(value, *map(float, np.percentile(draws, LIMITS)))


def spread_interval(
    spread: Callable[[np.ndarray], np.ndarray],
    values: Sequence[np.ndarray],
    noise: Sequence[np.ndarray],
    about_zero: bool = False,
    seed: int = 0,
) -> Estimate:
    """Return the spread of several values, with an interval that corrects for the spread that chance adds.

    Chance spreads measured values, and resampling spreads them again: bootstrap percentiles of a spread lie
    too high (they held the true calibration error in 62 to 93 % of simulated sets). Here the true values are assumed to
    be drawn from a normal distribution of unknown width, the measured ones to be the true ones plus noise
    (Gelman et al., Bayesian Data Analysis, section 5.4), and the interval holds the likely spread of the true values,
    widened to include the measured one. It starts at 0 where noise alone could explain that.

    Args:
        spread: takes values `(M, K)` and returns their spread `(M,)`.
        values: `(K,)` each; the spread is the largest of those of its members.
        noise: standard errors of each member of `values`, `(K,)`.
        about_zero: whether the true values lie about 0, rather than about a mean of their own.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    noise = [errors.clip(1e-6) for errors in noise]
    value = max(float(spread(known[None])[0]) for known in values)
    pairs = list(zip(values, noise, strict=True))
    likely = np.max([spread(_true_values(known, std, about_zero, rng)) for known, std in pairs], axis=0)
    by_chance = np.max([spread(std * rng.standard_normal((_SAMPLES, len(std)))) for std in noise], axis=0)
    low, high = map(float, np.percentile(likely, LIMITS))
    low = 0.0 if value <= np.percentile(by_chance, LIMITS[1]) else min(low, value)
    return Estimate(value, low, max(high, value))


def _true_values(measured: np.ndarray, noise: np.ndarray, about_zero: bool, rng: np.random.Generator) -> np.ndarray:
    """Return likely true values, `(2000, K)`, of measured ones `(K,)` with known noise (standard deviation, `(K,)`)."""
    variance = _SPREADS[:, None] ** 2 + noise**2
    weight = (1 / variance).sum(axis=1)
    mean = np.zeros(len(_SPREADS)) if about_zero else (measured / variance).sum(axis=1) / weight
    fit = -0.5 * (np.log(variance) + (measured - mean[:, None]) ** 2 / variance).sum(axis=1)
    fit -= 0 if about_zero else 0.5 * np.log(weight)
    chances = np.exp(fit - fit.max())
    chosen = rng.choice(len(_SPREADS), _SAMPLES, p=chances / chances.sum())
    centre = mean[chosen] + (0 if about_zero else rng.standard_normal(_SAMPLES) / np.sqrt(weight[chosen]))
    kept = (_SPREADS[chosen, None] ** 2) / variance[chosen]
    expected = kept * measured + (1 - kept) * centre[:, None]
    return expected + np.sqrt(kept) * noise * rng.standard_normal((_SAMPLES, len(measured)))
