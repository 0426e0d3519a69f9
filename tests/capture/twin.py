"""A hand-written training loop: what the capture must agree with, number for number."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kgrad
from kgrad.log import statistics

# So that both of the functions that the monitor builds are seen at work.
DETAILS_EVERY = 3

DETAILS = ("gradient_mean", "gradient_std", "gradient_max", "zero_fraction", "weight_norm", "update_norm")

Build = Callable[[], keras.Model]


def train_watched(
    build: Build, data: Any, run: Any, seed: int = 0, monitor: dict[str, Any] | None = None, **fit: Any
) -> tuple[keras.Model, kgrad.RunLog]:
    """`fit` with the monitor, made with these settings: the trained model and its log."""
    model = _fresh(build, seed)
    settings = {"report": False, "verbose": 0, "strict": True, "details_every": DETAILS_EVERY, **(monitor or {})}
    watch = kgrad.GradientMonitor(run, **settings)
    _fit(model, data, callbacks=[watch], **fit)
    return model, kgrad.read_run(watch.run)


def train_plain(build: Build, data: Any, seed: int = 0, **fit: Any) -> keras.Model:
    """The same `fit` without the monitor."""
    model = _fresh(build, seed)
    _fit(model, data, **fit)
    return model


def train_by_hand(build: Build, batches: list[tuple[Any, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """One tape per batch `(x, y)` or `(x, y, weights)`, statistics by numpy: the columns of the log, and `loss`."""
    model = _fresh(build, seed)
    if not model.built:
        model(batches[0][0])
    optimizer = model.optimizer
    variables = model.trainable_variables
    optimizer.build(variables)
    rows: list[list[dict[str, float]]] = []
    losses = []
    for x, y, *weights in batches:
        with tf.GradientTape() as tape:
            predicted = model(x, training=True)
            loss = model.compute_loss(
                x=x, y=y, y_pred=predicted, sample_weight=weights[0] if weights else None, training=True
            )
        gradients = tape.gradient(loss, variables)
        before = [np.array(v) for v in variables]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        rows.append(
            [
                statistics.gradient_statistics(_table(g, v)) | statistics.update_statistics(old, np.array(v))
                for g, v, old in zip(gradients, variables, before, strict=True)
            ]
        )
        losses.append(float(loss))
    names = rows[0][0]
    columns = {name: np.array([[cell[name] for cell in row] for row in rows]) for name in names}
    return columns | {"loss": np.array(losses), "weights": np.array([v.path for v in variables])}


def assert_agrees(log: kgrad.RunLog, expected: dict[str, np.ndarray], tolerance: float = 2e-4) -> None:
    """The log's columns equal the hand-made ones to float32 rounding; details are there where they were due."""
    places = [list(expected["weights"]).index(variable.name.split("#")[0]) for variable in log.structure.variables]
    for name, values in expected.items():
        if name == "weights":
            continue
        wanted = values[:, places] if values.ndim == 2 else values
        scale = _scale(name, expected)
        scale = scale[:, places] if np.ndim(scale) == 2 else scale
        found = log[name]
        if name in DETAILS:
            taken = log["detailed"] == 1
            assert taken[0]
            assert taken.sum() >= len(found) // DETAILS_EVERY / 2
            found, wanted = found[taken], wanted[taken]
            scale = scale[taken] if np.ndim(scale) == 2 else scale
        np.testing.assert_allclose(found / scale, wanted / scale, rtol=tolerance, atol=tolerance, err_msg=name)


def _scale(name: str, expected: dict[str, np.ndarray]) -> Any:
    """Mean and spread are differences of larger numbers: they are judged against the largest element."""
    if name in ("gradient_mean", "gradient_std"):
        return np.maximum(expected["gradient_max"], 1e-5)  # below lies rounding: a bias of attention keys
    return 1.0


def _fresh(build: Build, seed: int) -> keras.Model:
    keras.backend.clear_session()  # so that names are the same each time
    keras.utils.set_random_seed(seed)
    return build()


def _table(gradient: Any, variable: Any) -> np.ndarray:
    if gradient is None:
        return np.full(variable.shape, np.nan)
    return np.array(tf.convert_to_tensor(gradient))


def _fit(model: keras.Model, data: Any, **fit: Any) -> None:
    settings = {"epochs": 2, "verbose": 0, "shuffle": False, **fit}
    if isinstance(data, tuple):
        model.fit(data[0], data[1], **{"batch_size": 16, **settings})
    else:
        model.fit(data, **settings)


def same_weights(one: keras.Model, other: keras.Model) -> bool:
    """Whether two models have the same weights, bit for bit."""
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
