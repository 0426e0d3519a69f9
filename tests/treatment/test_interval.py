"""The interval is Student's, and the verdict follows from it alone."""

import math

import numpy as np
import pytest
from scipy import stats

from kgrad.treatment.interval import Interval, paired_interval, student_quantile
from kgrad.treatment.training import Health, Outcome
from kgrad.treatment.verdict import comparable_losses, judge, verdict_of


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 30, 200])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_the_quantile_is_that_of_scipy(degrees, confidence):
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert student_quantile(degrees, confidence) == pytest.approx(expected, rel=1e-6)


def test_the_interval_is_that_of_the_paired_test():
    before, after = np.random.default_rng(1).normal(size=(2, 5))
    expected = stats.ttest_rel(after, before).confidence_interval(0.9)
    found = paired_interval(list(after - before), 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)
    assert found.mean == pytest.approx(np.mean(after - before))
    assert found.confidence == 0.9


def test_one_difference_has_no_interval():
    assert paired_interval([-1.0]) is None
    assert verdict_of(None, 1.0) == "not enough evidence"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.6, -0.4, "proven"),
        (0.4, 0.6, "harmful"),
        (-0.6, 0.1, "no effect"),
        (-0.1, 0.6, "no effect"),
        (0.0, 0.0, "no effect"),
        (-0.03, -0.01, "proven"),  # 2 % of the loss
        (-0.006, -0.002, "no effect"),  # certain, and 0.4 % of it
        (0.002, 0.006, "no effect"),
    ],
)
def test_the_verdict_follows_from_the_interval(low, high, verdict):
    assert verdict_of(Interval((low + high) / 2, low, high, 0.95), 1.0) == verdict


def outcome(first, last):
    return Outcome(first, last, None, Health(1.0, 1.0, 0.0), ())


def test_a_loss_that_is_not_finite_counts_as_the_largest_finite_one():
    nan = math.nan
    pairs = [(outcome(2.0, nan), outcome(3.0, 1.0)), (outcome(2.0, math.inf), outcome(2.0, 1.5))]
    assert comparable_losses(pairs) == ([3.0, 3.0], [1.0, 1.5])
    assert comparable_losses([(outcome(nan, nan), outcome(nan, nan))]) == ([0.0], [0.0])
    assert comparable_losses([(outcome(9.0, 2.0), outcome(9.0, 1.0))]) == ([2.0], [1.0])


def test_a_change_that_breaks_every_training_is_harmful_and_one_that_breaks_some_is_judged_by_the_interval():
    broken, sound = outcome(2.0, math.nan), [outcome(2.0, 0.1), outcome(2.0, 1.9)]
    difference, verdict = judge([(sound[0], broken), (sound[1], broken)])
    assert difference.low < 0 < difference.high
    assert verdict == "harmful"
    assert judge([(sound[0], broken), (sound[1], sound[0])])[1] == "no effect"
    assert judge([(broken, broken), (broken, broken)])[1] == "no effect"
    assert judge([(sound[0], broken)]) == (None, "not enough evidence")
