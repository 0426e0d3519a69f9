"""Every test of the capture runs with deterministic operations: bit-identity needs it."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

tf.config.experimental.enable_op_determinism()

# A program of its own that the tests start as a process, not a module to import.
collect_ignore = ["distributed_script.py"]


@pytest.fixture(autouse=True)
def fresh_session() -> None:
    keras.backend.clear_session()


@pytest.fixture
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """56 rows of 12 numbers in 3 classes: three full batches of 16 and a half one."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(56, 12)).astype("float32")
    return x, (np.abs(x[:, :3]).argmax(axis=1)).astype("int64")


def batches_of(data: tuple[np.ndarray, np.ndarray], epochs: int = 2, size: int = 16) -> list:
    """The batches that `fit(shuffle=False)` takes."""
    x, y = data
    one = [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]
    return one * epochs
