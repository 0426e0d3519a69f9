from dataclasses import replace

import numpy as np
import pytest

from kgrad.diagnosis import diagnose
from kgrad.log.batch import BatchFacts

from .cases import deep, outcome, scaled
from .test_underfitting import run as learned

RULE = "learning-rate-too-high"


def thrown(ratio=5.0, peak=500.0, end=50.0, steps=200):
    """The first steps replace the weights, and the loss flies away."""
    loss = np.concatenate([[2.3], np.geomspace(peak, end, steps - 1)])
    log = deep(steps=steps, loss=loss)
    update = np.full((steps, 16), 0.02)
    update[:3] = 2.0 * ratio
    return replace(log, columns={**log.columns, "update_norm": update})


def swinging(swing=0.2, level=1.8, epochs=20):
    means = level + swing * np.array([(-1) ** i for i in range(epochs)])
    log = deep(steps=200, loss=np.repeat(means, 10) / means[0] * 2.3)
    return replace(log, epochs={"loss": means})


def test_a_first_step_that_replaces_the_weights():
    finding = outcome(RULE, thrown()).finding
    assert (finding.severity, finding.details["kind"]) == ("high", "overshoot")
    assert finding.details["suggested"] == pytest.approx(0.01 * 1e-2 / 5.0)


def test_thrown_and_recovered_is_less_grave():
    assert outcome(RULE, thrown(end=0.1)).finding.severity == "medium"


def test_a_bounded_loss_shows_it_by_what_is_not_learned():
    """A sigmoid under a squared error cannot rise far above a constant answer."""
    finding = outcome(RULE, thrown(peak=3.0, end=3.0)).finding
    assert (finding.severity, finding.details["kind"]) == ("high", "overshoot")
    assert "nothing was learned" in finding.summary
    assert outcome(RULE, thrown(ratio=0.4, peak=3.0, end=3.0)).status == "clear"


def test_a_start_a_few_times_off_does_not_hide_steps_that_replace_the_weights():
    log = thrown(peak=60.0, end=60.0)
    far = replace(log, columns={**log.columns, "loss": np.concatenate([[15.0], log["loss"][1:]])})
    head = replace(log.structure.layers[-1], activation="softmax", units=10)  # a constant answer gets log(10)
    model = replace(log.structure, layers=(*log.structure.layers[:-1], head))
    known = replace(far, structure=model, info={**log.info, "loss": "sparse_categorical_crossentropy"})
    assert outcome(RULE, known).finding.details["kind"] == "overshoot"


@pytest.mark.parametrize(("rows", "found"), [(1, False), (32, True)])
def test_one_row_that_is_far_off_is_no_throw(rows, found):
    loss = np.full(200, 1.0)
    loss[5] = 8.0
    log = thrown(ratio=0.4)
    facts = BatchFacts.of("given", {"": np.ones((rows, 2))}, {"": np.ones((rows, 1))}).to_dict()
    one = replace(log, columns={**log.columns, "loss": loss}, info={**log.info, "batch": facts})
    assert (outcome(RULE, one).finding is not None) == found


def test_one_kernel_that_is_replaced_is_not_the_whole_model():
    log = thrown(ratio=0.01, peak=2.3, end=2.3)
    update = log["update_norm"].copy()
    update[:3, 0] = 20.0
    assert outcome(RULE, replace(log, columns={**log.columns, "update_norm": update})).status == "clear"


def test_large_steps_that_do_no_harm_are_none():
    assert outcome(RULE, thrown(peak=2.3, end=0.1)).status == "clear"


def test_a_loss_that_flies_away_after_ordinary_steps_is_another_matter():
    assert outcome(RULE, thrown(ratio=0.005)).status == "clear"


def test_a_loss_that_was_high_from_the_start_is_another_matter():
    log = thrown()
    log = replace(log, columns={**log.columns, "loss": np.linspace(500, 50, 200)})
    log = replace(log, info={**log.info, "loss": "sparse_categorical_crossentropy"})
    assert outcome(RULE, log).status == "clear" or outcome(RULE, log).finding.details["kind"] != "overshoot"


def test_a_loss_that_swings_from_epoch_to_epoch():
    finding = outcome(RULE, swinging()).finding
    assert (finding.severity, finding.details["kind"]) == ("medium", "oscillation")


@pytest.mark.parametrize(("spread", "found"), [(0.01, True), (2.0, False)], ids=["large batches", "two rows of two"])
def test_swings_within_the_noise_of_short_epochs_are_none(spread, found):
    log = swinging(swing=0.1)
    noisy = log["loss"] + spread * np.random.default_rng(0).normal(size=200)
    ends = np.arange(9, 200, 10)
    log = replace(log, columns={**log.columns, "loss": noisy}, epochs={**log.epochs, "last_step": ends})
    assert (outcome(RULE, log).status == "found") is found


def test_swings_of_a_run_that_learned_are_a_note():
    assert outcome(RULE, swinging(swing=0.1, level=0.5)).finding.severity == "info"


@pytest.mark.parametrize("means", [np.linspace(2.3, 0.1, 20), np.full(20, 2.3)])
def test_falling_or_standing_epochs_are_none(means):
    log = replace(deep(steps=200, loss=np.repeat(means, 10)), epochs={"loss": means})
    assert outcome(RULE, log).status == "clear"


def test_an_explosion_it_made_is_its_symptom():
    log = thrown()
    log.columns["loss"][1:8] = 3.0
    norm = np.concatenate([np.ones(8), np.full(192, 1e4)])
    said = {f.rule: f for f in diagnose(replace(log, columns={**log.columns, "global_norm": norm})).findings}
    assert said["exploding-gradient"].caused_by == RULE
    assert said[RULE].caused_by is None


@pytest.mark.parametrize("factor", [1e-4, 1e4])
@pytest.mark.parametrize("log", [thrown(), thrown(peak=2.3, end=0.1)], ids=["thrown", "well"])
def test_a_factor_on_the_loss_changes_nothing(factor, log):
    one, other = (outcome(RULE, each) for each in (log, scaled(log, factor)))
    assert one.status == other.status
    assert (one.finding and one.finding.severity) == (other.finding and other.finding.severity)


def test_a_loss_that_only_rises_leads_uphill():
    noise = 0.02 * np.random.default_rng(0).normal(size=200)
    said = outcome(RULE, deep(loss=np.linspace(2.3, 4.3, 200) + noise, learning_rate=np.full(200, 0.01))).finding
    assert said.details["kind"] == "rising"
    level = outcome(RULE, deep(loss=np.full(200, 2.3) + noise, learning_rate=np.full(200, 0.01)))
    assert level.status == "clear"


def test_losses_under_zero_have_no_share_to_lose():
    loss = np.concatenate([np.linspace(0.1, -2, 100), np.linspace(-2, -1.5, 100)])
    log = deep(loss=loss, learning_rate=np.full(200, 0.01))
    assert outcome(RULE, replace(log, epochs={"loss": loss.reshape(20, 10).mean(axis=1)})).status == "clear"


@pytest.mark.parametrize(("spread", "found"), [(0.02, True), (0.2, True), (2.0, False)])
def test_what_noise_takes_back_was_never_learned(spread, found):
    """A run that loses most of what it learned, seen through batches of many rows and of two."""
    loss = np.concatenate([np.linspace(2.3, 1.2, 80), np.linspace(1.2, 2.2, 80), np.full(40, 2.2)])
    loss = np.abs(loss + spread * np.random.default_rng(2).normal(size=200))
    log = deep(loss=loss, learning_rate=np.full(200, 0.01))
    said = outcome(RULE, log)
    assert (said.status, said.finding and said.finding.details["kind"]) == (
        ("found", "unlearned") if found else ("clear", None)
    )


def by_few_rows(rows=1, end=0.3, stands=0.5, momentum=0.9, name="SGD"):
    """A run that learned this share, stood for the rest of it, and went by batches of so many rows."""
    log = learned(end, stands=stands)
    optimizer = {"class_name": name, "config": {"learning_rate": 0.01, "momentum": momentum}}
    fit = {"batch_size": rows}
    return replace(log, info={**log.info, "optimizer": optimizer, "fit": fit})


def test_descent_by_single_rows_at_the_usual_rate_follows_their_noise():
    finding = outcome(RULE, by_few_rows()).finding
    assert (finding.details["kind"], finding.severity) == ("few-rows", "medium")
    assert finding.evidence[0].value == pytest.approx(16)
    assert finding.details["suggested"] == pytest.approx(0.01 / 16)
    assert "In batches of one row" in finding.summary


@pytest.mark.parametrize(
    "changes",
    [{"rows": 2}, {"rows": 32}, {"end": 0.9}, {"stands": 1}, {"momentum": 0.0}, {"name": "Adam"}],
    ids=["8 times as fast", "usual batches", "learned", "falls still", "without momentum", "Adam"],
)
def test_batches_that_bear_the_rate_and_runs_that_learn_are_left_alone(changes):
    assert outcome(RULE, by_few_rows(**changes)).status == "clear"


def test_few_rows_that_learned_half_and_stand_there_are_a_low_finding():
    assert outcome(RULE, by_few_rows(end=0.6)).finding.severity == "low"
    settled = by_few_rows(end=0.95)
    assert outcome(RULE, settled).status == "clear"
    far_off = np.where(np.arange(len(settled)) % 5 == 3, 2.5, settled["loss"])  # the median does not show it
    swings = replace(settled, columns=settled.columns | {"loss": far_off})
    assert outcome(RULE, swings).finding.severity == "low"


def test_a_batch_of_all_rows_has_no_noise_of_rows():
    log = by_few_rows(rows=4)
    few = BatchFacts.of("training arrays", {"": np.ones((4, 6))}, {"": np.arange(4)}).to_dict()
    rate = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.9}}
    log = replace(log, info={**log.info, "optimizer": rate})
    assert outcome(RULE, log).status == "found"
    assert outcome(RULE, replace(log, info={**log.info, "data": few})).status == "clear"
