"""The trainings of a treatment: each under watch, told as a round, the best model kept."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras

from kgrad import workflow
from kgrad.prescription.prescription import Prescription
from kgrad.treatment.apply import apply
from kgrad.treatment.health import is_no_worse
from kgrad.treatment.measure import (
    Measure,
    Score,
    are_alike,
    by_own_loss,
    is_better,
    is_far_better,
    is_less_right,
    same_loss,
)
from kgrad.treatment.treatment import Attempt
from kgrad.treatment.watch import State, round_of, watched


class Rounds:
    """Trains models on the same data, and keeps the best and the story.

    Args:
        model: what was given; it is not touched.
        measure: by what to judge.
        state: what to train on, and what comes of it, filled while it runs.
        seed: of weights.
        bar: called when steps were taken.
    """

    def __init__(self, model: keras.Model, measure: Measure, state: State, seed: int, bar: Callable[[], None]) -> None:
        self._model, self._measure, self._state, self._seed, self._bar = model, measure, state, seed, bar

    def copy(self, model: keras.Model) -> keras.Model:
        """The same model with the same weights, compiled anew."""
        return apply(model, (), seed=self._seed, keep_weights=True)

    def for_longer(self, epochs: int) -> dict[str, Any]:
        """The arguments of `fit` for more epochs, with an end once nothing gets better."""
        arguments = self._state.data.arguments
        watched = "loss" if self._state.data.validation is None else "val_loss"
        stop = keras.callbacks.EarlyStopping(watched, patience=max(10, epochs // 10), restore_best_weights=True)
        return {**arguments, "epochs": epochs, "callbacks": [*(arguments.get("callbacks") or ()), stop]}

    def train(
        self,
        patient: keras.Model,
        changes: list[Prescription],
        arguments: dict[str, Any],
        stop_on: str | None,
        reason: str = "",
        tolerated: str | None = None,
        by_far: bool = False,
    ) -> tuple[workflow.Examination, bool, bool]:
        """One training under watch, told as a round: the run, whether it was stopped, whether its model is kept.

        With diseases graver than what is tolerated it is not, however good; nor, if it is to be better by far, where
        noise may be all that it is better by.
        """
        examination, steps, stopped = watched(patient, self._state.data, arguments, stop_on, self._state.left)
        self._state.used += steps
        score, severe = self._measure.of(patient, own=True), not is_no_worse(examination, "medium")
        adopted = self._is_best(patient, score, severe)
        if adopted and tolerated is not None and not is_no_worse(examination, tolerated):
            adopted, reason = False, reason or "Better than the best so far, but sick: not kept."
        if adopted and by_far and not is_far_better(score, self._state.score, self._measure.rows):
            adopted, reason = False, reason or "Hardly better than what showed no disease: not kept."
        if adopted:
            self._state.earlier.append(self._state.score)
            self._state.best, self._state.score, self._state.changes = patient, score, list(changes)
        if adopted or not self._state.rounds:  # the first training is of the given model, kept as it was or not
            self._state.severe = severe
        self._state.rounds.append(replace(round_of(examination, steps, score, adopted), reason=reason))
        self._bar()
        return examination, stopped, adopted

    def _is_best(self, patient: keras.Model, score: Score, severe: bool) -> bool:
        """Whether the model is better than the best one, or as good for the first.

        Of two that are alike the one without a severe disease is better: what explodes may happen to be right so far.
        """
        state = self._state
        if state.rounds and severe != state.severe and are_alike(score, state.score):
            return not severe
        same = same_loss(self._model, patient) and same_loss(self._model, state.best)
        rows, best = self._measure.rows, state.score
        if not same and state.rounds and same_loss(patient, state.best):
            score, best, same = by_own_loss(score), by_own_loss(best), True
        if not state.rounds:
            return not is_better(best, score, same, rows)
        # Many small steps down in accuracy, each within noise, are no noise together.
        fallen = any(is_less_right(score, each, rows) for each in state.earlier)
        return is_better(score, best, same, rows) and not fallen

    def tell(
        self,
        attempts: tuple[Attempt, ...] = (),
        trial_steps: int = 0,
        kept: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        """Adds to the story of the last round."""
        last = self._state.rounds[-1]
        self._state.rounds[-1] = replace(
            last,
            attempts=(*last.attempts, *attempts),
            trial_steps=last.trial_steps + trial_steps,
            kept=kept or last.kept,
            reason=" ".join(filter(None, (last.reason, reason))),
        )
