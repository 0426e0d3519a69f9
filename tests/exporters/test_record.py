"""What dashboards are given: the curves under their names, and nothing that was not measured."""

import dataclasses

import numpy as np
import pytest

import kgrad
from kgrad.errors import KgradError, MissingColumnError, MissingDependencyError
from kgrad.exporters.gather import gather
from kgrad.exporters.targets import TARGETS, require

from .conftest import NAMES


def record(log, **options):
    return gather(log, kgrad.diagnose(log), **options)


def curves(log, **options):
    return {series.tag: series for series in record(log, **options).series}


def test_every_step_and_variable_is_there_under_its_name(log):
    found = curves(log)
    np.testing.assert_array_equal(found["loss"].values, log["loss"])
    for column in ("gradient_norm", "weight_norm", "update_norm", "zero_fraction"):
        for place, name in enumerate(NAMES):
            np.testing.assert_array_equal(found[f"{column}/{name}"].values, log[column][:, place])
            np.testing.assert_array_equal(found[f"{column}/{name}"].steps, log.steps)


def test_a_gradient_that_was_nan_stays_and_what_was_not_taken_is_left_out(log):
    found = curves(log)
    assert np.isnan(found[f"gradient_norm/{NAMES[0]}"].values[7])
    assert found[f"cosine/{NAMES[0]}"].steps.tolist() == [0, 10, 20]
    assert found["epoch/val_loss"].steps.tolist() == [19, 29]
    assert found["epoch/val_loss"].values.tolist() == [1.6, 1.3]


def test_what_was_taken_in_some_steps_is_shown_in_those(log):
    detailed = (np.arange(len(log)) % 8 == 0).astype(float)
    found = curves(dataclasses.replace(log, columns={**log.columns, "detailed": detailed}), every=2)
    assert found[f"zero_fraction/{NAMES[0]}"].steps.tolist() == [0, 16, 24]
    assert found[f"gradient_norm/{NAMES[0]}"].steps.tolist() == [*range(0, 30, 2), 29]
    assert "detailed" not in found


def test_columns_that_never_move_from_their_usual_value_are_left_out(log):
    assert not {"loss_scale", "skipped", "epoch"} & set(curves(log))
    moving = dataclasses.replace(log, columns={**log.columns, "loss_scale": np.linspace(1, 2, len(log))})
    assert "loss_scale" in curves(moving)


def test_tables_beside_the_steps(log):
    found = curves(log)
    assert found["activations/mean/dense_0"].values.tolist() == [0.1, 0.3]
    assert found["activations/mean/dense_0/call_1"].values.tolist() == [0.2, 0.4]
    assert found["activations/dead_fraction/dense_0"].steps.tolist() == [20]
    assert found["curvature/largest"].values.tolist() == [9.0]


def test_histograms_have_every_bin_between_their_ends(log):
    first, second = record(log).histograms
    assert (first.step, first.edges.tolist(), first.counts.tolist()) == (0, [-3, -2, -1, 0], [4, 0, 12])
    assert (second.step, second.edges.tolist(), second.counts.tolist()) == (20, [-2, -1], [16])


def test_fewer_steps_end_with_the_last(log):
    assert curves(log, every=8)["loss"].steps.tolist() == [0, 8, 16, 24, 29]


def test_chosen_columns(log):
    found = curves(log, columns=["gradient_max"])
    assert f"gradient_max/{NAMES[0]}" in found
    assert not any(tag.startswith("gradient_norm") for tag in found)
    with pytest.raises(MissingColumnError, match="no column 'nonsense'"):
        curves(log, columns=["nonsense"])
    with pytest.raises(MissingColumnError, match="not a statistic per variable"):
        curves(log, columns=["loss"])


def test_settings_are_flat_and_leave_out_what_is_not_set(log):
    settings = record(log).settings
    assert settings["optimizer"] == "SGD"
    assert settings["optimizer.learning_rate"] == 0.01
    assert settings["tags.seed"] == 3
    assert "optimizer.clipnorm" not in settings


def test_moments_share_the_span_of_the_run(log):
    moments = record(log).moments(np.array([0, 29]))
    assert moments[1] - moments[0] == 60
    untimed = dataclasses.replace(log, info={**log.info, "ended": None})
    assert record(untimed).moments(np.array([0])) is None


def test_a_run_without_steps_has_no_curves(log):
    empty = log.only(steps=slice(0, 0))
    assert record(dataclasses.replace(empty, tables={}, epochs={})).series == ()


def test_unknown_targets_and_missing_clients_say_how_to_mend_it(monkeypatch):
    with pytest.raises(KgradError, match="expected one of: mlflow, tensorboard, wandb"):
        require("excel")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in TARGETS:
        with pytest.raises(MissingDependencyError, match=rf"pip install 'kgrad\[{name}\]'"):
            require(name)


def test_every_target_is_an_extra_with_its_client():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for name, target in TARGETS.items():
        assert any(entry.startswith(target.package) for entry in project["optional-dependencies"][name])


def test_a_step_in_so_many_must_be_one_or_more(log):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed: uv sync --group exporters")
    with pytest.raises(KgradError, match="every=0"):
        kgrad.export(log, "tensorboard", every=0)
