"""`treat`: trains under watch, heals and trains on."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
from rich.progress import BarColumn, Progress, TextColumn

from kgrad.prescription.epochs import ENOUGH_UPDATES
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.together import joined
from kgrad.treatment.apply import apply
from kgrad.treatment.attempts import words
from kgrad.treatment.batches import endless, measured
from kgrad.treatment.copying import kept_randomness
from kgrad.treatment.course import Course
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.measure import Measure, Score
from kgrad.treatment.treatment import Treatment
from kgrad.treatment.watch import Data, State

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
    trainings from common starts, alone and together, and the most promising goes on to a whole training; where it does
    not end better than the best model so far, the next one does. Where none of them helps, changes of several knobs at
    once that suit most networks are tried in the same way. A healed model that has not learned nearly all competes with
    up to two more of the promising changes. A change stays only where the whole training ends better.

    Args:
        model: a built and compiled Sequential or Functional model with one output; it is not touched.
        x: inputs as `fit` takes them: an array, any nesting of arrays, or a `tf.data.Dataset` of known length.
        y: targets; `None` for a dataset.
        budget: training steps of all models together; by default ten times those of the plain training, and 3,000
            at least.
        seed: of initial weights and of the batches of trials.
        progress: whether to draw a progress bar.
        fit_arguments: for `fit`: `epochs`, `batch_size`, `validation_data`, ...

    Returns:
        The healed model, or the given one's copy where nothing was better, and the `Treatment`. On the validation
        data, or up to 1,024 rows of the training data where there are none, it is not worse than the given model:
        accuracy decides where it differs by more than the noise of these rows, the loss otherwise; where the loss
        itself is changed, accuracy or R² alone.

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
    data = Data(x, y, validation, arguments, batch_size, _steps_per_epoch(x, y, batch_size, arguments))
    first = measure.of(given)
    state = State(data, max(_TRAININGS * data.whole, _LEAST_STEPS) if budget is None else budget, given, first)
    with _bar(progress, state) as bar:
        healthy = Course(model, measure, state, seed, bar).run()
    return state.best, _story(state, first, healthy, validation is not None)


def _story(state: State, first: Score, healthy: bool, validated: bool) -> Treatment:
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
        _code(state.changes),
        first.r_squared,
        state.score.r_squared,
    )


def _code(changes: list[Prescription]) -> str:
    """Of several changes the last line of each layer and the last optimizer, which have what came before in them."""
    different = list({each.code: each for each in changes}.values())
    code = joined(different, "").code if len(different) > 1 else "".join(each.code for each in different)
    kept: list[str] = []
    seen: set[str] = set()
    for line in reversed(code.splitlines()):
        made, _, layers = line.partition("  # ")
        sets = set(layers.split(", ")) if made.startswith("keras.layers.") and layers else set()
        sets |= {"the optimizer"} if line.startswith("optimizer = ") else set()
        if not sets or sets - seen:
            kept.append(line)
        seen |= sets
    return "\n".join(reversed(kept))


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
def _bar(progress: bool, state: State) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
    )
    with kept_randomness(), Progress(*columns, transient=True, disable=not progress) as bar:
        task = bar.add_task("treatment", total=state.budget)
        yield lambda: bar.update(task, completed=state.used)
