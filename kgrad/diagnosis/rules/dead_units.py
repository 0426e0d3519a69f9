"""The rule `dead-units`."""

import numpy as np

from kgrad.diagnosis import signals
from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.rule import Limit, NotApplicable, rule
from kgrad.log.run_log import RunLog

DEAD = Limit(
    "units without gradient",
    0.7,
    "share",
    "AutoTrainer (Zhang et al. 2021) and DeepDiagnosis (Wardat et al. 2022) call a ReLU layer dying from 70 % on.",
)
SHARE = Limit("share of the run", 0.5, "share", "units that sleep for half the run have not come back by themselves.")
_FAMILY = ("relu", "relu6")
_PER_UNIT = ("bias", "beta")


NOT_LEARNED = Limit(
    "progress of the loss, too little",
    0.3,
    "share",
    "as in vanishing-gradient: what a network reaches by the biases of its last layer alone.",
)
LEARNED = Limit(
    "progress of the loss, enough",
    0.5,
    "share",
    "a network whose loss has halved has units enough: dead ones are then idle capacity, which is worth a note.",
)


@rule(columns=("zero_fraction",), optional=("loss",), limits=(DEAD, SHARE, NOT_LEARNED, LEARNED))
def dead_units(log: RunLog) -> Finding | None:
    """Most units of a ReLU layer get no gradient at all: they are off for every input and cannot come back.

    Measured: the share of exact zeros in the gradient of the layer's biases (one number per unit; of the `beta`
    of a BatchNormalization between layer and ReLU where there is no bias), as the median over windows. A unit
    that is off for a whole batch has a gradient of exactly zero there. Where the loss has halved all the same, the
    dead units do no harm and are a note.

    Blind spot: with small batches a unit that is only seldom on looks dead in most of them; the limit is high and
    must hold for half the run. A layer behind a dead one gets no gradient either and is named with it.
    """
    columns = _columns(log)
    if not columns:
        raise NotApplicable("the model has no ReLU layer with biases")
    dead = signals.medians(log["zero_fraction"][:, list(columns.values())], signals.window_edges(len(log)))
    lasting = (dead >= DEAD.value).mean(axis=0) >= SHARE.value
    if not lasting.any():
        return None
    shares = np.nanmedian(dead, axis=0)
    names = [name for name, hit in zip(columns, lasting, strict=True) if hit]
    worst = float(shares[lasting].max())
    sick = (dead[:, lasting] >= DEAD.value).any(axis=1)
    begin, last = signals.span(log, signals.window_edges(len(log)), *signals.longest_run(np.asarray(sick)))
    progress = signals.loss_curve(log).progress if "loss" in log else 0.0
    severity = "high" if progress < NOT_LEARNED.value else "medium" if progress < LEARNED.value else "info"
    return Finding(
        rule="dead-units",
        severity=severity,
        summary=(
            f"Up to {100 * worst:.0f} % of the units in {len(names)} of {len(columns)} ReLU layers get no gradient."
        ),
        layers=tuple(names),
        first_step=begin,
        last_step=last,
        evidence=tuple(
            Evidence(f"units of {name} without gradient (median)", float(share), "share", DEAD.value)
            for name, share, hit in zip(columns, shares, lasting, strict=True)
            if hit
        ),
        confidence=0.95 if worst > 0.95 else 0.8,
        details={"worst_share": worst},
    )


def _columns(log: RunLog) -> dict[str, int]:
    """The column that has one number per unit, for each ReLU layer."""
    found: dict[str, int] = {}
    for place, variable in enumerate(log.structure.variables):
        if variable.role in _PER_UNIT and log.structure.effective_activation(variable.layer) in _FAMILY:
            found.setdefault(variable.layer, place)
    return found
