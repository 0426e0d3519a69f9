"""The rule `dead-units`."""

import numpy as np

from kgrad.diagnosis import windows
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.probes import Probed, probed
from kgrad.diagnosis.reach import RECTIFIERS
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import FloatArray, RunLog

DEAD = Limit(
    "units without gradient",
    0.7,
    "share",
    "AutoTrainer (Zhang et al. 2021) and DeepDiagnosis (Wardat et al. 2022) call a ReLU layer dying from 70 % on.",
)
SHARE = Limit("share of the run", 0.5, "share", "units that sleep for half the run have not come back by themselves.")
_PER_UNIT = ("bias", "beta")
ROWS = Limit(
    "rows of the reference batch",
    32.0,
    "rows",
    "a unit that is on for one row in ten is off for 32 rows by chance in 3 of 100 cases (0.9^32).",
)
FEWEST_ROWS = Limit(
    "rows of a batch, at least",
    4.0,
    "rows",
    "in fewer, a healthy unit that is on for half the rows is off for a whole batch in an eighth of the cases or more.",
)


@rule(
    columns=("zero_fraction",),
    optional=("loss", "dead_units"),
    limits=(DEAD, SHARE, ROWS, FEWEST_ROWS),
    symptom_of=(
        *("exploding-gradient", "poor-initialization", "output-loss-mismatch", "unscaled-inputs"),
        *("learning-rate-too-high:overshoot", "over-regularised:penalty"),
    ),
)
def dead_units(log: RunLog) -> Finding | None:
    """Most units of a ReLU layer get no gradient at all: they are off for every input and cannot come back.

    Measured: the share of units that are zero for every row of the reference batch, where activations were taken on
    rows enough. Otherwise the share of exact zeros in the gradient of the layer's biases (one number per unit; of
    the `beta` of a BatchNormalization between layer and ReLU where there is no bias), or of the kernel's units
    whose gradient is all zero, as the median over windows. The severity follows the harm: in a run that learns dead
    units are idle capacity, which is a note.

    Blind spot: with small batches a unit that is only seldom on looks dead in most of them; the limit is high and
    must hold for half the run. By its gradient alone a layer behind a dead one looks dead too and is named with it.
    """
    if log.batch is not None and log.batch.rows < FEWEST_ROWS.value:
        raise NotApplicable(f"in batches of {log.batch.rows} rows a unit that is seldom on looks dead")
    found = _measured(log)
    if not found:
        raise NotApplicable("no ReLU layer has a bias, activations on enough rows or counted units without gradient")
    sick = {name: each for name, each in found.items() if each.lasting(DEAD.value) >= SHARE.value}
    if not sick:
        return None
    shares = {name: float(np.median(each.values)) for name, each in sick.items()}
    worst = max(shares.values())
    first = min(each.between(DEAD.value)[0] for each in sick.values())
    last = max(each.between(DEAD.value)[1] for each in sick.values())
    return Finding(
        rule="dead-units",
        severity=harm(log) if "loss" in log else "high",
        summary=f"Up to {100 * worst:.0f} % of the units in {len(sick)} of {len(found)} ReLU layers get no gradient.",
        layers=tuple(sick),
        first_step=min(first, int(log.steps[-1])),
        last_step=min(last, int(log.steps[-1])),
        evidence=tuple(
            Evidence(f"units of {name} without gradient (median)", share, "share", DEAD.value)
            for name, share in shares.items()
        ),
        confidence=0.95 if worst > 0.95 else 0.8,
        details={"worst_share": worst},
    )


def _measured(log: RunLog) -> dict[str, Probed]:
    """The share of dead units of each ReLU layer: the outputs where they were seen, else the gradient."""
    structure = log.structure
    rows = log.batch.rows if log.batch else 0
    seen = probed(log, "dead_fraction") if rows >= ROWS.value else {}
    biases = {v.layer: i for i, v in reversed(list(enumerate(structure.variables))) if v.role in _PER_UNIT}
    kernels = {v.layer: i for i, v in reversed(list(enumerate(structure.variables))) if v.is_kernel}
    found: dict[str, Probed] = {}
    for layer in structure.layers:
        if structure.effective_activation(layer.name) not in RECTIFIERS:
            continue
        if layer.name in seen:
            found[layer.name] = seen[layer.name]
        elif layer.name in biases:
            found[layer.name] = _windows(log, log["zero_fraction"][:, biases[layer.name]])
        elif layer.name in kernels and "dead_units" in log:
            units = structure.variables[kernels[layer.name]].shape[-1]
            found[layer.name] = _windows(log, log["dead_units"][:, kernels[layer.name]] / units)
    return {name: each for name, each in found.items() if len(each.values)}


def _windows(log: RunLog, values: FloatArray) -> Probed:
    """Medians of windows; those without a value are left out."""
    edges = windows.edges_of(len(log))
    level = windows.medians(values, edges)
    known = np.isfinite(level)
    return Probed(log.steps[edges[:-1]][known], level[known], np.diff(edges)[known].astype(float))
