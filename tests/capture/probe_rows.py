"""Rows and a model that the tests of the probe share."""

from typing import Any

import keras
import numpy as np


def rows_of(count: int, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = keras.layers.Dense(4, "relu", name="same"), keras.layers.Dense(1, name="same")

    def call(self, inputs: Any) -> Any:
        return self.second(self.first(inputs))
