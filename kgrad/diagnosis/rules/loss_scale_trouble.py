"""The rule `loss-scale-trouble`."""

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import FloatArray, RunLog

SEARCH = Limit(
    "steps of the first search",
    20.0,
    "steps",
    "Keras begins at a scale of 2^15 and halves it in each skipped step: 15 halvings lead to 1, and some to spare.",
)
SKIPPED = Limit(
    "share of skipped steps behind the search",
    0.05,
    "share",
    "as in nonfinite-gradient: a scale that grows once in 2,000 steps (Micikevicius et al. 2018; Keras' default) skips "
    "one step each time; one in twenty is no search any more.",
)
FLOOR = Limit(
    "loss scale",
    1.0,
    "1",
    "a scale of 1 is none: what is below it shrinks gradients that overflow float16 by themselves.",
)
ZERO = Limit("elements that are zero", 0.5, "share", "half of a kernel's gradient lost to underflow (own choice).")
UNDERFLOW = Limit(
    "root mean square of the scaled gradient",
    6e-6,
    "1",
    "a hundred times the smallest float16 (2^-24, IEEE 754): with so little room the smaller half is 0.",
)


@rule(
    columns=("loss_scale", "skipped"),
    optional=("loss", "zero_fraction", "gradient_norm"),
    limits=(SEARCH, SKIPPED, FLOOR, ZERO, UNDERFLOW),
    symptom_of=("exploding-gradient", "output-loss-mismatch", "unscaled-inputs", "poor-initialization"),
)
def loss_scale_trouble(log: RunLog) -> Finding | None:
    """Mixed precision loses the gradient: the loss scale is so large that steps overflow, or so small that it is 0.

    Measured: the share of steps that the loss-scale optimizer skipped, the first search for a scale aside; the
    smallest scale it came down to; and kernels whose gradient is mostly exact zeros while its size, scaled, is near
    the smallest number that float16 has.

    Blind spot: overflow inside the forward pass that never reaches the gradient is not seen.
    """
    scale, skipped = log["loss_scale"], np.nan_to_num(log["skipped"]) > 0
    policy = str(log.info.get("dtype_policy"))
    scaled = bool(np.isfinite(scale).any() and np.nanmax(np.abs(scale - 1)) > 0) or bool(skipped.any())
    if not scaled and ("float16" not in policy or "bfloat16" in policy):
        raise NotApplicable("the run is not in float16 and scales no loss")
    later = skipped[log.steps >= SEARCH.value]
    share = float(later.mean()) if len(later) else 0.0
    finite = scale[np.isfinite(scale)]
    if share > SKIPPED.value:
        first = int(log.steps[np.flatnonzero(skipped)[0]])
        low = float(finite.min()) if len(finite) else float("nan")
        text = f"{100 * share:.0f} % of the steps are skipped, though the loss scale came down to {low:g}."
        seen = (Evidence(SKIPPED.name, share, "share", SKIPPED.value), Evidence("smallest loss scale", low, "1", 1.0))
        return _finding(log, "skipped", text, seen, (), first)
    if scaled and len(finite) and finite[0] > FLOOR.value >= finite[-1]:
        first = int(log.steps[np.flatnonzero(scale <= FLOOR.value)[0]])
        text = f"The loss scale fell from {finite[0]:g} to {finite[-1]:g}: the gradients overflow float16 unscaled."
        fallen = (Evidence("last loss scale", float(finite[-1]), "1", FLOOR.value),)
        return _finding(log, "collapsed", text, fallen, (), first)
    return _underflow(log, scale)


def _underflow(log: RunLog, scale: FloatArray) -> Finding | None:
    if "zero_fraction" not in log or "gradient_norm" not in log:
        return None
    columns = signals.kernels(log)
    sizes = np.array([log.structure.variables[i].size for i in columns], dtype=float)
    with np.errstate(over="ignore", invalid="ignore"):
        size = log["gradient_norm"][:, columns] / np.sqrt(sizes) * scale[:, None]
    lost = (log["zero_fraction"][:, columns] >= ZERO.value) & (size <= UNDERFLOW.value)
    sick = np.flatnonzero(lost.mean(axis=0) >= 0.5)
    if not len(sick):
        return None
    layers = tuple(log.structure.variables[columns[i]].layer for i in sick)
    zero = float(np.median(log["zero_fraction"][:, columns][:, sick]))
    text = (
        f"Half the gradient or more is lost to float16's underflow in {len(sick)} kernels ({100 * zero:.0f} % zeros)."
    )
    seen = (
        Evidence("elements that are zero (median)", zero, "share", ZERO.value),
        Evidence(UNDERFLOW.name + " (median)", float(np.median(size[:, sick])), "1", UNDERFLOW.value),
    )
    first = int(log.steps[np.flatnonzero(lost[:, sick].any(axis=1))[0]])
    return _finding(log, "underflow", text, seen, layers, first)


def _finding(
    log: RunLog, kind: str, text: str, seen: tuple[Evidence, ...], layers: tuple[str, ...], first: int
) -> Finding:
    severity = harm(log) if "loss" in log else "medium"
    return Finding(
        rule="loss-scale-trouble",
        severity="low" if severity == "info" else severity,
        summary=text,
        layers=layers,
        first_step=first,
        last_step=int(log.steps[-1]),
        evidence=seen,
        confidence=0.85,
        details={"kind": kind},
    )
