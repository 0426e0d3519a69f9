"""Where the course of a treatment goes on, and where it ends."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.prescription import prescribe
from kgrad.prescription.snippet import snippet
from kgrad.prescription.sound import sound_changes
from kgrad.treatment import rounds
from kgrad.treatment.course import Course
from kgrad.treatment.health import is_progress, is_well
from kgrad.treatment.measure import Score
from kgrad.treatment.treat import _code
from kgrad.treatment.treatment import Round
from kgrad.treatment.watch import Data, State

from ..diagnosis.rules.test_underfitting import run
from .patients import prescription
from .test_treat import CLASSES, FIT, X, blown_up, network


def examined(log):
    return SimpleNamespace(log=log, diagnosis=kgrad.diagnose(log))


def test_little_learned_at_rest_is_worth_a_trial_and_no_prescription():
    rests = examined(run(0.3))
    assert [each.rule for each in rests.diagnosis.findings] == ["underfitting"]
    assert not is_well(rests)
    assert not prescribe(rests.log, rests.diagnosis)
    assert sound_changes(rests.log, rests.diagnosis, ())


def test_little_learned_that_falls_still_is_only_trained_on():
    assert is_well(examined(run(0.3, stands=1)))


def test_much_learned_is_well():
    assert is_well(examined(run(0.9)))


@pytest.mark.slow
def test_healed_with_something_left_to_learn_the_next_changes_are_tried_in_place_of_the_first():
    """With one label of ten wrong no change can learn all."""
    wrong = np.random.default_rng(3).uniform(size=len(CLASSES)) < 0.1
    keras.utils.set_random_seed(0)
    _, story = kgrad.treat(blown_up(), X, np.where(wrong, 1 - CLASSES, CLASSES), **{**FIT, "epochs": 15})
    again = [each for each in story.rounds if "has not learned all" in each.reason]
    assert len(again) == 2
    assert story.accuracy >= max(each.accuracy for each in story.rounds) - 0.1  # beyond noise nothing was better
    assert len({each.split(":")[0] for each in story.changes}) == len(story.changes)
    assert story.steps <= story.budget
    assert story.code.count("model.compile(") <= 1


def test_the_code_of_a_story_makes_each_layer_once():
    first = prescription("activation", ["d"], code=snippet('keras.layers.Dense(16, activation="relu")  # d'))
    other = 'keras.layers.Dense(16, activation="elu")  # d\nkeras.layers.Dense(4)  # e'
    adam, sgd = (f"optimizer = keras.optimizers.{x}()\nmodel.compile(optimizer=optimizer)" for x in ("Adam", "SGD"))
    changes = [
        first,
        prescription("optimizer", ["optimizer"], code=sgd),
        prescription("activation", ["d", "e"], code=snippet(other)),
    ]
    code = _code([*changes, prescription("optimizer", ["optimizer"], code=adam)])
    assert code == snippet(other, adam)


@pytest.mark.slow
def test_little_learned_after_it_was_trained_on_leads_to_sound_practice():
    """With one label of four wrong there is little to learn."""
    keras.utils.set_random_seed(0)
    wrong = np.random.default_rng(3).uniform(size=len(CLASSES)) < 0.25
    given = network(keras.layers.Dense(16, activation="relu"), rate=0.02)
    _, story = kgrad.treat(given, X, np.where(wrong, 1 - CLASSES, CLASSES), **{**FIT, "epochs": 10})
    assert not story.rounds[0].findings
    longer = story.rounds[1]
    assert longer.reason.startswith("Little learned, and learning still")
    assert "sound practice is tried" in longer.reason
    assert longer.attempts
    assert story.steps <= story.budget
    assert story.loss <= min(each.loss for each in story.rounds if each.adopted)


@pytest.mark.parametrize(
    ("new", "rule", "forward"),
    [
        (Score(0.9999, 0.2), "plateau", False),
        (Score(0.9999, 0.2), "dead-units", True),
        (Score(0.9, 0.2), "plateau", True),
        (Score(0.9999, 0.3), "plateau", True),
    ],
    ids=["a trifle", "another cause", "a lower loss", "more right"],
)
def test_a_trifle_is_no_new_place_to_search_from(new, rule, forward):
    before, after = (
        SimpleNamespace(diagnosis=SimpleNamespace(findings=[Finding(each, "high", "It is.")]))
        for each in ("plateau", rule)
    )
    assert is_progress(before, Score(1.0, 0.2), after, new) is forward


def rounds_of(monkeypatch, before, after, severity, severe=False):
    """One training behind the first one, of a model with that score and a disease that severe."""
    state = State(None, 100, "old", before, severe=severe)
    state.rounds.append(None)
    seen = SimpleNamespace(diagnosis=SimpleNamespace(findings=[Finding("plateau", severity, "It stands.")]))
    monkeypatch.setattr(rounds, "watched", lambda *arguments: (seen, 10, False))
    monkeypatch.setattr(
        rounds, "round_of", lambda *arguments: Round("", (), 10, after.loss, after.accuracy, arguments[-1])
    )
    monkeypatch.setattr(rounds, "same_loss", lambda *models: True)
    measure = SimpleNamespace(of=lambda model, own: after, rows=1000)
    return rounds.Rounds("old", measure, state, 0, lambda: None), state


@pytest.mark.parametrize(("tolerated", "kept"), [(None, True), ("medium", True), ("low", False)])
def test_once_well_a_better_model_with_a_disease_is_not_kept(monkeypatch, tolerated, kept):
    treatment, state = rounds_of(monkeypatch, Score(1.0, 0.5), Score(0.1, 0.9), "medium")
    _, _, adopted = treatment.train("new", [], {}, None, tolerated=tolerated)
    assert adopted is kept
    assert state.best == ("new" if kept else "old")
    assert ("sick" in state.rounds[-1].reason) is not kept


@pytest.mark.parametrize(
    ("after", "kept"),
    [(Score(0.36, 0.86), False), (Score(0.36, 0.95), True), (Score(0.2, 0.86), True)],
    ids=["hardly better", "more right", "far less loss"],
)
def test_what_showed_no_disease_is_changed_for_much_alone(monkeypatch, after, kept):
    treatment, state = rounds_of(monkeypatch, Score(0.37, 0.86), after, "info")
    assert treatment.train("new", [], {}, None, by_far=True)[2] is kept
    assert state.best == ("new" if kept else "old")
    assert ("Hardly better" in state.rounds[-1].reason) is not kept
    assert rounds_of(monkeypatch, Score(0.37, 0.86), after, "info")[0].train("new", [], {}, None)[2]


@pytest.mark.parametrize(
    ("severe_before", "severity", "loss", "kept"),
    [
        (True, "low", 1e-6, True),
        (True, "low", 1e-4, False),
        (True, "high", 1e-6, False),
        (False, "high", 1e-8, False),
    ],
    ids=["alike and healthy", "worse", "as sick", "a sick one for a healthy one"],
)
def test_of_two_that_are_alike_the_one_without_a_severe_disease_is_kept(
    monkeypatch, severe_before, severity, loss, kept
):
    treatment, state = rounds_of(monkeypatch, Score(1e-7, 1.0), Score(loss, 1.0), severity, severe_before)
    assert treatment.train("new", [], {}, None)[2] is kept
    assert state.severe is (severe_before and not kept)


OTHER = {"batch_size": 32, "epochs": 28, "monitor": "loss", "patience": 10}


@pytest.mark.parametrize(
    ("settings", "left", "trained"),
    [
        (OTHER, 616, {"batch_size": 32, "epochs": 28}),
        (OTHER, 615, None),
        ({"epochs": 28, "monitor": "loss", "patience": 10}, 10_000, None),
    ],
    ids=["other batches", "beyond the budget", "longer alone"],
)
def test_a_healed_model_with_something_left_to_learn_is_tried_in_other_batches(settings, left, trained):
    """Its training in those begins anew; longer it is trained at the end, whatever was prescribed."""
    change = (prescription("batch_size", ("fit",), **settings),)
    told = []
    given = Data(X, CLASSES, None, {"epochs": 10, "batch_size": 1}, 1, 700)
    state = SimpleNamespace(left=left, data=given, rounds=[SimpleNamespace(reason="")])
    course = Course(blown_up(), None, state, 0, lambda: None)
    course._rounds = SimpleNamespace(tell=lambda **words: told.append(words))
    search = SimpleNamespace(base=course._model, queue=[], stages=[[change]])
    found = course._next(search, SimpleNamespace(well=True, first_cut=False))
    if trained:
        (stop,) = found[2].pop("callbacks")
        assert stop.restore_best_weights
    assert (found and found[2]) == trained
    assert ("kept" in told[-1]) is (trained is not None)


def test_what_is_trained_after_other_batches_is_trained_in_those():
    data = Data(X, CLASSES, None, {"epochs": 10, "batch_size": 1}, 1, 700).in_batches(32, 28)
    assert data.arguments == {"epochs": 28, "batch_size": 32}
    assert (data.per_epoch, data.whole) == (22, 616)
    assert data.in_batches(64).arguments["epochs"] == 28
