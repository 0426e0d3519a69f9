from dataclasses import replace

import numpy as np
import pytest

from kgrad.log.batch import BatchFacts
from kgrad.log.structure import Layer

from .cases import deep, outcome

RULE = "over-regularised"


def penalised(kind="L2", strength=10.0, loss=None, rate=None):
    log = deep(layers=3, loss=np.full(200, 42.0) if loss is None else loss)
    config = {kind.lower(): strength}
    regularizer = {"kernel_regularizer": {"class_name": kind, "config": config}}
    layers = [replace(layer, config=regularizer if strength else {}) for layer in log.structure.layers]
    if rate is not None:
        layers.append(Layer("dropout", "Dropout", 3, inbound=("dense_1",), config={"rate": rate}))
    facts = BatchFacts.of("given", {"": np.zeros((8, 5))}, {"": np.zeros((8, 1))}).to_dict()
    return replace(log, structure=replace(log.structure, layers=tuple(layers)), info={**log.info, "batch": facts})


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
    assert outcome(RULE, penalised(strength=0, rate=0.4)).status == "clear"


def test_dropout_that_takes_whole_layers():
    log = penalised(strength=0, rate=0.5)  # behind four units: 0.5 ** 4
    finding = outcome(RULE, log).finding
    assert (finding.details["kind"], finding.layers) == ("dropout", ("dropout",))
    assert "Dropout takes 50 % of the units away, and all of a layer in 6 % of the rows" in finding.summary
    assert outcome(RULE, penalised(strength=0, rate=0.3)).status == "clear"


@pytest.mark.parametrize("shape", [(8, 20, 5), (8, 12, 12, 3)])
def test_units_at_several_places_are_not_dropped_all_at_once(shape):
    log = penalised(strength=0, rate=0.5)
    facts = BatchFacts.of("given", {"": np.zeros(shape)}, {"": np.zeros((8, 1))}).to_dict()
    assert outcome(RULE, replace(log, info={**log.info, "batch": facts})).status == "clear"


def test_what_is_said_of_dropout_is_said_of_the_layer_that_is_starved():
    log = penalised(strength=0, rate=0.5)
    wide = Layer("wide", "Dropout", 4, inbound=("dropout",), config={"rate": 0.7})
    both = replace(log, structure=replace(log.structure, layers=(*log.structure.layers, wide)))
    finding = outcome(RULE, both).finding
    assert finding.layers == ("dropout",)
    assert "takes 50 %" in finding.summary


def test_without_either_it_does_not_apply():
    assert outcome(RULE, deep()).status == "not applicable"
