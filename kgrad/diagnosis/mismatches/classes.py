"""Classes and probabilities: the units, the activation and the loss that they need."""

import math
from typing import Any

from kgrad.diagnosis.finding import Evidence
from kgrad.diagnosis.mismatches.mismatch import (
    BINARY,
    CATEGORICAL,
    ELEMENTWISE,
    PROBABILITY,
    REGRESSION,
    SPARSE,
    SQUASHING,
    TOLERANCE,
    Mismatch,
    largest_label,
)
from kgrad.diagnosis.reach import RANGES, RECTIFIERS
from kgrad.log.batch import TensorFacts
from kgrad.log.objective import Objective

# More distinct targets than these are no signs of classes, smoothed or not.
_MOST_SIGNS = 4


def one_unit(output: Objective, loss: str) -> Mismatch | None:
    """A softmax, or a loss that compares classes, over one unit alone: there is nothing to compare."""
    if output.units != 1:
        return None
    several = largest_label(output.target)
    fix: dict[str, Any] = {"activation": "linear"}
    if several > 1 and loss not in REGRESSION:
        fix = {"activation": "softmax", "units": several + 1, "loss": "sparse_categorical_crossentropy"}
    elif loss not in REGRESSION and _are_values(output.target):
        fix = {"activation": "linear", "loss": "mean_squared_error"}
    elif loss not in REGRESSION or (output.target is not None and several == 1):
        fix = {"activation": "sigmoid", "loss": "binary_crossentropy"}
    if output.activation == "softmax":
        text = f"{output.layer} is a softmax over one unit: it answers 1 whatever goes in."
        return Mismatch("softmax-on-one-unit", text, fix, least="high")
    if loss == "kl_divergence":  # y log(y/p): nothing is asked of the share that is left
        text = f"{output.layer} has one unit, and {loss} over one number falls with any larger answer."
        return Mismatch("one-unit-for-classes", text, fix, least="high")
    if loss in CATEGORICAL | SPARSE or loss == "cosine_similarity":
        text = f"{output.layer} has one unit, and {loss} over one number is the same whatever it answers."
        return Mismatch("one-unit-for-classes", text, fix, least="high")
    return None


def _are_shares(target: TensorFacts) -> bool:
    """Whether every target lies from 0 to 1."""
    known = target.minimum is not None and target.maximum is not None
    return known and (target.minimum or 0.0) >= 0 and (target.maximum or 0.0) <= 1 + TOLERANCE.value


def _are_values(target: TensorFacts | None) -> bool:
    """Whether targets are neither class numbers nor probabilities."""
    if target is None or target.minimum is None or target.maximum is None or largest_label(target):
        return False
    return target.minimum < 0 or target.maximum > 1


def broadcast(output: Objective, loss: str) -> Mismatch | None:
    """One column of targets for several units, each of which is then given the same."""
    target = output.target
    if target is None or target.shape not in ((), (1,)) or not output.units or output.units == 1:
        return None
    if loss not in ELEMENTWISE:
        return None
    text = f"{output.layer} has {output.units} units and the targets one column: each unit is trained on the same."
    # A softmax over classes 0 to units - 1 wants the loss for class numbers; anything else wants one unit.
    classes = output.activation == "softmax" and 1 <= largest_label(target) < output.units
    return Mismatch(
        "one-target-for-units", text, {"loss": "sparse_categorical_crossentropy"} if classes else {"units": 1}
    )


def bad_labels(output: Objective, loss: str) -> Mismatch | None:
    """Targets that the loss cannot read: class numbers beyond the units, values where it wants probabilities."""
    target = output.target
    if target is None or target.minimum is None or target.maximum is None or loss not in PROBABILITY:
        return None
    seen = (Evidence("smallest target", target.minimum), Evidence("largest target", target.maximum))
    span = f"targets from {target.minimum:.3g} to {target.maximum:.3g}"
    largest = largest_label(target)
    if loss in SPARSE:
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
    if loss in BINARY and largest > 1 and (target.distinct or 0) <= largest + 1 and target.features == 1:
        text = f"{loss} knows two classes, 0 and 1; the {span} are {largest + 1} classes."
        fix = {"units": largest + 1, "activation": "softmax", "loss": "sparse_categorical_crossentropy"}
        return Mismatch("classes-under-binary", text, fix, least="high", evidence=seen)
    if target.integers and (target.minimum, target.maximum) == (-1, 1):
        return Mismatch("signs-under-crossentropy", f"{loss} needs targets 0 and 1, not -1 and 1.", {"targets": "0/1"})
    text = f"{loss} needs targets from 0 to 1; the {span} are values, not probabilities."
    fix = {"loss": "mean_squared_error", "activation": "linear"}
    return Mismatch("values-under-crossentropy", text, fix, evidence=seen)


def no_probability(output: Objective, loss: str) -> Mismatch | None:
    """An output that is no probability under a cross-entropy that is not told to expect logits."""
    activation = output.activation or ""
    if loss not in PROBABILITY or (output.loss and output.loss.from_logits) or activation not in RANGES:
        return None
    low, high = RANGES[activation]
    positive = low >= 0 and activation not in RECTIFIERS
    if (low, high) == (0.0, 1.0) or (positive and loss in CATEGORICAL | SPARSE):
        return None  # Keras divides by the sum of the classes, so any positive output will do
    shape = "linear" if activation == "linear" else f"a {activation}"
    text = f"{output.layer} is {shape}, and {loss} without from_logits needs probabilities."
    wanted = "sigmoid" if loss in BINARY else "softmax"
    return Mismatch("no-probabilities", text, {"activation": wanted})


def squashed_twice(output: Objective, loss: str) -> Mismatch | None:
    """A softmax or sigmoid applied twice, or logits that are squashed before the loss squashes them."""
    chain = output.activations or ()
    twice = len(chain) > 1 and chain[-1] in SQUASHING and chain[-2] in SQUASHING
    if twice and loss in PROBABILITY:
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


def rectified_scores(output: Objective, loss: str) -> Mismatch | None:
    """Scores of classes that a rectifier cuts off at 0 before a softmax or a sigmoid makes probabilities of them.

    A class whose unit is off gets no gradient, and a sigmoid of what is never below 0 never says less than a half.
    """
    chain = output.activations or ()
    if output.scores is None or loss not in PROBABILITY or chain[-1] not in SQUASHING or chain[0] not in RECTIFIERS:
        return None
    text = f"{output.scores} cuts scores off at 0 ({chain[0]}) before {output.layer} makes probabilities of them."
    return Mismatch("rectified-scores", text, {"activation": "linear"}, "medium", "info", layer=output.scores)


def several_labels(output: Objective, loss: str) -> Mismatch | None:
    """A softmax, whose answers sum to 1, for targets of several labels, which do not."""
    target = output.target
    if output.activation != "softmax" or target is None or target.mean is None or target.minimum is None:
        return None
    if loss not in CATEGORICAL | BINARY | REGRESSION or target.features < 2 or target.features != output.units:
        return None
    total = target.mean * target.features
    if target.row_sums_one or not _are_shares(target):
        return None
    if len(target.shape) > 1 and total <= 1:
        return None  # rows of zeros may be padding
    text = f"The outputs of a softmax sum to 1; the rows of the targets sum to {total:.3g} on average."
    if target.integers:
        fix = {"activation": "sigmoid", "loss": "binary_crossentropy"}
    else:
        fix = {"activation": "linear" if loss in REGRESSION else "sigmoid"}
    return Mismatch("softmax-for-several", text, fix, evidence=(Evidence("mean sum of a row of targets", total),))


def hinge(output: Objective, loss: str) -> Mismatch | None:
    """A hinge loss, which wants scores of either sign for classes, over probabilities or for values."""
    if loss not in ("hinge", "squared_hinge", "categorical_hinge"):
        return None
    target = output.target
    soft = target is not None and (target.row_sums_one or loss == "categorical_hinge")
    if target is not None and not soft and not target.integers and (target.distinct or math.inf) > _MOST_SIGNS:
        text = f"{loss} asks for the sign of a class, and the targets are values: answers are pushed on beyond them."
        return Mismatch("hinge-of-values", text, {"loss": "mean_squared_error", "activation": "linear"})
    if loss == "categorical_hinge" or output.activation not in SQUASHING:
        return None
    text = f"{loss} wants scores beyond -1 and 1; {output.layer} is a {output.activation} and gives none below 0."
    fix = {"loss": "categorical_crossentropy"} if output.activation == "softmax" else {"loss": "binary_crossentropy"}
    return Mismatch("hinge-on-probabilities", text, fix)


def classes_by_distance(output: Objective, loss: str) -> Mismatch | None:
    """Classes measured by their distance, as if they were quantities."""
    target = output.target
    if loss not in REGRESSION or target is None or not target.integers:
        return None
    if (target.minimum, target.maximum) != (0.0, 1.0):
        return None
    several = output.activation == "softmax" or target.one_hot
    fix = {"loss": "categorical_crossentropy" if several else "binary_crossentropy"}
    if output.activation not in SQUASHING:
        fix["activation"] = "softmax" if several else "sigmoid"
    text = f"{loss} measures classes as distances; a cross-entropy pulls harder where {output.layer} is surely wrong."
    # The best answer by absolute error is the median: the commoner class, whatever the input. And a rectifier that
    # answers 0 to all has no gradient left to answer anything else.
    worst = "medium" if loss == "mean_absolute_error" or output.activation in RECTIFIERS else "info"
    return Mismatch("classes-by-distance", text, fix, worst, "info")


def independent_units(output: Objective, loss: str) -> Mismatch | None:
    """Sigmoids, each for itself, under a loss that compares classes.

    For one class of several it works, a softmax says the same. For targets that do not sum to 1 it does not: Keras
    divides the answers by their sum, so that only their proportions are trained.
    """
    if loss not in CATEGORICAL | SPARSE or output.activation not in ("sigmoid", "hard_sigmoid"):
        return None
    target = output.target
    several = target is not None and not target.row_sums_one and 1 < target.features == output.units
    if loss == "categorical_crossentropy" and target is not None and several and _are_shares(target):
        total = (target.mean or 0.0) * target.features
        text = f"{loss} compares the units of {output.layer}; the rows of the targets sum to {total:.3g} on average."
        evidence = (Evidence("mean sum of a row of targets", total),)
        return Mismatch("classes-of-several", text, {"loss": "binary_crossentropy"}, least="low", evidence=evidence)
    text = f"{output.layer} is a {output.activation} under {loss}, which compares classes: a softmax says the same."
    return Mismatch("sigmoid-for-classes", text, {"activation": "softmax"}, "info", "info")
