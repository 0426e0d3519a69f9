from dataclasses import replace

import numpy as np

from ...log.factory import run_log
from .cases import outcome

RULE = "loss-scale-trouble"
STUCK = np.full(200, 2.3)


def case(policy="mixed_float16", loss=STUCK, scale=2.0**15, **columns):
    log = run_log(200, loss=loss, loss_scale=np.broadcast_to(scale, 200).copy(), **columns)
    return replace(log, info={**log.info, "dtype_policy": policy})


def skips(share, begin=0):
    skipped = np.zeros(200)
    skipped[begin :: round(1 / share)] = 1
    return skipped


def test_steps_that_go_on_being_skipped():
    finding = outcome(RULE, case(skipped=skips(0.25))).finding
    assert (finding.severity, finding.details["kind"]) == ("high", "skipped")
    assert finding.evidence[0].value == 0.25


def test_the_first_search_for_a_scale_is_none():
    skipped = np.zeros(200)
    skipped[:15] = 1
    assert outcome(RULE, case(skipped=skipped)).status == "clear"


def test_a_step_skipped_now_and_then_is_none():
    assert outcome(RULE, case(skipped=skips(0.01, 50))).status == "clear"


def test_it_is_slight_where_the_run_learns():
    learned = case(skipped=skips(0.25), loss=np.geomspace(2.3, 0.01, 200))
    assert outcome(RULE, learned).finding.severity == "low"


def test_a_scale_that_comes_down_to_none():
    finding = outcome(RULE, case(scale=np.maximum(2.0 ** (15 - np.arange(200)), 0.5))).finding
    assert (finding.details["kind"], finding.first_step) == ("collapsed", 15)


def test_gradients_that_are_lost_to_underflow():
    """A gradient of 1e-7 has no place in float16 without a scale, and has one with 2^15."""
    small = {"gradient_norm": np.full((200, 6), 4e-7), "zero_fraction": np.full((200, 6), 0.8)}
    lost = outcome(RULE, case(scale=1.0, **small)).finding
    assert lost.details["kind"] == "underflow"
    assert lost.layers == ("dense_0", "dense_1", "dense_2")
    assert outcome(RULE, case(scale=2.0**15, **small)).status == "clear"


def test_zeros_in_a_large_gradient_are_no_underflow():
    assert outcome(RULE, case(zero_fraction=np.full((200, 6), 0.8))).status == "clear"


def test_other_precisions_are_not_applicable():
    for policy in ("float32", "mixed_bfloat16"):
        assert outcome(RULE, case(policy, scale=1.0)).status == "not applicable"
