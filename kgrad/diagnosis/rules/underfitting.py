"""The rule `underfitting`."""

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.loss_curve import late_fall
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm, skill
from kgrad.log.run_log import RunLog

LEARNED = Limit(
    "learned",
    0.5,
    "share",
    "half of the way from a constant answer's loss, as in `skill.harm` (own choice).",
)
FALLS = Limit("fall of the loss over the last half", 0.02, "share", "as in slow-convergence.")


@rule(
    columns=("loss",),
    optional=("update_norm", "weight_norm"),
    limits=(LEARNED, FALLS),
    last_resort=True,
    judged="at the end",
)
def underfitting(log: RunLog) -> Finding | None:
    """Little was learned, and no other rule finds why.

    Measured: the share of the way from a constant answer's loss to a perfect one. Asked only where no other rule found
    a disease: what is left are too few updates, too few units, or a kind of model that does not suit the task
    (Goodfellow et al. 2016, "Deep Learning", section 5.2).

    Blind spot: it cannot know what the data hold. Under noisy targets so little may be all that can be learned.
    """
    reached = skill(log)
    if reached is None:
        raise NotApplicable("the loss of a constant answer is not known, so nobody can say how much was learned")
    if reached >= LEARNED.value or harm(log) == "info":
        return None
    fall, noise = late_fall(log)
    falls = fall > max(FALLS.value, noise)
    goes_on = "and the loss still falls" if falls else "and the loss falls no further beyond its noise"
    moved = {"path": signals.path(log)} if falls and "update_norm" in log and "weight_norm" in log else {}
    return Finding(
        rule="underfitting",
        severity="low",
        summary=f"It learned {100 * reached:.0f} % of what a constant answer leaves, {goes_on}. Nothing broken was "
        "found: it is short of updates or units, or such data hold no more.",
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence(LEARNED.name, reached, LEARNED.unit, LEARNED.value),
            Evidence(FALLS.name, fall, FALLS.unit, FALLS.value),
        ),
        confidence=0.6,
        details={**moved, "falls": falls},
    )
