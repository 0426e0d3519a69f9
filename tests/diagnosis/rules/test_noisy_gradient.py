from dataclasses import replace

import numpy as np
import pytest

from kgrad.diagnosis.noise import signal_to_noise
from kgrad.errors import KgradError
from kgrad.log.batch import BatchFacts

from ...log.factory import run_log
from .cases import outcome, scaled

RULE = "noisy-gradient"
STUCK = np.full(4000, 2.3)
SIZE = 50


def case(noise, loss=STUCK, epoch=None, seed=0):
    """Gradients of 300 numbers, one and the same but for noise of the given power (relative to the signal's).

    `epoch` draws the noise of so many batches without replacement, so that it sums to zero in each epoch.
    """
    steps, generator = len(loss), np.random.default_rng(seed)
    drawn = generator.normal(0, np.sqrt(noise / (6 * SIZE)), (steps, 6, SIZE))
    if epoch:
        parts = drawn.reshape(-1, epoch, 6, SIZE)
        drawn = ((parts - parts.mean(axis=1, keepdims=True)) * np.sqrt(epoch / (epoch - 1))).reshape(steps, 6, SIZE)
    gradients = drawn + np.sqrt(1 / (6 * SIZE))
    norm = np.linalg.norm(gradients, axis=2)
    inner = (gradients[1:] * gradients[:-1]).sum(axis=2) / (norm[1:] * norm[:-1])
    log = run_log(steps, loss=loss)
    cosine = np.vstack([np.full((1, 6), np.nan), inner])
    info = {**log.info, "fit": {"steps_per_epoch": epoch}}
    return replace(log, info=info, columns={**log.columns, "gradient_norm": norm, "cosine": cosine})


def test_noise_far_above_the_signal_is_measured():
    finding = outcome(RULE, case(1000.0)).finding
    assert finding.severity == "medium"
    assert 100 < finding.evidence[0].value <= 1200
    assert finding.first_step == 0


@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_the_ratio_over_windows_is_that_of_the_gradients(noise):
    steps, ratio = signal_to_noise(case(noise), window=1000)
    assert steps.tolist() == [0, 1000, 2000, 3000]
    assert ratio[np.isfinite(ratio)] == pytest.approx(1 / noise, rel=0.35) if noise else (ratio > 100).all()


@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_ordinary_noise_is_none(noise):
    assert outcome(RULE, case(noise)).status == "clear"


def test_a_run_that_learns_ends_in_noise_by_right():
    assert outcome(RULE, case(1000.0, np.geomspace(2.3, 0.01, 4000))).status == "clear"


def test_few_steps_are_not_taken_for_noise():
    assert outcome(RULE, case(1000.0, STUCK[:60])).status == "clear"
    assert outcome(RULE, case(1000.0, STUCK[:40])).status == "not applicable"


def test_batches_of_one_epoch_turn_apart_without_being_noise():
    """Ten batches an epoch: by their products alone the signal would be negative."""
    log = case(20.0, epoch=10)
    products = (log["cosine"][1:] * log["gradient_norm"][1:] * log["gradient_norm"][:-1]).sum(axis=1)
    assert products.mean() < 0
    assert outcome(RULE, log).status == "clear"
    assert outcome(RULE, case(5000.0, epoch=10)).status == "found"


def test_the_noise_scale_needs_the_size_of_the_batch():
    log = case(1000.0)
    facts = BatchFacts.of("first training batch", {"": np.zeros((16, 4))}, {})
    finding = outcome(RULE, replace(log, info={**log.info, "batch": facts.to_dict()})).finding
    assert finding.details["batch"] == 16
    assert finding.evidence[-1].value == pytest.approx(16 * finding.evidence[0].value)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_the_loss_changes_nothing(factor):
    assert outcome(RULE, scaled(case(1000.0), factor)).finding.severity == "medium"


def test_a_window_needs_steps_and_cosines():
    with pytest.raises(KgradError, match="window=2"):
        signal_to_noise(case(1.0), window=2)
    with pytest.raises(KgradError, match="cosine=True"):
        signal_to_noise(run_log(200))


def test_without_cosines_it_is_not_applicable():
    assert outcome(RULE, run_log(200)).status == "not applicable"
