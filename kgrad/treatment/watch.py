"""One training under watch, and what a treatment keeps of it."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from kgrad import workflow
from kgrad.capture.monitor import GradientMonitor
from kgrad.prescription.prescription import Prescription
from kgrad.treatment.batches import Batch, endless
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.measure import Score
from kgrad.treatment.treatment import Round


@dataclass(frozen=True)
class Data:
    """What is trained on and how.

    Attributes:
        x: inputs or a dataset.
        y: targets.
        validation: `(x, y)`, `(x, y, sample_weight)` or a dataset, `None` for none.
        arguments: the other arguments of `fit`; `callbacks` is a list.
        batch_size: rows per batch, for arrays.
        per_epoch: steps of an epoch.
    """

    x: Any
    y: Any
    validation: Any
    arguments: dict[str, Any]
    batch_size: int
    per_epoch: int

    def batches(self, seed: int) -> Iterator[Batch]:
        """Batches for short trainings, without end, with the weights of rows that `fit` was given."""
        return endless(self.x, self.y, self.batch_size, seed, self.arguments.get("sample_weight"))

    def in_batches(self, size: int, epochs: int | None = None) -> "Data":
        """The same with batches of another size, for so many epochs if they are given."""
        per_epoch = math.ceil(self.per_epoch * self.batch_size / size)
        arguments = {**self.arguments, "batch_size": size, **({} if epochs is None else {"epochs": epochs})}
        return replace(self, arguments=arguments, batch_size=size, per_epoch=per_epoch)

    @property
    def whole(self) -> int:
        """Steps of a whole training."""
        return int(self.arguments.get("epochs", 1)) * self.per_epoch


@dataclass
class State:
    """The treatment in the making.

    Attributes:
        data: what is trained on; other batches may be what heals.
        budget: steps that may be taken in all.
        best: the best model so far.
        score: its score.
        earlier: the scores of the models that were the best before it.
        severe: whether its training had a disease of high severity.
        changes: what makes it of the given model.
        used: steps taken.
        rounds: the story so far.
    """

    data: Data
    budget: int
    best: keras.Model
    score: Score
    earlier: list[Score] = field(default_factory=list)
    severe: bool = False
    changes: list[Prescription] = field(default_factory=list)
    used: int = 0
    rounds: list[Round] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Steps that may still be taken."""
        return self.budget - self.used


def watched(
    model: keras.Model, data: Data, arguments: dict[str, Any], stop_on: str | None, most: int
) -> tuple[workflow.Examination, int, bool]:
    """Trains the model, up to the first disease of that severity at most: the run, its steps, whether it stopped.

    After `most` steps it ends too.
    """
    with tempfile.TemporaryDirectory() as folder:
        monitor = GradientMonitor(Path(folder) / "run", report=False, verbose=0, stop_on=stop_on, strict=True)
        end = _End(most)
        callbacks = [*(arguments.get("callbacks") or ()), monitor, end]
        settings = {"verbose": 0, **arguments, "callbacks": callbacks, "validation_data": data.validation}
        model.fit(data.x, data.y, **settings)
        examination = monitor.examination
    if examination is None:
        raise TreatmentError("The training left no run to examine.")
    return examination, end.taken, monitor.stopped_step > 0


class _End(keras.callbacks.Callback):
    """Ends a training after so many steps, or with the execution that makes them.

    Attributes:
        taken: the steps made.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.taken = 0
        self._steps, self._last = steps, -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Batches are counted anew."""
        self._last = -1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Several steps of one execution are told as the last of them, be it behind the end of the epoch."""
        last = min(batch, ((self.params or {}).get("steps") or math.inf) - 1)
        self.taken, self._last = self.taken + int(last) - self._last, int(last)
        if self.taken >= self._steps:
            self.model.stop_training = True


def round_of(examination: workflow.Examination, steps: int, score: Score, adopted: bool) -> Round:
    """What the treatment tells of one training."""
    findings = [each for each in examination.diagnosis.findings if each.severity != "info"]
    return Round(
        examination.diagnosis.verdict,
        tuple((each.rule, each.severity, each.summary) for each in findings),
        steps,
        score.loss,
        score.accuracy,
        adopted,
        r_squared=score.r_squared,
    )
