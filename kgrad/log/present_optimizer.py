"""The optimizer that a run was made with, as every knob that changes it asks for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kgrad.log.run_log import RunLog


@dataclass(frozen=True)
class PresentOptimizer:
    """The optimizer that updates the weights; a `LossScaleOptimizer` around it is left aside.

    Attributes:
        name: its class, `SGD` where the run does not say.
        config: the arguments that it was made with, as Keras' own `get_config` gives them.
    """

    name: str
    config: Mapping[str, Any]

    @property
    def is_descent(self) -> bool:
        """Whether it is plain gradient descent, with momentum or without."""
        return self.name == "SGD"

    @property
    def momentum(self) -> float:
        """From 0 to 1; 0 where the optimizer has none."""
        return float(self.config.get("momentum") or 0.0)

    @property
    def weight_decay(self) -> float:
        """The share of each weight, times the learning rate, that a step takes away; 0 for none."""
        return float(self.config.get("weight_decay") or 0.0)

    @property
    def has_schedule(self) -> bool:
        """Whether the learning rate is a schedule, which is changed by hand."""
        return isinstance(self.config.get("learning_rate"), Mapping)

    @property
    def constant_rate(self) -> float | None:
        """The learning rate where it is known to be one positive number."""
        rate = self.config.get("learning_rate")
        return float(rate) if isinstance(rate, (int, float)) and rate > 0 else None

    @property
    def speed(self) -> float | None:
        """`rate / (1 - momentum)` of descent: how far a step goes along a steady gradient of 1 (Goh 2017)."""
        rate = self.constant_rate
        if not self.is_descent or rate is None:
            return None
        return rate / (1 - self.momentum) if self.momentum < 1 else math.inf


def present_optimizer(run: RunLog | Mapping[str, Any]) -> PresentOptimizer:
    """The optimizer of a run, or of what its `run.json` holds."""
    info = run.info if isinstance(run, RunLog) else run
    optimizer = info.get("optimizer") or {"class_name": "SGD"}
    config = optimizer.get("config") or {}
    inner = config.get("inner_optimizer")
    if isinstance(inner, Mapping):
        return PresentOptimizer(inner["class_name"], inner["config"])
    return PresentOptimizer(optimizer["class_name"], config)
