"""`trial`: whether the prescriptions help, shown by training with and without them."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import keras
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kgrad.prescription.prescription import Prescription
from kgrad.treatment.apply import apply
from kgrad.treatment.arguments import check_data, check_model, chosen_of, seeds_of, whole_number
from kgrad.treatment.batches import endless, measured, some_validation
from kgrad.treatment.copying import kept_randomness
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.interval import Interval, paired_interval
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
        accuracy_difference: of the final accuracies, changed minus unchanged; `None` for one seed, and for no classes.
    """

    tried: tuple[str, ...]
    pairs: tuple[Pair, ...]
    difference: Interval | None
    verdict: str
    measured_on: str
    accuracy_difference: Interval | None = None

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
        parts.append(f"gradient of the first layer over the last one's {_depth_ratio(before)} → {_depth_ratio(after)}")
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
        seconds: after how long no step is begun any more; each seed gets an even share. A seed whose time is up before
            its first step is left out. Building and measuring the models is not counted.
        validation: `(x, y)` or `(x, y, sample_weight)`, of which up to 1,024 rows, evenly spaced, are measured on, or a
            dataset, which is in whole; by default rows of the training data.
        progress: whether to draw a progress bar.

    Raises:
        TreatmentError: the prescriptions cannot be applied, the data do not fit, or there was time for no step.
    """
    check_model(model)
    chosen, numbers = chosen_of(prescriptions), seeds_of(seeds)
    check_data(model, x, y)
    steps, batch_size = whole_number("steps", steps), whole_number("batch_size", batch_size)
    if seconds is not None and not (isinstance(seconds, Real) and seconds > 0):
        raise TreatmentError(f"seconds={seconds!r}: expected more than 0, or None for no bound.")
    fixed = measured(x, y, batch_size) if validation is None else some_validation(validation, batch_size)
    with kept_randomness(), _bar(progress) as bar:
        task = bar.add_task("trial", total=len(numbers) * steps)
        until = math.inf if seconds is None else time.monotonic() + seconds
        pairs = []
        for place, seed in enumerate(numbers):
            share = (until - time.monotonic()) / (len(numbers) - place)
            changed, unchanged = (apply(model, each, seed=seed, x=x) for each in (chosen, ()))
            batches = endless(x, y, batch_size, seed)
            both = train_side_by_side((unchanged, changed), batches, fixed, steps, share, lambda: bar.advance(task))
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
        _accuracy_interval(pairs),
    )


def _accuracy_interval(pairs: Sequence[Pair]) -> Interval | None:
    known = [(pair.unchanged.accuracy, pair.changed.accuracy) for pair in pairs]
    gaps = [after - before for before, after in known if before is not None and after is not None]
    return paired_interval(gaps) if len(gaps) == len(known) else None


def _mean_loss(outcomes: Sequence[Outcome]) -> str:
    broken = sum(not math.isfinite(outcome.loss) for outcome in outcomes)
    if broken:
        return f"not finite in {broken} of {len(outcomes)}"
    return f"{np.mean([outcome.loss for outcome in outcomes]):.3g}"


def _mean_accuracy(outcomes: Sequence[Outcome]) -> str:
    return f"{100 * np.mean([outcome.accuracy or 0.0 for outcome in outcomes]):.1f} %"


def _depth_ratio(outcomes: Sequence[Outcome]) -> str:
    """The middle one of the seeds."""
    return f"{np.median([outcome.health.depth_ratio for outcome in outcomes]):.2g}"


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} steps"))
    return Progress(*columns, TimeRemainingColumn(), transient=True, disable=not progress)
