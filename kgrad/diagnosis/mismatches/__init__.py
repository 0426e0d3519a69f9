"""What can be wrong between an output layer, its loss and its targets: one small check each."""

from collections.abc import Callable

from kgrad.diagnosis.mismatches import classes, values
from kgrad.diagnosis.mismatches.mismatch import TOLERANCE, Mismatch
from kgrad.diagnosis.mismatches.values import GRAVE, UNREACHABLE
from kgrad.log.objective import Objective

__all__ = ["GRAVE", "TOLERANCE", "UNREACHABLE", "Mismatch", "first_mismatch"]


def first_mismatch(output: Objective) -> Mismatch | None:
    """The first thing that does not fit, the gravest kinds first; `None` where all fits or too little is known."""
    if output.activation is None:
        return None
    checks: tuple[Callable[[Objective, str], Mismatch | None], ...] = (
        classes.one_unit,
        classes.broadcast,
        classes.bad_labels,
        values.percentage_of_zero,
        classes.no_probability,
        classes.squashed_twice,
        classes.rectified_scores,
        classes.several_labels,
        values.counts_below_zero,
        values.out_of_reach,
        values.logarithm_of_any,
        classes.hinge,
        classes.classes_by_distance,
        classes.independent_units,
    )
    loss = output.loss.name if output.loss else ""
    return next((said for check in checks if (said := check(output, loss)) is not None), None)
