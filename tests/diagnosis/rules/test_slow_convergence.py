from dataclasses import replace

import numpy as np
import pytest

from .cases import deep, outcome, scaled

RULE = "slow-convergence"
NOISE = 0.01 * np.random.default_rng(1).normal(size=1000)


def run(loss, ratio):
    steps = len(loss)
    log = deep(steps=steps, loss=loss + NOISE[:steps])
    return replace(log, columns={**log.columns, "update_norm": 2.0 * ratio * np.ones((steps, 16))})


def test_a_handful_of_steps():
    finding = outcome(RULE, run(np.linspace(2.3, 2.2, 20), 1e-3)).finding
    assert finding.severity == "medium"
    assert finding.details["path"] == pytest.approx(0.02, rel=1e-6)


def test_it_still_falls_on_a_short_path():
    assert outcome(RULE, run(np.linspace(2.3, 1.9, 200), 1e-3)).finding.severity == "medium"


def test_it_still_falls_on_a_long_path_is_a_note():
    assert outcome(RULE, run(np.linspace(2.3, 1.9, 1000), 2e-3)).finding.severity == "info"


def test_a_loss_that_halved_is_on_its_way():
    log = run(np.linspace(2.3, 1.0, 20), 1e-3)
    assert outcome(RULE, log).status == "clear"


def test_a_flat_loss_is_another_matter():
    assert outcome(RULE, run(np.full(400, 2.3), 1e-3)).status == "clear"


def test_without_any_motion_it_does_not_apply():
    assert outcome(RULE, run(np.full(400, 2.3), 0.0)).status == "not applicable"


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_the_loss_changes_nothing(factor):
    log = run(np.linspace(2.3, 1.9, 200), 1e-3)
    one, other = (outcome(RULE, each).finding for each in (log, scaled(log, factor)))
    assert one.severity == other.severity
    assert one.details == other.details
