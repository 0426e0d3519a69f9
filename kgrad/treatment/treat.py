"""`treat`: trains under watch, heals and trains on."""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn

from kgrad import workflow
from kgrad.capture.monitor import GradientMonitor
from kgrad.diagnosis.finding import at_least
from kgrad.prescription.prescription import Prescription
from kgrad.treatment.apply import apply
from kgrad.treatment.attempts import NO_CHANGE, Change, attempt, changes_of, words
from kgrad.treatment.batches import endless, measured
from kgrad.treatment.copying import kept_randomness
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.measure import Measure, Score, badness, same_loss
from kgrad.treatment.treatment import Attempt, Round, Treatment

# A whole plain training has room this many times in the default budget: under watch, in trials, and once healed.
_TRAININGS = 10
# Trials take this share of a plain training, each model and seed.
_TRIAL_SHARE = 0.15
_MOST_CHANGES = 6
_MOST_ROUNDS = 5


@dataclass
class _State:
    """The treatment in the making."""

    budget: int
    best: keras.Model
    score: Score
    changes: list[Prescription] = field(default_factory=list)
    used: int = 0
    rounds: list[Round] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.budget - self.used


def treat(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    budget: int | None = None,
    seed: int = 0,
    progress: bool = True,
    **fit_arguments: Any,
) -> tuple[keras.Model, Treatment]:
    """Trains a model under watch, changes what makes it sick, and trains on until it is healthy.

    A training is stopped at the first disease of high severity. The prescriptions for it are then tried in short
    trainings from common starts, and the best proven one is kept for the next whole training. Where short trainings
    prove none, the first that did no harm is taken for a whole one. A change stays only where the whole training
    ends better than the best model so far.

    Args:
        model: a built and compiled Sequential or Functional model with one output; it is not touched.
        x: inputs as `fit` takes them: an array, any nesting of arrays, or a `tf.data.Dataset` of known length.
        y: targets; `None` for a dataset.
        budget: training steps of all models together; by default ten times those of the plain training.
        seed: of initial weights and of the batches of trials.
        progress: whether to draw a progress bar.
        fit_arguments: for `fit`: `epochs`, `batch_size`, `validation_data`, ...

    Returns:
        The healed model, or the given one's copy where nothing was better, and the `Treatment`. On the validation
        data, or up to 1,024 rows of the training data where there are none, it is not worse than the given model.

    Raises:
        TreatmentError: the model is a subclassed one, not compiled, has several outputs, or the data do not fit.
    """
    x, y, validation, arguments = _separated(x, y, fit_arguments)
    batch_size = int(arguments.get("batch_size") or 32)
    given = apply(model, (), seed=seed, keep_weights=True)
    if len(model.outputs) != 1:
        raise TreatmentError(f"{model.name!r} has {len(model.outputs)} outputs; treat compares models with one.")
    rows = measured(*((x, y) if validation is None else _pair(validation)), batch_size)
    measure = Measure(given, rows)
    whole = int(arguments.get("epochs", 1)) * _steps_per_epoch(x, y, batch_size, arguments)
    state = _State(_TRAININGS * whole if budget is None else budget, given, measure.of(given))
    first = state.score
    healthy, cut = False, False
    with _bar(progress, state) as bar:
        patient, change = apply(model, (), seed=seed, keep_weights=True), NO_CHANGE
        tried: set[tuple[str, ...]] = set()
        while len(state.rounds) < _MOST_ROUNDS and (state.left >= whole or not state.rounds):
            examination, steps, stopped = _watched(patient, x, y, validation, arguments, "high")
            state.used += steps
            bar()
            score = measure.of(patient)
            adopted = _adopt(state, patient, score, change, model)
            this = _round(examination, steps, score, adopted)
            if adopted or not state.rounds:
                base, offered, tried, cut = patient, examination.prescriptions, set(), stopped
                healthy = not any(at_least(each.severity, "medium") for each in examination.diagnosis.findings)
            if not healthy:
                patient, change, this = _next(
                    base, offered, tried, this, state, (x, y), measure, whole, batch_size, seed
                )
            state.rounds.append(this)
            bar()
            if healthy or not change:
                break
        if cut and state.left >= whole:  # no cure was found: what was stopped early gets its whole training
            patient = apply(state.best, (), seed=seed, keep_weights=True)
            examination, steps, _ = _watched(patient, x, y, validation, arguments, None)
            state.used += steps
            score = measure.of(patient)
            adopted = _adopt(state, patient, score, (), model)
            state.rounds.append(replace(_round(examination, steps, score, adopted), reason="Trained on to the end."))
    return state.best, _story(state, first, healthy, validation is not None)


def _next(
    base: keras.Model,
    offered: Sequence[Prescription],
    tried: set[tuple[str, ...]],
    this: Round,
    state: _State,
    data: tuple[Any, Any],
    measure: Measure,
    whole: int,
    batch_size: int,
    seed: int,
) -> tuple[keras.Model, Change, Round]:
    """The model of the next round and the change in it; no change where nothing is left to try."""
    longer = next((each for each in offered[:1] if each.knob == "epochs" and words((each,)) not in tried), None)
    if longer is not None:
        tried.add(words((longer,)))
        again = apply(base, (), seed=seed, keep_weights=True)
        return again, (longer,), replace(this, kept=words((longer,)), reason="It was learning still: trained on.")
    changes = [each for each in changes_of(offered, _MOST_CHANGES) if words(each) not in tried]
    share = max(1, round(_TRIAL_SHARE * whole))
    # The trials take at most what leaves room for a whole training afterwards.
    steps = min(share, (state.left - whole) // (len(changes) + 7)) if changes else 0
    if steps < 1:
        return base, (), replace(this, reason="Nothing is left to try." if not changes else "The budget is spent.")
    before = state.used

    def advance(taken: int) -> None:
        state.used += taken

    attempts = attempt(base, changes, data, measure, steps, batch_size, seed, advance)
    place, reason = _chosen(attempts)
    this = replace(this, attempts=tuple(attempts), trial_steps=state.used - before, reason=reason)
    tried |= {words(each) for each, result in zip(changes, attempts, strict=True) if result.verdict == "not applied"}
    if place is None:
        return base, (), this
    tried.add(words(changes[place]))
    healed = apply(base, changes[place], seed=seed, x=data[0])
    return healed, changes[place], replace(this, kept=words(changes[place]))


def _chosen(attempts: Sequence[Attempt]) -> tuple[int | None, str]:
    """Which attempt goes on to a whole training, and why."""

    def ratio(each: Attempt) -> float:
        return float(np.mean(each.changed)) / max(float(np.mean(each.unchanged)), 1e-30)

    proven = [place for place, each in enumerate(attempts) if each.verdict == "proven"]
    if proven:
        return min(proven, key=lambda place: ratio(attempts[place])), "The best of those that short trainings prove."
    for place, each in enumerate(attempts):
        if each.verdict in ("no effect", "behind") and all(math.isfinite(value) for value in each.changed):
            return place, "Short trainings prove none; the first that does no harm is tried in a whole one."
    return None, "None of the prescriptions could be applied without harm."


def _adopt(state: _State, patient: keras.Model, score: Score, change: Change, given: keras.Model) -> bool:
    """Makes the model the best one where it is better, or as good for the first."""
    same = same_loss(given, patient) and same_loss(given, state.best)
    new, old = badness(score, same), badness(state.score, same)
    if new is None or old is None or not (new < old or (not state.rounds and new <= old)):
        return False
    state.best, state.score = patient, score
    state.changes += change
    return True


def _watched(
    model: keras.Model, x: Any, y: Any, validation: Any, arguments: dict[str, Any], stop_on: str | None
) -> tuple[workflow.Examination, int, bool]:
    """Trains the model, up to the first disease of that severity at most: the run, its steps, whether it stopped."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = GradientMonitor(Path(folder) / "run", report=False, verbose=0, stop_on=stop_on, strict=True)
        callbacks = [*(arguments.get("callbacks") or ()), monitor]
        settings = {"verbose": 0, **arguments, "callbacks": callbacks, "validation_data": validation}
        before = int(model.optimizer.iterations)
        model.fit(x, y, **settings)
        examination = monitor.examination
    if examination is None:
        raise TreatmentError("The training left no run to examine.")
    return examination, int(model.optimizer.iterations) - before, monitor.stopped_step > 0


def _round(examination: workflow.Examination, steps: int, score: Score, adopted: bool) -> Round:
    findings = [each for each in examination.diagnosis.findings if each.severity != "info"]
    return Round(
        examination.diagnosis.verdict,
        tuple((each.rule, each.severity, each.summary) for each in findings),
        steps,
        score.loss,
        score.accuracy,
        adopted,
    )


def _story(state: _State, first: Score, healthy: bool, validated: bool) -> Treatment:
    return Treatment(
        tuple(state.rounds),
        "healthy" if healthy else "better" if state.changes else "unchanged",
        first.loss,
        first.accuracy,
        state.score.loss,
        state.score.accuracy,
        "validation data" if validated else "training data",
        state.used,
        state.budget,
        tuple(dict.fromkeys(words(tuple(state.changes)))),
        "\n".join(dict.fromkeys(each.code for each in state.changes)),
    )


def _separated(x: Any, y: Any, arguments: dict[str, Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
    """The data, what to validate on, and the other arguments of `fit`; a `validation_split` is made here."""
    rest = dict(arguments)
    validation, share = rest.pop("validation_data", None), float(rest.pop("validation_split", 0.0) or 0.0)
    if validation is None and share > 0:
        total = len(keras.tree.flatten(x)[0])
        cut = math.floor(total * (1 - share))  # as Keras cuts: the last rows
        parts = [keras.tree.map_structure(lambda leaf, p=part: leaf[p], (x, y)) for part in _cut(cut)]
        (x, y), validation = parts[0], parts[1]
    return x, y, validation, rest


def _cut(place: int) -> tuple[slice, slice]:
    return slice(None, place), slice(place, None)


def _pair(validation: Any) -> tuple[Any, Any]:
    if isinstance(validation, (tuple, list)):
        return validation[0], validation[1]
    return validation, None


def _steps_per_epoch(x: Any, y: Any, batch_size: int, arguments: dict[str, Any]) -> int:
    if arguments.get("steps_per_epoch"):
        return int(arguments["steps_per_epoch"])
    if hasattr(x, "cardinality"):
        known = int(x.cardinality())
        if known <= 0:
            raise TreatmentError("The dataset does not know its length; give steps_per_epoch.")
        return known
    next(endless(x, y, batch_size, 0))  # says what is wrong with the rows, if anything is
    return math.ceil(len(keras.tree.flatten(x)[0]) / batch_size)


@contextlib.contextmanager
def _bar(progress: bool, state: _State) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
    )
    with kept_randomness(), Progress(*columns, transient=True, disable=not progress) as bar:
        task = bar.add_task("treatment", total=state.budget)
        yield lambda: bar.update(task, completed=state.used)
