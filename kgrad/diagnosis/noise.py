"""How much of a batch's gradient is signal and how much noise, from successive gradients."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis.windows import SMALLEST_WINDOW
from kgrad.errors import KgradError
from kgrad.log.run_log import FloatArray, RunLog, expect_run


def signal_to_noise(log: RunLog, window: int = 100) -> tuple[NDArray[np.int64], FloatArray]:
    """The gradient's signal-to-noise ratio over windows of steps.

    The squared length of the true gradient over the variance of that of a batch: the inverse of McCandlish et al.'s
    (2018, "An Empirical Model of Large-Batch Training") gradient noise scale in units of the batch size. The mean inner
    product of successive gradients estimates the former, what is left of their mean square the latter.

    Args:
        log: a run with the column `cosine` (`GradientMonitor(cosine=True)`).
        window: recorded steps to a window, at least 5; the last window may be shorter.

    Returns:
        The number of the first step of each window, and the ratios, both of shape `(windows,)`; a ratio is 0 where no
        signal is seen, and NaN where a window has fewer than 5 steps whose gradient is finite.

    Raises:
        KgradError: the run has no cosines, the window is too short, or `log` is no run that was read.
    """
    expect_run(log)
    if "cosine" not in log:
        raise KgradError(f"{log.name!r} has no column 'cosine'; record it with GradientMonitor(cosine=True)")
    if window < SMALLEST_WINDOW:
        raise KgradError(f"window={window}: expected {SMALLEST_WINDOW} steps or more")
    edges = np.append(np.arange(0, len(log), window), len(log)).astype(np.int64)
    with np.errstate(divide="ignore"):
        return log.steps[edges[:-1]], 1.0 / noise_over_signal(log, products(log), edges)


def noise_over_signal(log: RunLog, inner: FloatArray, edges: NDArray[np.int64], errors: float = 0.0) -> FloatArray:
    """Noise over signal (squared) of each window; infinite where no signal is seen, NaN where too little is known.

    Args:
        log: a run with the column `gradient_norm`.
        inner: its `products`.
        edges: first position of each window and the end, shape `(windows + 1,)`.
        errors: so many standard errors are added to the signal; the ratio is then one that it is at least, and NaN
            where even so no signal is left.
    """
    squares = np.nansum(log["gradient_norm"] ** 2, axis=1)
    batches = (log.info.get("fit") or {}).get("steps_per_epoch") or np.inf
    ratio = np.full(len(edges) - 1, np.nan)
    for place, (first, end) in enumerate(pairwise(edges)):
        part, total = inner[first:end], squares[first:end]
        known = np.isfinite(part) & np.isfinite(total)
        count = int(known.sum())
        if count < SMALLEST_WINDOW:
            continue
        mean, square = float(part[known].mean()), float(total[known].mean())
        error = float(part[known].std(ddof=1)) / np.sqrt(count)
        # Two of N batches without common rows have a product of -noise / (N - 1) on average, the last of one epoch
        # and the first of the next of none: -noise / N over all successive pairs (Cochran 1977, section 2.9).
        signal = mean + (square - mean) / (batches + 1) + errors * error
        if 0 < signal < np.inf:
            ratio[place] = max(square - signal, 0.0) / signal
        elif not errors:
            ratio[place] = np.inf
    return ratio


def products(log: RunLog) -> FloatArray:
    """Inner product of each gradient with the one before, over all variables, shape `(steps,)`; NaN for the first."""
    norm, cosine = log["gradient_norm"], log["cosine"]
    with np.errstate(over="ignore", invalid="ignore"):
        before = np.vstack([np.full((1, norm.shape[1]), np.nan), norm[:-1]])
        parts = np.where(norm * before == 0, 0.0, cosine * norm * before)
        return np.where(np.isfinite(parts).any(axis=1), np.nansum(parts, axis=1), np.nan)
