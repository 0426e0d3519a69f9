from dataclasses import replace

import numpy as np
import pytest

from kgrad.diagnosis import diagnose
from kgrad.diagnosis.phases import model_phases

from .cases import deep, outcome, scaled

RULE = "saddle-point"
NOISE = 0.01 * np.random.default_rng(3).normal(size=400)
STANDS = np.concatenate([np.linspace(3.3, 2.3, 40), np.full(240, 2.3), np.linspace(2.3, 0.4, 60), np.full(60, 0.4)])


def run(smallest=-0.5, error=0.01, largest=1.0, gradient=0.01, step=150, loss=STANDS):
    norm = np.full(400, 0.05)
    norm[:20] = 1.0
    log = deep(steps=400, loss=loss + NOISE, global_norm=norm)
    row = {"step": step, "smallest": smallest, "smallest_error": error, "largest": largest, "largest_error": error}
    table = {name: np.array([value]) for name, value in {**row, "gradient_norm": gradient, "products": 22}.items()}
    return replace(log, tables={"curvature": table})


def test_negative_curvature_on_a_stretch_that_the_loss_leaves():
    finding = outcome(RULE, run()).finding
    assert finding.severity == "medium"
    assert finding.first_step < 150 < finding.last_step < 320
    assert {phase.name for phase in model_phases(run())} >= {"saddle"}


def test_a_run_that_never_leaves_it():
    finding = outcome(RULE, run(loss=np.full(400, 2.3))).finding
    assert finding.severity == "high"
    assert finding.details["ratio"] == pytest.approx(-0.5)


@pytest.mark.parametrize(
    "case",
    [
        {"smallest": 0.1},  # a minimum
        {"error": 0.6},  # negative, but not beyond the error
        {"smallest": -0.02},  # as at the end of many trainings
        {"gradient": 0.9},  # no critical point
        {"step": 310},  # on the way down
        {"step": 390},  # the minimum it reached
    ],
)
def test_what_is_none(case):
    assert outcome(RULE, run(**case)).status == "clear"
    assert "saddle" not in {phase.name for phase in model_phases(run(**case))} or case.keys() == {"gradient"}


def test_without_curvature_it_does_not_apply():
    assert outcome(RULE, replace(run(), tables={})).status == "not applicable"


def test_the_plateau_is_its_symptom():
    said = {finding.rule: finding for finding in diagnose(run()).findings}
    assert said["plateau"].caused_by == RULE


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_a_factor_on_the_loss_changes_nothing(factor):
    log = run()
    table = dict(log.tables["curvature"])
    for name in ("smallest", "smallest_error", "largest", "largest_error", "gradient_norm"):
        table[name] = table[name] * factor
    other = outcome(RULE, replace(scaled(log, factor), tables={"curvature": table})).finding
    assert other.severity == outcome(RULE, log).finding.severity


def test_a_saddle_of_one_linear_map_is_that_map_s_doing():
    one_map = replace(run(), structure=deep(activation="linear").structure)
    causes = {
        name: {f.rule: f.caused_by for f in diagnose(log).findings}
        for name, log in (("one map", one_map), ("relu", run()))
    }
    assert (causes["one map"]["plateau"], causes["one map"][RULE]) == (None, "plateau")
    assert (causes["relu"]["plateau"], causes["relu"][RULE]) == (RULE, None)
