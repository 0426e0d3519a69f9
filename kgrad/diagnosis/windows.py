"""A run cut into windows: their edges, their medians, stretches of them."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray, RunLog

# Windows a run is cut into: fine enough for a phase of a few percent, coarse enough for a median.
WINDOWS = 60
SMALLEST_WINDOW = 5


def edges_of(steps: int) -> NDArray[np.int64]:
    """Edges of at most `WINDOWS` windows of at least `SMALLEST_WINDOW` steps each."""
    count = max(1, min(WINDOWS, steps // SMALLEST_WINDOW))
    return np.linspace(0, steps, count + 1).astype(np.int64)


def medians(values: FloatArray, edges: NDArray[np.int64]) -> FloatArray:
    """Median of each window over the finite values; NaN where a window has none.

    Args:
        values: shape `(steps,)` or `(steps, columns)`.
        edges: as `edges_of` gives them.

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
