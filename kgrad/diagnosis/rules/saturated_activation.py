"""The rule `saturated-activation`."""

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis.finding import SEVERITIES, Evidence, Finding
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.objective import objectives
from kgrad.log.run_log import FloatArray, RunLog

SATURATED = Limit(
    "values at the flat ends",
    0.5,
    "share",
    "where half of the values pass under 4 % of the greatest slope, two such layers pass a quarter of the signal's "
    "paths (own choice; Glorot & Bengio 2010, section 3, describe the state and name no number).",
)
SHARE = Limit("share of the run", 0.5, "share", "as in dead-units: half the run is no passing state.")


@rule(
    columns=("loss",),
    limits=(SATURATED, SHARE),
    symptom_of=("unscaled-inputs", "poor-initialization", "exploding-gradient"),
)
def saturated_activation(log: RunLog) -> Finding | None:
    """Most values of a hidden tanh or sigmoid layer lie at its flat ends, where the gradient hardly passes.

    Measured: the share of outputs beyond 0.99 of the range, per layer, on the reference batch; each measurement
    counts for the steps until the next. Output layers are left out: there a value at the end is a sure answer. The
    severity follows the harm; a gate that is open or shut in a run that learns is a note.

    Blind spot: between two measurements nothing is seen; cells of recurrent layers are not looked into.
    """
    if "activations" not in log.tables:
        raise NotApplicable("the run holds no activations; they need GradientMonitor(probe=...)")
    shares = _shares(log)
    if not shares:
        raise NotApplicable("the model has no hidden tanh or sigmoid layer whose output was seen")
    sick = {name: found for name, found in shares.items() if found[0] >= SHARE.value}
    if not sick:
        return None
    worst = max(share for _, share, _, _ in sick.values())
    severity = harm(log)
    if all(first > int(log.steps[0]) + 1 for _, _, first, _ in sick.values()):
        start = f"from step {min(first for _, _, first, _ in sick.values())} on"
    else:
        start = "from the start"
    return Finding(
        rule="saturated-activation",
        severity=severity,
        summary=f"Up to {100 * worst:.0f} % of the values in {len(sick)} of {len(shares)} hidden tanh or sigmoid "
        f"layers lie at the flat ends, {start}.",
        layers=tuple(sick),
        first_step=min(first for _, _, first, _ in sick.values()),
        last_step=max(last for _, _, _, last in sick.values()),
        evidence=tuple(
            Evidence(f"values of {name} at the flat ends (median)", share, "share", SATURATED.value)
            for name, (_, share, _, _) in sick.items()
        ),
        confidence=0.9 if SEVERITIES.index(severity) >= 2 else 0.7,
        details={"worst_share": worst},
    )


_Share = tuple[float, float, int, int]


def _shares(log: RunLog) -> dict[str, _Share]:
    """By layer: share of the run in which it is saturated, median share of values, first and last such step."""
    table = log.table("activations")
    steps, values = np.asarray(table["step"], float), np.asarray(table["saturated_fraction"], float)
    names = np.asarray(table["layer"])
    outputs = {each.layer for each in objectives(log)}
    found: dict[str, _Share] = {}
    for layer in log.structure.layers:
        rows = (names == layer.name) & np.isfinite(values)
        if layer.name in outputs or not rows.any():
            continue
        found[layer.name] = _share(log, steps[rows], values[rows])
    return found


def _share(log: RunLog, steps: FloatArray, values: FloatArray) -> _Share:
    at = np.unique(steps)
    level = np.array([values[steps == step].max() for step in at])
    sick: NDArray[np.bool_] = level >= SATURATED.value
    end = max(float(log.steps[-1]) + 1, float(at[-1]))
    spans = np.diff(np.append(at, end))
    spans = spans if spans.sum() > 0 else np.ones(len(at))
    hit = np.flatnonzero(sick)
    first, last = (int(at[hit[0]]), int(at[hit[-1]])) if len(hit) else (0, 0)
    return float(spans[sick].sum() / spans.sum()), float(np.median(level)), first, min(last, int(log.steps[-1]))
