"""What is counted batch by batch is what all rows at once would give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgrad.treatment.tally import Tally

RNG = np.random.default_rng(0)


def tallied(truth, out, logits=False, size=7):
    tally = Tally(logits)
    for start in range(0, len(truth), size):
        tally.add(truth[start : start + size], out[start : start + size])
    return tally


@pytest.mark.parametrize("column", [False, True])
def test_classes_by_their_number_and_by_one_of_several(column):
    classes, out = RNG.integers(0, 4, 100), RNG.normal(size=(100, 4)).astype("float32")
    right = np.mean(out.argmax(-1) == classes)
    assert tallied(classes[:, None] if column else classes, out).accuracy == pytest.approx(right)
    assert tallied(np.eye(4)[classes], out).accuracy == pytest.approx(right)
    assert tallied(classes - 1, out).accuracy is None  # no class has a number below 0
    assert tallied(classes + 0.5, out).accuracy is None
    assert tallied(np.arange(100), out).accuracy is None  # as many classes as rows


@pytest.mark.parametrize("pair", [(0, 1), (-1, 1), (1, 2)])
def test_two_classes_are_parted_in_their_middle(pair):
    classes = RNG.integers(0, 2, 60)
    truth = np.array(pair)[classes][:, None]
    out = np.where(classes == 1, pair[1] - 0.1, pair[0] + 0.1)[:, None]
    assert tallied(truth, out).accuracy == 1
    assert tallied(truth, out + 5).accuracy == pytest.approx(np.mean(classes))
    assert tallied(truth, np.where(classes == 1, 3.0, -3.0)[:, None], logits=True).accuracy == 1


@given(st.integers(1, 40), st.sampled_from([(), (1,), (3,), (2, 2)]), st.sampled_from([0.0, 1e6]))
def test_the_variance_of_parts_adds_up(rows, shape, middle):
    truth = RNG.normal(middle, 2.0, (rows, *shape))
    out = truth + RNG.normal(size=truth.shape)
    spread, error = np.var(truth, axis=0).mean(), np.mean((out - truth) ** 2)
    found = tallied(truth, out).r_squared
    assert (found is None) if rows == 1 else found == pytest.approx(1 - error / spread, rel=1e-6, abs=1e-6)


def test_answers_that_are_not_finite_explain_less_than_nothing():
    truth = RNG.normal(size=(20, 1))
    assert tallied(truth, np.full((20, 1), np.nan)).r_squared == -np.inf


def test_rounded_answers_hit_whole_numbers():
    truth = np.arange(20.0)[:, None]
    assert tallied(truth, truth + 0.3).rounded == 1
    assert tallied(truth, truth + 0.7).rounded == 0
    assert tallied(truth + 0.5, truth).rounded is None


def test_what_cannot_be_compared_is_no_number():
    nothing = tallied([np.zeros(3)] * 2, [np.zeros(3)] * 2)  # lists: several outputs
    assert (nothing.accuracy, nothing.r_squared, nothing.rounded) == (None, None, None)
    other = tallied(RNG.normal(size=(10, 2)), RNG.normal(size=(10, 3)))
    assert (other.accuracy, other.r_squared) == (None, None)
