"""Health gauges: what the rules said of each side of a training, and one number to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kgrad.diagnosis import Diagnosis, Finding, signals
from kgrad.diagnosis.diagnose import Outcome
from kgrad.diagnosis.finding import SEVERITIES
from kgrad.diagnosis.loss_curve import loss_curve
from kgrad.log import schema
from kgrad.log.run_log import RunLog
from kgrad.reporters.view import View
from kgrad.reporters.wording import Names, brief, steps_between, title_of

PASS, WARN, FAIL, NONE = "pass", "warn", "fail", "none"
_WORDS = {PASS: "pass", WARN: "warning", FAIL: "fail", NONE: "not measured"}
_BY_SEVERITY = {"info": PASS, "low": WARN, "medium": FAIL, "high": FAIL}
# Median update / weight of a step. Source: TheDeepChecker (Ben Braiek & Khomh 2023), which calls 1e-4 to 1e-1 sound.
_SOUND_UPDATE = (1e-4, 1e-1)


_NO_FALL = "loss did not fall"
# Below these a number says nothing on a gauge: a tenth of a percent of the loss, a sixth of a decade (factor 1.5).
_SOME_FALL, _EVEN = 1e-3, 0.18


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
    """A gauge before it is read.

    Attributes:
        name: its name.
        words: words in the ids of the rules it stands for.
        value: its number.
        target: the section that shows the numbers.
        sick: what it says instead where a rule found something and the number would seem to contradict it.
    """

    name: str
    words: tuple[str, ...]
    value: Callable[[View, Sequence[Outcome]], str]
    target: str
    sick: Callable[[View, Finding], str] = lambda _, __: ""


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
        elif finding := _gravest(outcomes):
            value = side.sick(view, finding) or value
        made.append(Gauge(side.name, state, _WORDS[state], value, _target(side, outcomes, diagnosis)))
    return tuple(made)


def _gravest(outcomes: Sequence[Outcome]) -> Finding | None:
    found = [each.finding for each in outcomes if each.finding]
    return max(found, key=lambda each: SEVERITIES.index(each.severity), default=None)


def _state(outcomes: Sequence[Outcome]) -> str:
    """The gravest of what the rules said; a rule that could not judge says nothing."""
    gravest = _gravest(outcomes)
    if gravest:
        return _BY_SEVERITY[gravest.severity]
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
    decades = float(np.median(signals.depth_trend(view.log).decades))
    if abs(decades) < _EVEN:
        return "even through depth"
    return f"{abs(decades):.1f} decades {'lost' if decades > 0 else 'gained'} through depth"


def _stability(view: View, _: Sequence[Outcome]) -> str:
    series = view.series.get("global_norm")
    if series is None:
        return ""
    norm = view.log["global_norm"]
    lost = float(np.mean(~np.isfinite(norm)))
    if lost:
        return f"{brief(100 * lost)} % of steps not finite"
    calm = float(np.median(norm))
    return f"largest norm {brief(float(norm.max()) / calm)} × the median" if calm else "norm is zero"


def _learning(view: View, _: Sequence[Outcome]) -> str:
    if "loss" not in view.log or not len(view.log):
        return ""
    progress = loss_curve(view.log).progress
    return f"loss fell by {brief(100 * progress)} %" if progress >= _SOME_FALL else _NO_FALL


def _update_median(log: RunLog) -> float:
    if "update_norm" not in log or "weight_norm" not in log or not len(log) or not signals.kernels(log):
        return float("nan")
    ratios = signals.update_ratio(log, signals.kernels(log))
    known = ratios[~np.isnan(ratios)]
    return float(np.median(known)) if len(known) else float("nan")


def _update(view: View, _: Sequence[Outcome]) -> str:
    ratio = _update_median(view.log)
    if ratio == 0:
        return "most weights do not move"
    return f"{brief(100 * ratio)} % of the weights a step" if np.isfinite(ratio) else ""


def _update_state(view: View, said: str) -> str:
    """What the rules said, or where none looks: whether the median is of a sound size."""
    ratio = _update_median(view.log)
    if said not in (NONE, PASS) or np.isnan(ratio):
        return said
    return PASS if _SOUND_UPDATE[0] <= ratio <= _SOUND_UPDATE[1] else WARN


def _units(_: View, outcomes: Sequence[Outcome]) -> str:
    judged = [word for word in ("dead", "saturat") for each in outcomes if word in each.rule and each.status == "clear"]
    words = {"dead": "dead", "saturat": "saturated"}
    return f"no layer of {' or '.join(words[word] for word in judged)} units" if judged else ""


def _sick_units(_: View, finding: Finding) -> str:
    shares = [entry.value for entry in finding.evidence if entry.unit == "share"]
    state = "dead" if "dead" in finding.rule else "saturated"
    return f"up to {brief(100 * max(shares))} % of a layer {state}" if shares else f"{state} units"


def _stood(_: View, finding: Finding) -> str:
    """A loss that fell in the end may still have stood for long."""
    when = steps_between(finding.first_step, finding.last_step)
    return f"stood still, {when}" if finding.rule == "plateau" else f"{title_of(finding.rule).lower()}, {when}"


def _when(_: View, finding: Finding) -> str:
    return f"{title_of(finding.rule).lower()}, {steps_between(finding.first_step, finding.last_step)}"


def _curvature(view: View, _: Sequence[Outcome]) -> str:
    table = view.log.tables.get(schema.CURVATURE)
    largest = float(table["largest"][np.argmax(table["step"])]) if table else float("nan")
    return "no saddle found" if np.isnan(largest) else f"no saddle; largest eigenvalue {brief(largest)} at the end"


_SIDES = (
    _Side("Gradient flow", ("vanish",), _flow, "depth"),
    _Side("Stability", ("explod", "finite", "diverg", "oscill", "scale"), _stability, "curves"),
    _Side("Learning", ("plateau", "stagna", "converg"), _learning, "overview", _stood),
    _Side("Update size", ("update", "learning-rate"), _update, "updates"),
    _Side("Live units", ("dead", "saturat"), _units, "activations", _sick_units),
    _Side("Curvature", ("saddle", "curvature", "sharp"), _curvature, "curvature", _when),
)
