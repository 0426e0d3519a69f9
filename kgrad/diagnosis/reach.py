"""What an output activation can reach, and how much of the targets lies beyond it."""

import math

from kgrad.log.batch import TensorFacts

_INFINITE = math.inf
# Lowest and highest value of an activation, by its definition; the minima of gelu and silu are numerical.
RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, _INFINITE),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, _INFINITE),
    "exponential": (0.0, _INFINITE),
    "elu": (-1.0, _INFINITE),
    "selu": (-1.7581, _INFINITE),
    "silu": (-0.2785, _INFINITE),
    "swish": (-0.2785, _INFINITE),
    "gelu": (-0.1700, _INFINITE),
    "leaky_relu": (-_INFINITE, _INFINITE),
    "linear": (-_INFINITE, _INFINITE),
    "log_softmax": (-_INFINITE, 0.0),
}
# Zero over half their domain: nothing below 0 passes, and no gradient comes back from there.
RECTIFIERS = ("relu", "relu6")


def unreachable(target: TensorFacts, activation: str) -> float:
    """Share of the targets' variance that no weights can fit, since the activation never gets there.

    The mean square of what lies beyond the range over the variance, for normally distributed targets of the
    same mean and standard deviation; a side of the range that no target crosses counts as nothing. 1 at most.

    Args:
        target: the targets.
        activation: a key of `RANGES`.

    >>> import numpy as np
    >>> round(unreachable(TensorFacts.of("", np.array([-1.0, 1.0])), "relu"), 3)
    0.5
    """
    low, high = RANGES[activation]
    if target.minimum is None or target.maximum is None or target.mean is None:
        return 0.0
    spread = target.std or 0.0
    if not spread:
        return float(not low <= target.mean <= high)
    under = _beyond((low - target.mean) / spread) if target.minimum < low else 0.0
    over = _beyond((target.mean - high) / spread) if target.maximum > high else 0.0
    return min(1.0, under + over)


def _beyond(z: float) -> float:
    """Mean of `max(z - x, 0)**2` for a standard normal `x`."""
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return (z * z + 1) * 0.5 * math.erfc(-z / math.sqrt(2)) + z * density
