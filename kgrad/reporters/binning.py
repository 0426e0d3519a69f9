"""Long runs made short enough for a page: bins of steps that keep every extreme."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray, RunLog

# What a page holds at most: steps on a screen, and cells (layers x steps) so that the file stays small.
MOST_COLUMNS, MOST_CELLS, FEWEST_COLUMNS = 2_000, 120_000, 200


@dataclass(frozen=True)
class Bins:
    """A run's steps in bins of like size, in order.

    Attributes:
        edges: position of the first step of each bin and the end, shape `(bins + 1,)`.
        first: number of the first step of each bin, shape `(bins,)`.
        last: number of the last step of each bin, shape `(bins,)`.
    """

    edges: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def __len__(self) -> int:
        """How many bins there are."""
        return len(self.first)

    @property
    def exact(self) -> bool:
        """Whether each bin holds one step."""
        return len(self) == int(self.edges[-1])

    @property
    def widest(self) -> int:
        """Steps in the largest bin."""
        return int(np.diff(self.edges).max(initial=0))

    def around(self, step: int) -> int:
        """The bin that holds the step."""
        return int(np.clip(np.searchsorted(self.first, step, side="right") - 1, 0, max(len(self) - 1, 0)))


@dataclass(frozen=True)
class Reduced:
    """A column of a run by bins.

    Attributes:
        low: least finite value of each bin, NaN where it has none, shape `(bins,)` or `(bins, columns)`.
        middle: a median of the finite values (the lower of two), same shape.
        high: largest finite value, same shape.
        broken: whether any value of the bin was not finite, same shape.
    """

    low: FloatArray
    middle: FloatArray
    high: FloatArray
    broken: NDArray[np.bool_]


def bins_of(log: RunLog) -> Bins:
    """The bins of a run: one step each while that fits on a page."""
    layers = max(len(log.structure.weighted_layers), 1)
    most = min(MOST_COLUMNS, max(MOST_CELLS // layers, FEWEST_COLUMNS))
    edges = np.linspace(0, len(log), min(len(log), most) + 1).astype(np.int64)
    return Bins(edges, log.steps[edges[:-1]], log.steps[edges[1:] - 1] if len(log) else log.steps)


def reduce(values: FloatArray, broken: NDArray[np.bool_], bins: Bins) -> Reduced:
    """The values by bins.

    Args:
        values: shape `(steps,)` or `(steps, columns)`; what is not finite is left out of the three numbers.
        broken: where a value was not finite, as against not recorded; same shape.
        bins: the bins of the same run.
    """
    finite = np.where(np.isfinite(values), values, np.nan)
    if bins.exact:
        return Reduced(finite, finite, finite, broken)
    low, middle, high = _extremes(finite, bins)
    return Reduced(low, middle, high, np.logical_or.reduceat(broken, bins.edges[:-1], axis=0))


def _extremes(finite: FloatArray, bins: Bins) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Least, middle and largest of each bin: all bins sorted at once, those of fewer steps filled up with NaN."""
    places = bins.edges[:-1, None] + np.arange(bins.widest)
    inside = places < bins.edges[1:, None]
    held = finite[np.where(inside, places, 0)]
    held[~inside] = np.nan
    held.sort(axis=1)  # NaN sorts to the end
    last = np.maximum(np.count_nonzero(~np.isnan(held), axis=1) - 1, 0)[:, None]
    middle, high = (np.take_along_axis(held, place, axis=1)[:, 0] for place in (last // 2, last))
    return held[:, 0], middle, high
