"""The rule `slow-convergence`."""

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.loss_curve import late_fall, loss_curve, still_falls
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import learned
from kgrad.log.run_log import RunLog

PATH = Limit("path of the weights over the run", 0.5, "weight sizes", "as in learning-rate-too-low.")
NOT_LEARNED = Limit("learned", 0.3, "share", "as in the rule plateau.")
FEW = Limit("steps", 50, "steps", "as in plateau: fewer are too few to tell a slope from noise, let alone to train.")
PROGRESS = Limit(
    "progress of the loss since the start", 0.5, "share", "a loss that has halved is on its way, from a bad start."
)
FALLS = Limit(
    "fall of the loss over the last half",
    0.02,
    "share",
    "a run that still falls by this share of its level, beyond its noise, would have gone on falling (own choice).",
)


@rule(
    columns=("loss", "update_norm", "weight_norm"),
    limits=(PATH, NOT_LEARNED, FEW, PROGRESS, FALLS),
    symptom_of=(
        *("nonfinite-gradient", "exploding-gradient", "vanishing-gradient", "dead-units", "saturated-activation"),
        *("output-loss-mismatch", "unscaled-inputs", "poor-initialization", "over-regularised", "disconnected-weights"),
        *("clipping-too-tight", "learning-rate-too-low", "learning-rate-too-high"),
    ),
    judged="at the end",
)
def slow_convergence(log: RunLog) -> Finding | None:
    """Training ended before it got anywhere: too few updates, at a speed that would have led on.

    Measured: what was learned, the path of the weights in units of their size, and the fall of the loss over the last
    half of the run against its noise. Little learned on a short path is too few updates. Little learned while the
    loss still falls, on a path that is not short, is noted: more epochs help, a faster optimizer may help more.

    Blind spot: it cannot know how long a model of this kind should take.
    """
    reached, path = learned(log), signals.path(log)
    if reached >= NOT_LEARNED.value:
        return None
    if path <= 0:
        raise NotApplicable("no kernel moved")
    fall, falls = late_fall(log)[0], still_falls(log, FALLS.value)
    steps = int(log.steps[-1] - log.steps[0]) + 1  # also those that were not recorded
    few = steps < FEW.value and path < PATH.value
    if not few and not falls:
        return None
    progress = loss_curve(log).progress
    short = (few or path < PATH.value) and progress < PROGRESS.value
    more = f", and the loss still fell by {100 * fall:.0f} % over the last half" if falls else ""
    return Finding(
        rule="slow-convergence",
        severity="medium" if short else "info",
        summary=(
            f"{steps} steps moved the weights by {path:.2g} of their size{more}: training ended too early."
            if short
            else f"The loss still fell by {100 * fall:.0f} % over the last half, with little learned: it goes slowly."
        ),
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence("steps", float(steps), "steps", FEW.value),
            Evidence(PATH.name, path, PATH.unit, PATH.value),
            Evidence("learned", reached, "share", NOT_LEARNED.value),
            Evidence(FALLS.name, fall, "share", FALLS.value),
        ),
        confidence=0.8 if few else 0.7,
        details={"path": path, "falls": falls},
    )
