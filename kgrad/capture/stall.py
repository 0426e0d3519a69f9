"""Whether the loss has stopped falling: when it is worth asking for the curvature."""

import numpy as np
from numpy.typing import NDArray

# Steps of each half that is compared: fewer say nothing about a slope among noise.
_FEWEST = 24
# Relative fall that counts as none, as in the diagnosis (`kgrad.diagnosis.loss_curve`).
_TOLERANCE = 0.02
# Median absolute deviation -> standard error of a median, for normal noise.
_MAD_TO_ERROR = 1.4826 * 1.253


def is_stalled(losses: NDArray[np.float64]) -> bool:
    """Whether the latest eighth of the losses lies no lower than the eighth before it, noise aside.

    Args:
        losses: one per step from the start, shape `(steps,)`.
    """
    size = max(_FEWEST, len(losses) // 8)
    if len(losses) < 2 * size:
        return False
    before, latest = losses[-2 * size : -size], losses[-size:]
    if not (np.isfinite(before).all() and np.isfinite(latest).all()):
        return False
    level = float(np.median(before))
    fall = level - float(np.median(latest))
    spread = np.hypot(*(np.median(np.abs(part - np.median(part))) for part in (before, latest)))
    noise = 3 * _MAD_TO_ERROR * float(spread) / np.sqrt(size)
    return fall < max(_TOLERANCE * abs(level), min(noise, 0.1 * abs(level)))
