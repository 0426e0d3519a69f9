"""Activation statistics: what one call of one layer put out for the reference batch, in six numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kgrad.capture.layer_calls import LayerCall

# Exactly zero over half of their domain, so a unit can be zero for every row.
_RECTIFIERS = frozenset({"relu", "relu6"})
# A value beyond these lies where the slope is under 2 % of 1 (tanh: 1 - 0.99^2) or under 4 % of its
# greatest, 1/4 (sigmoid: 0.99 * 0.01). A convention, in the manner of Glorot and Bengio (2010), section 3,
# who name no number; kgrad has not calibrated it.
_SATURATED: Mapping[str, Callable[[Any], Any]] = {
    "tanh": lambda y: tf.abs(y) > 0.99,
    "hard_tanh": lambda y: tf.abs(y) > 0.99,
    "sigmoid": lambda y: (y < 0.01) | (y > 0.99),
    "hard_sigmoid": lambda y: (y < 0.01) | (y > 0.99),
}


@dataclass(frozen=True)
class ActivationStatistics:
    """What one call of one layer put out for the reference batch.

    Attributes:
        layer: the layer's name; a nested one carries its owner, as in `"encoder/dense"`.
        call: counts from 0 the calls of a layer that is used more than once.
        activation: name of its activation, `None` where it has none or where its output is not that
            activation's (LSTM, GRU).
        mean: mean over rows, positions and units.
        std: standard deviation over the same.
        saturated_fraction: share of values at the flat ends of a tanh or sigmoid (|y| > 0.99; y < 0.01 or
            y > 0.99); `None` for every other activation, softmax included.
        dead_fraction: share of units that are exactly zero for every row and position; `None` unless the
            activation is of the ReLU family.
        pre_mean: mean of what went into the activation; `None` where it is not seen.
        pre_std: standard deviation of the same.
    """

    layer: str
    call: int
    activation: str | None
    mean: float
    std: float
    saturated_fraction: float | None
    dead_fraction: float | None
    pre_mean: float | None
    pre_std: float | None


def statistics_of(call: LayerCall) -> Any:
    """Mean, standard deviation, saturated share, dead share, and mean and deviation before activation.

    Shape `(6,)`, float32; 0 stands where `as_row` puts `None`.
    """
    output = tf.cast(call.output, tf.float32)
    zero = tf.constant(0.0)
    saturated = dead = zero
    flat_end = _SATURATED.get(call.activation or "")
    if flat_end is not None:
        saturated = tf.reduce_mean(tf.cast(flat_end(output), tf.float32))
    if call.activation in _RECTIFIERS:
        others = [axis for axis in range(output.shape.rank) if axis != call.unit_axis % output.shape.rank]
        dead = tf.reduce_mean(tf.cast(tf.reduce_all(output == 0, axis=others), tf.float32))
    inputs = None if call.inputs is None else tf.cast(call.inputs, tf.float32)
    before = [zero, zero] if inputs is None else [tf.reduce_mean(inputs), tf.math.reduce_std(inputs)]
    return tf.stack([tf.reduce_mean(output), tf.math.reduce_std(output), saturated, dead, *before])


def as_row(call: LayerCall, values: Sequence[float]) -> ActivationStatistics:
    """The row of one call from the six numbers of `statistics_of`."""
    return ActivationStatistics(
        layer=call.layer,
        call=call.index,
        activation=call.activation,
        mean=values[0],
        std=values[1],
        saturated_fraction=values[2] if call.activation in _SATURATED else None,
        dead_fraction=values[3] if call.activation in _RECTIFIERS else None,
        pre_mean=None if call.inputs is None else values[4],
        pre_std=None if call.inputs is None else values[5],
    )
