"""The rule `clipping-too-tight`."""

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import RunLog

TIGHT = Limit(
    "norm after clipping over norm before",
    0.1,
    "1",
    "Pascanu et al. (2013), section 3.2, found thresholds from half to ten times the average norm to work; at a tenth "
    "nearly every step is cut down and the norm says nothing any more.",
)
STARVED = Limit(
    "update ratio",
    1e-3,
    "1",
    "updates of a thousandth of the weights are about right (Karpathy, CS231n notes; TheDeepChecker takes 1e-4 to "
    "1e-1 for sound): where they are that large the learning rate makes up for the clipping.",
)
# Their update does not change with a constant factor on the gradient.
_SCALE_FREE = frozenset(
    {"Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Adafactor", "Lion", "Lamb", "Muon"}
)


@rule(
    columns=("global_norm", "applied_global_norm"),
    optional=("loss", "update_norm", "weight_norm"),
    limits=(TIGHT, STARVED),
    symptom_of=("nonfinite-gradient", "exploding-gradient", "poor-initialization", "unscaled-inputs"),
)
def clipping_too_tight(log: RunLog) -> Finding | None:
    """The gradient is clipped far below its ordinary size in most steps, so that every update is too small.

    Measured: the global norm after clipping over that before, its median over the steps. It is a disease where the
    updates are small beside the weights and little is learned. Under an optimizer that rescales the gradient (Adam
    and its kin) a constant factor cancels, so it is a note there.

    Blind spot: clipping outside the optimizer, in a training step of one's own, is not seen.
    """
    before, after = log["global_norm"], log["applied_global_norm"]
    known = np.isfinite(before) & np.isfinite(after) & (before > 0)
    if not known.any():
        raise NotApplicable("no step has a global norm that is finite and not zero")
    ratio = after[known] / before[known]
    median = float(np.median(ratio))
    if median >= TIGHT.value:
        return None
    name = str(log.info["optimizer"]["class_name"])
    updates = _updates(log)
    evidence = [
        Evidence("median of the norm after clipping over that before", median, "1", TIGHT.value),
        Evidence("median global norm before clipping", float(np.median(before[known])), "loss/weight"),
        Evidence("steps that are clipped", float((ratio < 0.999).mean()), "share"),
    ]
    if updates is not None:
        evidence.append(Evidence("median update ratio of the kernels", updates, "1", STARVED.value))
    harmless = name in _SCALE_FREE or (updates is not None and updates >= STARVED.value)
    return Finding(
        rule="clipping-too-tight",
        severity="info" if harmless else harm(log) if "loss" in log else "medium",
        summary=f"Clipping leaves {100 * median:.2g} % of the gradient's norm in the median step"
        + (f"; {name} makes up for a constant factor." if name in _SCALE_FREE else "."),
        first_step=int(log.steps[known][0]),
        last_step=int(log.steps[known][-1]),
        evidence=tuple(evidence),
        confidence=0.85,
        details={"median_norm": float(np.median(before[known])), "ratio": median},
    )


def _updates(log: RunLog) -> float | None:
    columns = signals.kernels(log)
    if "update_norm" not in log or "weight_norm" not in log or not columns:
        return None
    ratio = signals.update_ratio(log, columns)
    return float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else None
