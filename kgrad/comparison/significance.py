"""Is the difference between two groups real, or the luck of the seeds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np

from kgrad.comparison.groups import CONFIDENCE, Group
from kgrad.comparison.holm import holm
from kgrad.comparison.settings import key_of

LEVEL = 0.05
# With more groups than this, all pairs would be too many to correct for: only those one setting apart are tested.
_ALL_PAIRS = 10
# Up to this many ways to deal the values out to the two groups, the rank test counts them all.
_ALL_WAYS = 20_000
# Losses and metrics come in float32: what differs by less than its last digits does not differ.
_RESOLUTION = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class PairTest:
    """Two groups compared.

    Attributes:
        a: position of the first group.
        b: position of the second.
        refused: why there is no test; empty where there is one.
        method: `"Welch"`, or `"Mann-Whitney"` where a training was not finite at its end or neither group has spread.
        difference: mean of `b` minus mean of `a`, over the finite values.
        low: lower bound of the difference's 95 % confidence interval.
        high: upper bound.
        p: p-value of the method, two-sided.
        p_ranks: p-value of the Mann-Whitney test, for what the mean does not see.
        adjusted: `p` after Holm's correction over all tests of the comparison.
        g: Hedges' g, the difference in standard deviations.
        delta: Cliff's delta: share of pairs of runs in which `b` is above, less that in which `a` is.
    """

    a: int
    b: int
    refused: str = ""
    method: str = ""
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_ranks: float = math.nan
    adjusted: float = math.nan
    g: float = math.nan
    delta: float = math.nan

    @property
    def differ(self) -> bool:
        """Whether the difference is more than luck explains, at a level of 5 % over all tests."""
        return self.adjusted < LEVEL


def pair_tests(groups: Sequence[Group], ascending: bool = False) -> tuple[PairTest, ...]:
    """Tests between the groups, with Holm's correction over all of them.

    Up to ten groups: every pair. More: the pairs that differ in exactly one setting, which is what an experiment
    varies on purpose. Two groups of one run each are not listed: nothing can be said of any of them.

    Args:
        groups: the groups.
        ascending: whether more of the measure is better, so that a training that was not finite ranks as lowest.
    """
    tests = [_test(groups, a, b, ascending) for a, b in _pairs(groups)]
    adjusted = holm([test.p for test in tests])
    return tuple(replace(test, adjusted=value) for test, value in zip(tests, adjusted, strict=True))


def family(groups: Sequence[Group]) -> str:
    """Which pairs are tested, in words."""
    return "every pair of groups" if len(groups) <= _ALL_PAIRS else "the pairs of groups that differ in one setting"


def _pairs(groups: Sequence[Group]) -> Iterator[tuple[int, int]]:
    candidates = combinations(range(len(groups)), 2) if len(groups) <= _ALL_PAIRS else _one_apart(groups)
    return (pair for pair in candidates if max(len(groups[place].values) for place in pair) > 1)


def _one_apart(groups: Sequence[Group]) -> Iterator[tuple[int, int]]:
    """Pairs that differ in one setting, found by what they share: linear in the number of groups."""
    for name in groups[0].settings:
        shelves: dict[tuple[str, ...], list[int]] = {}
        for place, each in enumerate(groups):
            if len(each.values):
                rest = tuple(key_of(value) for key, value in each.settings.items() if key != name)
                shelves.setdefault(rest, []).append(place)
        for shelf in shelves.values():
            yield from combinations(shelf, 2)


def _test(groups: Sequence[Group], a: int, b: int, ascending: bool) -> PairTest:
    few = [groups[place].label for place in (a, b) if len(groups[place].values) < 2]
    if few:
        have = " and ".join(f"{name!r}" for name in few)
        return PairTest(a, b, f"{have} has one finished run or none: its spread is not known, train two seeds or more")
    worst = -math.inf if ascending else math.inf
    first, second = (
        np.array([v if math.isfinite(v) else worst for v in groups[place].values], float) for place in (a, b)
    )
    delta = cliff(first, second)
    ranks = rank_test(first, second)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return PairTest(a, b, method="Mann-Whitney", p=ranks, p_ranks=ranks, delta=delta)
    if _is_one_value(np.concatenate([first, second])):
        return PairTest(a, b, "all runs of both ended at the same value: there is no difference to test")
    if _is_one_value(first) and _is_one_value(second):  # no spread to hold a difference of means against
        difference = float(second.mean() - first.mean())
        return PairTest(a, b, method="Mann-Whitney", difference=difference, p=ranks, p_ranks=ranks, delta=delta)
    difference, low, high, p = welch(first, second)
    return PairTest(
        a,
        b,
        method="Welch",
        difference=difference,
        low=low,
        high=high,
        p=p,
        p_ranks=ranks,
        g=_hedges(first, second),
        delta=delta,
    )


def _is_one_value(values: np.ndarray) -> bool:
    return float(np.ptp(values)) <= _RESOLUTION * float(np.abs(values).max())


def welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float]:
    """The difference of two means, the bounds of its 95 % confidence interval, and the two-sided p-value.

    Source: Welch 1947, "The Generalization of 'Student's' Problem when Several Different Population Variances are
    Involved", Biometrika 34.
    """
    from scipy import special  # scipy.stats takes five times as long to import

    parts = np.array([each.var(ddof=1) / len(each) for each in (first, second)])
    error = math.sqrt(parts.sum())
    shares = parts / parts.sum()
    degrees = 1 / float((shares**2 / (len(first) - 1, len(second) - 1)).sum())
    difference = float(second.mean() - first.mean())
    half = float(special.stdtrit(degrees, 0.5 + CONFIDENCE / 2)) * error
    p = 2 * float(special.stdtr(degrees, -abs(difference) / error))
    return difference, difference - half, difference + half, p


def rank_test(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided Mann-Whitney test, ties and all.

    Where few runs allow it, the rank sum is held against that of every way to deal the values out: with ties, and a
    training that diverged ties with every other that did, the normal approximation finds too much in few runs.
    """
    _, place, ties = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    here = float(ranks[: len(first)].sum())
    ways = math.comb(len(ranks), len(first))
    if ways > _ALL_WAYS:
        return _approximate(here, len(first), len(second), ties)
    dealt = np.fromiter(chain.from_iterable(combinations(ranks, len(first))), float, ways * len(first))
    sums = dealt.reshape(ways, -1).sum(axis=1)
    return min(1.0, 2 * min(float((sums <= here).mean()), float((sums >= here).mean())))


def _approximate(rank_sum: float, first: int, second: int, ties: np.ndarray) -> float:
    """The normal approximation, with the corrections for ties and continuity.

    Source: Lehmann 1975, "Nonparametrics", 1.4.
    """
    from scipy import special

    count = first + second
    spread = first * second / 12 * (count + 1 - float((ties**3 - ties).sum()) / (count * (count - 1)))
    away = abs(rank_sum - first * (count + 1) / 2) - 0.5
    return min(1.0, 2 * float(special.ndtr(-away / math.sqrt(spread)))) if spread > 0 else 1.0


def _hedges(first: np.ndarray, second: np.ndarray) -> float:
    """The difference in pooled standard deviations, with the correction for small samples.

    Source: Hedges 1981, "Distribution Theory for Glass's Estimator of Effect Size", J. of Educational Statistics 6.
    """
    degrees = len(first) + len(second) - 2
    pooled = ((len(first) - 1) * first.var(ddof=1) + (len(second) - 1) * second.var(ddof=1)) / degrees
    return float((second.mean() - first.mean()) / math.sqrt(pooled) * (1 - 3 / (4 * degrees - 1)))


def cliff(first: np.ndarray, second: np.ndarray) -> float:
    """Source: Cliff 1993, "Dominance Statistics", Psychological Bulletin 114."""
    above = (second[:, None] > first[None, :]).mean()
    below = (second[:, None] < first[None, :]).mean()
    return float(above - below)
