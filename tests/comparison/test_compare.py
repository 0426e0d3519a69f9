"""From run folders to a comparison, and what is done about broken ones."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

import kgrad
from kgrad.comparison import summarise
from kgrad.comparison.flatten import seed_of, settings_of
from kgrad.comparison.places import run_folders
from kgrad.errors import KgradError, RunNotFoundError

from ..diagnosis.rules.cases import deep
from ..log.factory import run_log, structure
from .batch import study, with_initializer, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("study")
    study(place)
    return place


def test_the_verdict_names_what_separates(folder):
    comparison = kgrad.compare(folder)
    assert comparison.verdict[0] == "8 of 16 runs vanish; all 8 use sigmoid (and nobody else does)."
    assert comparison.differing == ("activation", "initializer")
    assert comparison.by == ("activation", "initializer")
    assert {len(group.values) for group in comparison.groups} == {4}
    by_label = {group.label: group for group in comparison.groups}
    assert by_label["sigmoid · he_normal"].sick == 4
    assert by_label["relu · he_normal"].sick == 0


def test_folders_globs_and_urls_give_the_same(folder):
    whole = run_folders([folder])
    assert len(whole) == 16
    assert run_folders([f"{folder}/*"]) == whole
    assert run_folders([f"{folder}/[rs]*"]) == whole
    assert run_folders(sorted(folder.iterdir())) == whole
    assert len(run_folders([f"file://{folder}"])) == 16
    assert len(run_folders([folder, f"{folder}/relu*"])) == 16
    assert kgrad.compare([folder]).verdict == kgrad.compare(f"{folder}/*").verdict


def test_runs_in_another_file_system():
    urls = [write_run(f"memory://compare-{os.getpid()}/{name}", run_log(seed=i)) for i, name in enumerate("ab")]
    comparison = kgrad.compare(f"memory://compare-{os.getpid()}")
    assert [run.name for run in comparison.runs] == ["a", "b"]
    assert len(kgrad.compare(urls).runs) == 2


def test_a_folder_with_signs_of_a_glob(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / "study [1]" / name, run_log())
    assert len(run_folders([tmp_path / "study [1]" / "a"])) == 1
    assert len(kgrad.compare([tmp_path / "study [1]" / name for name in "ab"]).runs) == 2


def test_nothing_found_says_so(tmp_path):
    with pytest.raises(RunNotFoundError, match="matches nothing"):
        kgrad.compare(f"{tmp_path}/x*")
    with pytest.raises(RunNotFoundError, match="no run was given"):
        kgrad.compare([])
    write_run(tmp_path / "only", run_log())
    with pytest.raises(KgradError, match="two runs or more"):
        kgrad.compare(tmp_path)


def test_broken_runs_are_listed_and_stop_nothing(folder, tmp_path):
    whole = sorted(folder.iterdir())[:3]
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "run.json").write_text('{"schema_ver')
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "run.json").write_text('{"schema_version": 99}')
    (tmp_path / "claimed").mkdir()
    (tmp_path / "claimed" / ".kgrad").touch()
    half = write_run(tmp_path / "half", deep(steps=120), close=None)
    info = json.loads((tmp_path / "half" / "run.json").read_text())
    info["process"]["pid"] = 2**22 + 1  # beyond what Linux gives out
    (tmp_path / "half" / "run.json").write_text(json.dumps(info))
    torn = write_run(tmp_path / "torn", run_log())
    for part in (tmp_path / "torn" / "steps").iterdir():
        part.write_bytes(part.read_bytes()[:100])
    empty = write_run(tmp_path / "empty", run_log(steps=0))
    comparison = kgrad.compare([*whole, tmp_path, tmp_path / "nowhere"])
    said = {run.name: (run.status, run.problem) for run in comparison.runs[3:]}
    assert {name for name, (status, _) in said.items() if status == "unreadable"} == {
        "cut", "newer", "claimed", "torn", "nowhere"
    }  # fmt: skip
    assert all(problem for _, problem in said.values())
    assert said["half"] == ("interrupted", "interrupted after step 119")
    assert said["empty"][1] == "no training step was recorded"
    assert "5 runs could not be read." in comparison.verdict
    assert (half, torn, empty) != ()
    assert len(comparison.to_pandas()) == len(comparison.runs)
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_a_current_diagnosis_is_taken_as_it_is_and_a_stale_one_is_not(tmp_path):
    place = write_run(tmp_path / "run", deep(decades=8, activation="sigmoid", loss=np.full(200, 2.3)))
    file = tmp_path / "run" / "diagnosis.json"
    kept = json.loads(file.read_text())
    kept["diagnosis"]["verdict"] = "as kept"
    file.write_text(json.dumps(kept))
    assert summarise(place).verdict == "as kept"
    del kept["diagnosis"]["outcomes"][0]  # made by another set of rules
    file.write_text(json.dumps(kept))
    fresh = summarise(place)
    assert fresh.verdict != "as kept"
    assert "vanishing-gradient" in fresh.causes
    file.unlink()
    assert summarise(place) == fresh


def test_a_summary_is_the_same_from_memory_and_from_the_folder(tmp_path):
    log = deep(decades=8, activation="sigmoid", loss=np.full(200, 2.3))
    place = write_run(tmp_path / "run", log)
    assert summarise(kgrad.read_run(place)) == summarise(place)


def test_a_summary_in_numbers(tmp_path):
    loss = np.concatenate([np.linspace(2, 0.5, 150), np.linspace(0.5, 1, 50)])
    log = deep(layers=4, steps=200, decades=3, loss=loss)
    read = summarise(write_run(tmp_path / "run", log))
    assert read.metrics["loss"].best == pytest.approx(0.5, abs=0.03)
    assert 140 <= read.metrics["loss"].best_step <= 160
    assert read.metrics["loss"].last == pytest.approx(1, abs=0.03)
    assert (read.metrics["accuracy"].best, read.metrics["accuracy"].best_step) == (pytest.approx(0.8), 199)
    assert len(read.curve_steps) == len(read.loss) == len(read.global_norm) == 80
    expected = np.median(log.layer_norms(), axis=0)
    np.testing.assert_allclose(read.profile, expected, rtol=1e-3)


def test_a_loss_that_is_lost_at_the_end_has_no_last_value():
    loss = np.where(np.arange(200) < 180, 1.0, np.nan)
    metric = summarise(deep(loss=loss)).metrics["loss"]
    assert np.isnan(metric.last)
    assert metric.best == 1.0


def test_settings_as_a_person_names_them():
    model = with_initializer(structure(layers=3, activation="tanh"), "HeNormal")
    first = replace(model.layers[0], config={"name": "dense_0", "kernel_regularizer": None, "rate": 0.5})
    model = replace(model, layers=(first, *model.layers[1:]))
    info = {
        "optimizer": {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": {
            "class_name": "Adam",
            "config": {"name": "adam", "learning_rate": 0.0010000000474974513, "clipnorm": None}}}},
        "loss": {"class_name": "MeanSquaredError", "config": {"name": "mse", "reduction": "sum"}},
        "tags": {"seed": 7, "initializer": "he_normal", "activation": "mine", "trial_id": "03", "data": {"noise": 0.1}},
        "batch": {"source": "first training batch", "rows": 32},
        "seeds": {"keras": 0},
    }  # fmt: skip
    found = settings_of(info, model)
    expected = {
        "optimizer": "Adam", "learning_rate": 0.001, "clipnorm": None, "loss_scaled": True, "initializer": "he_normal",
        "activation": "tanh", "tag.activation": "mine", "data.noise": 0.1, "depth": 2, "width": 8, "batch_size": 32,
        "loss_function": "mean_squared_error(reduction=sum)", "Dense.rate": 0.5,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert not {"seed", "trial_id", "name"} & set(found)
    assert seed_of(info) == 7


@pytest.mark.parametrize("module", ["builtins", "my_code"])
def test_a_loss_given_as_a_function_is_told_by_its_name(module):
    described = {"module": module, "class_name": "function", "config": "my_loss", "registered_name": "function"}
    assert settings_of({"loss": described}, structure(2))["loss_function"] == "my_loss"


def test_to_pandas_has_one_row_per_run_and_the_metrics(folder):
    frame = kgrad.compare(folder).to_pandas()
    assert len(frame) == 16
    assert {"run", "activation", "seed", "loss", "loss_best", "loss_best_step", "diseases"} <= set(frame.columns)
    assert (frame[frame.activation == "sigmoid"].diseases == "vanishing-gradient").all()


def test_a_notebook_shows_the_verdict_escaped(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, run_log(), tags={"x": f"<script>{name}</script>"})
    shown = kgrad.compare(tmp_path)._repr_html_()
    assert "<script>" not in shown
    assert "runs" in shown


def test_processes_give_what_one_gives(folder):
    one, two = kgrad.compare(folder, jobs=1), kgrad.compare(folder, jobs=2)
    assert one.to_dict() == two.to_dict()
