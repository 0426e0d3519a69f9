"""Which changes are tried, and what short trainings from common starts say of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import keras
import numpy as np

from kgrad.prescription.prescription import Prescription
from kgrad.prescription.together import joined
from kgrad.treatment.apply import apply
from kgrad.treatment.errors import TreatmentError
from kgrad.treatment.fitting import of_model
from kgrad.treatment.interval import paired_interval
from kgrad.treatment.knobs import ELSEWHERE
from kgrad.treatment.measure import Measure, badness, same_loss
from kgrad.treatment.treatment import Attempt
from kgrad.treatment.verdict import verdict_of
from kgrad.treatment.watch import Data

Change = tuple[Prescription, ...]
NO_CHANGE: Change = ()

# After the first seed only so many go on; the others are not worth the steps.
_FINALISTS = 2
_SEEDS = 3
# Of those that short trainings do not prove, so many are tried in whole ones.
_UNPROVEN = 3


@dataclass
class Tried:
    """One change in the making of its verdict."""

    change: Change
    verdict: str = "behind"
    problem: str = ""
    pairs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def promise(self) -> float:
        """The measure of the changed model over that of the unchanged one; less is better."""
        before, after = self.pairs[-1]
        return after / max(before, 1e-30) if math.isfinite(after) and math.isfinite(before) else after


def changes_of(prescriptions: Sequence[Prescription], most: int) -> list[Change]:
    """What to try: the first answer to each cause together where there are several, then each by itself.

    Those that are no change of a model (epochs, callbacks, data) are left out, and so is how long to train from those
    that join several: a treatment trains on as long as that helps.

    Args:
        prescriptions: the best first.
        most: how many changes at most.
    """
    of_models = [each for each in map(of_model, prescriptions) if each is not None]
    different: dict[tuple[str, ...], Prescription] = {}
    for each in filter(_is_of_model, of_models):
        different.setdefault((each.knob, each.after, each.code), each)  # for two causes it is one change
    able = list(different.values())
    singles: list[Change] = [(each,) for each in able]
    if able and able[0].knob == "several":
        return singles[:most]
    firsts = {each.finding: each for each in reversed(able)}
    together: Change = tuple(each for each in able if firsts[each.finding] is each)
    joined = [together] if len(together) > 1 else []
    pair: Change = tuple(able[:2])
    pairs = [pair] if len(pair) > 1 and pair != together else []
    return [*singles[:1], *joined, *pairs, *singles[1:]][:most]


def _is_of_model(prescription: Prescription) -> bool:
    return prescription.knob not in ELSEWHERE and set(prescription.settings) != {"targets"}


def ranked(attempts: Sequence[Attempt], only_proven: bool = False) -> tuple[list[int], str]:
    """Which attempts may go on to a whole training, the most promising first, and why.

    Args:
        attempts: what short trainings showed.
        only_proven: whether what they do not prove is left.
    """

    def ratio(place: int) -> float:
        each = attempts[place]
        return float(np.mean(each.changed)) / max(float(np.mean(each.unchanged)), 1e-30)

    def ends(each: Attempt) -> bool:
        return bool(each.changed) and all(math.isfinite(value) for value in each.changed)

    proven = sorted((place for place, each in enumerate(attempts) if each.verdict == "proven"), key=ratio)
    rest = [place for place, each in enumerate(attempts) if each.verdict in ("no effect", "behind") and ends(each)]
    rest = sorted(rest, key=lambda place: (ratio(place) >= 1, ratio(place) if ratio(place) < 1 else place))[:_UNPROVEN]
    if only_proven:
        return proven[:1], "The best of those that short trainings prove." if proven else "Short trainings prove none."
    if proven:
        return [*proven, *rest], "The best of those that short trainings prove."
    if rest:
        return rest, "Short trainings prove none; the most promising one is tried in a whole training."
    return [], "None of the prescriptions could be applied without harm."


def words(change: Change) -> tuple[str, ...]:
    """Each prescription of a change in a few words."""
    return tuple(f"{each.knob.replace('_', ' ')}: {each.after}" for each in change)


def attempt(
    model: keras.Model,
    changes: Sequence[Change],
    data: Data,
    measure: Measure,
    steps: int,
    seed: int,
    advance: Callable[[int], None],
) -> list[Attempt]:
    """Trains the unchanged model and the changed ones from the same seeds on the same batches.

    All are trained with the first seed, and those that did best with two more, which give the interval.

    Args:
        model: the model that is sick.
        changes: what to try.
        data: what to train on.
        measure: by what to judge.
        steps: training steps of each model and seed.
        seed: the first one.
        advance: called with the training steps taken.
    """
    tried = [Tried(change) for change in changes]
    running = tried
    for number in range(_SEEDS):
        running = _one_seed(model, running, data, measure, steps, seed + number, advance)
        if number == 0:
            running = sorted(running, key=lambda each: each.promise)[:_FINALISTS]
    return [_concluded(each) for each in tried]


def _one_seed(
    model: keras.Model,
    running: Sequence[Tried],
    data: Data,
    measure: Measure,
    steps: int,
    seed: int,
    advance: Callable[[int], None],
) -> list[Tried]:
    """Adds one pair to each; returns those that can go on."""
    models = {}
    for each in running:
        try:
            models[id(each)] = apply(model, each.change, seed=seed, x=data.x)
        except TreatmentError as error:
            each.verdict, each.problem = "not applied", str(error)
    if not models:
        return []
    plain = apply(model, (), seed=seed)
    _train(plain, data, steps, seed)
    advance(steps)
    for each in [each for each in running if id(each) in models]:
        try:
            _train(models[id(each)], data, steps, seed)
        except Exception as error:  # built, but not of these data or on this machine; the others may be
            each.verdict, each.problem = "not applied", f"{type(error).__name__}: {error}"
            del models[id(each)]
        advance(steps)
    before = measure.of(plain)
    going = []
    for each in running:
        if id(each) not in models:
            continue
        same = same_loss(plain, models[id(each)])
        unchanged, changed = badness(before, same), badness(measure.of(models[id(each)]), same)
        if unchanged is None or changed is None:
            each.verdict = "not comparable"
            each.problem = "Its loss is another and the targets are no classes: there is nothing to compare it by."
        else:
            each.pairs.append((unchanged, changed))
            going.append(each)
    return going


def _train(model: keras.Model, data: Data, steps: int, seed: int) -> None:
    model.steps_per_execution = 1
    of_classes = data.arguments.get("class_weight")
    for x, y, weights in islice(data.batches(seed), steps):
        model.train_on_batch(x, y, sample_weight=weights, class_weight=of_classes)


def _concluded(tried: Tried) -> Attempt:
    code = joined(tried.change, "").code if len(tried.change) > 1 else tried.change[0].code
    common = (words(tried.change), code, tried.change[0].why, tuple(each.finding for each in tried.change))
    known = tried.pairs
    if not known:
        return Attempt(*common, tried.verdict, note=tried.problem.split("\n")[0])
    worst = max((value for pair in known for value in pair if math.isfinite(value)), default=0.0)
    finite = [tuple(value if math.isfinite(value) else worst for value in pair) for pair in known]
    gap = paired_interval([after - before for before, after in finite])
    verdict = tried.verdict if gap is None else verdict_of(gap, sum(before for before, _ in finite) / len(finite))
    ends = {(math.isfinite(before), math.isfinite(after)) for before, after in known}
    if gap is not None and len(ends) == 1 and ends <= {(True, False), (False, True)}:
        verdict = "harmful" if ends == {(True, False)} else "proven"  # every seed says so
    return Attempt(*common, verdict, tuple(a for a, _ in known), tuple(b for _, b in known), gap)
