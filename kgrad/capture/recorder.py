"""`GradientRecorder`: the same recording for loops that people write themselves."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kgrad import workflow
from kgrad.capture import statistics
from kgrad.capture.describe import describe_machine
from kgrad.capture.ring import Ring
from kgrad.capture.stacks import Stacks
from kgrad.capture.topology import column_order, structure_of
from kgrad.errors import CaptureError
from kgrad.log.schema import STATISTICS
from kgrad.log.store import claim_free
from kgrad.log.writer import RunWriter

_logger = logging.getLogger("kgrad")

_ROWS = 256
# Rows of one optimizer that wait for another's; more are thinned to half.
_MOST_WAITING = 16 * _ROWS
_HEADER = 2


class _Group:
    """The variables of one optimizer and the ring of their rows."""

    def __init__(self, variables: list[Any], stacks: Stacks) -> None:
        self.variables = variables
        self.stacks = stacks
        self.ring = Ring(_ROWS, _HEADER + len(statistics.PARTS) * len(variables))
        self.rows: list[NDArray[np.float32]] = []


class GradientRecorder:
    """Records the gradients of a training loop of your own, in the format of `GradientMonitor`.

    ```python
    with kgrad.GradientRecorder("runs/mine", model) as recorder:

        @tf.function
        def train_step(x, y):
            with tf.GradientTape() as tape:
                loss = loss_function(y, model(x, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            recorder.record(gradients, model.trainable_variables, loss=loss)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))

        for x, y in data:
            train_step(x, y)
            recorder.tick()
    ```

    Several optimizers (a GAN's two, say) call `record` with variables of their own; the n-th call for some variables
    is their step n. Where one of them steps more often (five steps of a critic to one of the generator), its calls are
    thinned, evenly, so that what happened together stands together. Updates are not seen from here, so `update_norm`
    stays empty.

    Once it has begun, kgrad's own failure (a full disk, a bug) is logged and the loop goes on without it.

    Args:
        run: the run folder: a path or any fsspec URL.
        model: the model that owns the variables, or several of them by name.
        tags: anything to keep with the run.
        strict: raise kgrad's own failures instead of logging them and going on.

    Attributes:
        run: the run folder in use; known once something was written.
        examination: the run with its diagnosis, once closed.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        model: keras.Model | Mapping[str, keras.Model],
        *,
        tags: Mapping[str, Any] | None = None,
        strict: bool = False,
    ) -> None:
        self.run = os.fspath(run)
        self.examination: workflow.Examination | None = None
        self._models = dict(model) if isinstance(model, Mapping) else {"": model}
        self._tags = dict(tags or {})
        self._groups: list[_Group] = []
        self._writer: RunWriter | None = None
        self._order: list[int] = []
        self._strict = strict
        self._failed = False
        self._ticks = 0
        self._read_at = 0
        self._due = 1
        self._lost = 0
        self._written = 0

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def record(self, gradients: Sequence[Any], variables: Sequence[Any], loss: Any = None) -> None:
        """Records the gradients of one step; call it in the step, before they are applied.

        Args:
            gradients: what the tape gave: tensors, `tf.IndexedSlices` or `None`.
            variables: their variables, in the same order at every step.
            loss: the step's loss, a scalar; where several optimizers give one, they are added up.

        Raises:
            CaptureError: the lists have different lengths.
        """
        gradients, variables = list(gradients), list(variables)
        if len(gradients) != len(variables):
            raise CaptureError(
                f"{len(gradients)} gradients came with {len(variables)} variables; expected one for each"
            )
        self._guarded(self._record, gradients, variables, loss)

    def _record(self, gradients: list[Any], variables: list[Any], loss: Any) -> None:
        taken = [None if gradient is None else statistics.dense(gradient) for gradient in gradients]
        now = [tf.convert_to_tensor(variable) for variable in variables]
        group = self._group_of(variables, taken)
        parts = statistics.parts_of(group.stacks, taken, now, now)
        header = [tf.constant(float("nan")) if loss is None else tf.reshape(tf.cast(loss, tf.float32), [])]
        header.append(tf.constant(1.0))
        group.ring.write(tf.concat([tf.stack(header), *parts], 0))

    def tick(self) -> None:
        """Tells that a step has ended; reads what was recorded once in a while."""
        self._ticks += 1
        if self._ticks >= self._due:
            self._guarded(self._read)
        if self._ticks % (_ROWS // 2) == 0:
            self._guarded(self._collect)

    def close(self, status: str = "finished", error: str | None = None) -> None:
        """Writes the rest and the diagnosis; harmless when called twice."""
        self._guarded(self._close, status, error)

    def _close(self, status: str, error: str | None) -> None:
        self._collect(last=True)
        if self._writer is not None:
            self._writer.close(status, error)
            self.examination = workflow.examine(self._writer.store)
            self._writer.write_diagnosis(self.examination.to_dict())
            self._writer = None
            self._groups.clear()

    def __enter__(self) -> Self:
        """The recorder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the run, as failed where an exception ends the block."""
        self.close("finished" if error is None else "failed", f"{kind.__name__}: {error}" if kind else None)

    def _group_of(self, variables: list[Any], gradients: list[tf.Tensor | None]) -> _Group:
        for group in self._groups:
            if [id(v) for v in group.variables] == [id(v) for v in variables]:
                return group
        if self._writer is not None:
            raise CaptureError("new variables appeared after steps were written; record the same ones from the start")
        self._groups.append(_Group(variables, Stacks(gradients, variables)))
        return self._groups[-1]

    def _read(self) -> None:
        """Takes the rows off the rings, and says when they will be half full again."""
        most = 0
        for group in self._groups:
            before = group.ring.taken
            rows = group.ring.read()
            group.rows += list(rows)
            if len(group.rows) > _MOST_WAITING:
                group.rows = _thinned(group.rows, _MOST_WAITING // 2)
            most = max(most, group.ring.taken - before)
            self._lost += group.ring.taken - before - len(rows)
        each = most / max(self._ticks - self._read_at, 1)
        self._read_at, self._due = self._ticks, self._ticks + max(1, int(_ROWS / 2 / max(each, 1.0)))

    def _collect(self, last: bool = False) -> None:
        """Writes the steps that every group has; at the end also the one that only some have."""
        self._read()
        fewest, most = (choose((len(group.rows) for group in self._groups), default=0) for choose in (min, max))
        if fewest and most > fewest + 1:
            for group in self._groups:
                group.rows = _thinned(group.rows, fewest)
            most = fewest
        count = most if last else fewest
        if count:
            self._write(count)
        if self._lost and self._writer is not None:
            said = f"{self._lost} calls of record came between two of tick and were lost; call tick after every step"
            self._writer.add_event(said, self._written)
            _logger.warning("kgrad: %s", said)
            self._lost = 0

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        """Runs kgrad's own work so that its failure never stops the loop."""
        if self._failed:
            return
        try:
            work(*arguments)
        except Exception as error:
            self._failed = True
            said = f"kgrad stopped recording ({type(error).__name__}: {error})"
            if self._writer is not None:
                self._writer.abandon(said)
            if self._strict:
                raise
            _logger.exception("%s; the loop goes on", said)

    def _write(self, count: int) -> None:
        writer = self._writer or self._open()
        blocks = [_finished(group, count) for group in self._groups]
        joined = {name: np.concatenate([b[1][name] for b in blocks], axis=1)[:, self._order] for name in STATISTICS}
        joined["update_norm"] = np.full_like(joined["update_norm"], np.nan)
        norms = np.sqrt(np.nansum(joined["gradient_norm"] ** 2, axis=1))
        norms[(np.nan_to_num(joined["nonfinite_count"]) > 0).any(axis=1)] = np.nan
        series = {"global_norm": norms, "applied_global_norm": norms, "epoch": np.zeros(count)}
        losses = np.array([block[0] for block in blocks])
        if not np.isnan(losses).all():
            series["loss"] = np.nansum(losses, axis=0)
        writer.add_steps(np.arange(self._written, self._written + count), series, joined)
        self._written += count

    def _open(self) -> RunWriter:
        variables = [variable for group in self._groups for variable in group.variables]
        structure = structure_of(self._models, variables)
        self._order = column_order(structure, variables)
        store = claim_free(self.run)
        self.run = store.url
        facts = describe_machine()
        self._writer = RunWriter(store, structure, {**facts, "tags": self._tags, "monitor": {"every": 1}})
        return self._writer


def _thinned(rows: list[NDArray[np.float32]], count: int) -> list[NDArray[np.float32]]:
    """As many of the rows, evenly spaced, the last among them."""
    places = np.ceil(np.arange(1, count + 1) * len(rows) / count).astype(int) - 1
    return [rows[place] for place in places]


def _finished(group: _Group, count: int) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """The losses and statistics of the next `count` rows of a group, NaN where it has fewer."""
    width = _HEADER + len(statistics.PARTS) * len(group.variables)
    rows = np.full((count, width), np.nan, np.float32)
    known = np.array(group.rows[:count]).reshape(-1, width)
    rows[: len(known)] = known
    del group.rows[:count]
    sizes = [int(np.prod(variable.shape)) for variable in group.variables]
    scale = np.nan_to_num(rows[:, 1], nan=1.0)
    return rows[:, 0].astype(float), statistics.finish(group.stacks, rows[:, _HEADER:], sizes, scale)
