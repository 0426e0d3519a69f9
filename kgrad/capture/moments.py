"""`tf.nn.moments` as it must be to be differentiated twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf


@contextmanager
def differentiable_moments() -> Iterator[None]:
    """Gives Keras moments that can be differentiated twice, for as long as the loss is traced.

    A trace in another thread meanwhile gets the same values and first derivatives as ever.
    """
    original = tf.nn.moments
    tf.nn.moments = _moments
    try:
        yield
    finally:
        tf.nn.moments = original


def _moments(x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """`tf.nn.moments` without its `stop_gradient`."""
    del shift  # unused there too
    with tf.name_scope(name or "moments"):
        wide = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
        mean = tf.reduce_mean(wide, axes, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axes, keepdims=True)
        both = (mean, variance) if keepdims else (tf.squeeze(mean, axes), tf.squeeze(variance, axes))
        return tuple(tf.cast(moment, x.dtype) for moment in both)
