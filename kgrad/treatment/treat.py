"""`treat`: trains under watch, heals and trains on."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
from rich.progress import BarColumn, Progress, TextColumn

from kgrad.prescription.epochs import ENOUGH_UPDATES
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.together import joined
from kgrad.treatment.apply import apply
from kgrad.treatment.arguments import check_data, check_model, fitting_data, whole_number
from kgrad.treatment.attempts import words
from kgrad.treatment.copying import kept_randomness
from kgrad.treatment.course import Course
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.given_data import given_data, measured_on
from kgrad.treatment.measure import Measure, Score
from kgrad.treatment.treatment import Treatment
from kgrad.treatment.watch import State

# A whole plain training has room this many times in the default budget: under watch, in trials, and once healed.
_TRAININGS = 10
# A plain training of a few steps may be sick of just that: the default budget is never smaller.
_LEAST_STEPS = 5 * ENOUGH_UPDATES


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
    trainings from common starts, alone and together, and the most promising goes on to a whole training; where it
    does not end better than the best model so far, the next one does. Where none of them helps, changes of several
    knobs at once that suit most networks are tried in the same way; so they are where nothing is found and the
    training came to rest with much left to learn (then only what short trainings prove is trained whole). A healed
    model that has not learned nearly all competes with up to two more of the promising changes. A change stays only
    where the whole training ends better. Ctrl-C ends it with the best model so far, once a training has ended.

    Args:
        model: a built and compiled Sequential or Functional model with one output; it is not touched.
        x: inputs as `fit` takes them: an array, any nesting of arrays, or a `tf.data.Dataset` of known length.
        y: targets; `None` for a dataset.
        budget: training steps of all models together, the first training included; by default ten times those of the
            plain training, and 3,000 at least. An execution of several steps is not cut.
        seed: of initial weights and of the batches of trials.
        progress: whether to draw a progress bar.
        fit_arguments: for `fit`: `epochs`, `batch_size`, `validation_data`, ...

    Returns:
        The healed model, or the given one's copy where nothing was better, and the `Treatment`. On the
        validation data, or up to 1,024 rows of the training data where there are none, it is not worse than the
        given model: accuracy decides where it differs by more than the noise of these rows, the loss otherwise
        (that of `evaluate`, without penalties); where the loss itself is changed, accuracy or R² alone, and
        between two models of one other loss that one.

    Raises:
        TreatmentError: the model is a subclassed one, not compiled, has several outputs, the data do not fit, or an
            argument cannot be.
    """
    check_model(model)
    check_data(model, x, y)
    steps = None if budget is None else whole_number("budget", budget)
    given = apply(model, (), seed=whole_number("seed", seed, 0), keep_weights=True)
    if len(model.outputs) != 1:
        raise TreatmentError(f"{model.name!r} has {len(model.outputs)} outputs; treat compares models with one.")
    data = given_data(x, y, fit_arguments)
    measure = Measure(given, measured_on(data))
    with fitting_data(model):
        first = measure.of(given)
    state = State(data, steps or max(_TRAININGS * data.whole, _LEAST_STEPS), given, first)
    with _bar(progress, state) as bar:
        healthy = _run(Course(model, measure, state, seed, bar), state)
    return state.best, _story(state, first, healthy, data.validation is not None)


def _run(course: Course, state: State) -> bool:
    """Whether the best model is healthy; what was interrupted has a best one too."""
    try:
        return course.run()
    except KeyboardInterrupt:
        if not state.rounds:
            raise
    said = " ".join(filter(None, (state.rounds[-1].reason, "Interrupted: the best model so far is returned.")))
    state.rounds[-1] = replace(state.rounds[-1], reason=said)
    kept = [each for each in state.rounds if each.adopted][-1:]
    return all(severity == "low" for each in kept for _, severity, _ in each.findings)


def _story(state: State, first: Score, healthy: bool, validated: bool) -> Treatment:
    return Treatment(
        tuple(state.rounds),
        _outcome(state, healthy),
        first.loss,
        first.accuracy,
        state.score.loss,
        state.score.accuracy,
        "validation data" if validated else "training data",
        state.used,
        state.budget,
        tuple(dict.fromkeys(words(tuple(state.changes)))),
        _code(state.changes),
        first.r_squared,
        state.score.r_squared,
    )


def _outcome(state: State, healthy: bool) -> str:
    if not any(each.adopted for each in state.rounds):
        return "as given"
    return "healthy" if healthy else "better" if state.changes else "unchanged"


def _code(changes: list[Prescription]) -> str:
    """Of several changes the last line of each layer, which has what came before in it."""
    different = list({each.code: each for each in changes}.values())
    code = joined(different, "").code if len(different) > 1 else "".join(each.code for each in different)
    kept: list[str] = []
    seen: set[str] = set()
    for line in reversed(code.splitlines()):
        made, _, layers = line.partition("  # ")
        sets = set(layers.split(", ")) if made.startswith("keras.layers.") and layers else set()
        if not sets or sets - seen:
            kept.append(line)
        seen |= sets
    return "\n".join(reversed(kept))


@contextlib.contextmanager
def _bar(progress: bool, state: State) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
    )
    with kept_randomness(), Progress(*columns, transient=True, disable=not progress) as bar:
        task = bar.add_task("treatment", total=state.budget)
        yield lambda: bar.update(task, completed=state.used)
