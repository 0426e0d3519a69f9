"""The rule `plateau`."""

import numpy as np

from kgrad.diagnosis import windows
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.loss_curve import LossCurve, is_standing, late_fall, loss_curve, still_falls, waits
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import constant_answer, harm, learned
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Structure

SHARE = Limit("share of the run", 0.2, "share", "a fifth of a run spent without progress is worth a word (own choice).")
LASTING = Limit(
    "share of a run that learns all the same",
    1 / 3,
    "share",
    "a third of a run spent waiting is worth a cure (own choice).",
)
LEAVES = Limit(
    "fall of the loss after the stretch",
    0.2,
    "share",
    "a loss that later falls by a fifth of its level shows that the stretch was no minimum.",
)
NOT_LEARNED = Limit(
    "learned",
    0.1,
    "share",
    "of the loss of a constant answer, within the noise of nothing; where that is not known, three tenths of the "
    "start: a network that learns no more than the means of the targets makes about this much.",
)
FALLS = Limit("fall of the loss over the last half", 0.02, "share", "as in slow-convergence, which says the rest.")
STILL = Limit(
    "fall of the loss over the last half of a run that stands for good",
    0.005,
    "share",
    "what counts as none between windows, too; a run that falls by more, beyond its noise, may be about to leave.",
)
CONSTANT = Limit(
    "distance from the loss of a constant answer",
    0.05,
    "share",
    "a model within this of the best answer that ignores its inputs has learned to ignore them, and one that ends "
    "further below, and falling, has left (own choice).",
)
FEWEST = Limit("steps", 50, "steps", "fewer steps hold too few windows to tell a slope from noise.")


@rule(
    columns=("loss",),
    limits=(SHARE, LASTING, LEAVES, NOT_LEARNED, FALLS, STILL, CONSTANT, FEWEST),
    symptom_of=(
        *("nonfinite-gradient", "exploding-gradient", "vanishing-gradient", "dead-units", "saturated-activation"),
        *("output-loss-mismatch", "unscaled-inputs", "poor-initialization", "over-regularised", "disconnected-weights"),
        *("learning-rate-too-high", "learning-rate-too-low", "slow-convergence", "saddle-point", "clipping-too-tight"),
        "loss-scale-trouble",
    ),
)
def plateau(log: RunLog) -> Finding | None:
    """The loss stands still where it should not: far above what the run reaches later, or near where it began.

    Measured: medians of the loss in windows. A window is flat where the loss a tenth of the run before and after
    differs by less than its noise. A flat stretch is a plateau where the loss falls a good deal afterwards, twice as
    fast at least, or where little was learned in a run that does not fall any more; so is one at the loss of a constant
    answer that a run has just left when it ends, and the end of a run at that loss. A flat stretch after the loss has
    fallen, with nothing better to come, is convergence. Where the hidden layers have no activation, or there are none,
    the finding says so: such a model stops at what a linear one can do, however deep it is. So does it where hidden
    layers have a softmax, which is for outputs.

    Blind spot: a run that was stopped on a plateau after good progress looks converged, since nobody knows what
    would have come; whether it was a saddle takes the curvature to tell.
    """
    if len(log) < FEWEST.value:
        raise NotApplicable(f"{len(log)} steps are too few to tell a slope from noise; {FEWEST.value:.0f} are needed")
    curve = loss_curve(log)
    reached = learned(log)
    fall, noise = late_fall(log)
    stuck = harm(log) == "high" and fall <= max(FALLS.value, noise)
    constant = constant_answer(log)
    ignores, left = np.zeros_like(curve.flat), curve.leaves > LEAVES.value
    if constant:
        near = np.abs(curve.level - constant) < CONSTANT.value * constant
        ignores = np.logical_and.accumulate(near[::-1])[::-1]  # to the end
        below = constant - curve.level * (1 - curve.leaves) > CONSTANT.value * constant
        left |= near & below & still_falls(log)
    still = curve.flat & (left & ~curve.learned | stuck)
    # A stretch that begins while the loss comes down to a constant answer is judged from where it is there.
    stretches = [windows.longest_run(mask, gap=1) for mask in (still | ignores & stuck, ignores & stuck)]
    first, end = next((each for each in stretches if _is_plateau(log, curve, *each, stuck)), (0, 0))
    if not end:
        return None
    share = float((curve.edges[end] - curve.edges[first]) / len(log))
    stands = fall <= max(STILL.value, noise)
    begin, last = windows.span(log, curve.edges, first, end)
    level = float(np.nanmedian(curve.level[first:end]))
    leaves, is_left = float(np.max(curve.leaves[first:end])), bool(left[first:end].any())
    after = f", then fell by {100 * leaves:.0f} %" if is_left else " and never left it"
    kind, layers, why = _of_structure(log.structure)
    return Finding(
        rule="plateau",
        severity="high" if stuck and stands else "info" if harm(log) == "info" and share < LASTING.value else "medium",
        summary=f"The loss stood at {level:.3g} for {100 * share:.0f} % of the run (from step {begin}){after}{why}.",
        layers=layers,
        first_step=begin,
        last_step=last,
        evidence=(
            Evidence("share of the run without progress", share, "share", SHARE.value),
            Evidence("fall of the loss afterwards", leaves, "share", LEAVES.value if leaves > LEAVES.value else None),
            Evidence("learned in the whole run", reached, "share", NOT_LEARNED.value),
        ),
        confidence=0.9 if is_left else 0.75,
        details={"level": level, "share": share, **({"kind": kind} if kind else {})},
    )


def _of_structure(structure: Structure) -> tuple[str, tuple[str, ...], str]:
    """What in the model's structure may be why: a kind, its layers, and the end of the sentence; empty for nothing."""
    linear, lone, softmax = structure.linear_layers, structure.lone_layer, structure.softmax_layers
    if lone:
        text = f"; {lone} is its only layer with weights, so the answer is one weighted sum of the inputs"
        return "no-hidden-layer", (lone,), text
    if linear:
        return "linear", linear, f"; its {len(linear)} hidden layers have no activation, so the whole is one linear map"
    if softmax:
        return "softmax", softmax, f"; the units of {', '.join(softmax)} compete in a softmax for a sum of 1"
    return "", (), ""


def _is_plateau(log: RunLog, curve: LossCurve, first: int, end: int, stuck: bool) -> bool:
    begin, after = int(curve.edges[first]), int(curve.edges[end])
    if (after - begin) / len(log) < SHARE.value or not is_standing(log["loss"][begin:after], LEAVES.value):
        return False
    return stuck or waits(log["loss"], begin, after)
