"""The diagnosis while training goes on: said once, stops where asked, and is the diagnosis afterwards."""

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.capture import live
from kgrad.errors import CaptureError

from ..log.factory import run_log

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(320, 12)).astype("float32")
Y = (X[:, 0] > 0).astype("float32")


@pytest.fixture(autouse=True)
def eager_looks(monkeypatch):
    """No rest between looks: these trainings take a second."""
    monkeypatch.setattr(live, "_REST", 0.0)


def exploding():
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(32, activation="relu", kernel_initializer="he_normal") for _ in range(3)]
    model = keras.Sequential([keras.Input((12,)), *hidden, layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def healthy():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12,)), layers.Dense(16, "relu"), layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    return model


def fit(model, run, epochs=40, **settings):
    monitor = kgrad.GradientMonitor(run, report=False, strict=True, verbose=0, **settings)
    model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=[monitor])
    return monitor


def test_it_stops_when_a_disease_appears_and_the_diagnosis_afterwards_agrees(tmp_path, capsys):
    monitor = fit(exploding(), tmp_path / "run", stop_on="high")
    assert 0 < monitor.stopped_step < 400
    said = capsys.readouterr().out
    assert said.count("kgrad: training is stopped here") == 1
    log = kgrad.read_run(monitor.run)
    assert len(log) == monitor.stopped_step
    assert monitor.model.stop_training
    prefix = log.only(steps=slice(0, monitor.stopped_step))
    found = {f.rule for f in kgrad.diagnose(prefix).findings if f.severity == "high"}
    assert found & {"exploding-gradient", "nonfinite-gradient", "learning-rate-too-high"}
    assert any(f"({rule}" in said or f"{rule} (high)" in said for rule in found)
    assert any("stopped on" in event["message"] for event in log.info["events"])


def test_a_warning_is_one_line_and_stops_nothing(tmp_path, capsys):
    monitor = fit(exploding(), tmp_path / "run", warn=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("kgrad: step")]
    assert lines
    assert len(lines) == len({line.split(": ")[2] for line in lines})
    assert monitor.stopped_step == 0
    assert len(kgrad.read_run(monitor.run)) == 400


@pytest.mark.parametrize("settings", [{"warn": True}, {"stop_on": "low"}])
def test_a_healthy_run_hears_nothing(settings, tmp_path, capsys):
    monitor = fit(healthy(), tmp_path / "run", **settings)
    assert capsys.readouterr().out == ""
    assert monitor.stopped_step == 0
    assert len(kgrad.read_run(monitor.run)) == 400


def test_without_being_asked_it_never_looks(tmp_path, monkeypatch):
    def looked(*_):
        raise AssertionError("it looked")

    monkeypatch.setattr(live.Live, "look", looked)
    fit(healthy(), tmp_path / "run")


def test_the_looks_take_a_share_of_the_time_at_most(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live, "_REST", 20.0)
    watcher = live.Live(None, warn=True)

    examination = kgrad.examine(run_log())

    def costly(_):
        clock[0] += 1.0
        return examination

    monkeypatch.setattr(live.workflow, "examine", costly)
    watcher.look("run", 100, None)
    assert not watcher.is_due(10_000)
    clock[0] += 21.0
    assert watcher.is_due(10_000)
    assert not watcher.is_due(110)


def test_a_grave_symptom_whose_cause_is_judged_at_the_end_only_is_told(tmp_path, capsys):
    """Steps too small to see are judged when the run is over; that nothing is learned is not."""
    model = healthy()
    model.optimizer.learning_rate = 1e-8
    monitor = fit(model, tmp_path / "run", stop_on="high")
    offline = kgrad.diagnose(kgrad.read_run(monitor.run)).findings[0]
    assert (offline.rule, offline.severity) == ("learning-rate-too-low", "high")
    assert 0 < monitor.stopped_step < 400
    assert "plateau" in capsys.readouterr().out


@pytest.mark.parametrize("severity", ["info", "worst", 3])
def test_a_severity_that_is_none_is_refused(severity):
    with pytest.raises(CaptureError, match="stop_on"):
        kgrad.GradientMonitor(stop_on=severity)
