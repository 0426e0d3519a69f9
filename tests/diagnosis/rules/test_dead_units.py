from dataclasses import replace

import numpy as np
import pytest

from kgrad.log.batch import BatchFacts

from .cases import deep, outcome


def zeros(share, layers=(3,), steps=200):
    fraction = np.zeros((steps, 16))
    for layer in layers:
        fraction[:, 2 * layer + 1] = share
    return fraction


def test_a_layer_of_dead_units_is_named():
    said = outcome("dead-units", deep(zero_fraction=zeros(0.9))).finding
    assert said.layers == ("dense_3",)
    assert said.evidence[0].value == pytest.approx(0.9)


def test_it_is_graver_where_the_loss_stands_still():
    slow = np.linspace(2.3, 1.4, 200)
    learned = outcome("dead-units", deep(zero_fraction=zeros(0.9))).finding
    slowed = outcome("dead-units", deep(zero_fraction=zeros(0.9), loss=slow)).finding
    stuck = outcome("dead-units", deep(zero_fraction=zeros(0.9), loss=np.full(200, 2.3))).finding
    assert (learned.severity, slowed.severity, stuck.severity) == ("info", "medium", "high")


def test_half_asleep_is_not_dead():
    assert outcome("dead-units", deep(zero_fraction=zeros(0.5))).status == "clear"


def test_a_short_sleep_is_not_death():
    fraction = zeros(0.9)
    fraction[60:] = 0.1
    assert outcome("dead-units", deep(zero_fraction=fraction)).status == "clear"


def test_zero_kernels_alone_say_nothing():
    """Inputs that are often zero leave zero rows in a kernel's gradient."""
    fraction = np.zeros((200, 16))
    fraction[:, ::2] = 0.95
    assert outcome("dead-units", deep(zero_fraction=fraction)).status == "clear"


def test_other_activations_are_not_applicable():
    assert outcome("dead-units", deep(activation="tanh")).status == "not applicable"


def probed(share, rows=64, layer="dense_3"):
    """Activations of a chain without zeros in its gradients."""
    log = deep(zero_fraction=zeros(0.0))
    names = [each.name for each in log.structure.layers]
    table = {
        "step": np.repeat([1, 8, 64], len(names)),
        "layer": np.array(names * 3, dtype=object),
        "dead_fraction": np.where(np.array(names * 3) == layer, share, 0.0),
    }
    facts = BatchFacts.of("first training batch", {"": np.zeros((rows, 4))}, {})
    return replace(log, tables={"activations": table}, info={**log.info, "batch": facts.to_dict()})


def test_activations_tell_dead_units_where_the_batch_has_rows_enough():
    said = outcome("dead-units", probed(0.9)).finding
    assert said.layers == ("dense_3",)
    assert said.evidence[0].value == pytest.approx(0.9)
    assert outcome("dead-units", probed(0.9, rows=8)).status == "clear"


def test_activations_tell_a_dead_layer_from_those_behind_it():
    """The layer's outputs are alive, but no gradient comes back to it."""
    alive = probed(0.0)
    log = replace(alive, columns={**alive.columns, "zero_fraction": zeros(1.0)})
    assert outcome("dead-units", log).status == "clear"


def test_a_layer_without_bias_is_judged_by_its_kernels_units():
    log = deep(dead_units=np.full((200, 16), np.nan))
    bare = [replace(v, role="scale") if v.role == "bias" else v for v in log.structure.variables]
    log = replace(log, structure=replace(log.structure, variables=tuple(bare)))
    assert outcome("dead-units", log).status == "not applicable"
    log["dead_units"][::10, :] = 0.0
    log["dead_units"][::10, 6] = 8.0  # all of the eight units
    assert outcome("dead-units", log).finding.layers == ("dense_3",)
