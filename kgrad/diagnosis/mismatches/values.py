"""Values and counts: the range of the answers, and what their loss can take."""

from kgrad.diagnosis.finding import Evidence
from kgrad.diagnosis.mismatches.mismatch import COUNTS, REGRESSION, Mismatch
from kgrad.diagnosis.reach import RANGES, unreachable
from kgrad.diagnosis.rule import Limit
from kgrad.log.objective import Objective

UNREACHABLE = Limit(
    "share of the targets' variance out of reach",
    0.1,
    "share",
    "the coefficient of determination can then not pass 0.9 whatever is learned; less than that is an output layer "
    "that clips a few outliers (own choice).",
)
GRAVE = Limit(
    "share of the targets' variance out of reach, grave",
    0.3,
    "share",
    "a coefficient of determination of 0.7 at best is a flaw in any run, however well the rest is learned.",
)


def percentage_of_zero(output: Objective, loss: str) -> Mismatch | None:
    """An error in percent of targets that go through zero."""
    target = output.target
    if loss != "mean_absolute_percentage_error" or target is None or target.minimum is None or target.maximum is None:
        return None
    if not target.minimum <= 0 <= target.maximum:
        return None
    text = f"{loss} divides by the targets, and they go from {target.minimum:.3g} to {target.maximum:.3g} through 0."
    return Mismatch("percentage-of-zero", text, {"loss": "mean_absolute_error"})


def out_of_reach(output: Objective, loss: str) -> Mismatch | None:
    """Targets beyond what the output activation can answer, by the share of their variance."""
    activation, target = output.activation or "", output.target
    if loss not in REGRESSION | COUNTS or target is None or activation not in RANGES:
        return None
    share = unreachable(target, activation)
    if share < UNREACHABLE.value:
        return None
    text = (
        f"{output.layer} is a {activation} and the targets reach from {target.minimum:.3g} to {target.maximum:.3g}: "
        f"{100 * share:.0f} % of their variance is out of reach."
    )
    seen = (Evidence("share of the targets' variance out of reach", share, "share", UNREACHABLE.value),)
    worst, least = ("high", "medium") if share >= GRAVE.value else ("medium", "low")
    wanted = "softplus" if loss in COUNTS else "linear"
    return Mismatch("targets-out-of-reach", text, {"activation": wanted}, worst, least, seen)


def counts_below_zero(output: Objective, loss: str) -> Mismatch | None:
    """A loss of counts, and targets below zero."""
    target = output.target
    if loss not in COUNTS or target is None or target.minimum is None or target.minimum >= 0:
        return None
    text = f"{loss} is for counts, from 0 on, and the targets go down to {target.minimum:.3g}."
    seen = (Evidence("smallest target", target.minimum),)
    fix = {"loss": "mean_squared_error", "activation": "linear"}
    return Mismatch("counts-below-zero", text, fix, evidence=seen)


def logarithm_of_any(output: Objective, loss: str) -> Mismatch | None:
    """A loss that takes the logarithm of an answer that may be negative."""
    if loss != "poisson" or RANGES.get(output.activation or "", (0.0, 1.0))[0] >= 0:
        return None
    text = f"{loss} takes the logarithm of the answer, and {output.layer}, {output.activation}, can answer below 0."
    return Mismatch("logarithm-of-any", text, {"activation": "softplus"}, "high", "info")
