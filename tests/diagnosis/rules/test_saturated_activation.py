from dataclasses import replace

import numpy as np
import pytest

from .cases import deep, outcome

RULE = "saturated-activation"
PROBED = (1, 8, 16, 32, 64, 128, 200)
STUCK = np.full(200, 2.3)


def case(saturated, layers=("dense_2",), loss=STUCK, activation="tanh"):
    """Eight tanh layers; `saturated` is the share in the given ones at each probe, 0.1 in the others."""
    log = deep(activation=activation, loss=loss)
    names = [layer.name for layer in log.structure.layers]
    saturated = np.broadcast_to(saturated, len(PROBED))
    rows = [(step, name, i, name in layers) for i, step in enumerate(PROBED) for name in names]
    table = {
        "step": np.array([step for step, *_ in rows]),
        "layer": np.array([name for _, name, *_ in rows], dtype=object),
        "saturated_fraction": np.array([saturated[i] if hit else 0.1 for _, _, i, hit in rows]),
    }
    return replace(log, tables={"activations": table})


def test_a_saturated_layer_is_named():
    finding = outcome(RULE, case(0.9, ("dense_2", "dense_4"))).finding
    assert (finding.severity, finding.layers) == ("high", ("dense_2", "dense_4"))
    assert finding.evidence[0].value == pytest.approx(0.9)
    assert "from the start" in finding.summary


def test_it_is_a_note_where_the_run_learns():
    assert outcome(RULE, case(0.9, loss=np.geomspace(2.3, 0.01, 200))).finding.severity == "info"


def test_half_way_is_not_saturated():
    assert outcome(RULE, case(0.4)).status == "clear"


def test_each_probe_counts_for_the_steps_until_the_next():
    early = outcome(RULE, case([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1]))
    late = outcome(RULE, case([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9]))
    assert early.status == "clear"
    assert late.finding.first_step == 64
    assert "from step 64 on" in late.finding.summary


def test_a_sure_output_is_no_disease():
    assert outcome(RULE, case(0.9, ("dense_7",))).status == "clear"


def test_layers_without_flat_ends_are_not_looked_at():
    assert outcome(RULE, case(np.nan)).status == "clear"
    log = case(0.9)
    table = {**log.tables["activations"], "saturated_fraction": np.full(56, np.nan)}
    assert outcome(RULE, replace(log, tables={"activations": table})).status == "not applicable"


def test_without_activations_it_is_not_applicable():
    assert outcome(RULE, deep(activation="tanh")).status == "not applicable"


def test_the_first_part_of_a_run_knows_nothing_of_the_rest():
    late = case([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9])
    assert outcome(RULE, late).status == "found"
    assert outcome(RULE, late.only(steps=slice(0, 60))).status == "clear"
