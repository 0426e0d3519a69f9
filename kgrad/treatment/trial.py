"""`trial`: whether the prescriptions help, shown by training with and without them."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.apply import apply
from kgrad.treatment.batches import Batch, endless, measured
from kgrad.treatment.copying import kept_randomness
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.interval import Interval
from kgrad.treatment.training import Outcome, train_side_by_side
from kgrad.treatment.verdict import judge


@dataclass(frozen=True)
class Pair:
    """Both models from one seed.

    Attributes:
        seed: of the initial weights and of the order of the batches.
        steps: training steps that both took.
        unchanged: what became of the unchanged model.
        changed: what became of the changed one.
    """

    seed: int
    steps: int
    unchanged: Outcome
    changed: Outcome


@dataclass(frozen=True)
class Trial:
    """What a trial showed.

    Attributes:
        tried: the prescriptions, each in a few words.
        pairs: one for each seed that was trained.
        difference: of the final losses, changed minus unchanged, over the seeds; `None` for one seed. A loss that is
            not finite counts as the largest finite loss of the trial.
        verdict: `"proven"`, `"no effect"`, `"harmful"` or `"not enough evidence"`. *No effect* means that these
            seeds show none that is worth a change: the interval holds 0, or the mean is below 1 % of the loss.
        measured_on: the rows that the losses are of, `"validation"` or `"training data"`.
    """

    tried: tuple[str, ...]
    pairs: tuple[Pair, ...]
    difference: Interval | None
    verdict: str
    measured_on: str

    @property
    def summary(self) -> str:
        """The verdict and its numbers on one line."""
        before, after = ([getattr(pair, side) for pair in self.pairs] for side in ("unchanged", "changed"))
        parts = [f"loss {_mean_loss(before)} → {_mean_loss(after)}"]
        if all(outcome.accuracy is not None for outcome in (*before, *after)):
            parts.append(f"accuracy {_mean_accuracy(before)} → {_mean_accuracy(after)}")
        if self.difference is not None:
            gap = self.difference
            bounds = f"{100 * gap.confidence:g} % interval {gap.low:+.3g} … {gap.high:+.3g}"
            counted = " counting what is not finite as the largest loss seen" if self._has_broken else ""
            parts.append(f"difference {gap.mean:+.3g} ({bounds}){counted}")
        taken = sorted({pair.steps for pair in self.pairs})
        steps = f"{taken[0]}" if len(taken) == 1 else f"{taken[0]} to {taken[-1]}"
        seeds = "1 seed" if len(self.pairs) == 1 else f"{len(self.pairs)} seeds"
        return f"{self.verdict}: {'; '.join(parts)}; {seeds}, {steps} steps, on {self.measured_on}"

    @property
    def _has_broken(self) -> bool:
        return not all(math.isfinite(each.loss) for pair in self.pairs for each in (pair.unchanged, pair.changed))

    def to_dict(self) -> dict[str, Any]:
        """The trial as plain JSON types."""
        return {**asdict(self), "summary": self.summary}


def trial(
    model: keras.Model,
    prescriptions: Prescription | Sequence[Prescription],
    x: Any,
    y: Any = None,
    *,
    steps: int = 200,
    seeds: int | Sequence[int] = 3,
    batch_size: int = 32,
    seconds: float | None = None,
    validation: Any = None,
    progress: bool = True,
) -> Trial:
    """Trains the unchanged and the changed model from the same seeds on the same batches, and compares.

    Both models are made anew for each seed; the given one is not touched. With arrays, the same arguments give the
    same trial, unless `seconds` cut it short or the model draws random numbers outside of Keras; a dataset has to
    bring its own fixed order.

    Args:
        model: a built and compiled Sequential or Functional model.
        prescriptions: what to try, all of it together.
        x: inputs: an array, any nesting of arrays, or a `tf.data.Dataset` of batches with targets.
        y: targets; `None` for a dataset.
        steps: training steps for each seed and model.
        seeds: how many seeds, or which.
        batch_size: rows per batch; a dataset has its own.
        seconds: after how long no step is begun any more; each seed gets an even share. A seed whose time is up
            before its first step is left out.
        validation: `(x, y)` or a dataset to measure the losses on; by default up to 1,024 rows of the training data.
        progress: whether to draw a progress bar.

    Raises:
        TreatmentError: the prescriptions cannot be applied, the data do not fit, or there was time for no step.
    """
    chosen = (prescriptions,) if isinstance(prescriptions, Prescription) else tuple(prescriptions)
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if steps < 1 or batch_size < 1 or not numbers or len(set(numbers)) < len(numbers):
        raise TreatmentError("A trial needs at least one step, one row per batch and one seed, all seeds different.")
    fixed = _measured(x, y, validation, batch_size)
    with kept_randomness(), _bar(progress) as bar:
        task = bar.add_task("trial", total=len(numbers) * steps)
        until = math.inf if seconds is None else time.monotonic() + seconds
        pairs = []
        for place, seed in enumerate(numbers):
            share = (until - time.monotonic()) / (len(numbers) - place)
            models = [apply(model, each, seed=seed, x=x) for each in ((), chosen)]
            batches = endless(x, y, batch_size, seed)
            both = train_side_by_side(models, batches, fixed, steps, share, lambda: bar.advance(task))
            pairs.append(Pair(seed, len(both[0].batch_losses), *both))
            bar.update(task, completed=(place + 1) * steps)
    return _concluded(chosen, tuple(pair for pair in pairs if pair.steps), validation is not None)


def _concluded(prescriptions: Sequence[Prescription], pairs: tuple[Pair, ...], validated: bool) -> Trial:
    if not pairs:
        raise TreatmentError("The time was up before the first training step; give the trial more seconds.")
    difference, verdict = judge([(pair.unchanged, pair.changed) for pair in pairs])
    return Trial(
        tuple(f"{each.knob}: {each.before} → {each.after}" for each in prescriptions),
        pairs,
        difference,
        verdict,
        "validation" if validated else "training data",
    )


def _measured(x: Any, y: Any, validation: Any, batch_size: int) -> list[Batch]:
    if validation is None:
        return measured(x, y, batch_size)
    if isinstance(validation, (tuple, list)):
        if len(validation) != 2:
            raise TreatmentError("validation is (x, y) or a dataset.")
        return measured(validation[0], validation[1], batch_size)
    return measured(validation, None, batch_size)


def _mean_loss(outcomes: Sequence[Outcome]) -> str:
    broken = sum(not math.isfinite(outcome.loss) for outcome in outcomes)
    if broken:
        return f"not finite in {broken} of {len(outcomes)}"
    return f"{np.mean([outcome.loss for outcome in outcomes]):.3g}"


def _mean_accuracy(outcomes: Sequence[Outcome]) -> str:
    return f"{100 * np.mean([outcome.accuracy or 0.0 for outcome in outcomes]):.1f} %"


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} steps"))
    return Progress(*columns, TimeRemainingColumn(), transient=True, disable=not progress)
