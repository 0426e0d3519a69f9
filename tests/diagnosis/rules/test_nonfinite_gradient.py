from dataclasses import replace

import numpy as np
import pytest

from kgrad.diagnosis import diagnose
from kgrad.log.batch import BatchFacts

from .cases import deep, outcome
from .test_exploding_gradient import exploding


def broken(where, **columns):
    counts = np.zeros((200, 16))
    counts[where] = 4
    return deep(nonfinite_count=counts, **columns)


def test_the_first_step_and_the_layer_nearest_the_output_are_named():
    counts = np.zeros((200, 16))
    counts[50, 4:8] = 1
    counts[51:] = 1
    said = outcome("nonfinite-gradient", deep(nonfinite_count=counts)).finding
    assert said.first_step == 50
    assert said.layers == ("dense_2", "dense_3")
    assert said.severity == "high"


def test_one_broken_step_is_enough():
    assert outcome("nonfinite-gradient", broken((slice(7, 8), 0))).status == "found"


def test_steps_skipped_now_and_then_do_no_harm():
    skipped = np.zeros(200)
    skipped[:5] = 1
    assert outcome("nonfinite-gradient", broken((slice(0, 5), slice(None)), skipped=skipped)).status == "clear"


def test_the_search_for_a_scale_is_no_disease_of_a_short_run():
    skipped = np.zeros(200)
    skipped[:2] = 1
    log = broken((slice(0, 2), slice(None)), skipped=skipped)
    assert outcome("nonfinite-gradient", log.only(steps=slice(0, 7))).status == "clear"


def test_steps_skipped_all_the_time_do():
    skipped = np.zeros(200)
    skipped[::3] = 1
    said = outcome("nonfinite-gradient", broken((slice(0, None, 3), slice(None)), skipped=skipped))
    assert said.finding.severity == "medium"


def test_it_is_the_symptom_of_an_explosion():
    log = exploding(dies=True)
    log.columns["nonfinite_count"][-20:] = 1
    causes = {finding.rule: finding.caused_by for finding in diagnose(log).findings}
    assert causes["nonfinite-gradient"] == "exploding-gradient"


def test_the_likely_origin_is_named():
    where = (slice(50, None), slice(None))
    loss = np.full(200, 2.0)
    forward = np.where(np.arange(200) < 50, loss, np.nan)
    assert outcome("nonfinite-gradient", broken(where, loss=loss)).finding.details["kind"] == "backward"
    assert outcome("nonfinite-gradient", broken(where, loss=forward)).finding.details["kind"] == "forward"


@pytest.mark.parametrize("part", ["inputs", "targets"])
def test_data_that_are_not_finite_are_the_cause_of_everything(part):
    log = exploding(dies=True)
    log.columns["nonfinite_count"][-20:] = 1
    data = {"inputs": np.ones((8, 3)), "targets": np.ones((8, 1))}
    data[part][2, 0] = np.nan
    facts = BatchFacts.of("given", {"": data["inputs"]}, {"": data["targets"]}).to_dict()
    findings = diagnose(replace(log, info={**log.info, "batch": facts})).findings
    said = next(finding for finding in findings if finding.rule == "nonfinite-gradient")
    assert (said.details["kind"], said.caused_by) == (part, None)


def test_a_loss_that_is_not_finite_counts_and_one_that_was_never_told_does_not():
    loss = np.where(np.arange(200) < 80, 2.0, np.nan)
    said = outcome("nonfinite-gradient", deep(loss=loss)).finding
    assert (said.first_step, said.layers, said.severity) == (80, (), "high")
    assert said.summary.startswith("The loss is not finite")
    assert outcome("nonfinite-gradient", deep(loss=np.full(200, np.nan))).status == "clear"
