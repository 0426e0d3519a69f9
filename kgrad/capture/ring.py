"""A ring of rows on the device: written inside the step, read by the host once per block."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.ops.resource_variable_ops import ResourceVariable


class Ring:
    """The last `rows` rows written, and how many were ever written.

    Args:
        rows: how many rows fit; the host must read before they are overwritten.
        width: numbers per row.
    """

    def __init__(self, rows: int, width: int) -> None:
        self.rows = rows
        with tf.init_scope():
            # Made directly: `tf.Variable` would be mirrored on every replica of a distribution strategy.
            self._cells = ResourceVariable(tf.zeros((rows, width)), trainable=False, name="kgrad_ring")
            self._written = ResourceVariable(0, dtype=tf.int32, trainable=False, name="kgrad_written")
        self._read = 0

    @property
    def written(self) -> tf.Tensor:
        """How many rows were written so far, in graph mode."""
        return tf.convert_to_tensor(self._written)

    @property
    def taken(self) -> int:
        """How many rows the host has read or lost so far."""
        return self._read

    def write(self, row: tf.Tensor, count: tf.Tensor | int = 1) -> None:
        """Writes a row, in graph mode; `count=0` lets the next row overwrite it."""
        place = tf.convert_to_tensor(self._written) % self.rows
        written = self._cells.scatter_update(tf.IndexedSlices(row, place))
        # A step that fails before its row is there must not count.
        with tf.control_dependencies([written]):
            self._written.assign_add(count)

    def read(self) -> NDArray[np.float32]:
        """The rows written since the last call, oldest first, shape `(new, width)`; host only.

        Rows that were overwritten before they were read are lost; `new` then is `rows`.
        """
        written = int(self._written.numpy())
        new = min(written - self._read, self.rows)
        places = np.arange(written - new, written) % self.rows
        self._read = written
        return np.asarray(self._cells.numpy())[places] if new else np.zeros((0, self._cells.shape[1]), np.float32)
