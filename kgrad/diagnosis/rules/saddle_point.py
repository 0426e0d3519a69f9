"""The rule `saddle-point`."""

import numpy as np

from kgrad.diagnosis import signals, windows
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.loss_curve import is_standing, late_fall, loss_curve
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm, learned
from kgrad.log.run_log import RunLog

NEGATIVE = Limit(
    "smallest over largest eigenvalue",
    signals.STEEP_DOWN,
    "1",
    "ends of trainings show eigenvalues a little under zero (Sagun et al. 2017; Ghorbani et al. 2019 find a few "
    "percent of the largest); a way down that is a tenth as steep as the steepest wall is a saddle's.",
)
SMALL = Limit(
    "gradient over the run's largest",
    signals.SMALL_GRADIENT,
    "1",
    "a point is critical where the gradient is small; a decade under its own largest, on the same loss.",
)
LASTING = Limit("share of a run that learns all the same", 1 / 3, "share", "as in the rule plateau.")
LEAVES = Limit("fall of the loss afterwards", 0.2, "share", "as in plateau: what falls later was no minimum.")
FALLS = Limit("fall of the loss over the last half", 0.02, "share", "as in the rule plateau.")
NOT_LEARNED = Limit("learned", 0.1, "share", "as in the rule plateau.")


@rule(
    columns=("loss", "global_norm"),
    limits=(NEGATIVE, SMALL, LASTING, LEAVES, FALLS, NOT_LEARNED),
    symptom_of=(
        *("nonfinite-gradient", "exploding-gradient", "vanishing-gradient", "dead-units", "poor-initialization"),
        *("output-loss-mismatch", "unscaled-inputs", "plateau:linear"),
    ),
)
def saddle_point(log: RunLog) -> Finding | None:
    """Training stands near a saddle: the gradient is small, and the loss curves down in some direction.

    Measured: at each step where the curvature was taken and the loss stood, the smallest eigenvalue of the Hessian on
    the reference batch, which must be negative beyond its error bound and not tiny against the largest; the gradient
    there against the largest of the run; and whether the loss is above what later steps reach, or little was learned.

    Blind spot: the curvature is that of one batch, which for a handful of rows has negative directions that the whole
    data have not.
    """
    if "curvature" not in log.tables or not len(log.table("curvature")["step"]):
        raise NotApplicable("the curvature was not taken: the loss never stalled, or curvature='never'")
    table, curve = log.table("curvature"), loss_curve(log)
    norms = np.asarray(log["global_norm"])
    largest = float(np.nanmax(np.where(np.isfinite(norms), norms, np.nan)))
    reached = learned(log)
    fall, noise = late_fall(log)
    stuck = harm(log) == "high" and fall <= max(FALLS.value, noise)
    worst: tuple[float, int, float, float] | None = None
    for row in np.flatnonzero(signals.at_saddles(log)):
        step, smallest, top = (float(table[key][row]) for key in ("step", "smallest", "largest"))
        scale = max(abs(top), abs(smallest))
        window = int(np.clip(np.searchsorted(log.steps[curve.edges[1:-1]], step), 0, len(curve.level) - 1))
        leaves = float(curve.leaves[window])
        gradient = float(table["gradient_norm"][row]) / largest if largest > 0 else 0.0
        first, end = _around(windows.closed(curve.flat, 1), window)
        standing = bool(curve.flat[window]) and is_standing(
            log["loss"][curve.edges[first] : curve.edges[end]], LEAVES.value
        )
        passed = leaves > LEAVES.value and not curve.learned[window]
        if not standing or not (stuck or passed):
            continue
        if worst is None or smallest / scale < worst[0]:
            worst = (smallest / scale, window, gradient, leaves)
    if worst is None:
        return None
    share, window, gradient, leaves = worst
    first, end = _around(windows.closed(curve.flat, 1), window)
    begin, last = windows.span(log, curve.edges, first, end)
    lasting = (curve.edges[end] - curve.edges[first]) / len(log) >= LASTING.value
    return Finding(
        rule="saddle-point",
        severity="high" if stuck else "medium" if lasting or harm(log) != "info" else "info",
        summary=(
            f"Around step {begin} the gradient is small while the loss curves down as steeply as "
            f"{100 * -share:.0f} % of its steepest wall: a saddle, not a minimum."
        ),
        first_step=begin,
        last_step=last,
        evidence=(
            Evidence(NEGATIVE.name, share, "1", NEGATIVE.value),
            Evidence(SMALL.name, gradient, "1", SMALL.value),
            Evidence(LEAVES.name, leaves, "share", LEAVES.value),
            Evidence("learned", reached, "share", NOT_LEARNED.value),
        ),
        confidence=0.8,
        details={"ratio": share},
    )


def _around(mask: "np.ndarray[tuple[int], np.dtype[np.bool_]]", place: int) -> tuple[int, int]:
    """The unbroken stretch of `True` around a place."""
    first, end = place, place + 1
    while first > 0 and mask[first - 1]:
        first -= 1
    while end < len(mask) and mask[end]:
        end += 1
    return first, end
