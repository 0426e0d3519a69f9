"""Rows that the tests of the probe share."""

import numpy as np


def rows_of(count: int, width: int = 6) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
