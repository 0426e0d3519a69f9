"""Numbers that several rules and the phases look at: the loss by windows, the profile over depth.

All are relative: to the run's own start, to its own noise, to other layers. None has a unit that a
factor on the loss would change.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray, RunLog

# Windows a run is cut into: fine enough for a phase of a few percent, coarse enough for a median.
WINDOWS = 60
SMALLEST_WINDOW = 5
# Where a saddle begins: smallest over largest eigenvalue, and gradient over the run's largest (see saddle-point).
STEEP_DOWN, SMALL_GRADIENT = -0.1, 0.1
# Median absolute deviation -> standard deviation of a normal distribution; the standard error of a median
# is 1.253 times that of a mean (Kenney & Keeping 1962).
_MAD_TO_STD, _MEDIAN_ERROR = 1.4826, 1.253


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


def window_edges(steps: int) -> NDArray[np.int64]:
    """Edges of at most `WINDOWS` windows of at least `SMALLEST_WINDOW` steps each."""
    count = max(1, min(WINDOWS, steps // SMALLEST_WINDOW))
    return np.linspace(0, steps, count + 1).astype(np.int64)


def medians(values: FloatArray, edges: NDArray[np.int64]) -> FloatArray:
    """Median of each window over the finite values; NaN where a window has none.

    Args:
        values: shape `(steps,)` or `(steps, columns)`.
        edges: as `window_edges` gives them.

    Returns:
        Shape `(windows,)` or `(windows, columns)`.
    """
    finite = np.where(np.isfinite(values), values, np.nan)
    if values.ndim == 1:
        return _medians_of_one(finite, edges)
    parts = (finite[a:b] for a, b in pairwise(edges))
    return np.array([_median(part) for part in parts])


def _medians_of_one(values: FloatArray, edges: NDArray[np.int64]) -> FloatArray:
    """The same for one series, all windows in one sort: a summary of a run asks for hundreds of windows."""
    window = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    inside = values[edges[0] : edges[-1]]
    ordered = np.append(inside[np.lexsort((inside, window))], np.nan)  # NaN sorts to the end of its window
    known = np.bincount(window[~np.isnan(inside)], minlength=len(edges) - 1)
    start = edges[:-1] - edges[0]
    low, high = start + np.maximum(known - 1, 0) // 2, start + np.maximum(known, 1) // 2
    return np.where(known > 0, (ordered[low] + ordered[high]) / 2, np.nan)


def _median(part: FloatArray) -> FloatArray:
    ordered = np.sort(part, axis=0)  # NaN sorts to the end
    known = np.count_nonzero(~np.isnan(part), axis=0)
    low, high = np.maximum(known - 1, 0) // 2, np.maximum(known, 1) // 2
    columns = np.arange(part.shape[1])
    return np.where(known > 0, (ordered[low, columns] + ordered[high, columns]) / 2, np.nan)


def loss_curve(log: RunLog, tolerance: float = 0.005) -> LossCurve:
    """The loss by windows.

    A window is flat when the medians a tenth of the run before and after it differ by less than
    three standard errors, or by less than `tolerance` of the level.

    Args:
        log: a run with the column `loss`.
        tolerance: relative change that counts as none.
    """
    loss = log["loss"]
    edges = window_edges(len(loss))
    level = medians(loss, edges)
    spread = medians(np.abs(loss - np.repeat(level, np.diff(edges))), edges)
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


def kernels(log: RunLog) -> list[int]:
    """Columns of the weight matrices and tensors, by depth; biases, scales and tables left out."""
    return [i for i, variable in enumerate(log.structure.variables) if variable.is_kernel]


def logarithm(values: FloatArray) -> FloatArray:
    """Decimal logarithm; NaN for what is not positive and finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(values)
    return np.where(np.isfinite(logs), logs, np.nan)


@dataclass(frozen=True)
class DepthTrend:
    """How the gradient changes from the output back to the input, by windows.

    Attributes:
        edges: as in `LossCurve`.
        decades: decades lost (positive) or gained (negative) from the last kernel to the first, by a
            straight line through the logarithms, shape `(windows,)`.
        agreement: rank correlation of depth and norm, from -1 to 1.
    """

    edges: NDArray[np.int64]
    decades: FloatArray
    agreement: FloatArray


def depth_trend(log: RunLog) -> DepthTrend:
    """The trend of the kernels' gradient norms over depth, the output layer left out.

    The gradient of the output layer comes straight from the loss and has another scale than those
    behind it (a softmax layer has few units), so it is no part of the trend.

    Args:
        log: a run with the column `gradient_norm`.
    """
    columns = kernels(log)[:-1]
    edges = window_edges(len(log))
    profile = medians(logarithm(log["gradient_norm"][:, columns]), edges)
    if len(columns) < 2:
        nothing = np.zeros(len(profile))
        return DepthTrend(edges, nothing, nothing)
    depth = np.arange(len(columns), dtype=float)
    depth -= depth.mean()
    known = np.isfinite(profile).all(axis=1)
    slope = np.where(known, (profile * depth).sum(axis=1) / (depth**2).sum(), 0.0)
    ranks = np.argsort(np.argsort(profile, axis=1), axis=1) - depth.mean() - (len(columns) - 1) / 2
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    agreement = np.where(known, (ranks * depth).sum(axis=1) / (depth**2).sum(), 0.0)
    return DepthTrend(edges, slope * (len(columns) - 1), agreement)


def at_saddles(log: RunLog) -> NDArray[np.bool_]:
    """Whether each probe of the curvature is that of a saddle, shape `(probes,)`.

    The smallest eigenvalue is negative beyond its error and not tiny beside the largest (`STEEP_DOWN`), and the
    gradient is small beside the run's largest (`SMALL_GRADIENT`), where that is known.

    Args:
        log: a run with the table of curvature.
    """
    table = {name: np.asarray(values) for name, values in log.table("curvature").items()}
    smallest, scale = table["smallest"], np.maximum(np.abs(table["largest"]), np.abs(table["smallest"]))
    found = (smallest + table["smallest_error"] < 0) & (smallest <= STEEP_DOWN * scale)
    norms = log["global_norm"] if "global_norm" in log else np.zeros(0)
    finite = norms[np.isfinite(norms)]
    if len(finite):
        found &= table["gradient_norm"] <= SMALL_GRADIENT * finite.max()
    return np.asarray(found)


def closed(mask: NDArray[np.bool_], gap: int) -> NDArray[np.bool_]:
    """The mask with gaps of up to so many `False` between two `True` filled.

    >>> closed(np.array([True, False, True, False]), 1).tolist()
    [True, True, True, False]
    """
    filled = mask.copy()
    for before, after in pairwise(np.flatnonzero(mask)):
        if after - before <= gap + 1:
            filled[before:after] = True
    return filled


def longest_run(mask: NDArray[np.bool_], gap: int = 0) -> tuple[int, int]:
    """First and end position of the longest stretch of `True`; `(0, 0)` for none.

    Args:
        mask: shape `(windows,)`.
        gap: so many `False` in a row do not break a stretch.

    >>> longest_run(np.array([True, False, True, True]))
    (2, 4)
    >>> longest_run(np.array([True, False, True, True]), gap=1)
    (0, 4)
    """
    mask = closed(mask, gap)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    best = int(np.argmax(ends - starts))
    return int(starts[best]), int(ends[best])


def span(log: RunLog, edges: NDArray[np.int64], first: int, end: int) -> tuple[int, int]:
    """Step numbers of the first and last step of the windows `first` to `end - 1`."""
    return int(log.steps[edges[first]]), int(log.steps[edges[end] - 1])


def update_ratio(log: RunLog, columns: list[int]) -> FloatArray:
    """`update_norm / weight_norm` of some variables, NaN where it has no value, shape `(steps, columns)`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = log["update_norm"][:, columns] / log["weight_norm"][:, columns]
    return np.where(np.isfinite(ratio), ratio, np.nan)


def path(log: RunLog) -> float:
    """How far the weights travelled: the sum over steps of the median kernel's update, in units of its own size.

    Steps between two recorded ones count as those beside them. An upper bound of the distance gone, since
    steps back and forth add up.

    Args:
        log: a run with the columns `update_norm` and `weight_norm`.
    """
    columns = kernels(log)
    if not columns or not len(log):
        return 0.0
    known = np.nan_to_num(update_ratio(log, columns), nan=0.0)
    every = (log.steps[-1] - log.steps[0]) / max(len(log) - 1, 1) if len(log) > 1 else 1.0
    return float(np.median(known, axis=1).sum() * max(every, 1.0))


def late_fall(log: RunLog) -> tuple[float, float]:
    """`fall` over the last half of a run."""
    loss = log["loss"]
    return fall(loss[len(loss) // 2 :])


def stands(losses: FloatArray, matters: float) -> bool:
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
    width = min(max(half // 2, SMALLEST_WINDOW), len(rest))
    means = np.convolve(rest, np.full(width, 1 / width), mode="valid")
    if not np.isfinite(before.mean() + after.mean()) or not np.isfinite(means).any():
        return True
    lowest = int(np.nanargmin(means))
    steps = half / 2 + lowest + width / 2  # from the middle of the second half
    inside, behind = (before.mean() - after.mean()) / (end - first - half), (after.mean() - means[lowest]) / steps
    return bool(inside < behind / 2)


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
