"""Each statistic as tensor operations inside the training step.

`kgrad.log.statistics` defines the numbers; this file takes their parts in as few operations as it
can, because a small model pays for every operation launched and not for the bytes it reads. Square
roots, divisions and all else that can wait is done on the host, in `finish`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# The numbers a step leaves for each variable, in the order they lie in a row.
PARTS = ("half_squares", "sum", "max", "min", "nonzero", "nonfinite", "half_weight", "half_update")

# A float32 sum of squares is exact to rounding between these; outside, the norm is rebuilt
# from the largest magnitude (see `finish`).
_SMALLEST_SQUARES = 1e-30
_LARGEST_SQUARES = 1e38


def dense(gradient: Any) -> tf.Tensor:
    """The gradient's stored values as one float32 tensor, duplicate rows of a sparse one summed.

    A sparse gradient (`tf.IndexedSlices`) keeps as many rows as it came with: rows that repeat are
    summed into one and leave zero rows behind, so the full table is never built.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.cast(gradient, tf.float32)
    order = tf.argsort(gradient.indices, stable=True)
    index = tf.gather(gradient.indices, order)
    is_new = tf.cast(tf.not_equal(index[1:], index[:-1]), tf.int32)
    segment = tf.concat([[0], tf.cumsum(is_new)], 0)
    rows = tf.shape(index)[0]
    values = tf.cast(tf.gather(gradient.values, order), tf.float32)
    return tf.math.unsorted_segment_sum(values, segment[:rows], rows)


def gradient_parts(gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor]:
    """The first six of `PARTS`, each a list of one scalar per gradient joined to a vector.

    Args:
        gradients: float32 tensors as `dense` gives them; `None` for an unconnected variable.
    """
    none = tf.constant(float("nan"))
    taken = [[none] * 5 if g is None else _parts_of(g) for g in gradients]
    squares, total, largest, smallest, nonzero = (tf.stack(part) for part in zip(*taken, strict=True))
    connected = [g for g in gradients if g is not None]
    broken = tf.cond(
        tf.reduce_all(
            tf.math.is_finite(tf.stack([part[0] for part, g in zip(taken, gradients, strict=False) if g is not None]))
        ),
        lambda: tf.zeros([len(connected)]),
        lambda: tf.stack([_count(~tf.math.is_finite(g)) for g in connected]),
    )
    return [squares, total, largest, smallest, nonzero, _spread(broken, gradients)]


def _parts_of(gradient: tf.Tensor) -> list[tf.Tensor]:
    return [
        tf.nn.l2_loss(gradient),
        tf.reduce_sum(gradient),
        tf.reduce_max(gradient),
        tf.reduce_min(gradient),
        _count(tf.not_equal(gradient, 0.0)),
    ]


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float32))


def _spread(values: tf.Tensor, gradients: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Values of the connected gradients back in the places of all, zero elsewhere."""
    if len(gradients) == values.shape[0]:
        return values
    places = [[i] for i, gradient in enumerate(gradients) if gradient is not None]
    return tf.scatter_nd(places, values, [len(gradients)])


def half_squares(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Half the sum of squares of each tensor, shape `(tensors,)`."""
    return tf.stack([tf.nn.l2_loss(tf.cast(tensor, tf.float32)) for tensor in tensors])


def finish(parts: NDArray[np.float32], sizes: Sequence[int], scale: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The statistics of `kgrad.log.schema` from the raw parts of some steps.

    Where a float32 sum of squares leaves its range (norms under 1e-15 or over 1e19), the norm is
    rebuilt as `max * sqrt(nonzero / 3)`, which is right for evenly spread values and within
    a factor `sqrt(nonzero)` for any.

    Args:
        parts: shape `(steps, len(PARTS), variables)`.
        sizes: number of elements of each variable.
        scale: the loss scale of each step, shape `(steps,)`, that the gradients still carry.

    Returns:
        Arrays of shape `(steps, variables)`, float64, by the statistic's name.
    """
    part = dict(zip(PARTS, np.moveaxis(parts.astype(np.float64), 1, 0), strict=True))
    size = np.asarray(sizes, dtype=np.float64)
    factor = scale.astype(np.float64)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        largest = np.fmax(np.abs(part["max"]), np.abs(part["min"]))
        squares = _squares(2.0 * part["half_squares"], largest, part["nonzero"])
        mean = part["sum"] / size
        return {
            "gradient_norm": np.sqrt(squares) / factor,
            "gradient_mean": mean / factor,
            "gradient_std": np.sqrt(np.maximum(squares / size - mean**2, 0.0)) / factor,
            "gradient_max": largest / factor,
            "zero_fraction": 1.0 - part["nonzero"] / size,
            "nonfinite_count": part["nonfinite"],
            "weight_norm": np.sqrt(2.0 * part["half_weight"]),
            "update_norm": np.sqrt(2.0 * part["half_update"]),
        }


def _squares(squares: NDArray[Any], largest: NDArray[Any], nonzero: NDArray[Any]) -> NDArray[Any]:
    out_of_range = (squares < _SMALLEST_SQUARES) | (squares > _LARGEST_SQUARES)
    rebuilt = np.where(np.isfinite(largest), largest**2 * np.maximum(nonzero, 1.0) / 3.0, squares)
    return np.where(out_of_range & (largest > 0), rebuilt, squares)
