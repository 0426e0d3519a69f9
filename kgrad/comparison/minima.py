"""Seed-dependent minima: the same settings end at two different losses, and only the seed decides which."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from kgrad.comparison.groups import Group
from kgrad.comparison.holm import holm
from kgrad.comparison.summary import RunSummary

# Each side of a cut has two runs or more: one run by itself is an outlier, not a cluster.
_FEWEST = 2
# Draws from one normal distribution that a gap is held against: enough to tell 1 in 1,000.
_DRAWS = 20_000
# A smaller share of the runs is an outlier, not a cluster.
_SMALLEST = 0.1
# A gap must also be beyond what the batches of the last window explain.
_ERRORS = 3.0
# Losses need not be normal: with a long tail, one cloud is taken for two more often than p says, so p has to be small.
_LEVEL = 0.01


@dataclass(frozen=True)
class SplitConfiguration:
    """A configuration whose runs end in two clusters of the final loss.

    Attributes:
        group: position of the configuration.
        low: runs that end at the lower loss.
        high: runs that end at the higher loss.
        low_loss: mean loss of the lower cluster.
        high_loss: mean loss of the higher cluster.
        ratio: the gap between the clusters over the pooled spread within them.
        p: how often one normal distribution, cut where it splits best, gives such a gap.
        adjusted: the same after Holm's correction over all configurations looked at.
    """

    group: int
    low: tuple[int, ...]
    high: tuple[int, ...]
    low_loss: float
    high_loss: float
    ratio: float
    p: float
    adjusted: float = math.nan


def split_configurations(runs: Sequence[RunSummary], groups: Sequence[Group]) -> tuple[SplitConfiguration, ...]:
    """The configurations whose final loss depends on the seed by more than noise, the clearest first.

    The losses of a configuration (their logarithms, since the spread of a loss goes with its size) are cut at the
    gap that is largest against the pooled standard deviation within the two sides. As every sample has a largest
    gap, it is held against 20,000 samples of the same size from one normal distribution cut the same way, with
    Holm's correction over the configurations, at a level of 1 %. The gap must also be wider than either side. Each
    side holds two runs or more and a tenth of all, so four finished runs or more are needed; the same training twice
    counts once.

    Args:
        runs: all runs.
        groups: the configurations: groups of runs in which nothing but the seed differs.
    """
    found = [split for place, each in enumerate(groups) if (split := _split(runs, place, each)) is not None]
    adjusted = holm([split.p for split in found])
    made = [replace(split, adjusted=p) for split, p in zip(found, adjusted, strict=True)]
    kept = [each for each in made if each.adjusted < _LEVEL and _is_wide(runs, each) and _beyond_noise(runs, each)]
    return tuple(sorted(kept, key=lambda split: split.p))


def _split(runs: Sequence[RunSummary], place: int, each: Group) -> SplitConfiguration | None:
    if each.varies:
        return None
    ended = [i for i in each.runs if runs[i].is_finished and "loss" in runs[i].metrics]
    distinct = {runs[i].fingerprint: i for i in reversed(ended)}.values()
    known = sorted((loss, i) for i in distinct if math.isfinite(loss := runs[i].metrics["loss"].last))
    losses = np.array([loss for loss, _ in known])
    if len(np.unique(losses)) < 2 * _FEWEST:
        return None
    ratio, cut = _widest(_scaled(losses)[None, :])
    order = [i for _, i in known]
    end = int(cut[0])
    p = (1 + int((_chance(len(known)) >= ratio[0]).sum())) / (1 + _DRAWS)
    return SplitConfiguration(
        place,
        tuple(order[:end]),
        tuple(order[end:]),
        float(losses[:end].mean()),
        float(losses[end:].mean()),
        float(ratio[0]),
        p,
    )


def _widest(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of ascending values, the largest gap over pooled spread, and where the upper side begins."""
    count = ordered.shape[1]
    ordered = ordered - ordered.mean(axis=1, keepdims=True)  # large equal parts would drown the squares
    sizes = np.arange(1, count)
    sums, squares = np.cumsum(ordered, axis=1), np.cumsum(ordered**2, axis=1)
    below = squares[:, :-1] - sums[:, :-1] ** 2 / sizes
    upper_sum, upper_squares = sums[:, -1:] - sums[:, :-1], squares[:, -1:] - squares[:, :-1]
    above = upper_squares - upper_sum**2 / (count - sizes)
    spread = np.sqrt(np.maximum(below + above, 0) / (count - 2))
    least = 1e-6 * np.abs(ordered).max(axis=1, keepdims=True) + np.finfo(float).tiny
    ratio = np.diff(ordered, axis=1) / np.maximum(spread, least)
    fewest = max(_FEWEST, math.ceil(_SMALLEST * count))
    ratio[:, : fewest - 1] = ratio[:, count - fewest :] = 0
    best = ratio.argmax(axis=1)
    return ratio[np.arange(len(ratio)), best], best + 1


@cache
def _chance(count: int) -> np.ndarray:
    """The largest ratios of samples from one normal distribution; the same draws every time."""
    draws = np.random.default_rng(count).normal(size=(_DRAWS, count))
    return _widest(np.sort(draws, axis=1))[0]


def _scaled(losses: np.ndarray) -> np.ndarray:
    return np.log(losses) if (losses > 0).all() else losses


def _is_wide(runs: Sequence[RunSummary], split: SplitConfiguration) -> bool:
    """Whether the runs of neither side lie as far apart as the two sides do."""
    losses = _scaled(np.array([runs[i].metrics["loss"].last for i in (*split.low, *split.high)]))
    low, high = losses[: len(split.low)], losses[len(split.low) :]
    return bool(high.min() - low.max() > max(np.ptp(low), np.ptp(high)))


def _beyond_noise(runs: Sequence[RunSummary], split: SplitConfiguration) -> bool:
    nearest_low = max(split.low, key=lambda i: runs[i].metrics["loss"].last)
    nearest_high = min(split.high, key=lambda i: runs[i].metrics["loss"].last)
    gap = runs[nearest_high].metrics["loss"].last - runs[nearest_low].metrics["loss"].last
    return gap > _ERRORS * math.hypot(runs[nearest_low].loss_error, runs[nearest_high].loss_error)
