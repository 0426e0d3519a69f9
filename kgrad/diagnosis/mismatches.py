"""What can be wrong between an output layer, its loss and its targets: one small check each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kgrad.diagnosis.finding import Evidence
from kgrad.diagnosis.reach import RANGES, unreachable
from kgrad.diagnosis.rule import Limit
from kgrad.log.batch import TensorFacts
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
TOLERANCE = Limit(
    "overshoot of targets", 0.01, "1", "rounding and resampling leave targets a little outside 0 to 1 (own choice)."
)
_CATEGORICAL = frozenset({"categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence"})
_BINARY = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
_SPARSE = frozenset({"sparse_categorical_crossentropy"})
_PROBABILITY = _CATEGORICAL | _BINARY | _SPARSE
_REGRESSION = frozenset({"mean_squared_error", "mean_absolute_error", "huber", "log_cosh"})
# Losses of counts, which take logarithms: below 0 there is nothing to answer.
_COUNTS = frozenset({"poisson", "mean_squared_logarithmic_error"})
# Losses that compare each output with a target of its own; what a loss of one's own does is not known.
_ELEMENTWISE = (
    _CATEGORICAL | _BINARY | _REGRESSION | _COUNTS | {"mean_absolute_percentage_error", "hinge", "squared_hinge"}
)
_SQUASHING = ("softmax", "sigmoid", "hard_sigmoid")


@dataclass(frozen=True)
class Mismatch:
    """One thing that does not fit.

    Attributes:
        kind: a short name for it.
        summary: one sentence with this run's numbers.
        fix: what to change: `activation`, `units`, `loss`, `from_logits`, `targets` or `remove`.
        worst: its severity where little is learned.
        least: its severity where much is learned all the same.
        evidence: the numbers behind it.
    """

    kind: str
    summary: str
    fix: dict[str, Any]
    worst: str = "high"
    least: str = "medium"
    evidence: tuple[Evidence, ...] = field(default=())


def first_mismatch(output: Objective) -> Mismatch | None:
    """The first thing that does not fit, the gravest kinds first; `None` where all fits or too little is known."""
    if output.activation is None:
        return None
    checks: tuple[Callable[[Objective, str], Mismatch | None], ...] = (
        _one_unit,
        _broadcast,
        _bad_labels,
        _percentage_of_zero,
        _no_probability,
        _squashed_twice,
        _several_labels,
        _counts_below_zero,
        _out_of_reach,
        _logarithm_of_any,
        _hinge,
        _classes_by_distance,
        _independent_units,
    )
    loss = output.loss.name if output.loss else ""
    return next((said for check in checks if (said := check(output, loss)) is not None), None)


def _one_unit(output: Objective, loss: str) -> Mismatch | None:
    if output.units != 1:
        return None
    several = _largest_label(output.target)
    fix: dict[str, Any] = {"activation": "linear"}
    if several > 1 and loss not in _REGRESSION:
        fix = {"activation": "softmax", "units": several + 1, "loss": "sparse_categorical_crossentropy"}
    elif loss not in _REGRESSION or (output.target is not None and several == 1):
        fix = {"activation": "sigmoid", "loss": "binary_crossentropy"}
    if output.activation == "softmax":
        text = f"{output.layer} is a softmax over one unit: it answers 1 whatever goes in."
        return Mismatch("softmax-on-one-unit", text, fix, least="high")
    if loss == "kl_divergence":  # y log(y/p): nothing is asked of the share that is left
        text = f"{output.layer} has one unit, and {loss} over one number falls with any larger answer."
        return Mismatch("one-unit-for-classes", text, fix, least="high")
    if loss in _CATEGORICAL | _SPARSE or loss == "cosine_similarity":
        text = f"{output.layer} has one unit, and {loss} over one number is the same whatever it answers."
        return Mismatch("one-unit-for-classes", text, fix, least="high")
    return None


def _broadcast(output: Objective, loss: str) -> Mismatch | None:
    target = output.target
    if target is None or target.shape not in ((), (1,)) or not output.units or output.units == 1:
        return None
    if loss not in _ELEMENTWISE:
        return None
    text = f"{output.layer} has {output.units} units and the targets one column: each unit is trained on the same."
    # A softmax over classes 0 to units - 1 wants the loss for class numbers; anything else wants one unit.
    classes = output.activation == "softmax" and 1 <= _largest_label(target) < output.units
    return Mismatch(
        "one-target-for-units", text, {"loss": "sparse_categorical_crossentropy"} if classes else {"units": 1}
    )


def _percentage_of_zero(output: Objective, loss: str) -> Mismatch | None:
    target = output.target
    if loss != "mean_absolute_percentage_error" or target is None or target.minimum is None or target.maximum is None:
        return None
    if not target.minimum <= 0 <= target.maximum:
        return None
    text = f"{loss} divides by the targets, and they go from {target.minimum:.3g} to {target.maximum:.3g} through 0."
    return Mismatch("percentage-of-zero", text, {"loss": "mean_absolute_error"})


def _largest_label(target: TensorFacts | None) -> int:
    """Largest class index, 1 for 0/1 targets, 0 where they are no labels."""
    if target is None or target.maximum is None or target.minimum is None or not target.integers:
        return 0
    return int(target.maximum) if target.minimum >= 0 else 0


def _bad_labels(output: Objective, loss: str) -> Mismatch | None:
    target = output.target
    if target is None or target.minimum is None or target.maximum is None or loss not in _PROBABILITY:
        return None
    seen = (Evidence("smallest target", target.minimum), Evidence("largest target", target.maximum))
    span = f"targets from {target.minimum:.3g} to {target.maximum:.3g}"
    largest = _largest_label(target)
    if loss in _SPARSE:
        if not target.integers:
            text = f"{loss} needs class numbers, and the {span} are not whole numbers."
            return Mismatch("labels-not-whole", text, {"targets": "integers"}, least="high", evidence=seen)
        ignored = output.loss is not None and output.loss.config.get("ignore_class") is not None
        if output.units and (target.minimum < 0 or largest >= output.units) and not ignored:
            text = f"{output.layer} has {output.units} units, classes 0 to {output.units - 1}; the {span} go beyond."
            return Mismatch("labels-beyond-units", text, {"units": largest + 1}, least="high", evidence=seen)
        return None
    if target.minimum >= -TOLERANCE.value and target.maximum <= 1 + TOLERANCE.value:
        return None
    if loss in _BINARY and largest > 1 and (target.distinct or 0) <= largest + 1 and target.features == 1:
        text = f"{loss} knows two classes, 0 and 1; the {span} are {largest + 1} classes."
        fix = {"units": largest + 1, "activation": "softmax", "loss": "sparse_categorical_crossentropy"}
        return Mismatch("classes-under-binary", text, fix, least="high", evidence=seen)
    if target.integers and (target.minimum, target.maximum) == (-1, 1):
        return Mismatch("signs-under-crossentropy", f"{loss} needs targets 0 and 1, not -1 and 1.", {"targets": "0/1"})
    text = f"{loss} needs targets from 0 to 1; the {span} are values, not probabilities."
    fix = {"loss": "mean_squared_error", "activation": "linear"}
    return Mismatch("values-under-crossentropy", text, fix, evidence=seen)


def _no_probability(output: Objective, loss: str) -> Mismatch | None:
    activation = output.activation or ""
    if loss not in _PROBABILITY or (output.loss and output.loss.from_logits) or activation not in RANGES:
        return None
    low, high = RANGES[activation]
    positive = low >= 0 and activation != "relu" and activation != "relu6"
    if (low, high) == (0.0, 1.0) or (positive and loss in _CATEGORICAL | _SPARSE):
        return None  # Keras divides by the sum of the classes, so any positive output will do
    shape = "linear" if activation == "linear" else f"a {activation}"
    text = f"{output.layer} is {shape}, and {loss} without from_logits needs probabilities."
    wanted = "sigmoid" if loss in _BINARY else "softmax"
    return Mismatch("no-probabilities", text, {"activation": wanted})


def _squashed_twice(output: Objective, loss: str) -> Mismatch | None:
    chain = output.activations or ()
    twice = len(chain) > 1 and chain[-1] in _SQUASHING and chain[-2] in _SQUASHING
    if twice and loss in _PROBABILITY:
        text = f"{output.layer} applies {chain[-1]} to a {chain[-2]}: it tells the classes apart only faintly."
        return Mismatch("squashed-twice", text, {"remove": output.layer})
    if output.loss is None or not output.loss.from_logits or not chain:
        return None
    last = chain[-1]
    if last in ("softmax", "sigmoid"):
        if output.fused and len(chain) == 1:
            text = f"{loss} is told to expect logits from a {last}; Keras on TensorFlow takes the logits behind it."
            return Mismatch("from-logits-mended", text, {"from_logits": False}, "info", "info")
        text = f"{output.layer} is a {last}, and {loss} with from_logits=True squashes its output once more."
        return Mismatch("squashed-twice", text, {"from_logits": False})
    if last in RANGES and RANGES[last] not in ((float("-inf"), float("inf")), (float("-inf"), 0.0)):
        text = f"{loss} with from_logits=True needs logits of any size; {output.layer} is a {last}."
        return Mismatch("bounded-logits", text, {"activation": "linear"}, worst="medium", least="info")
    return None


def _several_labels(output: Objective, loss: str) -> Mismatch | None:
    target = output.target
    if output.activation != "softmax" or target is None or target.mean is None or target.minimum is None:
        return None
    if loss not in _CATEGORICAL | _BINARY | _REGRESSION or target.features < 2 or target.features != output.units:
        return None
    total = target.mean * target.features
    if target.row_sums_one or target.minimum < 0 or (target.maximum or 0) > 1 + TOLERANCE.value:
        return None
    if len(target.shape) > 1 and total <= 1:
        return None  # rows of zeros may be padding
    text = f"The outputs of a softmax sum to 1; the rows of the targets sum to {total:.3g} on average."
    if target.integers:
        fix = {"activation": "sigmoid", "loss": "binary_crossentropy"}
    else:
        fix = {"activation": "linear" if loss in _REGRESSION else "sigmoid"}
    return Mismatch("softmax-for-several", text, fix, evidence=(Evidence("mean sum of a row of targets", total),))


def _out_of_reach(output: Objective, loss: str) -> Mismatch | None:
    activation, target = output.activation or "", output.target
    if loss not in _REGRESSION | _COUNTS or target is None or activation not in RANGES:
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
    wanted = "softplus" if loss in _COUNTS else "linear"
    return Mismatch("targets-out-of-reach", text, {"activation": wanted}, worst, least, seen)


def _counts_below_zero(output: Objective, loss: str) -> Mismatch | None:
    target = output.target
    if loss not in _COUNTS or target is None or target.minimum is None or target.minimum >= 0:
        return None
    text = f"{loss} is for counts, from 0 on, and the targets go down to {target.minimum:.3g}."
    seen = (Evidence("smallest target", target.minimum),)
    fix = {"loss": "mean_squared_error", "activation": "linear"}
    return Mismatch("counts-below-zero", text, fix, evidence=seen)


def _logarithm_of_any(output: Objective, loss: str) -> Mismatch | None:
    if loss != "poisson" or RANGES.get(output.activation or "", (0.0, 1.0))[0] >= 0:
        return None
    text = f"{loss} takes the logarithm of the answer, and {output.layer}, {output.activation}, can answer below 0."
    return Mismatch("logarithm-of-any", text, {"activation": "softplus"}, "high", "info")


def _hinge(output: Objective, loss: str) -> Mismatch | None:
    if loss not in ("hinge", "squared_hinge") or output.activation not in _SQUASHING:
        return None
    text = f"{loss} wants scores beyond -1 and 1; {output.layer} is a {output.activation} and gives none below 0."
    fix = {"loss": "categorical_crossentropy"} if output.activation == "softmax" else {"loss": "binary_crossentropy"}
    return Mismatch("hinge-on-probabilities", text, fix)


def _classes_by_distance(output: Objective, loss: str) -> Mismatch | None:
    target = output.target
    if loss not in _REGRESSION or target is None or not target.integers:
        return None
    if (target.minimum, target.maximum) != (0.0, 1.0):
        return None
    several = output.activation == "softmax" or target.one_hot
    fix = {"loss": "categorical_crossentropy" if several else "binary_crossentropy"}
    if output.activation not in _SQUASHING:
        fix["activation"] = "softmax" if several else "sigmoid"
    text = f"{loss} measures classes as distances; a cross-entropy pulls harder where {output.layer} is surely wrong."
    # The best answer by absolute error is the median: the commoner class, whatever the input. And a rectifier that
    # answers 0 to all has no gradient left to answer anything else.
    worst = "medium" if loss == "mean_absolute_error" or output.activation in ("relu", "relu6") else "info"
    return Mismatch("classes-by-distance", text, fix, worst, "info")


def _independent_units(output: Objective, loss: str) -> Mismatch | None:
    if loss not in _CATEGORICAL | _SPARSE or output.activation not in ("sigmoid", "hard_sigmoid"):
        return None
    text = f"{output.layer} is a {output.activation} under {loss}, which compares classes: a softmax says the same."
    return Mismatch("sigmoid-for-classes", text, {"activation": "softmax"}, "info", "info")
