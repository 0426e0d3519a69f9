"""The rule `nonfinite-gradient`."""

import numpy as np

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.rule import Limit, rule
from kgrad.log.run_log import RunLog

SKIPPED = Limit(
    "share of skipped steps",
    0.05,
    "share",
    "dynamic loss scaling (Micikevicius et al. 2018) skips a step each time it tries a scale too large, once in 2,000 "
    "steps by Keras' default after a short search; one in twenty is no search any more.",
)


SEARCH = Limit("steps of the first search", 20.0, "steps", "as in loss-scale-trouble: 15 halvings, and some to spare.")


@rule(
    columns=("nonfinite_count",),
    optional=("skipped", "loss", "global_norm"),
    limits=(SKIPPED, SEARCH),
    symptom_of=(
        "loss-scale-trouble",
        "exploding-gradient",
        "poor-initialization",
        "output-loss-mismatch",
        "unscaled-inputs",
    ),
    judged="at once",
)
def nonfinite_gradient(log: RunLog) -> Finding | None:
    """Gradients are NaN or infinite: the update destroys the weights, and nothing after it means anything.

    Measured: the count of elements that are not finite, per variable and step. Steps that a loss-scale optimizer
    skipped do no harm and count only where there are many of them after its first search for a scale. The layer
    nearest the output among those that broke first is named, since the gradient arrives there first.

    Blind spot: which operation made the first NaN is not seen, only in which layer's gradient it appears.
    """
    broken = np.nan_to_num(log["nonfinite_count"]) > 0
    skipped = np.nan_to_num(log["skipped"]) > 0 if "skipped" in log else np.zeros(len(log), bool)
    harmful = broken.any(axis=1) & ~skipped
    later = skipped[log.steps >= SEARCH.value]
    if not harmful.any() and (not later.any() or later.mean() <= SKIPPED.value):
        return None
    hit = harmful if harmful.any() else skipped
    first = int(np.argmax(hit))
    variables = log.structure.variables
    layers = tuple(dict.fromkeys(variables[i].layer for i in np.flatnonzero(broken[first])))
    origin = layers[-1] if layers else "the loss"
    share = float(hit.mean())
    return Finding(
        rule="nonfinite-gradient",
        severity="high" if harmful.any() else "medium",
        summary=(
            f"The gradient is not finite from step {int(log.steps[first])} on, first in {len(layers)} layers "
            f"({origin} is nearest the output); {100 * share:.0f} % of the steps are lost."
        ),
        layers=layers,
        first_step=int(log.steps[first]),
        last_step=int(log.steps[np.flatnonzero(hit)[-1]]),
        evidence=(
            Evidence("first step that is not finite", float(log.steps[first]), "step"),
            Evidence("steps that are not finite", share, "share"),
            Evidence("variables that are not finite in the first such step", float(broken[first].sum()), "variables"),
        ),
        confidence=0.99,
        details={"first_step": int(log.steps[first]), "loss_finite": _loss_finite(log, first)},
    )


def _loss_finite(log: RunLog, first: int) -> bool | None:
    """Whether the loss of the first broken step was itself finite: then the backward pass broke it."""
    return bool(np.isfinite(log["loss"][first])) if "loss" in log else None
