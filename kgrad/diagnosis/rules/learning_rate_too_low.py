"""The rule `learning-rate-too-low`."""

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding, power
from kgrad.diagnosis.loss_curve import is_standing
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm, is_certain, learned
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import FloatArray, RunLog

PATH = Limit(
    "path of the weights over the run",
    0.5,
    "weight sizes",
    "weights that travel less than half their own size stay close to where they were initialized; a network of usual "
    "width then is what its random features are (Jacot et al. 2018, lazy regime). Controls of the corpus that learn go "
    "further, or reach their goal on the way.",
)
RATIO = Limit(
    "update ratio",
    1e-3,
    "1",
    "about 1e-3 per step is the usual advice for sound training (Karpathy, CS231n notes, 'Ratio of weights:updates'); "
    "TheDeepChecker (Ben Braiek & Khomh 2023) takes 1e-4 to 1e-1.",
)
LARGEST = Limit(
    "learning rate that would be needed",
    0.3,
    "1",
    "where more than this is needed for the usual ratio the gradient is too small, not the learning rate: rates in use "
    "end there (Bengio 2012, section 3.1.1, gives 1e-6 to 1 for standardised inputs).",
)
NOT_LEARNED = Limit("learned", 0.3, "share", "as in the rule plateau.")
FALLS_UNSEEN = Limit(
    "fall of the loss over the last half that noise may hide",
    0.05,
    "share",
    "only where noise hides no more is a loss shown to stand (own choice).",
)
SOME = Limit("learned, some", 0.1, "share", "as in the rule plateau: more is no noise of nothing.")
IDLE = Limit(
    "learning rate over its own largest",
    1e-3,
    "1",
    "a thousandth of it in more than half of the steps: a decay given epochs where it counts steps (own choice).",
)
FRONT = Limit(
    "share of all learning rates in the first tenth of the run",
    0.5,
    "share",
    "as much as in the other nine tenths, which then hardly count; 0.1 for a constant rate, 0.2 for a cosine to zero, "
    "0.65 for a decay by 1 / step (own choice).",
)
FALLEN = Limit(
    "median learning rate over its own largest",
    0.02,
    "1",
    "half of the run at less than a fiftieth; a usual decay by steps of ten is above it there (own choice).",
)
ENOUGH = Limit("learned, enough", 0.5, "share", "a run that learned half of what there was may rest.")
FEWEST = Limit("steps", 50, "steps", "fewer steps say that there were few, which `slow-convergence` does.")


@rule(
    columns=("loss", "learning_rate", "update_norm", "weight_norm"),
    limits=(PATH, RATIO, LARGEST, NOT_LEARNED, FALLS_UNSEEN, SOME, IDLE, FRONT, FALLEN, ENOUGH, FEWEST),
    symptom_of=(
        *("nonfinite-gradient", "exploding-gradient", "vanishing-gradient", "dead-units", "saturated-activation"),
        *("output-loss-mismatch", "unscaled-inputs", "poor-initialization", "over-regularised", "disconnected-weights"),
        "clipping-too-tight",
    ),
    judged="at the end",
)
def learning_rate_too_low(log: RunLog) -> Finding | None:
    """The steps are so small that the weights hardly leave their initial values, and little is learned.

    Measured: the update of the median kernel relative to its size, per step and summed over the run. The learning
    rate is too low where little was learned, the weights went less than half their size, the median step is under the
    usual one, and a learning rate under 1 would make up for it. Where one kernel moves at the usual pace already it is
    the gradient that is too small for the others, not the rate. A loss that fell some way and is shown to stand
    for the last half of the run has been stopped by something else, for small steps never stop it. And whether the
    learning rate itself was all but zero for most of the run (`idle`), or fell so fast that the first tenth of the run
    had as much of it as the rest while the loss was falling.

    Blind spot: under SGD a small gradient has the same sign as a small learning rate; where another rule explains the
    small gradient, this finding is its symptom.
    """
    steps = int(log.steps[-1] - log.steps[0]) + 1  # also those that were not recorded
    if steps < FEWEST.value:
        raise NotApplicable(f"{steps} steps are too few to blame their size; {FEWEST.value:.0f} are needed")
    idle = _idle(log)
    if idle is not None:
        return idle
    columns = signals.kernels(log)
    if not columns:
        raise NotApplicable("the model has no trainable kernel")
    reached, path = learned(log), signals.path(log)
    ratios = np.nan_to_num(signals.update_ratio(log, columns))
    ratio, fastest = float(np.median(ratios)), float(np.median(ratios, axis=0).max())
    rate = float(np.nanmedian(log["learning_rate"]))
    if reached >= NOT_LEARNED.value or path >= PATH.value or not ratio > 0 or fastest >= RATIO.value or rate <= 0:
        return None
    if reached >= SOME.value and is_standing(log["loss"][len(log) // 2 :], FALLS_UNSEEN.value):
        return None
    needed = rate * RATIO.value / ratio
    if needed > LARGEST.value * max(1.0, rate):
        return None
    return Finding(
        rule="learning-rate-too-low",
        severity=harm(log) if is_certain(log) else "info",
        summary=(
            f"A step moves the weights by {power(ratio)} of their size, and all {steps} steps together by "
            f"{path:.2g}: the learning rate of {rate:.3g} is too low."
        ),
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence("update ratio of the median kernel", ratio, "1"),
            Evidence("update ratio of the fastest kernel", fastest, "1", RATIO.value),
            Evidence(PATH.name, path, PATH.unit, PATH.value),
            Evidence("learned", reached, "share", NOT_LEARNED.value),
        ),
        confidence=0.85 if path < PATH.value / 5 else 0.7,
        details={"learning_rate": rate, "suggested": needed, "ratio": ratio, "path": path},
    )


def _idle(log: RunLog) -> Finding | None:
    """A schedule that ended long before the run or fell in its first tenth, or a rate of zero."""
    rate = np.nan_to_num(log["learning_rate"])
    largest = float(rate.max())
    idle = rate <= IDLE.value * largest
    severity = harm(log)
    if severity == "info" or learned(log) >= ENOUGH.value:
        return None
    if idle.mean() <= 0.5:
        return _decayed(log, rate, severity)
    last_busy = np.flatnonzero(~idle)[-1] if not idle.all() else -1
    begin = int(log.steps[min(last_busy + 1, len(idle) - 1)])
    was = f"had been {largest:.3g}" if largest > 0 else "is zero"
    return Finding(
        rule="learning-rate-too-low",
        severity=severity,
        summary=(
            f"The learning rate {was} and is next to nothing in {100 * idle.mean():.0f} % of the steps, "
            f"from step {begin} on: the weights stand still. Does a schedule count epochs where Keras counts steps?"
        ),
        first_step=begin,
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence("share of the steps at next to no learning rate", float(idle.mean()), "share", 0.5),
            Evidence("learned", learned(log), "share", ENOUGH.value),
        ),
        confidence=0.9,
        details={"kind": "idle", "learning_rate": largest},
    )


def _decayed(log: RunLog, rate: FloatArray, severity: str) -> Finding | None:
    """A rate that falls from its first step on, so fast that most of the run is spent at next to none."""
    steps = log.steps - log.steps[0]
    early = steps < (steps[-1] + 1) / 10
    # Recorded steps may be denser at the start: the mean rate of each part stands for its share of the run.
    first, rest = (float(rate[part].mean()) if part.any() else 0.0 for part in (early, ~early))
    front = 0.1 * first / (0.1 * first + 0.9 * rest) if first + rest > 0 else 0.0
    largest, fell = float(rate.max()), not is_standing(log["loss"][early], FALLS_UNSEEN.value)
    scheduled = present_optimizer(log).has_schedule  # a callback may have had its reasons
    if front <= FRONT.value or float(np.median(rate)) > FALLEN.value * largest or not fell or not scheduled:
        return None
    return Finding(
        rule="learning-rate-too-low",
        severity=severity,
        summary=(
            f"The learning rate falls from {largest:.3g} to {float(rate[-1]):.3g}, so fast that the first tenth of the "
            f"run had {100 * front:.0f} % of all of it. Does a decay count epochs where Keras counts steps?"
        ),
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence(FRONT.name, front, FRONT.unit, FRONT.value),
            Evidence(FALLEN.name, float(np.median(rate)) / largest, FALLEN.unit, FALLEN.value),
            Evidence("learned", learned(log), "share", ENOUGH.value),
        ),
        confidence=0.8,
        details={"kind": "idle", "learning_rate": largest},
    )
