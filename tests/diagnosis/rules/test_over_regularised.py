from dataclasses import replace

import numpy as np
import pytest

from kgrad.log.structure import Layer

from .cases import deep, outcome

RULE = "over-regularised"


def penalised(kind="L2", strength=10.0, loss=None, rate=None):
    log = deep(layers=3, loss=np.full(200, 42.0) if loss is None else loss)
    config = {kind.lower(): strength}
    regularizer = {"kernel_regularizer": {"class_name": kind, "config": config}}
    layers = [replace(layer, config=regularizer if strength else {}) for layer in log.structure.layers]
    if rate is not None:
        layers.append(Layer("dropout", "Dropout", 3, config={"rate": rate}))
    return replace(log, structure=replace(log.structure, layers=tuple(layers)))


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_a_penalty_that_outweighs_the_data(kind):
    finding = outcome(RULE, penalised(kind)).finding
    assert finding.severity == "high"
    assert finding.details["kind"] == "penalty"
    assert finding.layers == ("dense_0", "dense_1", "dense_2")


def test_the_l2_penalty_is_exact():
    log = penalised(strength=1.0, loss=np.full(200, 14.0))  # three kernels of norm 2: 3 * 4 = 12 of 14
    assert outcome(RULE, log).finding.details["penalty"] == pytest.approx(12 / 2)


def test_a_small_penalty_is_none():
    assert outcome(RULE, penalised(strength=1e-4, loss=np.full(200, 2.3))).status == "clear"


def test_a_run_that_learns_is_none():
    assert outcome(RULE, penalised(loss=np.geomspace(42, 1, 200))).status == "clear"


def test_dropout_of_nearly_all():
    assert outcome(RULE, penalised(strength=0, rate=0.9)).finding.details["kind"] == "dropout"
    assert outcome(RULE, penalised(strength=0, rate=0.5)).status == "clear"


def test_without_either_it_does_not_apply():
    assert outcome(RULE, deep()).status == "not applicable"
