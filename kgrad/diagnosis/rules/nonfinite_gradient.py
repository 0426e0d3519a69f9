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
        "learning-rate-too-high:overshoot",
    ),
    judged="at once",
)
def nonfinite_gradient(log: RunLog) -> Finding | None:
    """Gradients are NaN or infinite: the update destroys the weights, and nothing after it means anything.

    Measured: the count of elements that are not finite, per variable and step, and the loss. Steps that a loss-scale
    optimizer skipped do no harm and count only where there are many of them after its first search for a scale. The
    layer nearest the output among those that broke first is named, since the gradient arrives there first.

    The likely origin is told too: inputs or targets that are not finite themselves, the way forward (the loss of that
    step was not finite) or the way back (it was).

    Blind spot: which operation made the first NaN is not seen, only in which layer's gradient it appears; of the data
    only the reference batch is looked at.
    """
    broken = np.nan_to_num(log["nonfinite_count"]) > 0
    skipped = np.nan_to_num(log["skipped"]) > 0 if "skipped" in log else np.zeros(len(log), bool)
    lost = ~np.isfinite(log["loss"]) if "loss" in log else np.zeros(len(log), bool)
    lost &= not lost.all()  # a recorder that was never told the loss
    harmful = (broken.any(axis=1) | lost) & ~skipped
    later = skipped[log.steps >= SEARCH.value]
    if not harmful.any() and (not later.any() or later.mean() <= SKIPPED.value):
        return None
    hit = harmful if harmful.any() else skipped
    first = int(np.argmax(hit))
    variables = log.structure.variables
    layers = tuple(dict.fromkeys(variables[i].layer for i in np.flatnonzero(broken[first])))
    nearest = layers[-1] if layers else ""
    share = float(hit.mean())
    origin = _origin(log, first)
    return Finding(
        rule="nonfinite-gradient",
        severity="high" if harmful.any() else "medium",
        summary=(
            f"The {'gradient' if layers else 'loss'} is not finite from step {int(log.steps[first])} on"
            + (f", first in {len(layers)} layers ({nearest} is nearest the output)" if layers else "")
            + f"{_SAID[origin]}; {100 * share:.0f} % of the steps are lost."
        ),
        layers=layers,
        first_step=int(log.steps[first]),
        last_step=int(log.steps[np.flatnonzero(hit)[-1]]),
        evidence=(
            Evidence("first step that is not finite", float(log.steps[first]), "step"),
            Evidence("steps that are not finite", share, "share"),
            Evidence("variables that are not finite in the first such step", float(broken[first].sum()), "variables"),
            *_of_the_data(log),
        ),
        confidence=0.99,
        details={
            "first_step": int(log.steps[first]),
            "loss_finite": _loss_finite(log, first),
            "kind": origin,
            "root": origin in ("inputs", "targets"),
        },
    )


_SAID = {
    "inputs": ": the inputs themselves hold values that are not finite",
    "targets": ": the targets themselves hold values that are not finite",
    "forward": ": the loss of that step was not finite either, so it broke on the way forward",
    "backward": ": the loss of that step was finite, so it broke on the way back",
    "unknown": "",
}


def _origin(log: RunLog, first: int) -> str:
    """A key of `_SAID`: what the data hold, else which half of the first broken step was broken."""
    if log.data is not None and any(facts.nonfinite for facts in log.data.inputs):
        return "inputs"
    if log.data is not None and any(facts.nonfinite for facts in log.data.targets):
        return "targets"
    return {None: "unknown", True: "backward", False: "forward"}[_loss_finite(log, first)]


def _of_the_data(log: RunLog) -> tuple[Evidence, ...]:
    """How many numbers of the data are not finite, where there are any."""
    tensors = (*log.data.inputs, *log.data.targets) if log.data else ()
    lost = sum(facts.nonfinite for facts in tensors)
    return (Evidence("numbers of the data that are not finite", float(lost), "1"),) if lost else ()


def _loss_finite(log: RunLog, first: int) -> bool | None:
    """Whether the loss of the first broken step was itself finite: then the backward pass broke it."""
    return bool(np.isfinite(log["loss"][first])) if "loss" in log else None
