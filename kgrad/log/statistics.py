"""The definition of each statistic, in numpy: the oracle that the capture is tested against.

The capture computes the same numbers as tensor operations inside the training step
(`kgrad.capture.statistics`); these few lines say what they must be.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gradient_statistics(gradient: ArrayLike) -> dict[str, float]:
    """The statistics of one variable's gradient in one step, computed in float64.

    Args:
        gradient: the gradient, any shape. Duplicate rows of a sparse gradient must
            have been summed.

    Returns:
        `gradient_norm`, `gradient_mean`, `gradient_std`, `gradient_max` (all in units of
        loss/weight), `zero_fraction` (0 to 1) and `nonfinite_count` (elements).

    >>> gradient_statistics([3.0, 0.0, -4.0, 0.0])["gradient_norm"]
    5.0
    >>> gradient_statistics([3.0, 0.0, -4.0, 0.0])["zero_fraction"]
    0.5
    """
    values: NDArray[Any] = np.asarray(gradient, dtype=np.float64).ravel()
    with np.errstate(invalid="ignore", over="ignore"):
        return {
            "gradient_norm": float(np.sqrt(np.sum(values**2))),
            "gradient_mean": float(values.mean()),
            "gradient_std": float(values.std()),
            "gradient_max": float(np.abs(values).max()),
            "zero_fraction": float(np.mean(values == 0.0)),
            "nonfinite_count": float(np.count_nonzero(~np.isfinite(values))),
        }


def update_statistics(before: ArrayLike, after: ArrayLike) -> dict[str, float]:
    """The statistics of one variable's weights around one update.

    Args:
        before: the weights before the update, any shape.
        after: the weights after it (clipping, decay and constraints included), same shape.

    Returns:
        `weight_norm` (of `before`) and `update_norm` (of `after - before`), in units of weight.

    >>> update_statistics([3.0, 4.0], [3.0, 3.0])
    {'weight_norm': 5.0, 'update_norm': 1.0}
    """
    old: NDArray[Any] = np.asarray(before, dtype=np.float64)
    new: NDArray[Any] = np.asarray(after, dtype=np.float64)
    return {
        "weight_norm": float(np.linalg.norm(old.ravel())),
        "update_norm": float(np.linalg.norm((new - old).ravel())),
    }
