"""Keeps some rows of the targets of several training batches, as the training step itself saw them.

What a constant answer is worth follows from the targets. Of a data set or a generator nothing but its batches may be
looked at, and one batch of data in order shows a corner of them: so the last ones whose step was recorded with
all statistics stand for the whole.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

from kgrad.log.batch import MOST_NUMBERS

# So many batches are kept, the oldest going first.
BATCHES = 32
# Of each so many rows at most.
MOST_ROWS = 256


class SeenTargets:
    """A ring of the targets of some batches."""

    def __init__(self) -> None:
        self._structure: Any = None
        self._types: list[tf.DType | None] = []
        self._rooms: list[ResourceVariable | None] = []  # as the leaves of the targets; None where there is nothing
        self._filled: ResourceVariable | None = None
        self._taken: ResourceVariable | None = None
        self._weighted: ResourceVariable | None = None
        self._rows = 0
        self._shapes: list[tf.TensorShape | None] = []

    def add(self, y: Any, sample_weight: Any = None) -> None:
        """Adds to the step being traced what copies its targets; targets too large to keep or no numbers are left.

        Args:
            y: targets as `train_step` got them, in any nesting.
            sample_weight: weights of the rows.
        """
        leaves = tf.nest.flatten(y)
        present = [leaf for leaf in leaves if leaf is not None]
        if not present or any(not _is_of_numbers(leaf) for leaf in present):
            return
        if self._taken is None and not self._make_room(y, leaves):
            return
        if self._shapes != _shapes_of(leaves):
            return  # batches of other shapes are no more of the same
        assert self._taken is not None
        place = tf.cast(tf.math.floormod(self._taken.read_value(), BATCHES), tf.int32)
        for room, leaf in zip(self._rooms, leaves, strict=True):
            if room is not None:
                _put(room, place, padded(tf.cast(leaf[: self._rows], room.dtype), self._rows))
        assert self._filled is not None
        assert self._weighted is not None
        _put(self._filled, place, tf.cast(tf.minimum(tf.shape(present[0])[0], self._rows), tf.float32))
        for weights in tf.nest.flatten(sample_weight):
            if weights is not None:
                differ = tf.reduce_max(tf.abs(tf.cast(weights, tf.float32) - 1.0))
                self._weighted.assign(tf.maximum(self._weighted.read_value(), differ), read_value=False)
        self._taken.assign_add(1, read_value=False)

    def read(self) -> tuple[Any, bool] | None:
        """The rows kept, nested as the targets are, and whether any was weighted; `None` before two batches."""
        if self._taken is None or self._filled is None or self._weighted is None or int(self._taken.numpy()) < 2:
            return None
        held = np.arange(self._rows) < self._filled.numpy()[:, None]
        leaves = [
            None if room is None or dtype is None else room.numpy()[held].astype(dtype.as_numpy_dtype)
            for room, dtype in zip(self._rooms, self._types, strict=True)
        ]
        return tf.nest.pack_sequence_as(self._structure, leaves), bool(self._weighted.numpy() != 0)

    def _make_room(self, y: Any, leaves: list[tf.Tensor | None]) -> bool:
        size = sum(int(np.prod(leaf.shape[1:], dtype=np.int64)) for leaf in leaves if leaf is not None)
        self._rows = min(MOST_ROWS, MOST_NUMBERS // (BATCHES * max(1, size)))
        if self._rows < 1:
            return False
        self._structure = tf.nest.map_structure(lambda _: 0, y)
        self._shapes = _shapes_of(leaves)
        self._types = [None if leaf is None else leaf.dtype for leaf in leaves]
        with tf.init_scope():
            self._rooms = [None if leaf is None else self._room(leaf) for leaf in leaves]
            self._filled = _variable(tf.zeros([BATCHES]))
            self._weighted = _variable(tf.zeros([]))
            self._taken = _variable(tf.zeros([], tf.int64))
        return True

    def _room(self, leaf: tf.Tensor) -> ResourceVariable:
        # As floats: TensorFlow has no kernel that scatters small integers on every device.
        dtype = tf.float64 if leaf.dtype in (tf.float64, tf.int64) else tf.float32
        return _variable(tf.zeros([BATCHES, self._rows, *leaf.shape[1:]], dtype))


def padded(rows: tf.Tensor, count: int) -> tf.Tensor:
    """The rows, with zeros behind them up to so many."""
    return tf.pad(rows, [[0, count - tf.shape(rows)[0]], *([[0, 0]] * (len(rows.shape) - 1))])


def _shapes_of(leaves: list[tf.Tensor | None]) -> list[tf.TensorShape | None]:
    return [None if leaf is None else leaf.shape[1:] for leaf in leaves]


def _put(room: ResourceVariable, place: tf.Tensor, values: tf.Tensor) -> None:
    tf.raw_ops.ResourceScatterUpdate(resource=room.handle, indices=place, updates=values)


def _is_of_numbers(leaf: Any) -> bool:
    known = isinstance(leaf, tf.Tensor) and leaf.shape.rank and leaf.shape[1:].is_fully_defined()
    return bool(known and (leaf.dtype.is_floating or leaf.dtype.is_integer or leaf.dtype.is_bool))


def _variable(value: tf.Tensor) -> ResourceVariable:
    # Made directly: `tf.Variable` would be mirrored on every replica of a distribution strategy.
    return ResourceVariable(value, trainable=False, name="kgrad_seen_targets")
