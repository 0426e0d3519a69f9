"""The rule `disconnected-weights`."""

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis.finding import Evidence, Finding
from kgrad.diagnosis.reach import RECTIFIERS
from kgrad.diagnosis.rule import Limit, rule
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import RunLog
from kgrad.log.structure import Structure

STEPS = Limit(
    "steps of a gradient of exactly zero",
    10.0,
    "steps",
    "fewer may be chance, as with a switched-off dropout path or a head that starts at zero (own choice).",
)
SHARE = Limit(
    "share of the trained parameters",
    0.05,
    "share",
    "less is a leftover, as an unused pooling head, that takes nothing from what the model can learn (own choice).",
)


@rule(
    columns=("gradient_norm", "zero_fraction", "nonfinite_count"),
    optional=("loss",),
    limits=(STEPS, SHARE),
    symptom_of=("nonfinite-gradient", "vanishing-gradient", "dead-units", "poor-initialization"),
)
def disconnected_weights(log: RunLog) -> Finding | None:
    """Weights that are meant to be trained never get a gradient: the loss does not depend on them.

    Measured: variables without any gradient in every step (no path from the loss leads to them), and layers whose
    gradients, kernel and bias, are exactly zero from the first step to the last, while those of others are not. A
    ReLU at or behind such a layer may be off for every input, which is `dead-units`, and nothing is said here.

    Blind spot: a path that is cut in some steps only (a branch on a condition) is not seen, nor is a layer of one
    variable whose gradient is zero; weights that the optimizer was never given are no part of the log.
    """
    norm, zero = log["gradient_norm"], log["zero_fraction"]
    counted = np.nan_to_num(log["nonfinite_count"], nan=1.0) == 0
    absent = (np.isnan(norm) & counted).all(axis=0)
    moves = (np.isfinite(norm) & (norm > 0)).any(axis=0)
    if not moves.any():
        return None  # nothing moves at all: another rule's matter
    still = (zero == 1).all(axis=0) & (len(log) >= STEPS.value)
    if still.any():
        still &= _whole_layers(log.structure, still | absent) & ~_rectified(log.structure)
    cut = absent | still
    if not cut.any():
        return None
    return _finding(log, cut, absent)


def _whole_layers(structure: Structure, still: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether every variable of the owning layer is still, and there are several.

    A kernel alone may be still because its inputs are zero, a bias alone because a normalization follows it.
    """
    owned = {variable.layer: structure.indices_of(variable.layer) for variable in structure.variables}
    whole = {layer: len(places) > 1 and bool(still[places].all()) for layer, places in owned.items()}
    return np.array([whole[variable.layer] for variable in structure.variables], dtype=bool)


def _rectified(structure: Structure) -> NDArray[np.bool_]:
    """Whether a ReLU lies at or behind the layer of each variable; `True` where the graph is not known."""
    if not any(layer.inbound for layer in structure.layers):
        return np.ones(len(structure.variables), bool)
    behind: dict[str, bool] = {}
    for layer in reversed(structure.layers):
        own = layer.activation in RECTIFIERS or layer.class_name == "ReLU"
        behind[layer.name] = own or any(behind.get(each.name, False) for each in structure.consumers(layer.name))
    return np.array([behind.get(variable.layer, True) for variable in structure.variables], dtype=bool)


def _finding(log: RunLog, cut: NDArray[np.bool_], absent: NDArray[np.bool_]) -> Finding:
    variables = log.structure.variables
    sizes = np.array([variable.size for variable in variables], dtype=float)
    share = float(sizes[cut].sum() / sizes.sum())
    layers = tuple(dict.fromkeys(variables[i].layer for i in np.flatnonzero(cut)))
    names = ", ".join(layers[:3]) + (", ..." if len(layers) > 3 else "")
    severity = harm(log) if "loss" in log and share >= SHARE.value else "info"
    what = "no gradient at all" if absent[cut].all() else "a gradient of exactly zero in every step"
    return Finding(
        rule="disconnected-weights",
        severity="low" if severity == "info" else severity,
        summary=f"{int(cut.sum())} of {len(variables)} trainable variables got {what}, in {names}: the loss does not "
        f"depend on them.",
        layers=layers,
        first_step=int(log.steps[0]),
        last_step=int(log.steps[-1]),
        evidence=(
            Evidence("variables without gradient", float(absent.sum()), "variables"),
            Evidence("variables with a gradient of zero", float((cut & ~absent).sum()), "variables"),
            Evidence("share of the trained parameters", share, "share", SHARE.value),
        ),
        confidence=0.95 if absent[cut].all() else 0.8,
        details={"kind": "unconnected" if absent[cut].all() else "zero", "share": share},
    )
