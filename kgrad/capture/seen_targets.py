"""Keeps some rows of the targets of several training batches, as the training step itself saw them.

What a constant answer is worth follows from the targets. Of a data set or a generator nothing but its batches may be
looked at, and one batch of data in order shows a corner of them: so the last ones whose step was recorded with
all statistics stand for the whole.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

# So many batches are kept, the oldest going first.
BATCHES = 32
# Of each so many rows at most, and in all so many bytes.
_MOST_ROWS = 256
_MOST_BYTES = 16 << 20


class SeenTargets:
    """A ring of the targets of some batches."""

    def __init__(self) -> None:
        self._rooms: list[ResourceVariable] = []
        self._filled: ResourceVariable | None = None
        self._taken: ResourceVariable | None = None

    def add(self, y: Any) -> None:
        """Adds to the step being traced what copies its targets.

        Args:
            y: targets as `train_step` got them: any nesting of dense tensors, numbers in each.
        """
        leaves = [leaf for leaf in tf.nest.flatten(y) if leaf is not None]
        if not leaves or any(not _is_of_numbers(leaf) for leaf in leaves):
            return
        if self._taken is None:
            rows = _rows_for(leaves)
            with tf.init_scope():
                self._rooms = [_variable(tf.zeros([BATCHES, rows, *leaf.shape[1:]], leaf.dtype)) for leaf in leaves]
                self._filled = _variable(tf.zeros([BATCHES], tf.int32))
                self._taken = _variable(tf.zeros([], tf.int32))
        elif [room.shape[2:] for room in self._rooms] != [leaf.shape[1:] for leaf in leaves]:
            return  # batches of other shapes are no more of the same
        assert self._taken is not None
        assert self._filled is not None
        place = tf.math.floormod(self._taken.read_value(), BATCHES)
        most = int(self._rooms[0].shape[1])
        for room, leaf in zip(self._rooms, leaves, strict=True):
            head = leaf[:most]
            missing = [[0, most - tf.shape(head)[0]], *([[0, 0]] * (len(leaf.shape) - 1))]
            _put(room, place, tf.pad(head, missing))
        _put(self._filled, place, tf.minimum(tf.shape(leaves[0])[0], most))
        self._taken.assign_add(1, read_value=False)

    def read(self) -> list[NDArray[Any]] | None:
        """The rows kept, one array per target, once two batches have been seen; `None` before."""
        if self._taken is None or self._filled is None or int(self._taken.numpy()) < 2:
            return None
        counts = self._filled.numpy()
        return [
            np.concatenate([batch[:rows] for batch, rows in zip(room.numpy(), counts, strict=True)])
            for room in self._rooms
        ]


def _put(room: ResourceVariable, place: tf.Tensor, values: tf.Tensor) -> None:
    tf.raw_ops.ResourceScatterUpdate(resource=room.handle, indices=place, updates=values)


def _is_of_numbers(leaf: Any) -> bool:
    known = isinstance(leaf, tf.Tensor) and leaf.shape.rank and leaf.shape[1:].is_fully_defined()
    return bool(known and (leaf.dtype.is_floating or leaf.dtype.is_integer or leaf.dtype.is_bool))


def _rows_for(leaves: list[tf.Tensor]) -> int:
    """Rows of a batch that are kept: all of a small one whose size is known, and no more than memory allows."""
    size = sum(int(leaf.dtype.size or 1) * int(np.prod(leaf.shape[1:], dtype=np.int64)) for leaf in leaves)
    known = leaves[0].shape[0] or _MOST_ROWS
    return int(max(1, min(known, _MOST_ROWS, _MOST_BYTES // (BATCHES * max(1, size)))))


def _variable(value: tf.Tensor) -> ResourceVariable:
    # Made directly: `tf.Variable` would be mirrored on every replica of a distribution strategy.
    return ResourceVariable(value, trainable=False, name="kgrad_seen_targets")
