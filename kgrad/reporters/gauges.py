"""Health gauges: what the rules said of each side of a training, and one number to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kgrad.diagnosis import Diagnosis, signals
from kgrad.diagnosis.diagnose import Outcome
from kgrad.diagnosis.finding import SEVERITIES
from kgrad.log.run_log import RunLog
from kgrad.reporters.view import View
from kgrad.reporters.wording import Names, measured, number

PASS, WARN, FAIL, NONE = "pass", "warn", "fail", "none"
_WORDS = {PASS: "pass", WARN: "warning", FAIL: "fail", NONE: "not measured"}
_BY_SEVERITY = {"info": PASS, "low": WARN, "medium": FAIL, "high": FAIL}
# Median update / weight of a step. Source: TheDeepChecker (Ben Braiek & Khomh 2023), which calls 1e-4 to 1e-1 sound.
_SOUND_UPDATE = (1e-4, 1e-1)


_NO_FALL = "loss did not fall"


@dataclass(frozen=True)
class Gauge:
    """One side of the training.

    Attributes:
        name: its name.
        state: `"pass"`, `"warn"`, `"fail"` or `"none"`.
        word: the state in words.
        value: the one number, or why there is none.
        target: where on the page more is said.
    """

    name: str
    state: str
    word: str
    value: str
    target: str


@dataclass(frozen=True)
class _Side:
    """A gauge before it is read: the words in the ids of the rules it stands for, and its number."""

    name: str
    words: tuple[str, ...]
    value: Callable[[View, Sequence[Outcome]], str]
    target: str


def gauges(view: View, diagnosis: Diagnosis, names: Names) -> tuple[Gauge, ...]:
    """The gauges of a run, in the order in which to read them."""
    made = []
    for side in _SIDES:
        outcomes = [each for each in diagnosis.outcomes if any(word in each.rule for word in side.words)]
        state = _state(outcomes)
        value = side.value(view, outcomes)
        if side.name == "Update size":
            state = _update_state(view, state)
        if side.name == "Learning" and state == PASS and value == _NO_FALL:
            state = WARN  # no rule calls it a disease, but a loss that did not fall is no pass
        if state == NONE:
            value = names.sentence(_reason(outcomes), 120)
        made.append(Gauge(side.name, state, _WORDS[state], value, _target(side, outcomes, diagnosis)))
    return tuple(made)


def _state(outcomes: Sequence[Outcome]) -> str:
    """The gravest of what the rules said; a rule that could not judge says nothing."""
    found = [each.finding.severity for each in outcomes if each.finding]
    if found:
        return _BY_SEVERITY[max(found, key=SEVERITIES.index)]
    return PASS if any(each.status == "clear" for each in outcomes) else NONE


def _reason(outcomes: Sequence[Outcome]) -> str:
    reasons = [each.reason for each in outcomes if each.reason]
    return reasons[0] if reasons else "no rule of this kgrad looks at it in this run"


def _target(side: _Side, outcomes: Sequence[Outcome], diagnosis: Diagnosis) -> str:
    """The card of the gravest finding, else the section that shows the numbers."""
    rules = {each.rule for each in outcomes}
    for position, finding in enumerate(diagnosis.findings, 1):
        if finding.rule in rules:
            return f"finding-{position}"
    return side.target


def _flow(view: View, _: Sequence[Outcome]) -> str:
    if "gradient_norm" not in view.log or not len(view.log):
        return ""
    trend = signals.depth_trend(view.log)
    decades = float(np.median(trend.decades))
    said = "lost" if decades > 0 else "gained"
    return f"{abs(decades):.1f} decades {said} through depth"


def _stability(view: View, _: Sequence[Outcome]) -> str:
    series = view.series.get("global_norm")
    if series is None:
        return ""
    norm = view.log["global_norm"]
    lost = float(np.mean(~np.isfinite(norm)))
    if lost:
        return f"{number(100 * lost)} % of steps not finite"
    calm = float(np.median(norm))
    return f"largest norm {number(float(norm.max()) / calm)} × the median" if calm else "norm is zero"


def _learning(view: View, _: Sequence[Outcome]) -> str:
    if "loss" not in view.log or not len(view.log):
        return ""
    progress = signals.loss_curve(view.log).progress
    return f"loss fell by {number(100 * progress)} %" if progress > 0 else _NO_FALL


def _update_median(log: RunLog) -> float:
    if "update_norm" not in log or "weight_norm" not in log or not len(log) or not signals.kernels(log):
        return float("nan")
    ratios = signals.update_ratio(log, signals.kernels(log))
    known = ratios[~np.isnan(ratios)]
    return float(np.median(known)) if len(known) else float("nan")


def _update(view: View, _: Sequence[Outcome]) -> str:
    ratio = _update_median(view.log)
    return f"{number(100 * ratio)} % of the weights a step" if np.isfinite(ratio) else ""


def _update_state(view: View, said: str) -> str:
    """What the rules said, or where none looks: whether the median is of a sound size."""
    ratio = _update_median(view.log)
    if said not in (NONE, PASS) or np.isnan(ratio):
        return said
    return PASS if _SOUND_UPDATE[0] <= ratio <= _SOUND_UPDATE[1] else WARN


def _units(_: View, outcomes: Sequence[Outcome]) -> str:
    for finding in (each.finding for each in outcomes if each.finding):
        shares = [entry.value for entry in finding.evidence if entry.unit == "share"]
        return f"up to {measured(max(shares), 'share')} of a layer dead" if shares else "dead units found"
    return "no layer of dead units"


def _curvature(_: View, outcomes: Sequence[Outcome]) -> str:
    return "see the finding" if any(each.finding for each in outcomes) else "no direction of escape found"


_SIDES = (
    _Side("Gradient flow", ("vanish",), _flow, "depth"),
    _Side("Stability", ("explod", "finite", "diverg", "oscill", "scale"), _stability, "curves"),
    _Side("Learning", ("plateau", "stagna", "converg"), _learning, "overview"),
    _Side("Update size", ("update", "learning-rate"), _update, "updates"),
    _Side("Live units", ("dead", "saturat"), _units, "audits"),
    _Side("Curvature", ("saddle", "curvature", "sharp"), _curvature, "audits"),
)
