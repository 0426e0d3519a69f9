from dataclasses import replace

import numpy as np
import pytest

from ...log.factory import run_log
from .cases import outcome, scaled

RULE = "clipping-too-tight"
STUCK = np.full(200, 2.3)


def case(clip, optimizer="SGD", loss=STUCK, updates=1e-5):
    """A run whose norms of about 2.4 are clipped to `clip`; `updates` is the update ratio."""
    log = run_log(200, loss=loss)
    norm = log["global_norm"]
    columns = {
        **log.columns,
        "applied_global_norm": np.minimum(norm, clip),
        "update_norm": updates * log["weight_norm"],
    }
    return replace(log, columns=columns, info={**log.info, "optimizer": {"class_name": optimizer, "config": {}}})


def test_a_threshold_far_below_the_norms_starves_the_updates():
    finding = outcome(RULE, case(0.01)).finding
    assert finding.severity == "high"
    assert finding.evidence[0].value == pytest.approx(0.01 / np.sqrt(6), rel=0.1)
    assert finding.details["median_norm"] == pytest.approx(np.sqrt(6), rel=0.1)


@pytest.mark.parametrize("clip", [0.5, 2.0, 100.0])
def test_ordinary_thresholds_are_left_alone(clip):
    assert outcome(RULE, case(clip)).status == "clear"


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "RMSprop", "Lion"])
def test_a_factor_that_cancels_is_a_note(optimizer):
    assert outcome(RULE, case(0.01, optimizer)).finding.severity == "info"


def test_it_is_a_note_where_the_updates_are_large_or_the_run_learns():
    assert outcome(RULE, case(0.01, updates=0.01)).finding.severity == "info"
    assert outcome(RULE, case(0.01, loss=np.geomspace(2.3, 0.01, 200))).finding.severity == "info"


def test_a_few_clipped_spikes_are_what_clipping_is_for():
    log = case(100.0)
    applied = log["applied_global_norm"].copy()
    applied[::5] *= 1e-4
    assert outcome(RULE, replace(log, columns={**log.columns, "applied_global_norm": applied})).status == "clear"


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_the_loss_changes_nothing(factor):
    log = case(0.01, "Adam")
    assert outcome(RULE, scaled(log, factor)).finding.severity == outcome(RULE, log).finding.severity
