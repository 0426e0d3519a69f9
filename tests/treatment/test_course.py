"""Where the course of a treatment goes on, and where it ends."""

from types import SimpleNamespace

import numpy as np
import pytest

import kgrad
from kgrad.prescription import prescribe
from kgrad.prescription.sound import sound_changes
from kgrad.treatment.course import _is_well

from ..diagnosis.rules.test_underfitting import run
from .test_treat import CLASSES, FIT, X, blown_up


def examined(log):
    return SimpleNamespace(log=log, diagnosis=kgrad.diagnose(log))


def test_little_learned_at_rest_is_worth_a_trial_and_no_prescription():
    rests = examined(run(0.3))
    assert [each.rule for each in rests.diagnosis.findings] == ["underfitting"]
    assert not _is_well(rests)
    assert not prescribe(rests.log, rests.diagnosis)
    assert sound_changes(rests.log, rests.diagnosis, ())


def test_little_learned_that_falls_still_is_only_trained_on():
    assert _is_well(examined(run(0.3, stands=1)))


def test_much_learned_is_well():
    assert _is_well(examined(run(0.9)))


@pytest.mark.slow
def test_healed_with_something_left_to_learn_the_next_changes_are_tried_in_place_of_the_first():
    """With one label of ten wrong no change can learn all."""
    wrong = np.random.default_rng(3).uniform(size=len(CLASSES)) < 0.1
    _, story = kgrad.treat(blown_up(), X, np.where(wrong, 1 - CLASSES, CLASSES), **FIT)
    again = [each for each in story.rounds if each.reason.startswith("Healthy, but not all is learned")]
    assert len(again) == 2
    assert story.accuracy >= max(each.accuracy for each in story.rounds) - 0.1  # beyond noise nothing was better
    assert len({each.split(":")[0] for each in story.changes}) == len(story.changes)
    assert story.steps <= story.budget
