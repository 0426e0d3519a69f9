"""The one place where Keras hands over a step's gradients.

`Tap` wraps two methods on the optimizer *instance*, for the length of a `fit`:

* `scale_loss` sees the loss of the step's batch;
* `apply` sees the gradients that Keras' tape computed, and the weights before and after.

The wrappers run while Keras traces the training step, so what they add is part of the compiled
step: a row of numbers written to a `Ring`. Gradients of a `LossScaleOptimizer` are taken before it
decides whether to skip the step, and divided by the scale on the host. The clipped gradients are
never touched (`kgrad.capture.clipping`): their norm follows from the raw norms or, under `clipvalue`, from
clipping once more beside the training.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kgrad.capture import replicas, statistics
from kgrad.capture.clipping import applied_by
from kgrad.capture.extras import Cosine, Extras, Histograms
from kgrad.capture.ring import Ring
from kgrad.capture.rows import Block, Rows, with_histograms
from kgrad.capture.stacks import Stacks
from kgrad.errors import CaptureError

_NAN = float("nan")
# Steps between two reads: a read costs about as much as a small step, so one in 256 is under half a percent.
_ROWS = 256


class Tap:
    """Records the gradients of each step of one optimizer.

    Args:
        optimizer: the optimizer that the model was compiled with.
        steps_per_execution: how many steps Keras runs between two calls of the callbacks.
        strategy: how the training is distributed; on several replicas the gradient is the summed one that is
            applied, after each replica's clipping.
        extras: statistics beside the usual ones.

    Attributes:
        variables: the trainable variables in the order of the columns, known once the step
            has been traced; `None` before.
        rows: how many steps may pass between two reads.
        sees_loss: whether the training step showed its loss (a custom `train_step` that does not
            call `optimizer.scale_loss` hides it).
        recording: whether the step that is being traced or run is recorded.
        detailed: whether all its statistics are taken, and not the norms alone.
        failure: what went wrong in kgrad's own part of the step; the step itself went on without it.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        steps_per_execution: int = 1,
        strategy: tf.distribute.Strategy | None = None,
        extras: Extras | None = None,
    ) -> None:
        self._strategy = strategy or tf.distribute.get_strategy()
        self.variables: list[Any] | None = None
        self.sees_loss = False
        self.recording = True
        self.detailed = True
        self.failure: Exception | None = None
        self._outer = optimizer
        self._inner = getattr(optimizer, "inner_optimizer", optimizer)
        self.rows = max(_ROWS, steps_per_execution)
        # Callbacks hear of a step only with its whole execution: leave room for one more.
        self._capacity = self.rows + steps_per_execution
        self._ring: Ring | None = None
        self._rows: Rows | None = None
        self._sparse: list[bool] = []
        self._cosine = Cosine() if extras and extras.cosine else None
        every = extras.histogram_every if extras else None
        self._histograms = Histograms(every, self._capacity) if every else None
        # By replica: those of one process are traced by threads of their own.
        self._losses: dict[int, tf.Tensor] = {}
        self._aggregated: dict[int, list[Any]] = {}
        self._rates: dict[int, tf.Tensor] = {}
        self._wrapped: list[tuple[Any, str, Callable[..., Any]]] = []

    @property
    def batches_per_step(self) -> int:
        """How many batches make one step: more than one under gradient accumulation."""
        return int(self._inner.gradient_accumulation_steps or 1)

    def install(self) -> None:
        """Puts the wrappers on the optimizer.

        Raises:
            CaptureError: another tap is on it, or this way of distributing cannot be recorded.
        """
        if tap_on(self._outer) is not None:
            raise CaptureError("two GradientMonitors were given to one fit; pass only one (it records every variable)")
        replicas.refuse_unsupported(self._strategy, self._outer)
        self._wrap(self._outer, "scale_loss", self._scale_loss)
        self._wrap(self._outer, "apply", self._apply)
        if self._strategy.num_replicas_in_sync > 1:
            self._wrap(self._inner, "_all_reduce_sum_gradients", self._aggregate)

    def remove(self) -> None:
        """Takes the wrappers off again; harmless when there are none."""
        for owner, name, wrapper in self._wrapped:
            if vars(owner).get(name) is wrapper:
                del vars(owner)[name]
        self._wrapped.clear()

    def read(self) -> Block | None:
        """What was recorded since the last call, `None` if nothing was."""
        if self._ring is None or self._rows is None:
            return None
        rows = self._ring.read()
        if not len(rows):
            return None
        block = self._rows.block(rows)
        if self._histograms is None:
            return block
        return with_histograms(block, self._histograms.read(self._ring.taken - len(rows)))

    def _wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return around(original, *args, **kwargs)

        wrapper.kgrad = self  # type: ignore[attr-defined]
        # Written to the instance's dict, past Keras' attribute tracking, so nothing is saved with it.
        vars(owner)[name] = wrapper
        self._wrapped.append((owner, name, wrapper))

    def _scale_loss(self, original: Callable[..., Any], loss: tf.Tensor) -> Any:
        if not self.recording:
            return original(loss)
        self._losses[replicas.replica()] = self._safely(replicas.whole_loss, loss, self._strategy)
        self.sees_loss = True
        return original(loss)

    def _aggregate(self, original: Callable[..., Any], pairs: Any) -> Any:
        """On several replicas, the gradient that is applied is seen where Keras sums their shares."""
        summed = original(pairs)
        if not self.recording:
            return summed
        self._aggregated[replicas.replica()] = [gradient for gradient, _ in summed]
        return summed

    def _apply(self, original: Callable[..., Any], gradients: Sequence[Any], *variables: Any, **named: Any) -> Any:
        if not self.recording:
            return original(gradients, *variables, **named)
        gradients = list(gradients)
        given = variables[0] if variables else named.get("trainable_variables")
        owners = list(given if given is not None else self._outer._trainable_variables)
        state = self._safely(self._before, gradients, owners)
        result = original(gradients, owners)
        if state is not None and replicas.replica() == 0:
            self._safely(self._record, owners, *state)
        return result

    def _safely(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Kgrad's own part of the step: its failure is kept and the step goes on."""
        try:
            return work(*arguments) if self.failure is None else None
        except Exception as error:
            self.failure = error
            return None

    def _before(self, gradients: list[Any], owners: list[Any]) -> tuple[Any, ...]:
        """What must be taken before the update."""
        # A schedule gives another one as soon as the step is counted.
        self._rates[replicas.replica()] = tf.identity(tf.cast(self._inner.learning_rate, tf.float32))
        scale = self._scale()
        averaged = self._averaged(gradients, owners, scale)
        weights = [tf.convert_to_tensor(variable) for variable in owners] if self.detailed else []
        return averaged, weights, scale, self._count()

    def _count(self) -> tf.Tensor | None:
        """Steps made so far; `None` where each call of `apply` makes one, which is then not worth an operation."""
        may_stand = self._outer is not self._inner or self._inner.gradient_accumulation_steps
        return tf.convert_to_tensor(self._inner.iterations) if may_stand else None

    def _averaged(self, gradients: list[Any], owners: list[Any], scale: tf.Tensor) -> list[tf.Tensor | None]:
        """The gradients of the step; under accumulation, the mean over its micro-batches so far."""
        steps = self._inner.gradient_accumulation_steps
        self._sparse = [isinstance(gradient, tf.IndexedSlices) and not steps for gradient in gradients]
        if not steps:
            return [None if gradient is None else statistics.dense(gradient) for gradient in gradients]
        # Keras adds sparse gradients up in whole tables: rows of several micro-batches are added there.
        taken = [
            None if gradient is None else tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients
        ]
        if not self._inner.built:
            return taken
        summed = [self._inner._accumulated_gradients[self._inner._get_variable_index(v)] for v in owners]
        return [
            None if gradient is None else (gradient + scale * tf.cast(earlier, tf.float32)) / steps
            for gradient, earlier in zip(taken, summed, strict=True)
        ]

    def _record(
        self,
        owners: list[Any],
        gradients: list[tf.Tensor | None],
        before: list[tf.Tensor],
        scale: tf.Tensor,
        count: tf.Tensor | None,
    ) -> None:
        if self._aggregated:
            summed = iter(self._aggregated[0])
            gradients = [None if gradient is None else statistics.dense(next(summed)) for gradient in gradients]
        self._refuse_others(owners)
        stacks = self._rows.stacks if self._rows else Stacks(gradients, owners)
        if self.detailed:
            after = [tf.convert_to_tensor(variable) for variable in owners]
            parts = statistics.parts_of(stacks, gradients, before, after)
        else:
            parts = statistics.brief_parts_of(stacks, gradients)
        moved = True if count is None else tf.not_equal(count, tf.convert_to_tensor(self._inner.iterations))
        row = [tf.stack(self._header(gradients, scale, moved)), *parts]
        # A micro-batch that only accumulates is no step: the next row takes its place.
        is_step = tf.cast(moved, tf.int32) if self._inner.gradient_accumulation_steps else 1
        if self._cosine is not None:
            whole = [None if is_sparse else g for g, is_sparse in zip(gradients, self._sparse, strict=True)]
            row.append(self._cosine.of(whole, keep=is_step))
        joined = tf.concat(row, 0)
        ring = self._ring_for(owners, stacks, int(joined.shape[0]))
        if self._histograms is not None:
            self._histograms.write(gradients, scale, ring.written, is_step)
        ring.write(joined, is_step)

    def _header(self, gradients: list[tf.Tensor | None], scale: tf.Tensor, moved: tf.Tensor | bool) -> list[tf.Tensor]:
        loss = self._losses.pop(0, None)
        loss = _NAN if loss is None else loss
        # Only a loss scale skips; an optimizer of several others need not count their steps.
        skipped = ~moved if self._outer is not self._inner else False
        values = (loss, self._rates.pop(0), scale, self._clipped(gradients, scale), skipped, self.detailed)
        return [tf.reshape(tf.cast(value, tf.float32), []) for value in values]

    def _clipped(self, gradients: list[tf.Tensor | None], scale: tf.Tensor) -> tf.Tensor | float:
        """Half the squares that `clipvalue` leaves, NaN where it is not asked for."""
        if applied_by(self._inner) != "clipvalue":
            return _NAN
        bound = scale * self._inner.clipvalue
        clipped = [tf.clip_by_value(g, -bound, bound) / scale for g in gradients if g is not None]
        return statistics.half_squares(clipped)

    def _scale(self) -> tf.Tensor:
        dynamic = getattr(self._outer, "dynamic_scale", None)
        if dynamic is not None:
            return tf.identity(tf.convert_to_tensor(dynamic))
        if self._outer is not self._inner:
            return tf.constant(float(self._outer.initial_scale))
        return tf.constant(float(self._outer.loss_scale_factor or 1.0))

    def _ring_for(self, owners: list[Any], stacks: Stacks, width: int) -> Ring:
        if self._ring is None:
            self.variables = owners
            self._rows = Rows(owners, stacks, self._inner)
            self._ring = Ring(self._capacity, width)
        return self._ring

    def _refuse_others(self, owners: list[Any]) -> None:
        if self.variables is not None and [id(v) for v in owners] != [id(v) for v in self.variables]:
            raise CaptureError(
                "the training step updates different variables from step to step, which kgrad cannot follow"
            )


def tap_on(optimizer: keras.optimizers.Optimizer) -> Tap | None:
    """The tap that is on the optimizer, if one is."""
    tap: Tap | None = getattr(vars(optimizer).get("apply"), "kgrad", None)
    return tap
