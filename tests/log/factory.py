"""Logs made by hand, for tests that need no training."""

from typing import Any

import numpy as np

from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure, Variable


def structure(layers: int = 3, units: int = 8, activation: str = "relu") -> Structure:
    """A chain of dense layers, each with kernel and bias."""
    names = [f"dense_{i}" for i in range(layers)]
    described = tuple(
        Layer(name, "Dense", i, activation, units, (names[i - 1],) if i else (), units * units + units)
        for i, name in enumerate(names)
    )
    variables = tuple(
        Variable(f"{name}/{role}", name, role, shape)
        for name in names
        for role, shape in (("kernel", (units, units)), ("bias", (units,)))
    )
    return Structure("chain", "sequential", described, variables, layers * (units * units + units))


def run_log(steps: int = 40, seed: int = 0, **columns: Any) -> RunLog:
    """A healthy run: steady norms, a falling loss; any column can be replaced."""
    generator = np.random.default_rng(seed)
    model = structure()
    shape = (steps, len(model.variables))
    norms = generator.lognormal(0, 0.1, shape)
    made = {
        "gradient_norm": norms,
        "gradient_mean": np.zeros(shape),
        "gradient_std": norms / 4,
        "gradient_max": norms / 2,
        "zero_fraction": np.zeros(shape),
        "nonfinite_count": np.zeros(shape),
        "weight_norm": np.full(shape, 2.0),
        "update_norm": 0.002 * norms,
        "epoch": np.arange(steps) // 10,
        "loss": 2.3 * np.exp(-np.arange(steps) / 10) + 0.01 * generator.random(steps),
        "learning_rate": np.full(steps, 0.01),
        "global_norm": np.sqrt((norms**2).sum(axis=1)),
        "applied_global_norm": np.sqrt((norms**2).sum(axis=1)),
        "loss_scale": np.ones(steps),
        "skipped": np.zeros(steps),
        "detailed": np.ones(steps),
        **columns,
    }
    info = {
        "schema_version": 1,
        "name": "made",
        "status": "finished",
        "optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.01}},
        "model": model.to_dict(),
    }
    return RunLog("made", info, model, np.arange(steps), {k: np.asarray(v, float) for k, v in made.items()})
