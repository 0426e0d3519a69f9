"""Keeps a few rows of the first training batch, as the training step itself saw them.

Nothing is taken from the user's data: a second reader of a generator or a shuffled data set would change what
the training gets. The rows are copied inside the compiled step, once, by wrapping `train_step` on the model
*instance* while the step is traced.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.ops.resource_variable_ops import ResourceVariable

from kgrad.capture.seen_targets import MOST_ROWS, SeenTargets, padded

# A bound on what a probe costs beside that of rows, which are enough for statistics.
MOST_BYTES = 16 << 20


class FirstBatch:
    """The first rows of the first batch of a fit.

    Args:
        model: the compiled model.
        recording: whether the step that is being traced is one that kgrad adds to.
        is_detailed: whether it is one whose targets are kept too.

    Attributes:
        failure: why no batch can be kept, empty where one can.
        targets: those of later batches.
    """

    def __init__(
        self, model: keras.Model, recording: Callable[[], bool], is_detailed: Callable[[], bool] = lambda: False
    ) -> None:
        self.failure = ""
        self.targets = SeenTargets()
        self._is_detailed = is_detailed
        self._model = model
        self._recording = recording
        self._original = model.train_step
        self._kept: list[ResourceVariable | None] = []  # as the batch's leaves; None where there is nothing
        self._taken: ResourceVariable | None = None
        self._structure: Any = None
        self._is_done = False
        # Past Keras' attribute tracking, so nothing is saved with it.
        vars(model)["train_step"] = self._step

    def remove(self) -> None:
        """Takes the wrapper off and frees what was kept; harmless when called twice."""
        if vars(self._model).get("train_step") == self._step:
            del vars(self._model)["train_step"]
        self._free()

    def take(self) -> tuple[Any, Any, Any] | None:
        """`(x, y, sample_weight)` as the step saw them, cut to the first rows; once, then `None`."""
        if self._taken is None or not self._taken.numpy():
            return None
        count = int(self._taken.numpy())
        leaves = [None if variable is None else tf.identity(variable.read_value()[:count]) for variable in self._kept]
        self._free()
        batch: tuple[Any, Any, Any] = tf.nest.pack_sequence_as(self._structure, leaves)
        return batch

    def _step(self, data: Any) -> Any:
        # TensorFlow may trace a step twice before it runs once: each trace gets the copy, until it is taken.
        if self._recording() and not self._is_done and not self.failure:
            try:
                self._keep(keras.utils.unpack_x_y_sample_weight(data))
            except Exception as error:  # any data may come; without the batch there is no probe, and no harm
                self.failure = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        if self._recording() and self._is_detailed() and not self.failure:
            with contextlib.suppress(Exception):  # without them the first batch stands for all
                self.targets.add(*keras.utils.unpack_x_y_sample_weight(data)[1:])
        return self._original(data)

    def _keep(self, batch: tuple[Any, Any, Any]) -> None:
        leaves = tf.nest.flatten(batch)
        present = [leaf for leaf in leaves if leaf is not None]
        unfit = next((leaf for leaf in present if not isinstance(leaf, tf.Tensor)), None)
        if unfit is not None:
            raise TypeError(f"the batch holds a {type(unfit).__name__}, not a dense tensor")
        rows = min(MOST_ROWS, max(1, MOST_BYTES // max(1, sum(_row_bytes(leaf) for leaf in present))))
        if self._taken is None:
            with tf.init_scope():
                self._kept = [None if leaf is None else _room(leaf, rows, self._model.jit_compile) for leaf in leaves]
                self._taken = ResourceVariable(0, dtype=tf.int32, trainable=False, name="kgrad_batch_taken")
            self._structure = tf.nest.map_structure(lambda _: 0, batch)
        made, taken = self._kept, self._taken

        def keep() -> tf.Tensor:
            for variable, leaf in zip(made, leaves, strict=True):
                if variable is not None:
                    variable.assign(_fitted(leaf[:rows], variable), read_value=False)
            taken.assign(tf.minimum(tf.shape(present[0])[0], rows), read_value=False)
            return tf.constant(0)

        tf.cond(tf.equal(taken, 0), keep, lambda: tf.constant(0))

    def _free(self) -> None:
        for variable in self._kept:
            if variable is not None and not variable.shape.is_fully_defined():
                variable.assign(_empty(variable.shape, variable.dtype))
        self._kept, self._taken, self._is_done = [], None, True


def _row_bytes(leaf: tf.Tensor) -> int:
    """Bytes of one row; axes of unknown length count as 1."""
    size = int(leaf.dtype.size or 8)
    for axis in leaf.shape[1:]:
        size *= int(axis or 1)
    return size


def _room(leaf: tf.Tensor, rows: int, compiled: bool) -> ResourceVariable:
    """A variable for the first rows: of fixed shape under XLA, which knows no other."""
    if leaf.shape.rank is None or leaf.shape.rank < 1:
        raise TypeError(f"a tensor of the batch has the shape {leaf.shape}; expected one with an axis of rows")
    shape = tf.TensorShape([rows if compiled else None, *leaf.shape[1:]])
    if compiled and not shape.is_fully_defined():
        raise TypeError(f"a tensor of the batch has the shape {leaf.shape}, whose size XLA does not tell")
    # Made directly: `tf.Variable` would be mirrored on every replica of a distribution strategy.
    return ResourceVariable(_empty(shape, leaf.dtype), trainable=False, shape=shape, name="kgrad_first_batch")


def _fitted(rows: tf.Tensor, room: ResourceVariable) -> tf.Tensor:
    return rows if room.shape[0] is None else padded(rows, room.shape[0])


def _empty(shape: tf.TensorShape, dtype: tf.DType) -> tf.Tensor:
    return tf.zeros([axis or 0 for axis in shape], dtype)
