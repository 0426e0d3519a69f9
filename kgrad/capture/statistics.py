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

from kgrad.capture.stacks import Piece, Stacks

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
    stacks: Stacks, gradients: Sequence[tf.Tensor | None], before: Sequence[tf.Tensor], after: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """The `PARTS` of one step, each a vector in the row's order; the last ones joined.

    Args:
        stacks: which variables are reduced together.
        gradients: float32 tensors as `dense` gives them; `None` for an unconnected variable, whose
            parts are NaN, with nothing counted.
        before: the variables before the update.
        after: the variables after it.
    """
    pieces = stacks.pieces(gradients)
    missing = [_NAN] * _FROM_GRADIENT
    taken = zip(*[missing if piece is None else _parts_of(piece) for piece in pieces], strict=True)
    olds = [piece for piece in stacks.pieces(before) if piece is not None]
    news = [piece for piece in stacks.pieces(after) if piece is not None]
    weights = [old.like(tf.cast(old.values, tf.float32)).half_squares() for old in olds]
    pairs = zip(olds, news, strict=True)
    moved = [old.like(tf.cast(new.values - old.values, tf.float32)).half_squares() for old, new in pairs]
    parts = [stacks.vector(part) for part in (*taken, weights, moved)]
    return [*parts, _rare_counts(stacks, pieces, parts[0])]


def brief_parts_of(stacks: Stacks, gradients: Sequence[tf.Tensor | None]) -> list[tf.Tensor]:
    """The `PARTS` of a step of which only the norms are wanted; the others are NaN, where there is a gradient.

    Args:
        stacks: which variables are reduced together.
        gradients: as in `parts_of`.

    Returns:
        As `parts_of`, but those that are not taken joined.
    """
    pieces = stacks.pieces(gradients)
    squares = stacks.vector([_NAN if piece is None else piece.half_squares() for piece in pieces])
    missing = [piece is None for piece in pieces] + [False] * (len(gradients) - len(pieces))
    uncounted = np.tile(np.where(missing, np.float32(0.0), np.float32(_NAN)), _COUNTED)
    others = np.full((len(PARTS) - 1 - _COUNTED) * len(gradients), _NAN, np.float32)
    return [squares, tf.constant(np.concatenate([others, uncounted]))]


def _parts_of(gradient: Piece) -> list[tf.Tensor]:
    return [
        gradient.half_squares(),
        *(gradient.reduced(reduce) for reduce in (tf.reduce_sum, tf.reduce_max, tf.reduce_min)),
        gradient.like(tf.sign(gradient.values)).half_squares(),  # half the count of non-zero elements
    ]


def _rare_counts(stacks: Stacks, pieces: Sequence[Piece | None], squares: tf.Tensor) -> tf.Tensor:
    """Counts of non-zero and of non-finite elements, and the largest magnitude, shape `(3 * variables,)`.

    They are taken only in a step that has elements that are not finite (zeros otherwise): there, and
    only there, the cheap count of non-zero elements fails.
    """
    present = [piece for piece in pieces if piece is not None]
    count = int(squares.shape[0])
    if not present:
        return tf.zeros([_COUNTED * count])

    def counted(*tensors: tf.Tensor) -> tf.Tensor:
        values = iter(tensors)
        given = [None if piece is None else piece.like(next(values)) for piece in pieces]
        tests = (tf.math.count_nonzero, _count_nonfinite, lambda g, axis: tf.reduce_max(tf.abs(g), axis))
        return tf.concat([stacks.vector([0.0 if p is None else p.reduced(test) for p in given]) for test in tests], 0)

    # A missing gradient does not count; like all that are reduced alone, it lies in the row as among the pieces.
    missing = {place for place, piece in enumerate(pieces) if piece is None}
    known = tf.gather(squares, [place for place in range(count) if place not in missing]) if missing else squares
    fine = tf.reduce_all(tf.math.is_finite(known))
    return either(fine, lambda *_: tf.zeros([_COUNTED * count]), counted, [piece.values for piece in present])


def _count_nonfinite(tensor: tf.Tensor, axis: int | None) -> tf.Tensor:
    return tf.math.count_nonzero(~tf.math.is_finite(tensor), axis)


def either(
    predicate: tf.Tensor, then: Callable[..., Any], otherwise: Callable[..., Any], inputs: list[tf.Tensor]
) -> tf.Tensor:
    """`tf.cond` between two functions that change nothing, as one operation; the result is a float32 tensor.

    `tf.cond` is unfolded into a switch per input, which costs as much as the statistics themselves where
    the branch is hardly ever taken. One `StatelessIf` costs less: with 40 inputs about as much as their norms.
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


def finish(
    stacks: Stacks, parts: NDArray[np.float32], sizes: Sequence[int], scale: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """The statistics of `kgrad.log.schema` from the raw parts of some steps.

    Where a float32 sum of squares leaves its range (norms under 1e-15 or over 1e19), the norm is
    rebuilt as `max * sqrt(nonzero / 3)`, which is right for evenly spread values and within
    a factor `sqrt(nonzero)` for any.

    Args:
        stacks: which variables were reduced together.
        parts: as the rows have them, shape `(steps, len(PARTS) * variables)`.
        sizes: number of elements of each variable.
        scale: the loss scale of each step, shape `(steps,)`, that the gradients still carry.

    Returns:
        Arrays of shape `(steps, variables)`, float64, by the statistic's name.
    """
    columns = np.split(parts.astype(np.float64), len(PARTS), axis=1)
    named = zip(PARTS, columns, strict=True)
    part = {name: stacks.by_variable(values, halved=name.startswith("half_")) for name, values in named}
    size = np.asarray(sizes, dtype=np.float64)
    factor = scale.astype(np.float64)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        largest = np.fmax(np.abs(part["max"]), np.abs(part["min"]))
        largest = np.where(np.isnan(largest) & (part["counted_max"] > 0), part["counted_max"], largest)
        # Of a step without counts only this is known: whether some element is not finite.
        is_broken = np.where(np.isfinite(part["half_squares"]), 0.0, 1.0)
        nonfinite = np.where(np.isnan(part["counted_nonfinite"]), is_broken, part["counted_nonfinite"])
        broken = nonfinite > 0
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
            "nonfinite_count": nonfinite,
            "weight_norm": np.sqrt(2.0 * part["half_weight"]),
            "update_norm": np.sqrt(2.0 * part["half_update"]),
        }


def held(
    norms: NDArray[Any], detailed: NDArray[np.bool_], scale: NDArray[Any], last: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The norms, with those too small for a sum of squares as they were when all was taken.

    Under 1e-15 the squares leave float32. A step with all statistics rebuilds the norm from the largest magnitude; in
    the steps after it, its norm stands, or 1e-15 where that is less.

    Args:
        norms: as `finish` gives them, shape `(steps, variables)`.
        detailed: whether all statistics of a step were taken, shape `(steps,)`.
        scale: the loss scale of each step, shape `(steps,)`.
        last: norms of the last such step before these, shape `(variables,)`.

    Returns:
        The norms, and those of the last step with all statistics.
    """
    source = np.maximum.accumulate(np.where(detailed, np.arange(1, len(norms) + 1), 0))
    earlier = np.vstack([last, norms])[source]
    bound = (_SMALLEST_SQUARES**0.5 / scale.astype(np.float64))[:, None]
    too_small = ~detailed[:, None] & (norms < bound)
    return np.where(too_small, np.fmin(earlier, bound), norms), earlier[-1]


def _squares(squares: NDArray[Any], largest: NDArray[Any], nonzero: NDArray[Any]) -> NDArray[Any]:
    out_of_range = (squares < _SMALLEST_SQUARES) | (squares > _LARGEST_SQUARES)
    rebuilt = np.where(np.isfinite(largest), largest**2 * np.maximum(nonzero, 1.0) / 3.0, squares)
    return np.where(out_of_range & (largest > 0), rebuilt, squares)
