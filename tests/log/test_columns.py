"""Reading some columns of a run only: the same numbers, and nothing else."""

import os
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kgrad
from kgrad.diagnosis import windows
from kgrad.log.run_log import RunLog

from .factory import run_log
from .test_run_folder import write


@pytest.mark.parametrize("place", ["local", "memory://kgrad-columns/run"])
def test_some_columns_are_those_of_the_whole_run(place, tmp_path):
    _, writer = write(tmp_path / "run" if place == "local" else f"{place}-{os.getpid()}")
    whole = kgrad.read_run(writer.store.url)
    read = kgrad.read_run(writer.store.url, ["loss", "gradient_norm", "never_heard_of"])
    assert set(read.columns) - {"detailed"} == {"loss", "gradient_norm"}
    for name in read.columns:
        np.testing.assert_array_equal(read[name], whole[name])
    np.testing.assert_array_equal(read.epochs["loss"], whole.epochs["loss"])


def test_step_columns_alone_leave_the_gradients_unread(tmp_path):
    write(tmp_path / "run")
    for part in (tmp_path / "run" / "gradients").iterdir():
        part.write_bytes(b"broken")
    read = kgrad.read_run(tmp_path / "run", ["loss"])
    assert set(read.columns) - {"detailed"} == {"loss"}


def test_rows_in_any_order_make_the_same_matrices(tmp_path):
    write(tmp_path / "run")
    before = kgrad.read_run(tmp_path / "run")
    (part,) = (tmp_path / "run" / "gradients").iterdir()
    table = pq.ParquetFile(part).read()
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(table.take(pa.array(order)), part, use_dictionary=["variable"])
    after = kgrad.read_run(tmp_path / "run")
    for name in before.columns:
        np.testing.assert_array_equal(before[name], after[name])
    pq.write_table(table.slice(3), part, use_dictionary=["variable"])
    cut = kgrad.read_run(tmp_path / "run")["gradient_norm"]
    assert np.isnan(cut[0, :3]).all()
    np.testing.assert_array_equal(cut[0, 3:], before["gradient_norm"][0, 3:])


def test_medians_of_a_series_are_numpys():
    generator = np.random.default_rng(0)
    for steps in (1, 7, 40, 331):
        values = generator.normal(size=steps)
        values[generator.random(steps) < 0.3] = np.nan
        values[generator.random(steps) < 0.1] = np.inf
        edges = windows.edges_of(steps)
        finite = np.where(np.isfinite(values), values, np.nan)
        parts = [finite[a:b] for a, b in pairwise(edges)]
        expected = [np.nan if np.isnan(part).all() else np.nanmedian(part) for part in parts]
        np.testing.assert_allclose(windows.medians(values, edges), expected)


def test_layer_norms_are_the_root_of_the_sum_of_squares():
    log: RunLog = run_log()
    kernel, bias = log["gradient_norm"][:, 2], log["gradient_norm"][:, 3]
    np.testing.assert_allclose(log.layer_norms()[:, 1], np.sqrt(kernel**2 + bias**2))
