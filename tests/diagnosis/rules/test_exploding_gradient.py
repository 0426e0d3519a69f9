from dataclasses import replace

import numpy as np
import pytest

from kgrad.log.batch import BatchFacts

from .cases import deep, outcome, scaled


def exploding(steps=200, onset=100, loss_rises=True, dies=False):
    norm = np.ones(steps)
    norm[onset:] = 10.0 ** np.linspace(0, 6, steps - onset)
    loss = np.linspace(2, 1, steps)
    if loss_rises:
        loss[onset:] = 10.0 ** np.linspace(0, 3, steps - onset)
    if dies:
        norm[-20:] = loss[-20:] = np.nan
    return deep(steps=steps, global_norm=norm, loss=loss)


def test_growth_with_a_rising_loss():
    said = outcome("exploding-gradient", exploding())
    assert said.finding.severity == "high"
    assert 100 <= said.finding.first_step <= 140
    assert said.finding.details["growth"] == pytest.approx(1e6, rel=0.1)


def test_growth_that_ends_in_nan():
    said = outcome("exploding-gradient", exploding(dies=True))
    assert "no longer finite at step 180" in said.finding.summary


def test_a_single_spike_is_no_explosion():
    norm, loss = np.ones(200), np.linspace(2, 1, 200)
    norm[120], loss[121] = 1e5, 40
    assert outcome("exploding-gradient", deep(global_norm=norm, loss=loss)).status == "clear"


def test_a_large_start_that_calms_down_is_none():
    norm = np.ones(200)
    norm[:3] = 1e6
    assert outcome("exploding-gradient", deep(global_norm=norm)).status == "clear"


def test_growth_while_the_loss_falls_is_none():
    assert outcome("exploding-gradient", exploding(loss_rises=False)).status == "clear"


def test_growth_through_depth_with_a_loss_that_stands_still():
    stuck = np.full(200, 2.3)
    assert outcome("exploding-gradient", deep(decades=-6, loss=stuck)).finding.details["total_decades"] < -3
    assert outcome("exploding-gradient", deep(decades=-6)).status == "clear"


def spiking():
    """Bursts of five steps, a thousand times above the calm ones between them; the loss goes with them."""
    norm, loss = np.ones(200), np.full(200, 2.0)
    for begin in (60, 110, 160):
        norm[begin : begin + 5], loss[begin : begin + 5] = 1e3, 200.0
    return deep(global_norm=norm, loss=loss)


def with_growing_weights(log, factor):
    weights = log["weight_norm"].copy()
    weights[120:] *= factor
    return replace(log, columns={**log.columns, "weight_norm": weights})


@pytest.mark.parametrize(
    ("log", "kind", "said"),
    [
        (exploding(), "growth", "grew by a factor"),
        (exploding(dies=True), "growth", "grew by a factor"),
        (spiking(), "spikes", "spiked by a factor"),
        (with_growing_weights(exploding(), 5.0), "weights", "and the weights with it"),
        (with_growing_weights(exploding(), 1.5), "growth", "grew by a factor"),
        (deep(decades=-6, loss=np.full(200, 2.3)), "depth", "back to the first"),
    ],
    ids=["growth", "dies", "spikes", "weights", "weights that stay", "depth"],
)
def test_kinds_are_told_apart(log, kind, said):
    finding = outcome("exploding-gradient", log).finding
    assert finding.details["kind"] == kind
    assert said in finding.summary


def test_spikes_that_a_run_survives_are_a_note():
    log = spiking()
    loss = np.where(log["loss"] > 100, 200.0, np.geomspace(2.0, 0.1, 200))
    assert outcome("exploding-gradient", replace(log, columns={**log.columns, "loss": loss})).finding.severity == "info"


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_the_loss_changes_nothing(factor):
    one, other = (outcome("exploding-gradient", log).finding for log in (exploding(), scaled(exploding(), factor)))
    assert (one.severity, one.first_step, one.last_step) == (other.severity, other.first_step, other.last_step)


def test_a_first_row_that_happens_to_be_right_makes_no_explosion():
    """In batches of one row the first loss may be next to nothing, and so its gradient."""
    norm, loss = np.ones(200), np.random.default_rng(0).uniform(0.5, 1.5, 200)
    norm[0], loss[0] = 1e-6, 1e-3
    targets = np.random.default_rng(0).normal(size=(64, 1))
    facts = BatchFacts.of("given", {"": np.ones((64, 2))}, {"": targets}).to_dict()
    log = deep(global_norm=norm, loss=loss)
    log = replace(log, info={**log.info, "loss": "mse", "batch": facts})
    assert outcome("exploding-gradient", log).status == "clear"
    grown = replace(log, columns={**log.columns, "global_norm": 1e3 * norm, "loss": 1e3 * loss})
    assert outcome("exploding-gradient", grown).status == "found"


@pytest.mark.parametrize(("after", "found"), [(1e-15, True), (1.0, False)], ids=["thrown away", "recovered"])
def test_one_spike_is_enough_where_no_gradient_is_left(after, found):
    norm = np.concatenate([[2.0, 3.0, 5e9], np.full(197, after)])
    loss = np.concatenate([[2.0, 2.1, 1e9], np.full(197, 3.0)])
    said = outcome("exploding-gradient", deep(loss=loss, global_norm=norm))
    assert (said.status == "found") is found
    assert not found or (said.finding.severity, said.finding.details["kind"]) == ("high", "spikes")
