"""The clipping knob: a bound taken from the norms of this run."""

import numpy as np

from kgrad.diagnosis.diagnose import Diagnosis
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.log.run_log import FloatArray, RunLog
from kgrad.prescription.code import number, optimizer_code
from kgrad.prescription.prescription import Prescription

# Healthy steps are to go free: the bound lies where nine in ten of them stay under it. Pascanu et al.
# 2013, section 3.2, take the bound from the statistics of the norm over many updates, as here.
_HEALTHY_SHARE = 0.9
# Fewer healthy steps than this say nothing of a distribution.
_FEWEST = 10


def prescribe_clipping(log: RunLog, finding: Finding, diagnosis: Diagnosis) -> Prescription | None:
    """`clipnorm` at the 90th percentile of the norms of healthy steps.

    `clipnorm` bounds each variable by itself, so its value comes from the largest norm among the
    variables of a step. Where a run has no healthy stretch, the smallest tenth of its finite norms
    stands in for one, and the prescription says so.
    """
    if "gradient_norm" not in log:
        return None
    with np.errstate(invalid="ignore"):
        largest = np.max(np.nan_to_num(log["gradient_norm"], nan=np.inf), axis=1)
    healthy, measured = _healthy_norms(log, diagnosis, largest)
    if not len(healthy) or not healthy.max() > 0:
        return None
    bound = float(number(np.quantile(healthy, _HEALTHY_SHARE)))
    if not bound > 0:
        return None
    touched = float(np.mean(largest > bound))
    origin = (
        "nine in ten healthy steps stay under it" if measured else "it is that of the run's calmest steps"
    )
    return Prescription(
        knob="clipping",
        target=("optimizer",),
        before=_present(log),
        after=f"clipnorm={number(bound)}",
        why=f"A bound of {number(bound)} keeps one bad step from undoing many good ones; {origin}.",
        code=f"optimizer = {optimizer_code(log.info, clipnorm=bound, global_clipnorm=None, clipvalue=None)}",
        finding=finding.rule,
        evidence=(
            Evidence("steps of this run that it would have clipped", touched, "share"),
            Evidence(
                "largest norm of a variable, median of healthy steps",
                float(np.median(healthy)),
                "loss/weight",
            ),
            Evidence(
                "largest finite norm of a variable", float(largest[np.isfinite(largest)].max()), "loss/weight"
            ),
        ),
        settings={"clipnorm": bound},
    )


def _healthy_norms(log: RunLog, diagnosis: Diagnosis, largest: FloatArray) -> tuple[FloatArray, bool]:
    calm = np.zeros(len(log), dtype=bool)
    for phase in diagnosis.phases:
        if phase.name in ("healthy", "converged"):
            calm |= (log.steps >= phase.first_step) & (log.steps <= phase.last_step)
    finite = np.isfinite(largest)
    if np.count_nonzero(calm & finite) >= _FEWEST:
        return largest[calm & finite], True
    ordered = np.sort(largest[finite])
    return ordered[: max(1, len(ordered) // 10)], False


def _present(log: RunLog) -> str:
    config = (log.info.get("optimizer") or {}).get("config") or {}
    for name in ("clipnorm", "global_clipnorm", "clipvalue"):
        if config.get(name):
            return f"{name}={config[name]:g}"
    return "no clipping"
