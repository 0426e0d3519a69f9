"""The rule `saturated-activation`."""

import numpy as np

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.probes import probed
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.objective import objectives
from kgrad.log.run_log import RunLog

SATURATED = Limit(
    "values at the flat ends",
    0.5,
    "share",
    "where half of the values pass under 4 % of the greatest slope, two such layers pass a quarter of the signal's "
    "paths (Glorot & Bengio 2010, section 3, describe the state and name no number). In the corpus hidden layers of "
    "sound runs have at most 0.05, of sick ones 0.5 to 1.",
)
SHARE = Limit("share of the run", 0.5, "share", "as in dead-units: half the run is no passing state.")


@rule(
    columns=("loss",),
    limits=(SATURATED, SHARE),
    symptom_of=("unscaled-inputs", "poor-initialization", "exploding-gradient", "learning-rate-too-high:overshoot"),
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
    outputs = {each.layer for each in objectives(log)}
    seen = {name: each for name, each in probed(log, "saturated_fraction").items() if name not in outputs}
    if not seen:
        raise NotApplicable("the model has no hidden tanh or sigmoid layer whose output was seen")
    sick = {name: each for name, each in seen.items() if each.lasting(SATURATED.value) >= SHARE.value}
    if not sick:
        return None
    levels = {name: float(np.median(each.values)) for name, each in sick.items()}
    first = min(each.between(SATURATED.value)[0] for each in sick.values())
    last = max(each.between(SATURATED.value)[1] for each in sick.values())
    severity = harm(log)
    return Finding(
        rule="saturated-activation",
        severity=severity,
        summary=f"Up to {100 * max(levels.values()):.0f} % of the values in {len(sick)} of {len(seen)} hidden tanh or "
        f"sigmoid layers lie at the flat ends, {'from the start' if first <= 1 else f'from step {first} on'}.",
        layers=tuple(sick),
        first_step=min(first, int(log.steps[-1])),
        last_step=min(last, int(log.steps[-1])),
        evidence=tuple(
            Evidence(f"values of {name} at the flat ends (median)", level, "share", SATURATED.value)
            for name, level in levels.items()
        ),
        confidence=0.9 if severity != "info" else 0.7,
        details={"worst_share": max(levels.values())},
    )
