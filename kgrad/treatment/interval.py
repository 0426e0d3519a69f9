"""The interval of a mean difference between pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Points of the integral over an angle; enough for six digits of the quantile.
_POINTS = 100_001


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds that hold the true one with the given confidence.

    Attributes:
        mean: mean of the differences.
        low: lower bound.
        high: upper bound.
        confidence: share of such intervals that hold the true mean.
    """

    mean: float
    low: float
    high: float
    confidence: float


def paired_interval(differences: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's interval of the mean of paired differences; `None` for fewer than two.

    `mean ± t * s / sqrt(n)`, with `s` the standard deviation of the `n` differences and `t` the two-sided quantile
    at `n - 1` degrees of freedom. Source: Student 1908, "The Probable Error of a Mean", Biometrika 6. It takes the
    differences for normal, which a handful of seeds cannot show; a bootstrap of three values would claim more
    certainty than they hold.
    """
    count = len(differences)
    if count < 2:
        return None
    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    half = student_quantile(count - 1, confidence) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, confidence)


def student_quantile(degrees: int, confidence: float) -> float:
    """The `t` with `P(|T| < t) = confidence` for Student's distribution.

    With `t = sqrt(n) * tan(a)` the density becomes `cos(a)^(n - 1)` on the quarter circle (Student 1908, section
    III), which is smooth, so that plain trapezia do. The singular end `a = pi / 2` weighs nothing for `n > 1`.

    >>> round(student_quantile(2, 0.95), 3)
    4.303
    """
    angles = np.linspace(0, math.pi / 2, _POINTS)
    density = np.cos(angles) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * math.tan(float(np.interp(confidence, below / below[-1], angles)))
