"""A seed for every test: where another folder's tests asked for deterministic operations, TensorFlow wants one."""

import keras
import pytest


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.backend.clear_session()  # layers get the same names whatever other tests made
    keras.utils.set_random_seed(0)
