"""However a fit ends, model and optimizer are as they were; kgrad's own failures never stop it."""

import contextlib
import copy
import gc
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.capture import statistics
from kgrad.errors import CaptureError

from .twin import same_weights, train_plain

SCRIPT = """
import sys, keras, numpy as np, kgrad

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
watch = kgrad.GradientMonitor(sys.argv[1], report=False, verbose=0)
model.fit(np.ones((64, 3)), np.ones(64), batch_size=8, verbose=0, callbacks=[watch, Stop()])
"""


def build():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class RaisesAt(keras.callbacks.Callback):
    def __init__(self, error, hook="on_train_batch_end"):
        super().__init__()
        self.error = error
        setattr(self, hook, self._raise)

    def _raise(self, index, logs=None):
        if index == 1:
            raise self.error


def fit(model, vectors, *callbacks, **settings):
    return model.fit(*vectors, batch_size=16, verbose=0, shuffle=False, callbacks=list(callbacks), **settings)


def monitor(tmp_path, **settings):
    return kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, **settings)


def assert_untouched(model, before):
    assert {name for name in vars(model.optimizer) if callable(vars(model.optimizer)[name])} == before
    assert "guarded" not in model.train_function.__qualname__


def hooks(model):
    return {name for name in vars(model.optimizer) if callable(vars(model.optimizer)[name])}


def test_after_a_normal_end(vectors, tmp_path):
    model = build()
    before = hooks(model)
    fit(model, vectors, monitor(tmp_path, strict=True))
    assert_untouched(model, before)


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_after_another_callback_raises(error, again, vectors, tmp_path):
    model = build()
    before = hooks(model)
    with pytest.raises(type(error)):
        fit(model, vectors, monitor(tmp_path, strict=True), RaisesAt(error))
    # pytest keeps the traceback, and with it fit's frame, alive: the next fit must find the old one dead.
    if again:
        fit(model, vectors, kgrad.GradientMonitor(tmp_path / "other", report=False, verbose=0, strict=True))
        assert len(kgrad.read_run(tmp_path / "other")) == 4
    else:
        fit(model, vectors)
    assert_untouched(model, before)
    log = kgrad.read_run(tmp_path / "run")
    assert len(log) == 2
    assert log.status == "failed"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "interrupted"), (SystemExit(3), "failed")])
def test_what_ended_a_notebook_s_cell_is_recorded(error, status, vectors, tmp_path, monkeypatch):
    model = build()
    with pytest.raises(type(error)):
        fit(model, vectors, monitor(tmp_path, strict=True), RaisesAt(error))
    monkeypatch.setattr(sys, "last_value", error, raising=False)  # as Python and IPython set it
    fit(model, vectors)
    log = kgrad.read_run(tmp_path / "run")
    assert (log.status, len(log)) == (status, 2)
    assert type(error).__name__ in log.info["error"]


def test_ctrl_c_within_a_callback_of_a_script_is_an_interruption(tmp_path):
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "run")], capture_output=True, text=True)
    assert "KeyboardInterrupt" in ended.stderr
    log = kgrad.read_run(tmp_path / "run")
    assert (log.status, len(log)) == ("interrupted", 3)


def test_the_run_of_a_fit_that_died_is_closed(vectors, tmp_path):
    model = build()

    def doomed():
        with contextlib.suppress(ValueError):
            fit(model, vectors, monitor(tmp_path, strict=True), RaisesAt(ValueError("mine")))

    before = hooks(model)
    doomed()
    gc.collect()
    assert_untouched(model, before)
    log = kgrad.read_run(tmp_path / "run")
    assert log.status == "failed"
    assert len(log) == 2


def test_an_error_in_the_step_is_the_users_own_and_recorded(vectors, tmp_path):
    model = build()
    before = hooks(model)
    x, y = vectors
    generator = ((x[:16], y[:16]) if i < 3 else (x[:16, :5], y[:16]) for i in range(9))
    with pytest.raises(Exception, match=r"incompatible|expected"):
        model.fit(generator, steps_per_epoch=9, verbose=0, callbacks=[monitor(tmp_path, strict=True)])
    assert_untouched(model, before)
    log = kgrad.read_run(tmp_path / "run")
    assert log.status == "failed"
    assert len(log) == 3
    assert log.info["error"]


def test_a_second_fit_without_the_monitor_is_as_without_kgrad(vectors, tmp_path):
    model = build()
    fit(model, vectors, monitor(tmp_path, strict=True))
    fit(model, vectors)
    assert len(kgrad.read_run(tmp_path / "run")) == 4


def test_two_monitors_are_refused(vectors, tmp_path):
    with pytest.raises(CaptureError, match="pass only one"):
        fit(build(), vectors, monitor(tmp_path, strict=True), monitor(tmp_path, strict=True))


def test_a_second_monitor_does_not_stop_the_training(vectors, tmp_path, caplog):
    fit(build(), vectors, monitor(tmp_path), monitor(tmp_path))
    assert "pass only one" in caplog.text
    assert len(kgrad.read_run(tmp_path / "run")) == 4


@pytest.mark.parametrize("place", ["parts_of", "finish"])
def test_a_bug_in_kgrad_is_logged_and_the_training_goes_on(place, vectors, tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(statistics, place, broken)
    model = build()
    before = hooks(model)
    keras.utils.set_random_seed(0)
    model = build()
    fit(model, vectors, monitor(tmp_path))
    assert "a bug of ours" in caplog.text
    assert_untouched(model, before)
    assert same_weights(model, train_plain(build, vectors, epochs=1))
    with pytest.raises(RuntimeError, match="a bug of ours"):
        fit(build(), vectors, monitor(tmp_path, strict=True))


def test_a_place_that_cannot_be_written_stops_nothing(vectors, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    history = fit(build(), vectors, kgrad.GradientMonitor(tmp_path / "file" / "run", report=False, verbose=0))
    assert len(history.history["loss"]) == 1
    assert "cannot make the run folder" in caplog.text


def test_saving_and_copying_while_attached(vectors, tmp_path):
    class Saves(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(tmp_path / "model.keras")
            self.model.save_weights(tmp_path / "model.weights.h5")
            keras.models.clone_model(self.model)
            self.copy = copy.deepcopy(self.model)

    model = build()
    saves = Saves()
    fit(model, vectors, monitor(tmp_path, strict=True), saves)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert same_weights(model, loaded)
    assert same_weights(model, saves.copy)
    assert not [name for name in vars(loaded.optimizer) if name == "apply"]
    assert len(kgrad.read_run(tmp_path / "run")) == 4


def test_the_monitor_survives_copy_and_pickle(tmp_path):
    original = monitor(tmp_path, tags={"a": 1})
    for twin in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert twin.run == original.run


def test_several_fits_continue_one_run(vectors, tmp_path):
    model, watch = build(), monitor(tmp_path, strict=True)
    fit(model, vectors, watch, epochs=2)
    fit(model, vectors, watch, epochs=4, initial_epoch=2)
    log = kgrad.read_run(tmp_path / "run")
    np.testing.assert_array_equal(log.steps, np.arange(16))
    np.testing.assert_array_equal(log["epoch"], np.repeat([0, 1, 2, 3], 4))
    assert log.status == "finished"


def test_facts_to_reproduce_the_run_are_kept(vectors, tmp_path):
    keras.utils.set_random_seed(42)
    fit(build(), vectors, monitor(tmp_path, strict=True, tags={"who": "me"}), epochs=2)
    info = kgrad.read_run(tmp_path / "run").info
    assert info["optimizer"]["class_name"] == "Adam"
    assert info["fit"]["epochs"] == 2
    assert info["seeds"]["keras"] == 42
    assert info["tags"] == {"who": "me"}
    assert info["loss"]["config"]["from_logits"] is True
    assert {"python", "keras", "tensorflow", "numpy"} <= set(info["versions"])


def test_compiling_anew_in_the_middle_loses_no_step(vectors, tmp_path):
    class Recompiles(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.compile("sgd", self.model.loss)
                self.model.make_train_function()

    keras.utils.set_random_seed(0)
    model = build()
    before = hooks(model)
    fit(model, vectors, monitor(tmp_path, strict=True), Recompiles(), epochs=3)
    log = kgrad.read_run(tmp_path / "run")
    np.testing.assert_array_equal(log.steps, np.arange(12))
    np.testing.assert_array_equal(log["epoch"], np.repeat([0, 1, 2], 4))
    assert log.info["events"][0]["step"] == 4
    assert_untouched(model, before)
    keras.utils.set_random_seed(0)
    plain = build()
    fit(plain, vectors, Recompiles(), epochs=3)
    assert same_weights(model, plain)
