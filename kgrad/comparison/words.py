"""The verdict of a comparison: a few sentences, each one counted."""

import math
from collections.abc import Sequence

from kgrad.comparison.association import SICK, Association, diseases, has
from kgrad.comparison.groups import Group
from kgrad.comparison.minima import SplitConfiguration
from kgrad.comparison.settings import in_words, key_of
from kgrad.comparison.significance import PairTest
from kgrad.comparison.summary import RunSummary, grows

# A Cliff's delta from here on is large (Romano et al. 2006 put the line at 0.474).
_CLEAR = 0.474
_VERBS = {
    SICK: ("is sick", "are sick"),
    "clipping-too-tight": ("is clipped too tightly", "are clipped too tightly"),
    "dead-units": ("has dead units", "have dead units"),
    "disconnected-weights": ("has weights without a gradient", "have weights without a gradient"),
    "exploding-gradient": ("explodes", "explode"),
    "learning-rate-too-high": ("learns at too high a rate", "learn at too high a rate"),
    "learning-rate-too-low": ("learns at too low a rate", "learn at too low a rate"),
    "loss-scale-trouble": ("has trouble with the loss scale", "have trouble with the loss scale"),
    "noisy-gradient": ("has a noisy gradient", "have a noisy gradient"),
    "nonfinite-gradient": ("meets NaN or infinite gradients", "meet NaN or infinite gradients"),
    "output-loss-mismatch": ("has an output that does not fit the loss", "have an output that does not fit the loss"),
    "over-regularised": ("is regularised too much", "are regularised too much"),
    "plateau": ("stands on a plateau", "stand on a plateau"),
    "poor-initialization": ("begins with a poor initialization", "begin with a poor initialization"),
    "saddle-point": ("stays at a saddle point", "stay at a saddle point"),
    "saturated-activation": ("is saturated", "are saturated"),
    "slow-convergence": ("converges slowly", "converge slowly"),
    "unscaled-inputs": ("is fed unscaled inputs", "are fed unscaled inputs"),
    "underfitting": ("underfits", "underfit"),
    "vanishing-gradient": ("vanishes", "vanish"),
}


def number(value: float) -> str:
    """A measured number for a sentence or a table.

    >>> number(0.123456), number(float("nan"))
    ('0.123', '-')
    """
    return f"{value:.3g}" if math.isfinite(value) else "-"


def sentences(
    runs: Sequence[RunSummary],
    differing: Sequence[str],
    groups: Sequence[Group],
    tests: Sequence[PairTest],
    found: Sequence[Association],
    splits: Sequence[SplitConfiguration],
    configurations: Sequence[Group],
    measure: str,
) -> tuple[str, ...]:
    """The verdict, sentence by sentence, the diseases first."""
    return (
        *_sick(runs, found),
        *_best(groups, tests, measure),
        *_minima(splits, configurations, runs),
        *_unusable(runs, differing),
    )


def _sick(runs: Sequence[RunSummary], found: Sequence[Association]) -> list[str]:
    judged = [run for run in runs if run.is_judged]
    if not judged:
        return ["None of the runs holds a training step: there is nothing to compare."]
    named = sorted(diseases(judged), key=lambda disease: disease != SICK)
    if not named:
        return [f"None of the {len(judged)} runs is sick."]
    return [_of_disease(disease, judged, found) for disease in named]


def _of_disease(disease: str, judged: Sequence[RunSummary], found: Sequence[Association]) -> str:
    count = sum(has(run, disease) for run in judged)
    verb = _VERBS.get(disease, (f"shows {disease.replace('-', ' ')}", f"show {disease.replace('-', ' ')}"))
    if count == len(judged):
        whole = {1: "The only run", 2: "Both runs"}.get(count, f"All {count} runs")
        return f"{whole} {verb[count != 1]}."
    parts = [f"{count} of {len(judged)} runs {verb[count != 1]}"]
    of_it = [each for each in found if each.disease == disease and each.holds]
    held = [each for each in of_it if each.within is None]
    covering = next((e for e in held if e.sick_with == count and not e.is_numeric), None)
    said: set[str] = set()  # a setting is named once
    if covering is not None:
        said.add(covering.setting)
        who = f"all {count} use" if count > 2 else "both use" if count == 2 else "it uses"
        share = f"{count} of the {covering.runs_with} that do" if covering.runs_with > count else "and nobody else does"
        parts.append(f"{who} {_value(covering)} ({share})")
        inner = [e for e in of_it if e.within == (covering.setting, covering.value)]
        if inner:
            said.add(inner[0].setting)
            parts.append(f"of those {covering.runs_with}, {_inner(inner[0])}")
    sparing = next((each for each in _spared(held) if each.setting not in said), None)
    if sparing is not None:
        said.add(sparing.setting)
        does = {"is": "is", "has": "has"}.get(verb[0].split()[0], "does")
        parts.append(f"with {_value(sparing)} none of {sparing.runs_with} {does}")
    sized = next((e for e in held if e.is_numeric and abs(e.effect) >= _CLEAR and e.setting not in said), None)
    if sized is not None:
        parts.append(_size(sized))
    if len(parts) == 1 and count > 1:
        parts.append(
            _leaning(held)
            if held
            else f"no setting by itself tells them apart by more than chance{_alike(disease, judged, found)}"
        )
    return "; ".join(parts) + "."


def _spared(held: Sequence[Association]) -> list[Association]:
    return [each for each in held if not each.is_numeric and each.sick_with == 0]


def _value(each: Association) -> str:
    also = f", or {' or '.join(each.together_with)} that changes with it," if each.together_with else ""
    return in_words(each.setting, each.value) + also


def _size(each: Association) -> str:
    than = "larger" if each.effect > 0 else "smaller"
    medians = f"median {number(each.median_sick)} against {number(each.median_healthy)}"
    return f"their {each.setting} is {than} ({medians})"


def _inner(each: Association) -> str:
    if each.is_numeric:
        return _size(each).replace("their", "the sick ones'", 1)
    return _counts(each)


def _counts(each: Association) -> str:
    with_it = f"{each.sick_with} of {each.runs_with} with {_value(each)}"
    return f"{with_it} and {each.sick_without} of {each.runs_without} without"


def _leaning(held: Sequence[Association]) -> str:
    first = held[0]
    if first.is_numeric:
        return _size(first)
    return _counts(first)


def _alike(disease: str, judged: Sequence[RunSummary], found: Sequence[Association]) -> str:
    """What the sick have in common, told as a count where there are too few of them to call it more."""
    shared = [
        e for e in found if e.disease == disease and e.within is None and not e.is_numeric and not e.sick_without
    ][:2]
    if not shared:
        return ""
    rest = [run for run in judged if not has(run, disease)]
    alike = sum(all(key_of(run.settings.get(e.setting)) == key_of(e.value) for e in shared) for run in rest)
    values = " and ".join(in_words(e.setting, e.value) for e in shared)
    return f" (all use {values}; of the {len(rest)} others {alike or 'none'} {'do' if alike > 1 else 'does'})"


def _best(groups: Sequence[Group], tests: Sequence[PairTest], measure: str) -> list[str]:
    ranked = [place for place in range(len(groups)) if math.isfinite(groups[place].mean)]
    whole = [place for place in ranked if not groups[place].diverged]
    if len(ranked) < 2 or not whole:
        return []
    up = grows(measure)
    best = (max if up else min)(whole, key=lambda place: groups[place].mean)
    name = f"{'Highest' if up else 'Lowest'} {measure}: {groups[best].label}, {_mean(groups[best])}"
    mine = [test for test in tests if best in (test.a, test.b) and not test.refused]
    if not mine:
        return [f"{name}; whether that is more than luck nobody knows: it takes two seeds or more of each."]
    same = [test.b if test.a == best else test.a for test in mine if not test.differ]
    if not same:
        others = "the other" if len(mine) == 1 else f"each of the {len(mine)} tested against it"
        return [f"{name}: better than {others} by more than luck."]
    others = groups[same[0]].label if len(same) == 1 else f"{len(same)} of the {len(mine)} tested against it"
    return [f"{name}: not better than {others} by more than luck."]


def _mean(each: Group) -> str:
    count = len(each.values)
    if not math.isfinite(each.low):
        return f"{number(each.mean)} (1 run)"
    return f"{number(each.mean)} (95 % interval {number(each.low)} to {number(each.high)}, {count} runs)"


def _minima(splits: Sequence[SplitConfiguration], groups: Sequence[Group], runs: Sequence[RunSummary]) -> list[str]:
    said = []
    for split in splits[:3]:
        sick = sum(runs[place].is_sick for place in split.high)
        also = f" ({sick} of these are sick)" if sick else ""
        said.append(
            f"Seed-dependent minima in {groups[split.group].label}: of {len(split.low) + len(split.high)} runs, "
            f"{len(split.low)} ended near loss {number(split.low_loss)} "
            f"and {len(split.high)} near {number(split.high_loss)}{also}."
        )
    if len(splits) > 3:
        said.append(f"{len(splits) - 3} more configurations have seed-dependent minima.")
    return said


def _unusable(runs: Sequence[RunSummary], differing: Sequence[str]) -> list[str]:
    said = []
    if not differing and sum(run.is_judged for run in runs) > 1:
        said.append("The runs differ in no setting but the seed.")
    for count, one, many in (
        (sum(run.status == "unreadable" for run in runs), "run could not be read", "runs could not be read"),
        (
            sum(run.status != "unreadable" and not run.is_judged for run in runs),
            "run holds no training step",
            "runs hold no training step",
        ),
        (
            sum(run.is_judged and not run.is_finished for run in runs),
            "run did not finish, so its last numbers are left out",
            "runs did not finish, so their last numbers are left out",
        ),
    ):
        if count:
            said.append(f"{count} {one if count == 1 else many}.")
    return said
