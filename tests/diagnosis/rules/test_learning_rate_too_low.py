from dataclasses import replace

import numpy as np
import pytest

from kgrad.prescription.learning_rate_schedule import prescribe_lasting_rate

from .cases import deep, outcome, scaled

RULE = "learning-rate-too-low"


def creeping(ratio=1e-5, steps=200, rate=0.001, loss=None, **columns):
    """Weights of size 2 that move by `ratio` of it in each step, while nothing is learned."""
    log = deep(steps=steps, loss=np.full(steps, 2.3) if loss is None else loss, learning_rate=np.full(steps, rate))
    return replace(log, columns={**log.columns, "update_norm": 2.0 * ratio * np.ones((steps, 16)), **columns})


def test_weights_that_hardly_move():
    finding = outcome(RULE, creeping()).finding
    assert finding.severity == "high"
    assert finding.details["suggested"] == pytest.approx(0.1)
    assert finding.details["path"] == pytest.approx(200e-5, rel=1e-6)


def test_an_ordinary_step_is_none():
    assert outcome(RULE, creeping(ratio=2e-3)).status == "clear"


def test_a_run_that_learns_all_the_same_is_none():
    assert outcome(RULE, creeping(loss=np.geomspace(2.3, 0.1, 200))).status == "clear"


def test_small_steps_that_lead_far_are_none():
    assert outcome(RULE, creeping(ratio=5e-4, steps=2000)).status == "clear"


def test_a_rate_at_which_one_layer_moves_as_usual_is_not_to_blame():
    uneven = 2.0 * np.geomspace(2e-5, 4e-3, 16) * np.ones((200, 16))
    assert np.median(uneven) < 1e-3
    assert outcome(RULE, creeping(update_norm=uneven)).status == "clear"


def test_a_gradient_that_no_learning_rate_mends_is_none():
    assert outcome(RULE, creeping(ratio=1e-9, rate=0.01)).status == "clear"
    assert outcome(RULE, creeping(ratio=0.0)).status == "clear"


def test_few_steps_are_not_applicable():
    assert outcome(RULE, creeping(steps=20)).status == "not applicable"


def test_every_tenth_step_tells_the_same():
    whole = creeping()
    thin = whole.only(steps=slice(None, None, 4))
    assert outcome(RULE, thin).finding.details["path"] == pytest.approx(
        outcome(RULE, whole).finding.details["path"], rel=0.05
    )


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_the_loss_changes_nothing(factor):
    assert outcome(RULE, scaled(creeping(), factor)).finding == outcome(RULE, creeping()).finding


def test_a_loss_that_fell_and_then_stood_was_stopped_by_something_else():
    noise = 0.01 * np.random.default_rng(1).normal(size=200)
    stood = np.concatenate([np.linspace(2.3, 1.9, 40), np.full(160, 1.9)])
    falling = np.linspace(2.3, 1.9, 200)
    assert outcome(RULE, creeping(loss=stood + noise)).status == "clear"
    assert outcome(RULE, creeping(loss=falling + noise)).status == "found"


DECAY = {"class_name": "InverseTimeDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 1}}
SCHEDULED = {"class_name": "SGD", "config": {"learning_rate": DECAY, "momentum": 0.9, "name": "SGD"}}
ABRUPT = np.concatenate([np.linspace(2.3, 1.7, 40), np.linspace(1.7, 1.6, 360)])
STEP = np.where(np.arange(400) < 40, 0.1, 0.01)


def decayed(rate, loss=ABRUPT, optimizer=SCHEDULED):
    loss = loss + 0.02 * np.random.default_rng(0).normal(size=400)
    log = creeping(steps=400, ratio=1e-2, loss=loss, learning_rate=rate)
    return replace(log, info={**log.info, "optimizer": optimizer})


def test_a_rate_that_falls_in_the_first_tenth():
    rate = 0.1 / (1 + np.arange(400))
    finding = outcome(RULE, decayed(rate)).finding
    assert finding.evidence[0].value == pytest.approx(rate[:40].sum() / rate.sum(), abs=0.01)
    offered = prescribe_lasting_rate(decayed(rate), finding)
    assert offered.settings == {"optimizer": "SGD", "learning_rate": 0.1, "momentum": 0.9}
    assert offered.code.startswith("optimizer = keras.optimizers.SGD(learning_rate=0.1, momentum=0.9)")


@pytest.mark.parametrize(
    "log",
    [
        decayed(0.1 / (1 + 1e-3 * np.arange(400))),
        decayed(STEP),
        decayed(0.1 / (1 + np.arange(400)), loss=np.linspace(1.7, 1.6, 400)),
        decayed(0.1 / (1 + np.arange(400)), optimizer={"class_name": "SGD", "config": {"learning_rate": 0.1}}),
    ],
    ids=["slowly", "by a step of ten", "where the loss stood before", "by a callback, which may have its reasons"],
)
def test_a_rate_may_fall(log):
    assert outcome(RULE, log).status == "clear"


def test_a_schedule_that_ended_long_before_the_run():
    rate = np.where(np.arange(200) < 20, 1e-3, 0.0)
    stuck = np.full(200, 2.0) + 0.02 * np.random.default_rng(0).normal(size=200)
    said = outcome(RULE, creeping(ratio=1e-2, loss=stuck, learning_rate=rate)).finding
    assert (said.details["kind"], said.first_step, said.severity) == ("idle", 20, "high")
    assert outcome(RULE, creeping(loss=stuck, rate=0.0)).finding.details["kind"] == "idle"
    learned = creeping(ratio=1e-2, loss=np.geomspace(2.3, 0.1, 200), learning_rate=rate)
    assert outcome(RULE, learned).status == "clear"


@pytest.mark.parametrize(("spread", "found"), [(0.2, True), (0.01, False)], ids=["noise may hide a fall", "it stands"])
def test_only_a_loss_that_is_shown_to_stand_was_stopped_by_something_else(spread, found):
    loss = np.maximum(np.linspace(2.3, 1.5, 200), 1.95) + spread * np.random.default_rng(0).normal(size=200)
    assert (outcome(RULE, creeping(loss=loss)).status == "found") is found
