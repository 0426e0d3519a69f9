"""The loss of a run by windows, and whether it falls, stands or waits.

All is relative to the run's own start and its own noise: a factor on the loss changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis import windows
from kgrad.log.run_log import FloatArray, RunLog

# Median absolute deviation -> standard deviation of a normal distribution; the standard error of a median
# is 1.253 times that of a mean (Kenney & Keeping 1962).
_MAD_TO_STD, _MEDIAN_ERROR = 1.4826, 1.253
# As in the rule `slow-convergence`: a loss that falls by this share over the last half goes on.
FALLS = 0.02


@dataclass(frozen=True)
class LossCurve:
    """The loss by windows.

    Attributes:
        edges: first position of each window and the end, shape `(windows + 1,)`.
        start: loss of the first steps.
        level: median loss of each window, NaN where none is finite, shape `(windows,)`.
        error: standard error of the level.
        flat: whether the loss falls by no more than noise around the window.
        rising: whether it rises by more than noise.
        learned: whether the level is at most half the start; under zero, half of the way to the lowest one.
        leaves: share of the level by which the loss falls later on.
    """

    edges: NDArray[np.int64]
    start: float
    level: FloatArray
    error: FloatArray
    flat: NDArray[np.bool_]
    rising: NDArray[np.bool_]
    learned: NDArray[np.bool_]
    leaves: FloatArray

    @property
    def progress(self) -> float:
        """Share of the start by which the best window lies under it: 0 is nothing learned, 1 is all.

        A loss that goes under zero has no share of its start to lose: it is measured by what it fell in all.
        """
        known = self.level[np.isfinite(self.level)]
        if not len(known) or not self.start:
            return 0.0
        fallen = float(self.start - known.min())
        return fallen / max(abs(self.start), fallen)

    @property
    def best(self) -> float:
        """The lowest mean over a tenth of the run, three windows at least: one alone is too low by chance."""
        known = self.level[np.isfinite(self.level)]
        if not len(known):
            return float("nan")
        width = min(max(3, len(known) // 10), len(known))
        return float(np.convolve(known, np.full(width, 1 / width), mode="valid").min())


def loss_curve(log: RunLog, tolerance: float = 0.005) -> LossCurve:
    """The loss by windows.

    A window is flat when the medians a tenth of the run before and after it differ by less than
    three standard errors, or by less than `tolerance` of the level.

    Args:
        log: a run with the column `loss`.
        tolerance: relative change that counts as none.
    """
    loss = log["loss"]
    edges = windows.edges_of(len(loss))
    level = windows.medians(loss, edges)
    spread = windows.medians(np.abs(loss - np.repeat(level, np.diff(edges))), edges)
    error = _MEDIAN_ERROR * _MAD_TO_STD * spread / np.sqrt(np.diff(edges))
    reach = max(1, len(level) // 10)
    places = np.arange(len(level))
    before, after = np.maximum(places - reach, 0), np.minimum(places + reach, len(level) - 1)
    fall = level[before] - level[after]
    noise = np.maximum(3 * np.hypot(error[before], error[after]), tolerance * np.abs(level))
    first = loss[np.isfinite(loss)][:3]
    start = float(np.median(first)) if len(first) else float("nan")
    later = np.fmin.accumulate(level[::-1])[::-1]
    lowest = float(np.nanmin(level)) if np.isfinite(level).any() else 0.0
    scale = np.abs(level) if lowest >= 0 else np.maximum(np.abs(level), abs(start - lowest))
    with np.errstate(invalid="ignore", divide="ignore"):
        leaves: FloatArray = np.round(np.nan_to_num((level - later) / scale), 9).astype(
            np.float64
        )  # a factor on the loss must not tip it
        learned = level <= (0.5 * start if lowest >= 0 else start - 0.5 * max(abs(start), start - lowest))
        flat, rising = fall < noise, fall < -noise
    return LossCurve(edges, start, level, error, flat & ~rising, rising, learned, leaves)


def late_fall(log: RunLog) -> tuple[float, float]:
    """`fall` over the last half of a run."""
    loss = log["loss"]
    return fall(loss[len(loss) // 2 :])


def still_falls(log: RunLog, matters: float = FALLS) -> bool:
    """Whether the loss falls over the last half of a run, by more than its noise and by a share that matters."""
    share, noise = late_fall(log)
    return share > max(matters, noise)


def fall(losses: FloatArray) -> tuple[float, float]:
    """Fall of the mean from the first to the second half of some losses, as a share of its level, and its noise.

    Args:
        losses: one per step, shape `(steps,)`.

    Returns:
        The share, and three standard errors of it; zeros where it cannot be told.
    """
    before, after = losses[: len(losses) // 2], losses[len(losses) // 2 :]
    if len(before) < 2 or not (np.isfinite(before).all() and np.isfinite(after).all()):
        return 0.0, 0.0
    level = abs(float(np.median(before))) or 1.0
    error = float(np.hypot(before.std() / np.sqrt(len(before)), after.std() / np.sqrt(len(after))))
    return (float(np.mean(before)) - float(np.mean(after))) / level, 3 * error / level


def is_standing(losses: FloatArray, matters: float) -> bool:
    """Whether losses are shown to stand: they do not fall beyond noise, nor may noise hide a fall that matters.

    The second half is what a test of equivalence asks (Schuirmann 1987), where a mere failure to see a fall
    would call every short and noisy stretch flat.

    Args:
        losses: one per step, shape `(steps,)`.
        matters: the share of the level whose fall matters.
    """
    lost, noise = fall(losses)
    return lost <= max(0.02, noise) and lost + noise <= matters


def waits(losses: FloatArray, first: int, end: int) -> bool:
    """Whether a stretch is slower than half of the pace at which the loss falls afterwards, to the lowest it gets.

    A loss that falls as fast in a stretch as behind it does not stand there, even where noise hides the fall.

    Args:
        losses: one per step of the whole run, shape `(steps,)`.
        first: position where the stretch begins.
        end: position behind it.
    """
    half, rest = (end - first) // 2, losses[end:]
    if half < 1 or not len(rest):
        return True
    before, after = losses[first : first + half], losses[end - half : end]
    width = min(max(half // 2, windows.SMALLEST_WINDOW), len(rest))
    means = np.convolve(rest, np.full(width, 1 / width), mode="valid")
    if not np.isfinite(before.mean() + after.mean()) or not np.isfinite(means).any():
        return True
    lowest = int(np.nanargmin(means))
    steps = half / 2 + lowest + width / 2  # from the middle of the second half
    inside, behind = (before.mean() - after.mean()) / (end - first - half), (after.mean() - means[lowest]) / steps
    return bool(inside < behind / 2)
