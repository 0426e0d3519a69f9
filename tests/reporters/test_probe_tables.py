"""What the reference batch showed, as tables of the page."""

from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.reporters.probe_tables import probe_tables

from ..log.factory import run_log
from .conftest import HOSTILE


def activations(layer="dense_1", steps=(1, 30, 7)):
    count = len(steps)
    unknown = np.full(count, np.nan)
    return {
        "step": np.array(steps),
        "layer": np.array([layer] * count, object),
        "call": np.zeros(count, int),
        "activation": np.array(["tanh"] * count, object),
        "mean": np.array([0.5, -0.25, 9.0])[:count],
        "std": np.full(count, 1.5),
        "saturated_fraction": np.array([0.0, 0.75, 0.5])[:count],
        "dead_fraction": unknown,
        "pre_mean": unknown,
        "pre_std": unknown,
    }


def curvature(count):
    return {
        "step": np.arange(count) * 10,
        "smallest": np.linspace(-2.0, -1.0, count),
        "smallest_error": np.full(count, 0.01),
        "largest": np.full(count, np.nan),
        "largest_error": np.full(count, np.nan),
        "gradient_norm": np.full(count, 0.125),
        "products": np.full(count, 30),
    }


def test_a_layer_is_told_at_its_first_and_its_last_measurement():
    (table,) = probe_tables(replace(run_log(), tables={"activations": activations()}))
    assert table.headings == ("Layer", "Mean", "Deviation", "Saturated")  # what was never seen has no column
    assert table.rows == (("dense_1", "0.5 → -0.25", "1.5", "0 % → 75 %"),)
    assert table.says.startswith("3 measurements on the reference batch, after steps 1 to 30 made")


def test_curvature_comes_with_its_error_and_long_tables_are_thinned():
    (table,) = probe_tables(replace(run_log(), tables={"curvature": curvature(500)}))
    assert len(table.rows) == 60
    assert "60 of which are shown" in table.says
    assert table.rows[0] == ("0", "-2 ± 0.01", "–", "0.125")
    assert table.rows[-1][0] == "4,990"


def test_a_table_without_rows_is_no_table():
    assert probe_tables(replace(run_log(), tables={"curvature": curvature(0)})) == ()
    assert probe_tables(run_log()) == ()


@pytest.mark.parametrize("name", ["dense_1", HOSTILE])
def test_the_page_holds_them_and_names_stay_text(name):
    log = replace(run_log(), tables={"activations": activations(name), "curvature": curvature(3)})
    page = kgrad.render(kgrad.examine(log))
    assert 'id="activations"' in page
    assert "-2 ± 0.01" in page
    assert "<img src=x" not in page
    assert page == kgrad.render(kgrad.examine(log))
