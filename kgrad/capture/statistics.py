"""Each statistic as tensor operations inside the training step.

`kgrad.log.statistics` defines the numbers; this file takes their parts in as few operations as it
can, because a small model pays for every operation launched and not for the bytes it reads. Square
roots, divisions and all else that can wait is done on the host, in `finish`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_NAN = float("nan")

# The numbers a step leaves for each variable, in the order they lie in a row.
PARTS = (
    *("half_squares", "sum", "max", "min", "half_nonzero"),
    *("half_weight", "half_update"),
    *("counted_nonzero", "counted_nonfinite", "counted_max"),
)
_FROM_GRADIENT = 5
_COUNTED = 3

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


def parts_of(
    gradients: Sequence[tf.Tensor | None], before: Sequence[tf.Tensor], after: Sequence[tf.Tensor]
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The `PARTS` of one step.

    Args:
        gradients: float32 tensors as `dense` gives them; `None` for an unconnected variable, whose
            parts are NaN, with nothing counted.
        before: the variables before the update.
        after: the variables after it.

    Returns:
        A scalar for each of the first parts and each variable, part by part, to be joined with
        whatever else the row holds; and the last three parts as a vector.
    """
    missing = [_NAN] * _FROM_GRADIENT
    taken = [missing if gradient is None else _scalars_of(gradient) for gradient in gradients]
    parts: list[Sequence[Any]] = list(zip(*taken, strict=True))
    parts.append([tf.nn.l2_loss(tf.cast(old, tf.float32)) for old in before])
    moved = [tf.cast(new - old, tf.float32) for old, new in zip(before, after, strict=True)]
    parts.append([tf.nn.l2_loss(change) for change in moved])
    return [scalar for part in parts for scalar in part], _rare_counts(gradients, parts[0])


def brief_parts_of(gradients: Sequence[tf.Tensor | None]) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The `PARTS` of a step of which only the norms are wanted; the others are NaN.

    Args:
        gradients: as in `parts_of`.

    Returns:
        As `parts_of`: the first part as scalars, and all others as a vector.
    """
    squares = [_NAN if gradient is None else tf.nn.l2_loss(gradient) for gradient in gradients]
    others = tf.fill([(len(PARTS) - 1 - _COUNTED) * len(gradients)], _NAN)
    return squares, tf.concat([others, _rare_counts(gradients, squares, smallest=_SMALLEST_SQUARES)], 0)


def _scalars_of(gradient: tf.Tensor) -> list[tf.Tensor]:
    return [
        tf.nn.l2_loss(gradient),
        tf.reduce_sum(gradient),
        tf.reduce_max(gradient),
        tf.reduce_min(gradient),
        tf.nn.l2_loss(tf.sign(gradient)),  # half the count of non-zero elements, in two operations
    ]


def _rare_counts(
    gradients: Sequence[tf.Tensor | None], squares: Sequence[Any], smallest: float | None = None
) -> tf.Tensor:
    """Counts of non-zero and of non-finite elements, and the largest magnitude, shape `(3 * variables,)`.

    They are taken only in a step that has elements that are not finite (zeros otherwise): there, and
    only there, the cheap count of non-zero elements fails. Where the largest magnitude is not taken
    anyway, also in a step with a sum of squares under `smallest`.
    """
    connected = [(i, gradient) for i, gradient in enumerate(gradients) if gradient is not None]
    if not connected:
        return tf.zeros([_COUNTED * len(gradients)])
    places = [[i] for i, _ in connected]

    def counted(*tensors: tf.Tensor) -> tf.Tensor:
        tests = (lambda g: tf.not_equal(g, 0.0), lambda g: ~tf.math.is_finite(g))
        counts = [[tf.reduce_sum(tf.cast(test(tensor), tf.float32)) for tensor in tensors] for test in tests]
        counts.append([tf.reduce_max(tf.abs(tensor)) for tensor in tensors])
        return tf.concat([tf.scatter_nd(places, tf.stack(count), [len(gradients)]) for count in counts], 0)

    known = [squares[i] for i, _ in connected]
    fine = tf.math.is_finite(tf.add_n(known))
    if smallest is not None:
        fine &= tf.reduce_min(tf.stack(known)) > smallest
    return either(
        fine, lambda *_: tf.zeros([_COUNTED * len(gradients)]), counted, [gradient for _, gradient in connected]
    )


def either(
    predicate: tf.Tensor, then: Callable[..., Any], otherwise: Callable[..., Any], inputs: list[tf.Tensor]
) -> tf.Tensor:
    """`tf.cond` between two functions that change nothing, as one operation; the result is a float32 tensor.

    `tf.cond` is unfolded into a switch per input, which costs as much as the statistics themselves where
    the branch is hardly ever taken; one `StatelessIf` costs next to nothing.
    """
    if tf.executing_eagerly():
        return then(*inputs) if predicate else otherwise(*inputs)
    signature = [tf.TensorSpec(tensor.shape, tensor.dtype, f"gradient_{i}") for i, tensor in enumerate(inputs)]
    branches = [tf.function(branch, autograph=False).get_concrete_function(*signature) for branch in (then, otherwise)]
    if any(branch.captured_inputs for branch in branches):  # would fail in the step, and not here
        raise ValueError("a branch uses a tensor that it was not given")
    (result,) = tf.raw_ops.StatelessIf(
        cond=predicate, input=inputs, Tout=[tf.float32], then_branch=branches[0], else_branch=branches[1]
    )
    return tf.ensure_shape(result, branches[0].structured_outputs.shape)


def half_squares(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Half the sum of squares of all tensors together, a scalar."""
    return tf.add_n([tf.nn.l2_loss(tf.cast(tensor, tf.float32)) for tensor in tensors])


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
        largest = np.where(np.isnan(largest) & (part["counted_max"] > 0), part["counted_max"], largest)
        broken = part["counted_nonfinite"] > 0
        is_counted = broken | (np.isnan(part["half_nonzero"]) & (part["counted_max"] > 0))
        nonzero = np.where(is_counted, part["counted_nonzero"], 2.0 * part["half_nonzero"])
        squares = _squares(2.0 * part["half_squares"], largest, nonzero)
        mean = part["sum"] / size
        return {
            "gradient_norm": np.sqrt(squares) / factor,
            "gradient_mean": mean / factor,
            "gradient_std": np.sqrt(np.maximum(squares / size - mean**2, 0.0)) / factor,
            "gradient_max": largest / factor,
            "zero_fraction": 1.0 - nonzero / size,
            "nonfinite_count": part["counted_nonfinite"],
            "weight_norm": np.sqrt(2.0 * part["half_weight"]),
            "update_norm": np.sqrt(2.0 * part["half_update"]),
        }


def _squares(squares: NDArray[Any], largest: NDArray[Any], nonzero: NDArray[Any]) -> NDArray[Any]:
    out_of_range = (squares < _SMALLEST_SQUARES) | (squares > _LARGEST_SQUARES)
    rebuilt = np.where(np.isfinite(largest), largest**2 * np.maximum(nonzero, 1.0) / 3.0, squares)
    return np.where(out_of_range & (largest > 0), rebuilt, squares)
