"""Statistics that are taken only where they are asked for: cosine, histogram, units without gradient.

What they cost in memory: the cosine 4 bytes per parameter (a copy of the gradients), the histogram 4 bytes
per bin and variable for each row that waits to be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

from kgrad.capture.ring import Ring
from kgrad.capture.statistics import either
from kgrad.errors import CaptureError

# Exponents of the lowest and the highest bin; what lies beyond is counted in them. float32 gradients under
# 2^-60 (1e-18) and over 2^19 (5e5) are told apart by nobody.
LOWEST, HIGHEST = -60, 19
BINS = HIGHEST - LOWEST + 1


@dataclass(frozen=True)
class Extras:
    """What is asked for beside the usual statistics.

    Attributes:
        cosine: whether each gradient is compared with the one recorded before.
        histogram_every: one of so many recorded steps gets a histogram; `None` for none.

    Raises:
        CaptureError: `histogram_every` is less than 1.
    """

    cosine: bool = False
    histogram_every: int | None = None

    def __post_init__(self) -> None:
        every = self.histogram_every
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise CaptureError(f"histogram_every={every!r}: expected None or a whole number from 1 on")


@dataclass(frozen=True)
class HistogramBlock:
    """Histograms of some steps.

    Attributes:
        rows: which of the block's rows they belong to, shape `(taken,)`.
        counts: elements by magnitude, shape `(taken, variables, BINS)`.
        dead_units: units whose gradient is all zero, NaN for what has no units, shape `(taken, variables)`.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.float32]
    dead_units: NDArray[np.float32]

    def table(self, steps: NDArray[np.int64], order: Sequence[int], names: Sequence[str]) -> Mapping[str, Any]:
        """The columns of `schema.HISTOGRAMS`: bins that hold something.

        Args:
            steps: step numbers of the block's rows.
            order: where each variable lies among those of the histograms.
            names: the variables' names in that order.
        """
        counts = self.counts[:, order]
        taken, variable, bin_ = np.nonzero(counts)
        return {
            "step": steps[self.rows][taken],
            "variable": np.asarray(names, dtype=object)[variable],
            "exponent": bin_ + LOWEST,
            "count": counts[taken, variable, bin_].astype(np.int64),
        }


class Cosine:
    """Compares each step's gradients with the last recorded ones."""

    def __init__(self) -> None:
        self._slots: list[ResourceVariable | None] | None = None
        self._squares: ResourceVariable | None = None

    def of(self, gradients: Sequence[tf.Tensor | None], keep: tf.Tensor | int) -> tf.Tensor:
        """The cosines, shape `(variables,)`; NaN at first, for sparse and for missing gradients.

        Args:
            gradients: float32 tensors; `None` where there is none or where it is sparse.
            keep: 0 for a micro-batch that is no step, with which nothing is compared.
        """
        if self._slots is None:
            with tf.init_scope():
                self._slots = [None if g is None else _variable(tf.zeros(g.shape)) for g in gradients]
                self._squares = _variable(tf.zeros([len(gradients)]))
        assert self._squares is not None
        pairs = list(zip(gradients, self._slots, strict=True))
        dots = [_NAN if g is None or slot is None else tf.reduce_sum(g * slot.read_value()) for g, slot in pairs]
        squares = tf.stack([_NAN if gradient is None else tf.nn.l2_loss(gradient) for gradient in gradients])
        before = self._squares.read_value()
        # Each root by itself: the product of two small squares would underflow.
        cosines = tf.stack(dots) / (2.0 * tf.sqrt(squares) * tf.sqrt(before))
        with tf.control_dependencies([cosines]):
            for gradient, slot in pairs:
                if gradient is not None and slot is not None:
                    slot.assign(_kept(keep, gradient, slot), read_value=False)
            self._squares.assign(_kept(keep, squares, self._squares), read_value=False)
        return cosines


def _kept(keep: tf.Tensor | int, new: tf.Tensor, slot: ResourceVariable) -> tf.Tensor:
    return new if isinstance(keep, int) else tf.where(keep > 0, new, slot.read_value())


class Histograms:
    """Histograms of the gradients' magnitudes in one of so many steps.

    Args:
        every: one of so many.
        rows: how many recorded steps may wait to be read.
    """

    def __init__(self, every: int, rows: int) -> None:
        self._every = every
        self._rows = rows // every + 2
        self._ring: Ring | None = None
        self._variables = 0

    def write(
        self, gradients: Sequence[tf.Tensor | None], scale: tf.Tensor, number: tf.Tensor, counts: tf.Tensor | int
    ) -> None:
        """Takes the histogram where the step is due, in graph mode.

        Args:
            gradients: float32 tensors, still multiplied by `scale`.
            scale: the loss scale.
            number: how many steps were recorded before this one.
            counts: 0 for a micro-batch that is no step.
        """
        connected = [(i, gradient) for i, gradient in enumerate(gradients) if gradient is not None]
        self._variables = len(gradients)
        width = self._variables * (BINS + 1)
        places = [[i] for i, _ in connected]

        def taken(*tensors: tf.Tensor) -> tf.Tensor:
            rows = tf.stack([_row(tensor / tensors[-1]) for tensor in tensors[:-1]])
            whole = tf.tensor_scatter_nd_update(tf.fill([self._variables, BINS + 1], _NAN), places, rows)
            return tf.reshape(whole, [width])

        due = tf.equal(number % self._every, 0)
        inputs = [*(gradient for _, gradient in connected), scale]
        row = either(due, taken, lambda *_: tf.zeros([width]), inputs)
        if self._ring is None:
            self._ring = Ring(self._rows, width + 1)
        row = tf.concat([[tf.cast(number, tf.float32)], row], 0)
        self._ring.write(row, tf.cast(due, tf.int32) * counts)

    def read(self, first: int) -> HistogramBlock | None:
        """What was taken since the last call.

        Args:
            first: how many steps had been recorded before the block that is being read.
        """
        rows = self._ring.read() if self._ring is not None else np.zeros((0, 0), np.float32)
        if not len(rows):
            return None
        cells = rows[:, 1:].reshape(len(rows), self._variables, BINS + 1)
        numbers = rows[:, 0].astype(np.int64) - first
        known = numbers >= 0
        return HistogramBlock(numbers[known], np.nan_to_num(cells[known, :, 1:]), cells[known, :, 0])


_NAN = float("nan")


def _variable(value: tf.Tensor) -> ResourceVariable:
    # Made directly: `tf.Variable` would be mirrored on every replica of a distribution strategy.
    return ResourceVariable(value, trainable=False, name="kgrad_extra")


def _row(gradient: tf.Tensor) -> tf.Tensor:
    """Units without gradient (NaN where the last axis is no units), then the counts of the bins."""
    flat = tf.reshape(gradient, [-1])
    counted = tf.cast(tf.math.is_finite(flat) & tf.not_equal(flat, 0.0), tf.float32)
    exponent = tf.bitwise.bitwise_and(tf.bitwise.right_shift(tf.bitcast(flat, tf.int32), 23), 255) - 127
    counts = tf.math.unsorted_segment_sum(counted, tf.clip_by_value(exponent, LOWEST, HIGHEST) - LOWEST, BINS)
    dead = tf.constant(_NAN)
    if gradient.shape.rank is not None and gradient.shape.rank >= 2:
        alive = tf.reduce_any(tf.not_equal(gradient, 0.0), axis=list(range(gradient.shape.rank - 1)))
        dead = tf.reduce_sum(tf.cast(~alive, tf.float32))
    return tf.concat([[dead], counts], 0)
