"""The rule `underfitting`."""

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.loss_curve import late_fall, still_falls
from kgrad.diagnosis.mismatches.mismatch import CATEGORICAL, SPARSE
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm, planned_steps, skill
from kgrad.diagnosis.widths import narrow_layers
from kgrad.log.objective import objectives
from kgrad.log.run_log import RunLog

LEARNED = Limit(
    "learned",
    0.5,
    "share",
    "half of the way from a constant answer's loss, as in `skill.harm` (own choice).",
)
FEW = Limit(
    "planned updates",
    100,
    "steps",
    "of 79 healthy trainings of benchmarks/corpus 19 in 20 planned 150 or more; three in four took 85 or more to make "
    "95 % of their way.",
)
NARROW = Limit(
    "patterns of a hidden layer's units over the classes",
    1.0,
    "1",
    "units that are on or off make `2^units` patterns; with fewer than classes a layer cannot tell those apart.",
)
FALLS = Limit("fall of the loss over the last half", 0.02, "share", "as in slow-convergence.")


@rule(
    columns=("loss",),
    optional=("update_norm", "weight_norm"),
    limits=(LEARNED, FEW, NARROW, FALLS),
    last_resort=True,
    judged="at the end",
)
def underfitting(log: RunLog) -> Finding | None:
    """Little was learned, and no other rule finds why.

    Measured: the share of the way from a constant answer's loss to a perfect one. Asked only where no other rule found
    a disease. It is one where few updates were planned, a hidden layer has hardly a unit for several classes, or the
    hidden layers have no activation and are one linear map, or have a softmax, and a note otherwise (Goodfellow et al.
    2016, "Deep Learning", section 5.2).

    Blind spot: it cannot know what the data hold. Under noisy targets so little may be all that can be learned.
    """
    reached = skill(log)
    if reached is None:
        raise NotApplicable("the loss of a constant answer is not known, so nobody can say how much was learned")
    if reached >= LEARNED.value or harm(log) == "info":
        return None
    fall, falls = late_fall(log)[0], still_falls(log, FALLS.value)
    linear, softmax = log.structure.linear_layers, log.structure.softmax_layers
    kind = "linear" if linear else "softmax" if softmax else None
    goes_on = "and the loss still falls" if falls else "and the loss falls no further beyond its noise"
    reasons = _reasons(log)
    moved = {"path": signals.path(log)} if falls and "update_norm" in log and "weight_norm" in log else {}
    return Finding(
        rule="underfitting",
        severity="low" if reasons else "info",
        summary=f"It learned {100 * max(reached, 0):.0f} % of what a constant answer leaves, {goes_on}. Nothing broken "
        f"was found: {' and '.join(reasons) or 'it takes a model of another kind, or such data hold no more'}.",
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence(LEARNED.name, reached, LEARNED.unit, LEARNED.value),
            Evidence(FALLS.name, fall, FALLS.unit, FALLS.value),
        ),
        confidence=0.6,
        layers=linear or softmax,
        details={**moved, "falls": falls, **({"kind": kind} if kind else {})},
    )


def _reasons(log: RunLog) -> list[str]:
    """Why so little may have been learned, in words."""
    steps = planned_steps(log)
    reasons = [f"{steps} steps are few"] if steps < FEW.value else []
    if log.structure.linear_layers:
        reasons.append("its hidden layers have no activation, so the whole is one linear map")
    if softmax := log.structure.softmax_layers:
        reasons.append(f"the units of {', '.join(softmax)} compete in a softmax for a sum of 1")
    least = min(narrow_layers(log), key=lambda layer: layer.units or 1, default=None)
    for output in objectives(log):
        classes = (output.units or 0) if output.loss and output.loss.name in CATEGORICAL | SPARSE else 0
        if least is not None and least.units and 2.0**least.units / max(classes, 1) < NARROW.value:
            reasons.append(f"{least.name} has {least.units} unit{'s' * (least.units != 1)} for {classes} classes")
    return reasons
