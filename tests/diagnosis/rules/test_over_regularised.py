from dataclasses import replace

import numpy as np
import pytest

import kgrad
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


def test_dropout_inside_of_a_recurrent_layer():
    log = penalised(strength=0)
    lstm = Layer("lstm", "LSTM", 3, config={"dropout": 0.1, "recurrent_dropout": 0.95})
    finding = outcome(
        RULE, replace(log, structure=replace(log.structure, layers=(*log.structure.layers, lstm)))
    ).finding
    assert (finding.details["kind"], finding.layers) == ("dropout", ("lstm",))


def decayed(decay, left, loss=2.3, rate=0.002):
    """Kernels that shrink to a share, under an optimizer with this decay."""
    shrinking = np.geomspace(2.0, 2.0 * left, 200)[:, None].repeat(6, 1)
    loss = np.full(200, loss) + 0.01 * np.random.default_rng(0).normal(size=200)
    log = deep(layers=3, loss=loss, weight_norm=shrinking, learning_rate=np.full(200, rate))
    config = {"learning_rate": rate, "weight_decay": decay}
    return replace(log, info={**log.info, "optimizer": {"class_name": "AdamW", "config": config}})


def test_a_decay_that_takes_the_weights_away():
    finding = outcome(RULE, decayed(50.0, 0.01)).finding
    assert (finding.severity, finding.details["kind"]) == ("high", "decay")
    assert finding.evidence[0].value == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("decay", "left"),
    [(50.0, 0.5), (0.004, 0.01)],
    ids=["the gradient keeps them", "what shrinks them is not the decay"],
)
def test_a_decay_in_balance_is_none(decay, left):
    assert outcome(RULE, decayed(decay, left)).status == "clear"


def test_what_a_penalty_shrinks_to_nothing_passes_no_gradient_on():
    """Its weights pass hardly any: the vanishing gradient is a symptom."""
    log = deep(layers=8, decades=8, loss=np.full(200, 42.0))
    config = {"kernel_regularizer": {"class_name": "L2", "config": {"l2": 10.0}}}
    layers = tuple(replace(layer, config=config) for layer in log.structure.layers)
    log = replace(log, structure=replace(log.structure, layers=layers))
    found = {each.rule: each for each in kgrad.diagnose(log).findings}
    assert found["vanishing-gradient"].caused_by == RULE
    assert found[RULE].caused_by is None
