"""The clipping knob: a bound taken from the norms of this run."""

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.present_optimizer import present_optimizer
from kgrad.log.run_log import FloatArray, RunLog
from kgrad.prescription.code import number
from kgrad.prescription.effect import Effect
from kgrad.prescription.learning_rate import TARGET_RATIO
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.recompiled import recompiled

# Healthy steps are to go free: the bound lies where nine in ten of them stay under it. Pascanu et al.
# 2013, section 3.2, take the bound from the statistics of the norm over many updates, as here.
_HEALTHY_SHARE = 0.9
# A step whose norm is so many times the healthy median is a spike.
_SPIKE = 10.0
# Fewer healthy steps than this say nothing of a distribution.
_FEWEST = 10
_ARGUMENTS = ("clipnorm", "global_clipnorm", "clipvalue")


def prescribe_clipping(log: RunLog, finding: Finding, diagnosis: Diagnosis) -> Prescription | None:
    """`clipnorm` at the 90th percentile of the norms of healthy steps.

    `clipnorm` bounds each variable by itself, so its value comes from the largest norm among the variables of a
    step. A run without a healthy stretch has no such distribution; under plain SGD the bound then is the norm at
    which a step moves the weights by a sound share of their size, `ratio * weight norm / learning rate`.
    """
    if "gradient_norm" not in log:
        return None
    with np.errstate(invalid="ignore"):
        largest = np.max(np.nan_to_num(log["gradient_norm"], nan=np.inf, posinf=np.inf), axis=1)
    healthy = _healthy_norms(log, diagnosis, largest)
    value = np.quantile(healthy, _HEALTHY_SHARE) if len(healthy) else _from_weights(log)
    if value is None or not value > 0:
        return None
    bound = float(number(value))
    origin = (
        "nine in ten healthy steps of this run stay under it"
        if len(healthy)
        else f"at this learning rate it moves the weights by {100 * TARGET_RATIO:g} % of their size per step"
    )
    why = f"A bound of {number(bound)} keeps one bad step from undoing many good ones: {origin}."
    return _bound(log, finding, "clipnorm", bound, why, _evidence(largest, healthy, bound), _shorter(largest, bound))


def prescribe_global_clipping(log: RunLog, finding: Finding, diagnosis: Diagnosis) -> Prescription | None:
    """`global_clipnorm` at the 90th percentile of the norms of healthy steps, all variables together.

    It shortens the whole gradient and keeps its direction, which `clipnorm` bends where one variable is cut and another
    is not (Pascanu et al. 2013, algorithm 1). One variable that explodes then slows down all others.
    """
    if "global_norm" not in log:
        return None
    norms = np.nan_to_num(log["global_norm"], nan=np.inf, posinf=np.inf)
    healthy = _healthy_norms(log, diagnosis, norms)
    if not len(healthy) or not np.quantile(healthy, _HEALTHY_SHARE) > 0:
        return None
    bound = float(number(float(np.quantile(healthy, _HEALTHY_SHARE))))
    why = f"Nine in ten healthy steps stay under {number(bound)}; longer ones keep their direction and lose length."
    return _bound(log, finding, "global_clipnorm", bound, why, _evidence(norms, healthy, bound), _shorter(norms, bound))


def _bound(
    log: RunLog,
    finding: Finding,
    argument: str,
    bound: float,
    why: str,
    evidence: tuple[Evidence, ...],
    effect: Effect | None,
) -> Prescription:
    """That argument of the optimizer at the bound, and no other clipping."""
    changes: dict[str, float | None] = {**dict.fromkeys(_ARGUMENTS), argument: bound}
    return recompiled(
        log,
        finding,
        changes,
        knob="clipping",
        before=_present(log),
        after=f"{argument}={number(bound)}",
        why=why,
        evidence=evidence,
        effect=effect,
    )


def _shorter(norms: FloatArray, bound: float) -> Effect | None:
    """The largest finite norm of this run, and what the bound leaves of it."""
    finite = norms[np.isfinite(norms)]
    largest = float(finite.max()) if len(finite) else 0.0
    if largest <= bound:
        return None
    return Effect("largest finite norm that is applied", largest, bound, "loss/weight", "the definition of clipping")


def _freed(log: RunLog, largest: FloatArray, bound: float) -> Effect | None:
    """The share of the steps that are cut down, by the present `clipnorm` and by the new one."""
    present = present_optimizer(log).config.get("clipnorm")
    if not present:
        return None
    before, after = (float(np.mean(largest > each)) for each in (present, bound))
    return Effect("steps that are cut down", before, after, "share", "the norms of this run")


def _evidence(largest: FloatArray, healthy: FloatArray, bound: float) -> tuple[Evidence, ...]:
    finite = largest[np.isfinite(largest)]
    rows = [Evidence("steps of this run that it would have clipped", float(np.mean(largest > bound)), "share")]
    if len(healthy):
        middle = float(np.median(healthy))
        rows.append(Evidence("largest norm of a variable, median of healthy steps", middle, "loss/weight"))
        spikes = largest > _SPIKE * middle
        if spikes.any():
            caught = float(np.mean(largest[spikes] > bound))
            rows.append(Evidence(f"of its {int(spikes.sum())} spikes over {_SPIKE:g} times that", caught, "share"))
    if len(finite):
        rows.append(Evidence("largest finite norm of a variable", float(finite.max()), "loss/weight"))
    return tuple(rows)


def _healthy_norms(log: RunLog, diagnosis: Diagnosis, largest: FloatArray) -> FloatArray:
    """The largest norm of each healthy step; empty where there are too few of them."""
    calm = np.zeros(len(log), dtype=bool)
    for phase in diagnosis.phases:
        if phase.name in ("healthy", "converged"):
            calm |= (log.steps >= phase.first_step) & (log.steps <= phase.last_step)
    norms: FloatArray = largest[calm & np.isfinite(largest)]
    return norms if len(norms) >= _FEWEST else np.zeros(0)


def _from_weights(log: RunLog) -> float | None:
    """The norm at which a step of plain SGD moves a typical kernel by a sound share of its size."""
    if not present_optimizer(log).is_descent or not {"weight_norm", "learning_rate"} <= set(log.columns):
        return None
    kernels = signals.kernels(log)
    size, rate = float(np.median(log["weight_norm"][0, kernels])), float(log["learning_rate"][0])
    return TARGET_RATIO * size / rate if kernels and rate > 0 and np.isfinite(size) else None


def _present(log: RunLog) -> str:
    config = present_optimizer(log).config
    for name in _ARGUMENTS:
        if config.get(name):
            return f"{name}={config[name]:g}"
    return "no clipping"


def prescribe_looser_clipping(log: RunLog, finding: Finding) -> Prescription | None:
    """A bound at the 90th percentile of the run's own norms, where the present one touches nearly every step."""
    if "gradient_norm" not in log:
        return None
    largest = np.max(np.nan_to_num(log["gradient_norm"], nan=np.inf, posinf=np.inf), axis=1)
    finite = largest[np.isfinite(largest)]
    if not len(finite):
        return None
    bound = float(number(float(np.quantile(finite, _HEALTHY_SHARE))))
    why = f"The present bound cuts nearly every step down; {number(bound)} leaves nine in ten of them as they are."
    return _bound(log, finding, "clipnorm", bound, why, _evidence(largest, finite, bound), _freed(log, largest, bound))
