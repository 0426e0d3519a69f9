from dataclasses import replace

import numpy as np
import pytest

from .cases import deep, outcome, scaled
from .test_underfitting import run as learned

STUCK = 2.3 + 0.01 * np.random.default_rng(1).normal(size=200)


def test_a_steady_fall_with_a_loss_that_stands_still_is_grave():
    said = outcome("vanishing-gradient", deep(decades=8, loss=STUCK))
    assert said.status == "found"
    assert said.finding.severity == "high"
    assert said.finding.layers[0] == "dense_0"
    assert "dense_7" not in said.finding.layers
    assert said.finding.details["total_decades"] == pytest.approx(8 * 6 / 7, rel=0.1)


def test_a_fall_that_does_no_harm_is_a_note():
    """Adam: the weights of all layers move alike, and the loss falls."""
    log = deep(decades=6)
    log.columns["update_norm"][:] = 0.002
    said = outcome("vanishing-gradient", log)
    assert said.finding.severity == "info"
    assert "without harm" in said.finding.summary


def test_a_fall_at_the_planned_end_is_no_excuse_where_little_was_learned():
    """Classes: the loss of a constant answer is known, and a seventh of it was learned by the end."""
    log = learned(0.14, stands=0.7)
    log = replace(deep(decades=6, steps=400, loss=log["loss"]), info=log.info)
    log.columns["update_norm"][:] = 0.002
    assert outcome("vanishing-gradient", log).finding.severity == "medium"
    planned = replace(log, info={**log.info, "fit": {"epochs": 50, "steps_per_epoch": 20}})
    assert outcome("vanishing-gradient", planned).finding.severity == "info"


def test_small_gradients_everywhere_are_not_vanishing():
    log = scaled(deep(decades=0, loss=STUCK), 1e-12)
    assert outcome("vanishing-gradient", log).status == "clear"


def test_two_decades_are_not_enough():
    assert outcome("vanishing-gradient", deep(decades=2, loss=STUCK)).status == "clear"


def test_an_unsteady_fall_is_no_trend():
    log = deep(decades=0, loss=STUCK)
    log.columns["gradient_norm"][:, 0] *= 1e-9
    assert outcome("vanishing-gradient", log).status == "clear"


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_the_loss_changes_nothing(factor):
    log = deep(decades=8, loss=STUCK)
    one, other = outcome("vanishing-gradient", log).finding, outcome("vanishing-gradient", scaled(log, factor)).finding
    assert (one.severity, one.layers, one.first_step) == (other.severity, other.layers, other.first_step)


def test_a_shallow_model_is_not_applicable():
    assert outcome("vanishing-gradient", deep(layers=3)).status == "not applicable"
