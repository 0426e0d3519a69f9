"""Gradients and activations over depth, of a copy that is thrown away afterwards.

`kgrad.capture.probe` asks the same of a model that is still needed and therefore goes to great lengths to leave it
as it was. A copy made for a trial needs none of that: it simply runs, and its moving statistics may move.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kgrad.treatment.batches import Batch
from kgrad.treatment.places import places_of


@dataclass(frozen=True)
class LayerState:
    """One layer with trainable weights, on one batch.

    Attributes:
        gradient_norm: L2 norm of the gradient of all its trainable weights; 0 where the loss does not depend on them.
        activation_std: standard deviation of what it puts out, at its first call in the forward pass.
    """

    gradient_norm: float
    activation_std: float


def depth_profile(model: keras.Model, batch: Batch) -> dict[str, LayerState]:
    """Every layer with trainable weights, in the order of the forward pass.

    Args:
        model: a compiled Sequential or Functional model; its moving statistics and seeds move.
        batch: what it is run on.
    """
    x, y, sample_weight = batch
    owned = _owned(model)
    with _outputs_seen(owned) as seen, tf.GradientTape() as tape:
        predicted = model(x, training=True)
        loss = model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=sample_weight, training=True)
    gradients = tape.gradient(loss, {path: [v.value for v in layer[1]] for path, layer in owned.items()})
    return {path: LayerState(_norm(gradients[path]), std) for path, std in seen.items()}


def _owned(model: keras.Model) -> dict[str, tuple[Any, list[Any]]]:
    """Path -> layer and the trainable variables that are its own; a recurrent layer owns those of its cell."""
    owned = {}
    for path, place in places_of(model).items():
        layer = place.layer
        variables = layer.trainable_variables
        if not isinstance(layer, keras.layers.RNN):
            own = {id(variable) for variable in layer._trainable_variables}
            variables = [variable for variable in variables if id(variable) in own]
        if variables:
            owned[path] = (layer, variables)
    return owned


@contextmanager
def _outputs_seen(owned: Mapping[str, tuple[Any, list[Any]]]) -> Iterator[dict[str, float]]:
    """A mapping that fills with the standard deviation of each layer's first output, for the length of the block."""
    seen: dict[str, float] = {}
    with ExitStack() as stack:
        for path, (layer, _) in owned.items():
            # Into the instance, past Keras' tracking of attributes.
            vars(layer)["call"] = _noting(layer.call, path, seen)
            stack.callback(vars(layer).pop, "call")
        yield seen


def _noting(call: Any, path: str, seen: dict[str, float]) -> Any:
    @wraps(call)
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        if path not in seen:
            output = np.asarray(keras.tree.flatten(result)[0], dtype=np.float64)
            seen[path] = float(np.std(output))
        return result

    return noting


def _norm(gradients: list[Any]) -> float:
    """In double precision: the square of a gradient of 1e-30 is 0 in single precision."""
    parts = [np.asarray(tf.convert_to_tensor(g), dtype=np.float64) for g in gradients if g is not None]
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(sum(float(np.sum(part * part)) for part in parts)))
