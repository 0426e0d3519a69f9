"""The course of a treatment: training under watch, trials, and the next training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras

from kgrad import workflow
from kgrad.diagnosis.skill import harm
from kgrad.prescription.epochs import ENOUGH_UPDATES
from kgrad.prescription.prescription import Prescription
from kgrad.prescription.sound import sound_changes
from kgrad.treatment.apply import apply
from kgrad.treatment.attempts import NO_CHANGE, Change, attempt, changes_of, ranked, words
from kgrad.treatment.fitting import fit_arguments, of_fit
from kgrad.treatment.health import NEARLY_ALL, falls_still, is_no_worse, is_progress, is_sound, is_well, learned_little
from kgrad.treatment.measure import Measure
from kgrad.treatment.rounds import Rounds
from kgrad.treatment.watch import State

# Trials take this share of a plain training, each model and seed, and this many steps at least where it has them.
_TRIAL_SHARE = 0.15
_TRIAL_STEPS = 60
_MOST_CHANGES = 6
_MOST_ROUNDS = 8
# A healed model that is learning still may have so many whole trainings more, or the updates that are enough as a rule.
_MORE = 3
# A healed model that has not learned nearly all gets so many whole trainings more of what was promising (own choice).
_REMATCHES = 2
_LITTLE_LEARNED = "No disease, but little learned: sound practice is tried. "


@dataclass
class _Search:
    """What there is to try on one model, and what is left of it.

    Where its training showed nothing it is changed for what is better by far alone; of a sound one only what short
    trainings prove is trained whole.
    """

    base: keras.Model
    changes: list[Prescription]
    stages: list[list[Change]]
    nothing_found: bool
    is_sound: bool
    queue: list[Change] = field(default_factory=list)


@dataclass
class _Progress:
    """How it stands with the best model: its training, whether that was cut (and the first one), and its health."""

    latest: workflow.Examination
    cut: bool
    first_cut: bool
    healthy: bool
    well: bool
    rematches: int = _REMATCHES


class Course:
    """One treatment from the first training to the last.

    Args:
        model: what was given; it is not touched.
        measure: by what to judge.
        state: what to train on, and what comes of it, filled while it runs.
        seed: of weights and trial batches.
        bar: called when steps were taken.
    """

    def __init__(self, model: keras.Model, measure: Measure, state: State, seed: int, bar: Callable[[], None]) -> None:
        self._model, self._measure, self._state, self._seed, self._bar = model, measure, state, seed, bar
        self._rounds = Rounds(model, measure, state, seed, bar)
        self._given = state.data  # other batches may be what heals

    def run(self) -> bool:
        """Treats; returns whether the best model is healthy."""
        patient = self._rounds.copy(self._model)
        examination, cut, _ = self._rounds.train(patient, [], self._state.data.arguments, "high")
        now = _Progress(examination, cut, cut, is_no_worse(examination, "low"), is_well(examination))
        self._heal(_search(patient, [], examination, _stages(examination)), now)
        if not self._to_the_end(now):
            return False
        longer = self._train_on(now.latest)
        if longer is not None and not self._state.changes and learned_little(longer):
            now.well = False
            sound = list(sound_changes(longer.log, longer.diagnosis, ()))
            self._heal(_search(self._model, [], longer, [sound] if sound else []), now)
            if self._state.changes and now.healthy:
                self._train_on(now.latest)
        return now.healthy

    def _heal(self, search: _Search, now: _Progress) -> None:
        """Trains with one change after the other, from where the best model stands, until it is well."""
        state = self._state
        while not (now.well and self._is_enough(now)) and len(state.rounds) < _MOST_ROUNDS:
            spent = state.left < state.data.whole
            if spent and not now.well:
                self._rounds.tell(reason="The budget is spent.")
            chosen = None if spent else self._next(search, now)
            if chosen is None:
                return
            patient, change, arguments = chosen
            tolerated = "low" if now.well else "medium" if now.healthy else None
            before = now.latest, state.score
            changes = [*search.changes, *change]
            examination, stopped, adopted = self._rounds.train(
                patient, changes, arguments, "high", tolerated=tolerated, by_far=search.nothing_found
            )
            if adopted:
                if "batch_size" in arguments and arguments["batch_size"] != state.data.batch_size:
                    state.data = state.data.in_batches(int(arguments["batch_size"]), arguments.get("epochs"))
                now.latest, now.cut, now.healthy = examination, stopped, is_no_worse(examination, "low")
                now.well = now.well or is_well(examination)
                if not now.well and is_progress(*before, examination, state.score):
                    # A model that is made anew is not trained for the epochs that another one was.
                    lasting = [each for each in state.changes if not of_fit(each) or "batch_size" in each.settings]
                    search = _search(patient, lasting, examination, _stages(examination))
            now.rematches -= now.well

    def _is_enough(self, now: _Progress) -> bool:
        """Whether a healthy model ends it: it is the given one, has learned nearly all, or enough was tried.

        What is trained in other batches has no common start with the others. Room is left for the given model to be
        trained to its end.
        """
        state = self._state
        right = state.score.r_squared if state.score.accuracy is None else state.score.accuracy
        if not state.changes or any(map(of_fit, state.changes)) or right is None or right >= NEARLY_ALL:
            return True
        return now.rematches < 0 or state.left < (1 + now.first_cut) * state.data.whole

    def _to_the_end(self, now: _Progress) -> bool:
        """What was stopped early gets its whole training: the best model, and the given one to compare it with."""
        state, given_data = self._state, self._given
        whole, arguments = state.data.whole, state.data.arguments
        if now.cut and state.left >= whole:
            self._rounds.train(self._rounds.copy(state.best), state.changes, arguments, None, "Trained on to the end.")
        if now.first_cut and state.changes and state.left >= given_data.whole and state.rounds[0].loss is not None:
            given = self._rounds.copy(self._model)
            if self._rounds.train(given, [], given_data.arguments, None, "The given model, trained to the end.")[2]:
                return False
        return now.healthy

    def _train_on(self, examination: workflow.Examination) -> workflow.Examination | None:
        """A model that is learning still goes on while it gets better, healed or with little learned so far."""
        state = self._state
        healed, per_epoch = bool(state.changes), state.data.per_epoch
        wanted = max(_MORE * int(state.data.arguments.get("epochs", 1)), ENOUGH_UPDATES // per_epoch)
        epochs = min(wanted, state.left // per_epoch)
        if not (healed or harm(examination.log) != "info") or not falls_still(examination) or epochs < 1:
            return None
        reason = f"{'Healed' if healed else 'Little learned'}, and learning still: trained on while it gets better."
        patient, arguments = self._rounds.copy(state.best), self._rounds.for_longer(epochs)
        return self._rounds.train(patient, state.changes, arguments, None, reason)[0]

    def _next(self, search: _Search, now: _Progress) -> tuple[keras.Model, Change, dict[str, Any]] | None:
        """The next model to train, what was changed in it and how to train it; `None` where nothing is left."""
        while not search.queue and search.stages:
            changes = search.stages.pop(0)
            if not of_fit(changes[0][0]):
                search.queue = self._tried(search, changes, 1 + (now.well and now.first_cut))
            elif not now.well or "batch_size" in changes[0][0].settings:
                refitted = self._refitted(search.base, changes[0])
                if refitted is not None:
                    return refitted
        if not search.queue:
            if not self._state.rounds[-1].reason:
                self._rounds.tell(reason="Nothing promising is left to try.")
            return None
        change = search.queue.pop(0)
        reason = "The best is healthy, but has not learned all: the next change is tried." if now.well else ""
        self._rounds.tell(kept=words(change), reason=reason)
        return apply(search.base, change, seed=self._seed, x=self._state.data.x), change, self._state.data.arguments

    def _refitted(self, base: keras.Model, change: Change) -> tuple[keras.Model, Change, dict[str, Any]] | None:
        """The same model, trained on for the epochs that are prescribed or the budget holds, or in other batches.

        `None` where the budget does not hold a training in those.
        """
        arguments, settings = self._state.data.arguments, change[0].settings
        if "batch_size" in settings:
            changed = fit_arguments(change, **arguments, validation_data=self._state.data.validation)
            del changed["validation_data"]
            if self._state.data.in_batches(changed["batch_size"], changed.get("epochs")).whole > self._state.left:
                return None
            self._rounds.tell(kept=words(change), reason="Another batch size is an argument of fit: tried whole.")
            return apply(base, NO_CHANGE, seed=self._seed), change, changed
        planned = int(arguments.get("epochs", 1))
        epochs = max(min(int(settings["epochs"]) - planned, self._state.left // self._state.data.per_epoch), 1)
        self._rounds.tell(kept=words(change), reason="It was learning still: trained on.")
        return self._rounds.copy(base), change, self._rounds.for_longer(epochs)

    def _tried(self, search: _Search, changes: list[Change], kept: int) -> list[Change]:
        """Tries the changes in short trainings; those that may go on to a whole one, the most promising first."""
        state, whole = self._state, self._state.data.whole
        share = max(round(_TRIAL_SHARE * whole), min(whole, _TRIAL_STEPS))
        # The trials take at most what leaves room for so many whole trainings afterwards.
        steps = min(share, (state.left - kept * whole) // (len(changes) + 7))
        if steps < 1:
            self._rounds.tell(reason="The budget is spent.")
            return []
        before = state.used

        def advance(taken: int) -> None:
            state.used += taken

        attempts = attempt(search.base, changes, state.data, self._measure, steps, self._seed, advance)
        places, reason = ranked(attempts, only_proven=search.is_sound)
        why = _LITTLE_LEARNED if search.nothing_found else ""
        self._rounds.tell(attempts=tuple(attempts), trial_steps=state.used - before, reason=f"{why}{reason}")
        self._bar()
        return [changes[place] for place in places]


def _search(
    base: keras.Model, changes: list[Prescription], examination: workflow.Examination, stages: list[list[Change]]
) -> _Search:
    return _Search(base, changes, stages, is_no_worse(examination, "info"), is_sound(examination))


def _stages(examination: workflow.Examination) -> list[list[Change]]:
    """What to try, in this order: a longer training where that comes first, the prescriptions, sound practice."""
    offered = examination.prescriptions
    in_fit: list[list[Change]] = [[(each,)] for each in offered if of_fit(each)]
    prescribed = changes_of(offered, _MOST_CHANGES)
    known = {words(each) for each in prescribed}
    sound = [
        each for each in sound_changes(examination.log, examination.diagnosis, offered) if words(each) not in known
    ]
    first = bool(offered) and of_fit(offered[0])
    stages = [*in_fit, prescribed, sound] if first else [prescribed, *in_fit, sound]
    return [each for each in stages if each]
