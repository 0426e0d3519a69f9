"""The one place where Keras hands over a step's gradients.

`Tap` wraps three methods on the optimizer *instance*, for the length of a `fit`:

* `scale_loss` sees the loss of the step's batch;
* `apply` sees the gradients that Keras' tape computed, and the weights before and after;
* `_clip_gradients` sees the gradients after clipping, where clipping is asked for.

The wrappers run while Keras traces the training step, so what they add is part of the compiled
step: a row of numbers written to a `Ring`. Gradients of a `LossScaleOptimizer` are taken before it
decides whether to skip the step, and divided by the scale on the host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kgrad.capture import statistics
from kgrad.capture.ring import Ring
from kgrad.errors import CaptureError

# What a row holds before the parts of the variables.
HEADER = ("loss", "learning_rate", "loss_scale", "half_applied", "skipped")
_NAN = float("nan")
# Steps between two reads: a read costs about as much as a small step, so one in 64 is under 2 %.
_ROWS = 64


@dataclass(frozen=True)
class Block:
    """Some steps as read from the ring.

    Attributes:
        series: the numbers per step by name, each of shape `(steps,)`.
        statistics: the numbers per step and variable by name, each of shape `(steps, variables)`.
    """

    series: dict[str, NDArray[Any]]
    statistics: dict[str, NDArray[Any]]


class Tap:
    """Records the gradients of each step of one optimizer.

    Args:
        optimizer: the optimizer that the model was compiled with.
        steps_per_execution: how many steps Keras runs between two calls of the callbacks.

    Attributes:
        variables: the trainable variables in the order of the columns, known once the step
            has been traced; `None` before.
        rows: how many steps may pass between two reads.
        sees_loss: whether the training step showed its loss (a custom `train_step` that does not
            call `optimizer.scale_loss` hides it).
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, steps_per_execution: int = 1) -> None:
        self.variables: list[Any] | None = None
        self.sees_loss = False
        self._outer = optimizer
        self._inner = getattr(optimizer, "inner_optimizer", optimizer)
        self.rows = max(_ROWS, steps_per_execution)
        # Callbacks hear of a step only with its whole execution: leave room for one more.
        self._capacity = self.rows + steps_per_execution
        self._ring: Ring | None = None
        self._loss: tf.Tensor | None = None
        self._applied: tf.Variable | None = None
        self._wrapped: list[tuple[Any, str, Callable[..., Any]]] = []

    def install(self) -> None:
        """Puts the wrappers on the optimizer.

        Raises:
            CaptureError: another tap is on it.
        """
        if hasattr(vars(self._outer).get("apply"), "kgrad"):
            raise CaptureError(
                "two GradientMonitors were given to one fit; pass only one (it records every variable)"
            )
        if self._clips and self._applied is None:
            with tf.init_scope():
                self._applied = tf.Variable(_NAN, trainable=False, name="kgrad_applied")
        self._wrap(self._outer, "scale_loss", self._scale_loss)
        self._wrap(self._outer, "apply", self._apply)
        if self._clips:
            self._wrap(self._inner, "_clip_gradients", self._clip_gradients)

    def remove(self) -> None:
        """Takes the wrappers off again; harmless when there are none."""
        for owner, name, wrapper in self._wrapped:
            if vars(owner).get(name) is wrapper:
                del vars(owner)[name]
        self._wrapped.clear()

    def read(self) -> Block | None:
        """What was recorded since the last call, `None` if nothing was."""
        rows = self._ring.read() if self._ring else np.zeros((0, 0), np.float32)
        if not len(rows):
            return None
        sizes = [int(np.prod(variable.shape)) for variable in self.variables or []]
        header = dict(zip(HEADER, rows[:, : len(HEADER)].T.astype(np.float64), strict=True))
        parts = rows[:, len(HEADER) :].reshape(len(rows), len(statistics.PARTS), len(sizes))
        taken = statistics.finish(parts, sizes, header["loss_scale"])
        return Block(_series(header, taken), taken)

    @property
    def _clips(self) -> bool:
        settings = (self._inner.clipnorm, self._inner.global_clipnorm, self._inner.clipvalue)
        return any(setting is not None and setting > 0 for setting in settings)

    def _wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return around(original, *args, **kwargs)

        wrapper.kgrad = self  # type: ignore[attr-defined]
        # Written to the instance's dict, past Keras' attribute tracking, so nothing is saved with it.
        vars(owner)[name] = wrapper
        self._wrapped.append((owner, name, wrapper))

    def _scale_loss(self, original: Callable[..., Any], loss: tf.Tensor) -> Any:
        self._loss = loss
        self.sees_loss = True
        return original(loss)

    def _clip_gradients(self, original: Callable[..., Any], gradients: Sequence[Any]) -> Any:
        clipped = original(gradients)
        squares = statistics.half_squares([statistics.dense(g) for g in clipped if g is not None])
        assert self._applied is not None
        self._applied.assign(tf.reduce_sum(squares))
        return clipped

    def _apply(
        self, original: Callable[..., Any], gradients: Sequence[Any], variables: Any = None, **kw: Any
    ) -> Any:
        gradients = list(gradients)
        variables = kw.pop("trainable_variables", variables)
        owners = list(variables if variables is not None else self._outer._trainable_variables)
        before = [tf.convert_to_tensor(variable) for variable in owners]
        scale = self._scale()
        count = tf.convert_to_tensor(self._inner.iterations)
        result = original(gradients, owners)
        self._record(
            gradients, owners, before, scale, tf.equal(count, tf.convert_to_tensor(self._inner.iterations))
        )
        return result

    def _record(
        self,
        gradients: list[Any],
        owners: list[Any],
        before: list[tf.Tensor],
        scale: tf.Tensor,
        skipped: tf.Tensor,
    ) -> None:
        parts = statistics.gradient_parts([None if g is None else statistics.dense(g) for g in gradients])
        change = [tf.convert_to_tensor(variable) - old for variable, old in zip(owners, before, strict=True)]
        parts += [statistics.half_squares(before), statistics.half_squares(change)]
        row = tf.concat([self._header(scale, skipped), *parts], 0)
        self._ring_for(owners, int(row.shape[0])).write(row)

    def _header(self, scale: tf.Tensor, skipped: tf.Tensor) -> tf.Tensor:
        loss = _NAN if self._loss is None else self._loss
        self._loss = None
        applied = _NAN if self._applied is None else self._applied
        rate = self._inner.learning_rate
        return tf.stack(
            [tf.reshape(tf.cast(v, tf.float32), []) for v in (loss, rate, scale, applied, skipped)]
        )

    def _scale(self) -> tf.Tensor:
        dynamic = getattr(self._outer, "dynamic_scale", None)
        if dynamic is not None:
            return tf.identity(tf.convert_to_tensor(dynamic))
        if self._outer is not self._inner:
            return tf.constant(float(self._outer.initial_scale))
        return tf.constant(float(self._outer.loss_scale_factor or 1.0))

    def _ring_for(self, owners: list[Any], width: int) -> Ring:
        if self._ring is None:
            self.variables = owners
            self._ring = Ring(self._capacity, width)
        elif [id(v) for v in owners] != [id(v) for v in self.variables or []]:
            raise CaptureError(
                "the training step updates different variables from step to step, which kgrad cannot follow; "
                "record such a loop with kgrad.GradientRecorder"
            )
        return self._ring


def _series(header: dict[str, NDArray[Any]], taken: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    norms = taken["gradient_norm"]
    unconnected = np.isnan(norms) & (taken["nonfinite_count"] == 0)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.sqrt(np.sum(np.where(unconnected, 0.0, norms) ** 2, axis=1))
        applied = np.sqrt(2.0 * header["half_applied"])
    series = {name: header[name] for name in ("loss", "learning_rate", "loss_scale", "skipped")}
    return {
        **series,
        "global_norm": total,
        "applied_global_norm": np.where(np.isnan(applied), total, applied),
    }
