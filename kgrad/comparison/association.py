"""What separates the sick runs from the healthy: each setting against each disease."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kgrad.comparison.flatten import Setting
from kgrad.comparison.holm import holm
from kgrad.comparison.settings import aliases, key_of, values_of
from kgrad.comparison.significance import LEVEL, cliff, rank_test
from kgrad.comparison.summary import RunSummary

# A number with more values than this is looked at as a number only, with fewer each value by itself too.
_MANY = 6
# A number of two values is no more than two values.
_TREND = 3
SICK = "any disease"


@dataclass(frozen=True)
class Association:
    """How a setting goes with a disease.

    Attributes:
        disease: id of a rule, or `"any disease"`.
        setting: name of the setting.
        value: the value that was counted, `None` for a setting looked at as a number (see `is_numeric`).
        is_numeric: whether the sick and the healthy were compared by the setting's size.
        sick_with: sick runs with the value; for a number, those above the median of all.
        runs_with: runs with the value; for a number, those above the median of all.
        sick_without: sick runs without it.
        runs_without: runs without it.
        p: two-sided p-value: Fisher's exact test, for a number Mann-Whitney's; of trainings that are the same, number
            for number, with the same value, one counts.
        least: the smallest p-value that so many sick and so many runs with the value can give.
        adjusted: `p` after Holm's correction over all associations that these runs can decide; NaN for the others.
        effect: share of the sick with the value less that without it; for a number, Cliff's delta.
        median_sick: for a number, the median of the sick.
        median_healthy: for a number, the median of the others.
        together_with: settings that split the runs in the same way, so that the cause may be theirs.
        within: setting and value of the runs that were looked at, `None` for all runs.
    """

    disease: str
    setting: str
    value: Setting
    is_numeric: bool
    sick_with: int
    runs_with: int
    sick_without: int
    runs_without: int
    p: float
    least: float
    effect: float
    adjusted: float = math.nan
    median_sick: float = math.nan
    median_healthy: float = math.nan
    together_with: tuple[str, ...] = ()
    within: tuple[str, Setting] | None = None

    @property
    def holds(self) -> bool:
        """Whether chance does not explain it, at a level of 5 % over all associations."""
        return self.adjusted < LEVEL


def associations(runs: Sequence[RunSummary], names: Sequence[str]) -> tuple[Association, ...]:
    """Every setting value against every disease, the clearest first.

    Runs are counted one by one, so seeds of one configuration count as separate runs: with few configurations, a
    small p-value says that these configurations differ, not that the setting does so everywhere. Settings are
    looked at one at a time; where all the sick have one value that healthy runs have too, the runs with that value are
    looked at once more by themselves, since many a disease takes two settings at once. What so few runs cannot decide,
    however they fall, is not counted among the tests that Holm's correction is over.

    Args:
        runs: all runs; those without a recorded step are left out.
        names: the settings that differ.
    """
    judged = [run for run in runs if run.is_judged]
    found: list[Association] = []
    for disease in diseases(judged):
        first = _of_disease(disease, judged, names)
        found += first
        covering = min((each for each in first if _covers(each)), key=lambda each: each.p, default=None)
        if covering is not None:
            inside = [run for run in judged if key_of(run.settings.get(covering.setting)) == key_of(covering.value)]
            within = (covering.setting, covering.value)
            found += [replace(each, within=within) for each in _of_disease(disease, inside, names)]
    decided = decidable([each.least for each in found])
    adjusted = holm([each.p if can else math.nan for each, can in zip(found, decided, strict=True)])
    made = [replace(each, adjusted=p) for each, p in zip(found, adjusted, strict=True)]
    return tuple(
        sorted(
            made,
            key=lambda each: (math.isnan(each.adjusted), each.p, -abs(each.effect), each.disease == SICK, each.setting),
        )
    )


def _of_disease(disease: str, runs: Sequence[RunSummary], names: Sequence[str]) -> list[Association]:
    sick = np.array([has(run, disease) for run in runs])
    same = [f"{run.seed} {run.fingerprint}" for run in runs]
    if not 0 < sick.sum() < len(sick):
        return []
    twins = aliases(runs, names)
    found = []
    for place, name in enumerate(names):
        # Of settings that split the runs alike, the first stands for all; one that has a single value splits nothing.
        values = values_of(runs, name)
        if len(set(map(key_of, values))) > 1 and not set(twins[name]) & set(names[:place]):
            found += [replace(e, together_with=twins[name]) for e in _of_setting(disease, name, values, sick, same)]
    return found


def _covers(each: Association) -> bool:
    """Whether all the sick have the value, and some healthy runs too."""
    return not each.is_numeric and each.sick_without == 0 and each.sick_with < each.runs_with


def diseases(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    """The rules that found a cause in some run, the most frequent first; with several, any of them together too."""
    counts: dict[str, int] = {}
    for run in runs:
        for rule in run.causes:
            counts[rule] = counts.get(rule, 0) + 1
    ranked = sorted(counts, key=lambda rule: (-counts[rule], rule))
    return (*ranked, SICK) if len(ranked) > 1 else tuple(ranked)


def has(run: RunSummary, disease: str) -> bool:
    """Whether the run has the disease, as a cause."""
    return run.is_sick if disease == SICK else disease in run.causes


def decidable(least: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which tests of counts can come out below the level at all, corrected for as many as remain.

    Source: Tarone 1990, "A Modified Bonferroni Method for Discrete Data", Biometrics 46. The choice looks at how many
    runs are sick and how many have a value, never at which, so it costs no error.

    Args:
        least: the smallest p-value that each test can give.
        level: the chance of any false finding that is allowed.

    >>> decidable([0.001, 0.018, 0.3, 1.0])
    [True, True, False, False]
    """
    tests = next(count for count in range(1, len(least) + 2) if sum(p <= level / count for p in least) <= count)
    return [p <= level / tests for p in least]


def _of_setting(
    disease: str, name: str, values: Sequence[Setting], sick: np.ndarray, same: Sequence[str]
) -> list[Association]:
    keys = [key_of(value) for value in values]
    distinct = dict(zip(keys, values, strict=True))
    # A training that this setting did not change in any number is no new evidence of what the setting does.
    once = np.array(list({pair: place for place, pair in enumerate(zip(keys, same, strict=True))}.values()))
    numbers = [v for v in distinct.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    found = []
    if len(numbers) == len(distinct) >= _TREND:
        found.append(_numeric(disease, name, np.array(values, float), sick, once))
        if len(distinct) > _MANY:
            return found
    for key, value in distinct.items():
        with_it = np.array([each == key for each in keys])
        if with_it.sum() > 1:
            found.append(_counted(disease, name, value, with_it, sick, once))
    if len(distinct) == 2 and len(found) == 2:  # two sides of one table
        return [max(found, key=lambda each: each.effect)]
    return found


def _counted(
    disease: str, name: str, value: Setting, with_it: np.ndarray, sick: np.ndarray, once: np.ndarray
) -> Association:
    counts = _counts(with_it, sick)
    sick_with, runs_with, sick_without, runs_without = counts
    p, least = fisher(*_counts(with_it[once], sick[once]))
    effect = sick_with / runs_with - (sick_without / runs_without if runs_without else 0.0)
    return Association(disease, name, value, False, *counts, p=p, least=least, effect=effect)


def fisher(sick_with: int, runs_with: int, sick_without: int, runs_without: int) -> tuple[float, float]:
    """Fisher's exact test, two-sided, and the smallest p-value that these margins allow.

    >>> [round(p, 4) for p in fisher(3, 3, 0, 3)], [round(p, 4) for p in fisher(2, 3, 1, 3)]
    ([0.1, 0.1], [1.0, 0.1])
    """
    from scipy.special import betaln

    sick, runs = sick_with + sick_without, runs_with + runs_without
    fewest, most = max(0, sick - runs_without), min(sick, runs_with)
    counts = np.arange(fewest, most + 1)
    # log of the ways to choose these of the runs with the value and the rest of those without, over all ways
    ways = [-betaln(k + 1, n - k + 1) - math.log(n + 1) for n, k in
            ((runs_with, counts), (runs_without, sick - counts), (runs, sick))]  # fmt: skip
    chances = np.exp(ways[0] + ways[1] - ways[2])
    observed, rarest = chances[sick_with - fewest], min(chances[0], chances[-1])
    p, least = (float(chances[chances <= bound * (1 + 1e-7)].sum()) for bound in (observed, rarest))
    return min(p, 1.0), min(least, 1.0)


def _numeric(disease: str, name: str, values: np.ndarray, sick: np.ndarray, once: np.ndarray) -> Association:
    distinct, ill = values[once], sick[once]
    ordered, count = np.sort(distinct), int(ill.sum())
    above = values > np.median(values)
    return Association(
        disease,
        name,
        None,
        True,
        *_counts(above, sick),
        p=rank_test(distinct[~ill], distinct[ill]),
        least=min(rank_test(ordered[:cut], ordered[cut:]) for cut in (count, len(ordered) - count)),
        effect=cliff(distinct[~ill], distinct[ill]),
        median_sick=float(np.median(values[sick])),
        median_healthy=float(np.median(values[~sick])),
    )


def _counts(with_it: np.ndarray, sick: np.ndarray) -> tuple[int, int, int, int]:
    return int((with_it & sick).sum()), int(with_it.sum()), int((~with_it & sick).sum()), int((~with_it).sum())
