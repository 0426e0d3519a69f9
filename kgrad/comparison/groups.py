"""Runs grouped by configuration, their seeds pooled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kgrad.comparison.flatten import Setting
from kgrad.comparison.settings import in_words, key_of
from kgrad.comparison.summary import RunSummary

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Group:
    """Runs that share some settings.

    Attributes:
        settings: what they share, of what differs between all runs.
        runs: positions of its readable runs.
        values: the measure of those that finished, each training once; NaN for one that was not finite at the end.
        left_out: how many runs gave no value, since they did not finish or have no such measure.
        copies: how many runs are, number for number, another run of the group: no new evidence.
        sick: how many of its runs have a disease.
        varies: settings that differ within the group: then it pools more than seeds.
        mean: mean of the finite values, NaN without any.
        std: their standard deviation (n - 1), NaN for fewer than two.
        low: lower bound of the mean's 95 % confidence interval, NaN for fewer than two values.
        high: upper bound.
    """

    settings: Mapping[str, Setting]
    runs: tuple[int, ...]
    values: tuple[float, ...]
    left_out: int
    copies: int
    sick: int
    varies: tuple[str, ...]
    mean: float
    std: float
    low: float
    high: float

    @property
    def label(self) -> str:
        """Its settings in words."""
        return " · ".join(in_words(name, value) for name, value in self.settings.items()) or "all runs"

    @property
    def diverged(self) -> int:
        """How many trainings ended with a measure that is not finite; the mean is that of the others."""
        return sum(not math.isfinite(value) for value in self.values)


def group(runs: Sequence[RunSummary], by: Sequence[str], differing: Sequence[str], measure: str) -> tuple[Group, ...]:
    """The groups of equal settings, in the order of their first runs.

    Args:
        runs: all runs; those without a recorded step are in no group.
        by: the settings that make a group.
        differing: all settings that differ between the runs.
        measure: name of the metric whose last value is pooled.
    """
    members: dict[tuple[str, ...], list[int]] = {}
    for place, run in enumerate(runs):
        if run.is_judged:
            members.setdefault(tuple(key_of(run.settings.get(name)) for name in by), []).append(place)
    return tuple(
        _group(runs, places, {name: runs[places[0]].settings.get(name) for name in by}, differing, measure)
        for places in members.values()
    )


def _group(
    runs: Sequence[RunSummary],
    places: Sequence[int],
    settings: Mapping[str, Setting],
    differing: Sequence[str],
    measure: str,
) -> Group:
    chosen = [runs[place] for place in places]
    counted = [run for run in chosen if run.is_finished and measure in run.metrics]
    distinct = {run.fingerprint: run for run in counted}
    values = tuple(run.metrics[measure].last for run in distinct.values())
    varies = tuple(name for name in differing if len({key_of(run.settings.get(name)) for run in chosen}) > 1)
    mean, std, low, high = interval(values)
    return Group(
        settings=settings,
        runs=tuple(places),
        values=values,
        left_out=len(chosen) - len(counted),
        copies=len(counted) - len(distinct),
        sick=sum(run.is_sick for run in chosen),
        varies=varies,
        mean=mean,
        std=std,
        low=low,
        high=high,
    )


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float, float]:
    """Mean, standard deviation and the bounds of the mean, over the finite values.

    `mean ± t * s / sqrt(n)` with Student's `t` at `n - 1` degrees of freedom. Source: Student 1908, "The Probable
    Error of a Mean". What cannot be known from so few values is NaN.
    """
    nothing = float("nan")
    finite = np.array([value for value in values if math.isfinite(value)])
    if not len(finite):
        return nothing, nothing, nothing, nothing
    mean = float(finite.mean())
    if len(finite) < 2:
        return mean, nothing, nothing, nothing
    from scipy import special

    std = float(finite.std(ddof=1))
    half = float(special.stdtrit(len(finite) - 1, 0.5 + confidence / 2)) * std / math.sqrt(len(finite))
    return mean, std, mean - half, mean + half
