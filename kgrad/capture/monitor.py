"""`GradientMonitor`, the callback: state and timing only."""

import datetime
import inspect
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import keras

from kgrad import workflow
from kgrad.capture.attachment import Attachment
from kgrad.capture.describe import describe
from kgrad.capture.engine import refuse_foreign
from kgrad.capture.extras import Extras
from kgrad.capture.live import Live
from kgrad.capture.probing import Probing
from kgrad.capture.progress import Progress
from kgrad.capture.recording import Recording
from kgrad.capture.replicas import is_recording
from kgrad.capture.training_data import batch_size_of_fit, facts_of_fit
from kgrad.errors import CaptureError
from kgrad.log.batch import BatchFacts
from kgrad.log.run_log import RunLog
from kgrad.log.store import claim_free
from kgrad.log.writer import FLUSH_SECONDS, RunWriter

_logger = logging.getLogger("kgrad")

# The norms of all gradients cost 2-5 % of a step. All statistics cost 12-22 %: in small models by the launch of their
# operations, and as much again where the step before had none; in large ones by the bytes they read
# (`benchmarks/overhead.py`). So they are taken in one of 8 steps at first and in one of 32 later.
_DETAILS_EVERY = (8, 32)


class GradientMonitor(keras.callbacks.Callback):
    """Records the true gradients of every training step and writes a report when `fit` ends.

    ```python
    model.fit(x, y, callbacks=[kgrad.GradientMonitor()])
    ```

    The gradients are those that Keras computed for the step, unscaled and before clipping; the
    training itself is not changed. When `fit` ends, however it ends, model and optimizer are left
    as they were.

    A monitor used in several fits continues its run while they train the same variables of the same model; for others
    (another model, layers unfrozen between two fits) it begins a run of its own, `-2` behind the name.

    A copy, deep or shallow or through pickle, is a fresh monitor with the same arguments: engines that make many
    trials of one list of callbacks get a run folder for each.

    Args:
        run: the run folder: a path or any fsspec URL; `runs/<model>-<time>` by default. Where the
            folder is taken, `-2`, `-3`, ... is added.
        every: record one step in so many. The steps between run the user's own compiled function. In the first 512
            steps each is recorded by itself; later up to eight follow each other (with `every=10`, eight of each
            eighty), since the first of them pays for the change of function. With `steps_per_execution=N` whole
            executions are recorded or skipped.
        details_every: take all statistics in one of so many recorded steps, and in the others the gradients' norms
            alone. By default 8 in the first 512 recorded steps and 32 after them.
        report: the HTML report: a path, `True` for `reports/<run>.html`, `False` for none.
        probe: a reference batch on which activations and curvature are taken: `True` for the first training batch
            (at most 256 rows and 16 MB are kept), `(x, y)` or `(x, y, sample_weight)` for one of your own,
            `False` for none. It is run after the first step and whenever the steps have doubled.
        curvature: when the extreme eigenvalues of the Hessian are taken on it: `"stall"` (when the loss stalls;
            a fiftieth of the training time at most, and three seconds at its end), `"never"`, or a number of steps.
        cosine: log the cosine between each recorded gradient and the one before, from which the signal-to-noise
            ratio follows; keeps a copy of the gradients, 4 bytes per parameter.
        histogram_every: log a histogram of the gradients' log2 magnitudes, and the units without gradient, in one
            of so many recorded steps; 320 bytes per variable and logged step until the next read.
        warn: diagnose the run while it trains, at a twentieth of its time at most, and print one line when a disease
            appears.
        stop_on: stop the training when a disease of this severity or worse appears: `"low"`, `"medium"` or
            `"high"`. What may pass by itself must have lasted, over a fifth of the planned steps.
        tensorboard: also write the run for TensorBoard: `True` for a folder beside the run, or a folder.
        mlflow: also log the run to MLflow: `True`, or a tracking URI.
        wandb: also log the run to Weights & Biases: `True`, or a project.
        tags: anything to keep with the run, as a mapping of JSON values.
        verbose: 1 prints the verdict and the paths when `fit` ends, 0 prints nothing.
        strict: raise kgrad's own failures instead of logging them and training on.

    Raises:
        CaptureError: a setting has a value it cannot have.

    Attributes:
        run: the run folder, known once training has begun.
        examination: the run with its diagnosis and prescriptions, known once `fit` has ended.
        stopped_step: the step at which `stop_on` stopped the training, 0 where it did not.
    """

    def __new__(cls, *arguments: Any, **settings: Any) -> Self:
        """Keeps what the monitor is made with: all that a copy takes over."""
        monitor = super().__new__(cls)
        monitor._made_with = arguments, settings
        return monitor

    def __init__(
        self,
        run: str | os.PathLike[str] | None = None,
        *,
        every: int = 1,
        details_every: int | None = None,
        report: bool | str | os.PathLike[str] = True,
        probe: bool | tuple[Any, ...] = True,
        curvature: str | int = "stall",
        cosine: bool = False,
        histogram_every: int | None = None,
        warn: bool = False,
        stop_on: str | None = None,
        tensorboard: bool | str = False,
        mlflow: bool | str = False,
        wandb: bool | str = False,
        tags: Mapping[str, Any] | None = None,
        verbose: int = 1,
        strict: bool = False,
    ) -> None:
        super().__init__()
        if every < 1:
            raise CaptureError(f"every={every!r}: record one step in how many? expected a whole number from 1 on")
        if details_every is not None and details_every < 1:
            raise CaptureError(f"details_every={details_every!r}: expected None or a whole number from 1 on")
        self._every = every
        self._details_every = (details_every, details_every) if details_every else _DETAILS_EVERY
        self._extras = Extras(cosine, histogram_every)
        self._probing = Probing(probe, curvature)
        self._live = Live(stop_on, warn)
        self._targets = workflow.targets_of(tensorboard=tensorboard, mlflow=mlflow, wandb=wandb)
        self.stopped_step = 0
        self.run = os.fspath(run) if run is not None else None
        self.examination: workflow.Examination | None = None
        self._report = report
        self._tags = dict(tags or {})
        self._verbose = verbose
        self._strict = strict
        self._attachment: Attachment | None = None
        self._recording: Recording | None = None
        self._read_by = 0.0
        self._data: BatchFacts | None = None
        self._batch_size: int | None = None
        self._progress = Progress(every, self._details_every)

    __new__.__signature__ = inspect.signature(__init__)  # type: ignore[attr-defined]  # what help() shows

    def __reduce__(self) -> tuple[Any, ...]:
        """What pickle and `copy.copy` make a new monitor of."""
        return _make, (type(self), *self._made_with)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A fresh monitor; the arrays of a reference batch are shared, not copied."""
        return _make(type(self), *self._made_with)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Attaches to the model."""
        self._guarded(self._begin)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Notes where the epoch begins."""
        if self._attachment is not None and self._attachment.is_lost:
            self._guarded(self._begin_again)
        self._progress.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Reads the ring when it is full, and where steps are long in time; every other step costs a comparison."""
        if self._attachment is None:
            return
        if self._attachment.tap.failure is not None:
            self._guarded(self._fail)
            return
        self._progress.end_batches(batch, self._attachment.tap.recording)
        if self._progress.steps >= self._probing.due:
            self._guarded(self._probe)  # reads the ring too
        elif self._progress.waiting >= self._attachment.tap.rows or time.monotonic() > self._read_by:
            self._guarded(self._read)
        if self._live.is_due(self._progress.steps):
            self._guarded(self._look)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Takes the epoch's logs."""
        if self._attachment is not None:
            self._guarded(self._take_epoch, epoch, dict(logs or {}))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Detaches, closes the run, writes the report."""
        self._guarded(self._end, "finished", None)

    @property
    def log(self) -> RunLog:
        """The run as it stands, read from its folder.

        Raises:
            RunNotFoundError: training has not begun.
        """
        return workflow.read_run(self.run or "")

    def report(self) -> workflow.Examination:
        """The run as it stands, diagnosed: as the last line of a notebook's cell it shows the report.

        Raises:
            RunNotFoundError: training has not begun.
        """
        if self._writer is not None and self._attachment is not None:
            self._guarded(self._read)
            self._writer.flush()
        return self.examination or workflow.examine(self.run or "")

    def _begin(self) -> None:
        if self._attachment is not None:  # an earlier fit died where nobody told us
            self._attachment.bury()
        refuse_foreign(self.model)
        if not is_recording(self.model.distribute_strategy):
            return
        if self._recording is not None and not self._recording.is_of(self.model):
            self._leave_run()
        attachment = Attachment(self.model, lambda: self._progress.plan(), self._died, self._extras)
        if self._writer is None:
            self._data, self._batch_size = facts_of_fit(), batch_size_of_fit()
        self._begin_probing(attachment)
        try:
            attachment.attach()
        except Exception:
            self._probing.end()
            raise
        self._progress.begin_fit(attachment.tap.batches_per_step, int(self.model.steps_per_execution))
        self._attachment = attachment
        if self._writer is not None:
            self._writer.reopen()

    def _begin_probing(self, attachment: Attachment) -> None:
        """Of arrays all targets are known; of anything else those of the detailed steps are kept."""
        self._probing.begin(
            self.model, lambda: attachment.tap.recording, lambda: attachment.tap.detailed and self._data is None
        )

    def _begin_again(self) -> None:
        """The model was compiled anew between two epochs: the rest of the old tap is read, a new one put in."""
        attachment = self._attachment
        assert attachment is not None
        self._read()
        if self._recording is not None and not self._recording.is_of(self.model):
            self._recording.writer.close("finished")
            self._conclude(self._recording.writer)
            self._probing.end()
            self._leave_run()
            self._begin_probing(attachment)
        attachment.attach_again()
        self._progress.begin_fit(attachment.tap.batches_per_step, int(self.model.steps_per_execution))
        if self._writer is not None:
            self._writer.add_event("the model was compiled anew", self._progress.steps)

    def _leave_run(self) -> None:
        """A run is of one model and one set of variables: what comes now goes to a run of its own."""
        fresh = _make(type(self), *self._made_with)
        self.run, self._probing, self._live = fresh.run, fresh._probing, fresh._live
        self._progress = Progress(self._every, self._details_every)
        self._recording = self.examination = None

    def _died(self, error: BaseException | None) -> None:
        """An exception ended the fit; called before it goes on to the user."""
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        said = f"{type(error).__name__}: {error}" if error else "an exception outside the training step ended the fit"
        self._guarded(self._end, status, said)

    def _fail(self) -> None:
        """Raises what went wrong in kgrad's part of the step."""
        if self._attachment is not None and self._attachment.tap.failure is not None:
            raise self._attachment.tap.failure

    def _read(self, ended: bool = False) -> None:
        assert self._attachment is not None
        self._read_by = time.monotonic() + FLUSH_SECONDS
        block = self._attachment.tap.read()
        if block is None:
            return
        batches, rows = self._progress.waiting, len(block.series["loss"])
        if not ended and rows >= 2 * batches > 0:
            raise CaptureError(
                f"the training step applied its optimizer {rows} times in {batches} batches, and kgrad counts one step "
                "a batch; record the step with kgrad.GradientRecorder"
            )
        recording = self._recording or self._open()
        recording.add(block, *self._progress.take(rows), self._attachment.tap.sees_loss)
        self._probing.watch(block.series["loss"], self._progress.steps, recording.writer)

    def _probe(self) -> None:
        """Runs the reference batch; what was recorded so far goes to the folder first."""
        self._read()
        if self._writer is not None:
            self._probing.take(self._progress.steps, self._writer)

    def _look(self) -> None:
        """Diagnoses the run so far; says what is new, and stops the training where that was asked for."""
        self._read()
        if self._writer is None:
            return
        self._writer.flush()
        params = self.params or {}
        batches = (params.get("epochs") or 0) * (params.get("steps") or 0)
        planned = batches // self._attachment.tap.batches_per_step if batches and self._attachment else None
        for sight in self._live.look(self._writer.store, self._progress.steps, planned):
            said = (
                f"step {self._progress.steps}: {sight.finding.rule} ({sight.finding.severity}): {sight.finding.summary}"
            )
            self._writer.add_event(said, self._progress.steps)
            print(f"\nkgrad: {said}")
            if sight.stop and not self.stopped_step:
                self.stopped_step = self._progress.steps
                self.model.stop_training = True
                self._writer.add_event(f"stopped on {sight.finding.rule}", self._progress.steps)
                print("kgrad: training is stopped here")

    def _take_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        if self._recording is None:
            self._read()
        if self._recording is not None:
            self._recording.add_epoch(epoch, self._progress.steps - 1, logs)

    def _open(self) -> Recording:
        assert self._attachment is not None
        facts = {**describe(self.model, self.params or {}), "tags": self._tags, "monitor": self._settings()}
        if self._data is not None:
            facts["data"] = self._data.to_dict()
        if self._batch_size is not None:
            facts["fit"]["batch_size"] = self._batch_size
        variables = self._attachment.tap.variables or []
        self._recording = Recording(
            self.model, variables, lambda: claim_free(self.run or _default_run(self.model)), facts
        )
        self.run = self._recording.writer.store.url
        return self._recording

    @property
    def _writer(self) -> RunWriter | None:
        return self._recording.writer if self._recording else None

    def _settings(self) -> dict[str, Any]:
        return {"every": self._every, "cosine": self._extras.cosine, "histogram_every": self._extras.histogram_every}

    def _end(self, status: str, error: str | None) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is None:
            return
        try:
            self._attachment = attachment
            self._read(ended=status != "finished")
            if status == "finished" and self._writer is not None:
                self._probing.finish(self._progress.steps, self._writer)
        finally:
            self._attachment = None
            attachment.detach()
            self._probing.end()
        if self._writer is None:
            _logger.warning("kgrad saw no gradient: %s", self._reason_for_none())
            return
        self._writer.close(status, error)
        self._conclude(self._writer)

    def _reason_for_none(self) -> str:
        if not self._progress.steps:
            return "no step was made"
        if not self.model.trainable_variables:
            return "the model has no trainable weights"
        return (
            "the training step did not use model.optimizer; "
            "record a loop with optimizers of its own with kgrad.GradientRecorder"
        )

    def _conclude(self, writer: RunWriter) -> None:
        self.examination = workflow.examine(workflow.read_run(writer.store))
        writer.write_diagnosis(self.examination.to_dict())
        place = None
        if self._report:
            place = Path(f"reports/{writer.store.name}.html" if self._report is True else self._report)
            workflow.write_report(self.examination, place)
        for line in workflow.export_when_done(self.examination, self._targets):
            if self._verbose:
                print(f"kgrad: {line}")
        if self._verbose:
            print(f"\nkgrad: {self.examination.diagnosis.verdict}")
            print(f"kgrad: run {writer.store.url}" + (f" · report {place}" if place else ""))

    def _guarded(self, action: Callable[..., None], *arguments: Any) -> None:
        """Runs kgrad's own work so that its failure never stops the training."""
        try:
            action(*arguments)
        except Exception as error:
            attachment, self._attachment = self._attachment, None
            if attachment is not None:
                attachment.detach()
            self._probing.end()
            said = f"kgrad stopped recording ({type(error).__name__}: {error})"
            if self._writer is not None:
                self._writer.abandon(said)
            if self._strict:
                raise
            _logger.exception("%s; the training goes on", said)


def _make(kind: type[GradientMonitor], arguments: tuple[Any, ...], settings: Mapping[str, Any]) -> GradientMonitor:
    return kind(*arguments, **settings)


def _default_run(model: keras.Model) -> str:
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"runs/{model.name}-{moment}"
