"""What a check of an output layer says, and the families of losses that checks know."""

from dataclasses import dataclass, field
from typing import Any

from kgrad.diagnosis.finding import Evidence
from kgrad.diagnosis.rule import Limit
from kgrad.log.batch import TensorFacts

TOLERANCE = Limit(
    "overshoot of targets", 0.01, "1", "rounding and resampling leave targets a little outside 0 to 1 (own choice)."
)
CATEGORICAL = frozenset({"categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence"})
BINARY = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})
SPARSE = frozenset({"sparse_categorical_crossentropy"})
PROBABILITY = CATEGORICAL | BINARY | SPARSE
REGRESSION = frozenset({"mean_squared_error", "mean_absolute_error", "huber", "log_cosh"})
# Losses of counts, which take logarithms: below 0 there is nothing to answer.
COUNTS = frozenset({"poisson", "mean_squared_logarithmic_error"})
# Losses that compare each output with a target of its own; what a loss of one's own does is not known.
ELEMENTWISE = CATEGORICAL | BINARY | REGRESSION | COUNTS | {"mean_absolute_percentage_error", "hinge", "squared_hinge"}
SQUASHING = ("softmax", "sigmoid", "hard_sigmoid")


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
        layer: what to change it in, `None` for the output layer.
    """

    kind: str
    summary: str
    fix: dict[str, Any]
    worst: str = "high"
    least: str = "medium"
    evidence: tuple[Evidence, ...] = field(default=())
    layer: str | None = None


def largest_label(target: TensorFacts | None) -> int:
    """Largest class index, 1 for 0/1 targets, 0 where they are no labels."""
    if target is None or target.maximum is None or target.minimum is None or not target.integers:
        return 0
    return int(target.maximum) if target.minimum >= 0 else 0
