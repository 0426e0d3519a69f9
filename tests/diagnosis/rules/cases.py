"""Logs of a deeper chain, for the rules."""

from dataclasses import replace

import numpy as np

from kgrad.diagnosis import diagnose
from kgrad.diagnosis.rule import find_rule
from kgrad.log.run_log import RunLog

from ...log.factory import run_log, structure


def deep(layers: int = 8, steps: int = 200, decades: float = 0.0, activation: str = "relu", **columns) -> RunLog:
    """A chain whose gradient falls by `decades` in all from the last layer back to the first."""
    log = run_log(steps)
    model = structure(layers, activation=activation)
    fall = np.repeat(10.0 ** -np.linspace(decades, 0, layers), 2)
    norms = np.random.default_rng(0).lognormal(0, 0.2, (steps, 2 * layers)) * fall
    made = {name: values for name, values in log.columns.items() if values.ndim == 1}
    wide = {name: np.zeros_like(norms) for name, values in log.columns.items() if values.ndim == 2}
    wide |= {"gradient_norm": norms, "weight_norm": np.full_like(norms, 2.0), "update_norm": 0.01 * norms}
    columns = {name: np.asarray(values, float) for name, values in columns.items()}
    return replace(log, structure=model, columns=made | wide | columns)


def outcome(rule: str, log: RunLog):
    """What one rule says."""
    return diagnose(log, [find_rule(rule)]).outcomes[0]


def scaled(log: RunLog, factor: float) -> RunLog:
    """The same run with the loss multiplied, under an optimizer whose updates do not depend on it."""
    touched = {"loss", "gradient_norm", "gradient_mean", "gradient_std", "gradient_max", "global_norm"}
    touched |= {"applied_global_norm"}
    columns = {name: values * factor if name in touched else values for name, values in log.columns.items()}
    return replace(log, columns=columns)
