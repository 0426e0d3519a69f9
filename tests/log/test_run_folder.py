"""Writing and reading a run folder: what goes in comes out, and a broken folder says what is wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kgrad
from kgrad.errors import DamagedRunError, MissingColumnError, NewerSchemaError, RunFolderError, RunNotFoundError
from kgrad.log import schema
from kgrad.log.batch import BatchFacts
from kgrad.log.store import Store, claim_free
from kgrad.log.writer import RunWriter

from .factory import run_log, structure


def write(place, blocks=2, close="finished", **columns):
    log = run_log(**columns)
    writer = RunWriter(claim_free(place), log.structure, {"tags": {"a": float("nan")}})
    for rows in np.array_split(np.arange(len(log)), blocks):
        series = {name: log[name][rows] for name in schema.STEP_SERIES}
        table = {name: log[name][rows] for name in schema.STATISTICS}
        writer.add_steps(log.steps[rows], series, table)
        writer.flush()
    writer.add_epoch(0, 19, {"loss": 1.0})
    writer.add_epoch(1, 39, {"loss": 0.5, "val_loss": 0.7})
    if close:
        writer.close(close)
    else:
        writer.flush()
    return log, writer


@pytest.mark.parametrize("place", ["local", "memory://kgrad-test/run"])
def test_what_goes_in_comes_out(place, tmp_path):
    place = tmp_path / "run" if place == "local" else f"{place}-{os.getpid()}"
    log, writer = write(place)
    read = kgrad.read_run(writer.store.url)
    assert read.status == "finished"
    assert read.structure == log.structure
    np.testing.assert_array_equal(read.steps, log.steps)
    for name in schema.STATISTICS + schema.STEP_SERIES:
        np.testing.assert_allclose(read[name], log[name], rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(read.epochs["last_step"], [19, 39])
    assert np.isnan(read.epochs["val_loss"][0])


def test_tables_beside_the_steps(tmp_path):
    _, writer = write(tmp_path / "run", close=None)
    for step in (0, 10):
        writer.add_rows(
            schema.ACTIVATIONS,
            {
                "step": [step, step],
                "layer": ["dense_0", "dense_1"],
                "call": [0, 0],
                "activation": ["relu", None],
                "mean": [0.5, float("nan")],
                "std": [1.0, 2.0],
                "saturated_fraction": [None, None],
                "dead_fraction": [0.25, None],
                "pre_mean": [0.0, None],
                "pre_std": [1.0, None],
            },
        )
    writer.add_rows(schema.CURVATURE, {"step": [10], "smallest": [-1.0], "largest": [5.0]})
    facts = BatchFacts.of("given", {"": np.arange(12.0).reshape(4, 3)}, {"": np.eye(4)})
    writer.add_facts(batch=facts.to_dict())
    writer.close("finished")
    assert len(list((tmp_path / "run" / "activations").iterdir())) == 1
    read = kgrad.read_run(tmp_path / "run")
    activations = read.table("activations")
    assert activations["layer"].tolist() == ["dense_0", "dense_1"] * 2
    assert activations["activation"].tolist() == ["relu", None] * 2
    np.testing.assert_allclose(activations["dead_fraction"], [0.25, np.nan] * 2)
    np.testing.assert_array_equal(activations["step"], [0, 0, 10, 10])
    np.testing.assert_array_equal(read.table("curvature")["smallest"], [-1.0])
    assert read.batch == facts
    assert read.batch.inputs[0].feature_std_maximum == pytest.approx(np.arange(0, 12, 3).std())
    assert read.batch.targets[0].one_hot
    with pytest.raises(MissingColumnError, match="histograms"):
        read.table("histograms")


def test_rows_of_a_table_left_twice_count_once(tmp_path):
    _, writer = write(tmp_path / "run", close=None)
    row = {"step": [3], "smallest": [-1.0]}
    writer.add_rows(schema.CURVATURE, row)
    writer.add_rows(schema.CURVATURE, row)
    assert len(kgrad.read_run(tmp_path / "run").table("curvature")["step"]) == 1


def test_closing_joins_the_parts(tmp_path):
    write(tmp_path / "run", blocks=5)
    assert len(list((tmp_path / "run" / "gradients").iterdir())) == 1
    assert len(list((tmp_path / "run" / "steps").iterdir())) == 1


def test_other_tools_read_it_as_it_is(tmp_path):
    write(tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "gradients").to_pandas()
    assert set(table.columns) == {"step", "variable", *schema.STATISTICS}
    assert len(table) == 40 * 6
    json.loads((tmp_path / "run" / "run.json").read_text(), parse_constant=pytest.fail)


def test_nan_and_infinity_survive_and_nothing_else_becomes_them(tmp_path):
    norms = np.ones((40, 6))
    norms[3, 1], norms[4, 2], norms[5, 3] = np.nan, np.inf, 1e300
    write(tmp_path / "run", gradient_norm=norms)
    read = kgrad.read_run(tmp_path / "run")["gradient_norm"]
    assert np.isnan(read[3, 1])
    assert np.isinf(read[4, 2])
    assert np.isfinite(read[5, 3])
    assert np.isfinite(read).sum() == 40 * 6 - 2


def test_a_folder_is_never_shared(tmp_path):
    first = claim_free(tmp_path / "run")
    second = claim_free(tmp_path / "run")
    assert (first.name, second.name) == ("run", "run-2")


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert claim_free(tmp_path).root != str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot make the run folder"):
        claim_free(tmp_path / "file" / "run")


def test_a_killed_process_leaves_an_interrupted_run(tmp_path):
    code = (
        "import sys, time; sys.path.insert(0, '.')\n"
        "from tests.log.test_run_folder import write\n"
        f"write({str(tmp_path / 'run')!r}, close=None)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert kgrad.read_run(tmp_path / "run").status == "running"
        process.kill()
    log = kgrad.read_run(tmp_path / "run")
    assert log.status == "interrupted"
    assert len(log) == 40


def test_rows_left_twice_by_a_crash_count_once(tmp_path):
    write(tmp_path / "run")
    part = next((tmp_path / "run" / "gradients").iterdir())
    part.with_name("part-zz.parquet").write_bytes(part.read_bytes())
    assert len(kgrad.read_run(tmp_path / "run")) == 40


def test_an_unfinished_file_is_not_seen(tmp_path):
    write(tmp_path / "run")
    (tmp_path / "run" / "steps" / "part-9.parquet.123.tmp").write_bytes(b"half")
    assert len(kgrad.read_run(tmp_path / "run")) == 40


@pytest.mark.parametrize(
    ("breakage", "error", "says"),
    [
        (lambda run: None, None, ""),
        (lambda run: (run / "run.json").unlink(), RunNotFoundError, "no run.json"),
        (lambda run: (run / "run.json").write_text('{"schema_ver'), DamagedRunError, "not a run description"),
        (lambda run: (run / "run.json").write_text("[]"), DamagedRunError, "not a run description"),
        (lambda run: (run / "run.json").write_text('{"schema_version": 1}'), DamagedRunError, "lacks"),
        (
            lambda run: (run / "run.json").write_text('{"schema_version": 99}'),
            NewerSchemaError,
            "pip install -U",
        ),
        (
            lambda run: next((run / "steps").iterdir()).write_bytes(b"PAR1nonsense"),
            DamagedRunError,
            "cannot be read",
        ),
        (lambda run: next((run / "gradients").iterdir()).write_bytes(b""), DamagedRunError, "cannot be read"),
        (lambda run: (run / "epochs.parquet").write_bytes(b"x"), DamagedRunError, "epochs.parquet"),
    ],
)
def test_a_broken_folder_says_what_is_wrong(breakage, error, says, tmp_path):
    write(tmp_path / "run")
    breakage(tmp_path / "run")
    if error is None:
        kgrad.read_run(tmp_path / "run")
        return
    with pytest.raises(error, match=says) as caught:
        kgrad.read_run(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_file_are_told_apart(tmp_path):
    with pytest.raises(RunNotFoundError, match="there is no folder"):
        kgrad.read_run(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunNotFoundError, match="is a file"):
        kgrad.read_run(tmp_path / "file")
    with pytest.raises(RunFolderError, match="cannot open"):
        kgrad.read_run("nonsense://a/b")


def test_a_log_without_steps_opens(tmp_path):
    RunWriter(claim_free(tmp_path / "run"), structure(), {}).close("failed", "early")
    log = kgrad.read_run(tmp_path / "run")
    assert len(log) == 0
    assert log.info["error"] == "early"


def test_every_written_column_is_in_the_schema(tmp_path):
    write(tmp_path / "run")
    for folder in ("gradients", "steps"):
        for field in pq.read_schema(next((tmp_path / "run" / folder).iterdir())):
            column = schema.COLUMNS[field.name]
            kind = "dictionary" if pa.types.is_dictionary(field.type) else str(field.type).replace("double", "float64")
            assert kind.replace("float", "float32").replace("float3264", "float64") == column.type


def test_the_tidy_table_has_a_row_per_step_and_variable(tmp_path):
    write(tmp_path / "run")
    table = kgrad.read_run(tmp_path / "run").to_pandas()
    assert len(table) == 240
    assert list(table.columns[:4]) == ["step", "layer", "variable", "role"]
    assert table["nonfinite_count"].dtype.kind == "i"


def test_store_lists_only_what_matches(tmp_path):
    store = Store(tmp_path)
    store.write("steps/part-1.parquet", b"")
    store.write("steps/other.txt", b"")
    assert store.list("steps", ".parquet") == ["steps/part-1.parquet"]


THREADS = """
import os, sys
import numpy as np
import kgrad
from tests.log.test_run_folder import write

np.ones((200, 200)) @ np.ones((200, 200))  # numpy starts its own
before = len(os.listdir("/proc/self/task"))
write(sys.argv[1])
kgrad.read_run(sys.argv[1])
kgrad.read_run(sys.argv[1], columns=["gradient_norm"])
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux lists them")
def test_no_threads_are_left_to_hold_files_when_the_interpreter_ends(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", THREADS, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"
