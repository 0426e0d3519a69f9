"""When the reference batch is run: what is taken on it, how often, and how much that may cost."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kgrad.capture.first_batch import FirstBatch
from kgrad.capture.hessian import CurvatureUnavailable
from kgrad.capture.probe import Probe
from kgrad.capture.stall import is_stalled
from kgrad.capture.topology import layer_names
from kgrad.errors import CaptureError
from kgrad.log import schema
from kgrad.log.batch import SAMPLE, BatchFacts
from kgrad.log.writer import RunWriter

# Curvature taken because the loss stalls may cost this much: a fiftieth of the time spent training; and, when
# the training is over, a few seconds more, which a person does not mind once in a run that stands still.
_SHARE = 0.02
_SECONDS_AT_END = 3.0
# Before it is known: a Lanczos run of 20 steps costs about this many training steps, and its graphs about so
# many times the tracing of a forward pass (`benchmarks/overhead.py` measures both).
_STEPS_OF_CURVATURE = 45
_TRACES_OF_CURVATURE = 6


class Probing:
    """The reference batch of one run, and its schedule.

    Activations are taken after the first step and each time the number of steps has doubled from 8 on; the
    curvature when the loss stalls, at most once in each doubling of the steps, or every so many steps.

    Args:
        probe: `True` for the first training batch, `False` for none, or `(x, y)` or `(x, y, sample_weight)`.
        curvature: `"stall"`, `"never"`, or a number of steps.

    Raises:
        CaptureError: one of the two is none of these.

    Attributes:
        due: the number of steps at which `take` has something to do.
    """

    def __init__(self, probe: bool | Sequence[Any], curvature: str | int) -> None:
        if not isinstance(probe, bool) and not (isinstance(probe, list | tuple) and len(probe) in (2, 3)):
            raise CaptureError(f"probe={type(probe).__name__}: expected True, False, (x, y) or (x, y, sample_weight)")
        is_number = isinstance(curvature, int) and not isinstance(curvature, bool) and curvature >= 1
        if curvature not in ("stall", "never") and not is_number:
            raise CaptureError(f'curvature={curvature!r}: expected "stall", "never" or a number of steps from 1 on')
        self.due = 1.0 if probe else float("inf")
        self._given = None if isinstance(probe, bool) else tuple(probe)
        self._curvature = curvature
        self._due_curvature = float(curvature) if is_number else float("inf")
        self._first_batch: FirstBatch | None = None
        self._probe: Probe | None = None
        self._losses: list[NDArray[np.float64]] = []
        self._stalled_at = 0
        self._taken_at = 0
        self._began = time.monotonic()
        self._spent = 0.0
        self._tracing = 0.0
        self._model: keras.Model | None = None
        self._facts: BatchFacts | None = None

    def begin(
        self, model: keras.Model, recording: Callable[[], bool], keeps_targets: Callable[[], bool] = lambda: False
    ) -> None:
        """A fit begins, and its step is about to be traced.

        Args:
            model: the compiled model.
            recording: whether the step being traced is recorded.
            keeps_targets: whether its targets are to be kept too, to know more of them than the first batch tells.
        """
        self._model = model
        self._began, self._spent = time.monotonic(), 0.0
        on_one = model.distribute_strategy.num_replicas_in_sync == 1
        if self._given is None and self._probe is None and np.isfinite(self.due) and on_one:
            self._first_batch = FirstBatch(model, recording, keeps_targets)

    def end(self) -> None:
        """The fit has ended: leaves the model as it was; harmless when called twice."""
        if self._first_batch is not None:
            self._first_batch.remove()
        self._first_batch = None

    def take(self, steps: int, writer: RunWriter) -> None:
        """Runs the batch where that is due.

        Args:
            steps: steps made so far.
            writer: takes what is found.
        """
        if steps < self.due:
            return
        self._guarded(writer, steps, self._activations)
        if steps >= self._due_curvature:
            assert isinstance(self._curvature, int)
            self._due_curvature = (steps // self._curvature + 1) * self._curvature
            self._guarded(writer, steps, self._take_curvature)
        doubled = 8 if steps < 8 else 2 ** (steps.bit_length())
        self.due = min(doubled, self._due_curvature) if np.isfinite(self.due) else self.due

    def watch(self, losses: NDArray[np.float64], steps: int, writer: RunWriter) -> None:
        """Takes the losses of the steps just read, and the curvature where they stall.

        Args:
            losses: shape `(new,)`.
            steps: steps made so far.
            writer: takes what is found.
        """
        if self._curvature != "stall" or not np.isfinite(self.due):
            return
        self._losses.append(losses)
        if steps >= 2 * self._stalled_at and is_stalled(np.concatenate(self._losses)) and self._can_pay(steps, 0.0):
            self._stalled_at = steps
            self._guarded(writer, steps, self._take_curvature)

    def finish(self, steps: int, writer: RunWriter) -> None:
        """The training has ended well: the last look."""
        if not np.isfinite(self.due) or steps < 1:
            return
        self._guarded(writer, steps, self._activations)
        losses = np.concatenate(self._losses) if self._losses else np.zeros(0)
        stands = len(losses) > 0 and (is_stalled(losses) or not _has_learned(losses))
        if (
            self._curvature == "stall"
            and stands
            and steps > 1.25 * self._stalled_at
            and self._can_pay(steps, _SECONDS_AT_END)
        ):
            self._guarded(writer, steps, self._take_curvature)

    def _can_pay(self, steps: int, free: float) -> bool:
        elapsed = time.monotonic() - self._began
        step = max(elapsed - self._spent, 0.0) / max(steps, 1)
        expected = _STEPS_OF_CURVATURE * step + _TRACES_OF_CURVATURE * self._tracing
        return self._spent + expected < free + _SHARE * elapsed

    def _guarded(self, writer: RunWriter, steps: int, work: Callable[[Probe, int, RunWriter], None]) -> None:
        """What the model's own code cannot do is said once in `run.json`, and not tried again."""
        if not np.isfinite(self.due):
            return
        start = time.monotonic()
        try:
            probe = self._probe or self._open(writer)
            if probe is not None:
                work(probe, steps, writer)
        except CurvatureUnavailable as reason:
            self._curvature, self._due_curvature = "never", float("inf")
            writer.add_event(f"no curvature: {reason}", steps)
        except CaptureError as reason:
            self.due = float("inf")
            writer.add_event(f"no probe: {reason}", steps)
        self._spent += time.monotonic() - start

    def _open(self, writer: RunWriter) -> Probe | None:
        assert self._model is not None
        batch, source = self._given, "given"
        if self._model.distribute_strategy.num_replicas_in_sync > 1:
            raise CaptureError("the reference batch is not run on several replicas")
        if batch is None and self._first_batch is not None:
            if self._first_batch.failure:
                raise CaptureError(f"{self._first_batch.failure}; give GradientMonitor(probe=(x, y))")
            batch, source = self._first_batch.take(), "first training batch"
        if batch is None:
            return None
        self._probe = Probe(self._model, *batch, layer_names=layer_names(self._model))
        x, y, weights = (*batch, None, None)[:3]
        self._facts = BatchFacts.of(source, _arrays(x), _arrays(y), _arrays(weights))
        writer.add_facts(batch=self._facts.to_dict())
        return self._probe

    def _activations(self, probe: Probe, steps: int, writer: RunWriter) -> None:
        if steps == self._taken_at:
            return
        self._taken_at = steps
        self._describe_targets(writer)
        start = time.monotonic()
        rows = probe.activation_statistics()
        self._tracing = self._tracing or time.monotonic() - start
        names = [column.name for column in schema.ACTIVATION_COLUMNS if column.name != "step"]
        dicts = [asdict(row) for row in rows]
        writer.add_rows(
            schema.ACTIVATIONS, {"step": [steps] * len(rows)} | {name: [row[name] for row in dicts] for name in names}
        )

    def _describe_targets(self, writer: RunWriter) -> None:
        """The facts of the targets of several batches, where those of all rows are not known."""
        seen = self._first_batch.targets.read() if self._first_batch is not None else None
        if seen is not None and self._facts is not None:
            targets, is_weighted = seen
            writer.add_facts(data=self._facts.with_targets(SAMPLE, _arrays(targets), is_weighted).to_dict())

    def _take_curvature(self, probe: Probe, steps: int, writer: RunWriter) -> None:
        found = probe.curvature()
        norms = [norm or 0.0 for norm in probe.gradient_profile(training=False).values()]
        row = {
            "step": steps,
            "smallest": found.smallest,
            "smallest_error": found.smallest_error,
            "largest": found.largest,
            "largest_error": found.largest_error,
            "gradient_norm": float(np.sqrt(np.sum(np.square(norms)))),
            "products": found.products,
        }
        writer.add_rows(schema.CURVATURE, {name: [value] for name, value in row.items()})


def _has_learned(losses: NDArray[np.float64]) -> bool:
    """Whether the end of the run lies well under its start."""
    return bool(np.median(losses[-5:]) <= 0.7 * np.median(losses[:3]))


def _arrays(nested: Any) -> Mapping[str, Any]:
    """The tensors of an input or target by name; `""` where there is only one."""
    if nested is None:
        return {}
    if isinstance(nested, Mapping):
        return {str(name): np.asarray(leaf) for name, leaf in nested.items() if leaf is not None}
    leaves = [leaf for leaf in keras.tree.flatten(nested) if leaf is not None]
    return {"" if len(leaves) == 1 else str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)}
