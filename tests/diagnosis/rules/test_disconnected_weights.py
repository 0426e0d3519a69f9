import numpy as np
import pytest

from .cases import deep, outcome

RULE = "disconnected-weights"


def case(cut=(), still=(), steps=200, activation="tanh", **columns):
    """A chain of eight layers; the variables at `cut` have no gradient, those at `still` one of zero."""
    log = deep(steps=steps, activation=activation)
    norm, zero = log["gradient_norm"].copy(), np.zeros((steps, 16))
    norm[:, list(cut)] = np.nan
    zero[:, list(cut)] = np.nan
    norm[:, list(still)] = 0.0
    zero[:, list(still)] = 1.0
    return deep(steps=steps, activation=activation, gradient_norm=norm, zero_fraction=zero, **columns)


STUCK = {"loss": np.full(200, 2.3)}


def test_variables_without_gradient_are_named():
    finding = outcome(RULE, case(cut=(0, 1), **STUCK)).finding
    assert (finding.severity, finding.layers, finding.details["kind"]) == ("high", ("dense_0",), "unconnected")
    assert finding.details["share"] == pytest.approx(1 / 8)


def test_it_is_slight_where_the_rest_learns_or_little_is_cut():
    assert outcome(RULE, case(cut=(0, 1))).finding.severity == "low"
    assert outcome(RULE, case(cut=(1,), **STUCK)).finding.severity == "low"


def test_a_layer_whose_gradient_is_zero_in_every_step():
    finding = outcome(RULE, case(still=(4, 5), **STUCK)).finding
    assert (finding.layers, finding.details["kind"]) == (("dense_2",), "zero")


def test_a_gradient_of_zero_before_a_relu_may_be_dead_units():
    assert outcome(RULE, case(still=(4, 5), activation="relu", **STUCK)).status == "clear"
    assert outcome(RULE, case(cut=(4, 5), activation="relu", **STUCK)).status == "found"


def test_a_kernel_behind_inputs_of_zero_is_connected():
    assert outcome(RULE, case(still=(4,), **STUCK)).status == "clear"


def test_a_bias_in_front_of_a_normalization_has_no_gradient_by_right():
    assert outcome(RULE, case(still=(5,), **STUCK)).status == "clear"


def test_one_step_with_a_gradient_shows_a_path():
    log = case(still=(4, 5), **STUCK)
    log["gradient_norm"][100, 4:6] = 1e-9
    log["zero_fraction"][100, 4:6] = 0.5
    assert outcome(RULE, log).status == "clear"


def test_a_few_steps_of_zero_are_no_proof():
    assert outcome(RULE, case(still=(4, 5), steps=5)).status == "clear"


def test_gradients_that_are_not_finite_are_there():
    assert outcome(RULE, case(cut=(0,), nonfinite_count=np.ones((200, 16)), **STUCK)).status == "clear"


def test_where_nothing_moves_it_says_nothing():
    assert outcome(RULE, case(still=range(16), **STUCK)).status == "clear"
