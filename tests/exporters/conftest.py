"""A run with everything in it: NaN, gaps, hostile names, histograms, activations, curvature."""

import dataclasses

import numpy as np
import pytest

from kgrad.log.run_log import RunLog
from kgrad.log.structure import Structure, Variable

from ..diagnosis.rules.cases import deep
from ..log.factory import run_log

# Two names that a dashboard's letters would make one, and one that is no path at all.
NAMES = ("dense_0/kernel", "dense_0/bias", "dense_1/a#2", "dense_1/a_2", "../<b>/kernel", "dense_2/bias")


def full_log(steps: int = 30, status: str = "finished") -> RunLog:
    log = run_log(steps)
    variables = [
        Variable(name, v.layer, v.role, v.shape) for name, v in zip(NAMES, log.structure.variables, strict=True)
    ]
    structure = Structure("chain", "sequential", log.structure.layers, tuple(variables), log.structure.parameters)
    norms = log["gradient_norm"].copy()
    norms[7, 0] = np.nan
    nonfinite = np.zeros_like(norms)
    nonfinite[7, 0] = 3
    cosine = np.full_like(norms, np.nan)
    cosine[::10] = 0.5
    info = {
        **log.info,
        "status": status,
        "started": "2026-01-02T03:04:00+00:00",
        "ended": "2026-01-02T03:05:00+00:00",
        "optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.01, "clipnorm": None}},
        "tags": {"initializer": "he_normal", "seed": 3},
    }
    exponents = np.array([-3, -1, -2, -2])
    tables = {
        "histograms": {
            "step": np.array([0, 0, 20, 20]),
            "variable": np.array([NAMES[0]] * 4, dtype=object),
            "exponent": exponents,
            "count": np.array([4, 12, 10, 6]),
        },
        "activations": {
            "step": np.array([0, 0, 20, 20]),
            "layer": np.array(["dense_0", "dense_0", "dense_0", "dense_0"], dtype=object),
            "call": np.array([0, 1, 0, 1]),
            "mean": np.array([0.1, 0.2, 0.3, 0.4]),
            "dead_fraction": np.array([np.nan, np.nan, 0.25, np.nan]),
        },
        "curvature": {
            "step": np.array([20]),
            "smallest": np.array([-1.0]),
            "smallest_error": np.array([0.1]),
            "largest": np.array([9.0]),
            "largest_error": np.array([0.1]),
            "gradient_norm": np.array([0.5]),
            "products": np.array([20]),
        },
    }
    epochs = {
        "epoch": np.arange(3.0),
        "last_step": np.array([9.0, 19.0, 29.0]),
        "loss": np.array([2.0, 1.5, 1.2]),
        "val_loss": np.array([np.nan, 1.6, 1.3]),
    }
    columns = {**log.columns, "gradient_norm": norms, "nonfinite_count": nonfinite, "cosine": cosine}
    return dataclasses.replace(
        log, name="full", info=info, structure=structure, columns=columns, tables=tables, epochs=epochs
    )


@pytest.fixture
def log() -> RunLog:
    return full_log()


@pytest.fixture
def sick() -> RunLog:
    """A run in which the first layers starve."""
    loss = 2.3 + 0.01 * np.random.default_rng(1).normal(size=200)
    return deep(decades=8, activation="sigmoid", loss=loss)
