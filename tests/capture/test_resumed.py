"""Trainings that are interrupted, resumed, saved and compiled anew while a monitor is attached."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad

from .twin import assert_agrees, same_weights, train_by_hand


def build():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def fresh():
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    return build()


def fit(model, vectors, *callbacks, **settings):
    return model.fit(*vectors, batch_size=16, verbose=0, shuffle=False, callbacks=list(callbacks), **settings)


def watch(run):
    return kgrad.GradientMonitor(run, report=False, verbose=0, strict=True, details_every=1)


class Stops(keras.callbacks.Callback):
    """Ends the training as Ctrl-C does, in the second batch of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (self.epoch, 1):
            raise KeyboardInterrupt


@pytest.mark.parametrize("monitor_first", [True, False])
def test_backup_and_restore_resumes_with_the_monitor_on(monitor_first, vectors, tmp_path):
    """The second run holds the epochs made anew, as they would have been without the interruption."""

    def callbacks(watched, *others):
        both = [keras.callbacks.BackupAndRestore(tmp_path / f"backup-{watched}"), *others]
        if watched:
            both.insert(0 if monitor_first else len(both), watch(tmp_path / "run"))
        return both

    trained = {}
    for watched in (True, False):
        with pytest.raises(KeyboardInterrupt):
            fit(fresh(), vectors, *callbacks(watched, Stops(2)), epochs=4)
        trained[watched] = fresh()
        fit(trained[watched], vectors, *callbacks(watched), epochs=4)
    assert same_weights(trained[True], trained[False])
    first, second = (kgrad.read_run(tmp_path / name) for name in ("run", "run-2"))
    assert (first.status, len(first)) == ("failed", 10)
    assert (second.status, len(second)) == ("finished", 8)
    np.testing.assert_array_equal(second["epoch"], np.repeat([2, 3], 4))
    whole = watch(tmp_path / "whole")
    fit(fresh(), vectors, whole, epochs=4)
    np.testing.assert_allclose(second["gradient_norm"], whole.log["gradient_norm"][8:], rtol=1e-6)
    np.testing.assert_array_equal(first["gradient_norm"], whole.log["gradient_norm"][:10])


def test_ctrl_c_within_a_step_is_an_interruption(vectors, tmp_path):
    class Step(keras.Sequential):
        """Ctrl-C reaches Python within the step."""

        steps = 0

        def train_step(self, data):
            Step.steps += 1
            if Step.steps == 3:
                raise KeyboardInterrupt
            return super().train_step(data)

    keras.utils.set_random_seed(0)
    model = Step([keras.Input((12,)), layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        fit(model, vectors, watch(tmp_path / "run"))
    log = kgrad.read_run(tmp_path / "run")
    assert (log.status, len(log)) == ("interrupted", 2)
    assert "KeyboardInterrupt" in log.info["error"]
    assert not callable(vars(model.optimizer).get("apply"))


def test_compiling_anew_between_two_fits(vectors, tmp_path):
    def train(*callbacks):
        model = fresh()
        fit(model, vectors, *callbacks, epochs=1)
        model.compile(keras.optimizers.SGD(0.3), model.loss)
        fit(model, vectors, *callbacks, epochs=2, initial_epoch=1)
        return model

    monitor = watch(tmp_path / "run")
    assert same_weights(train(monitor), train())
    np.testing.assert_array_equal(monitor.log.steps, np.arange(8))
    np.testing.assert_allclose(monitor.log["learning_rate"], np.repeat([0.001, 0.3], 4), rtol=1e-6)
    assert np.isfinite(monitor.log["gradient_norm"]).all()


def test_a_checkpoint_of_every_batch_is_a_model_without_a_trace(vectors, tmp_path):
    """What is saved while attached is trained on, with another monitor, as a model never watched."""
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "at-{batch}.keras"), save_freq=1)
    watched, plain = fresh(), fresh()
    fit(watched, vectors, watch(tmp_path / "run"), checkpoint)
    assert len(kgrad.read_run(tmp_path / "run")) == 4
    loaded = keras.models.load_model(tmp_path / "at-4.keras")
    assert same_weights(loaded, watched)
    fit(plain, vectors)
    monitor = watch(tmp_path / "loaded")
    fit(loaded, vectors, monitor)
    fit(plain, vectors)
    assert same_weights(loaded, plain)
    assert len(monitor.log) == 4


def test_multiple_fits_of_one_epoch_equal_the_hand_written_loop(vectors, tmp_path):
    x, y = vectors
    monitor, model = watch(tmp_path / "run"), fresh()
    for epoch in range(2):
        fit(model, vectors, monitor, epochs=epoch + 1, initial_epoch=epoch)
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)] * 2
    assert_agrees(monitor.log, train_by_hand(build, batches))


@pytest.mark.parametrize("make", ["generator", "filter"])
def test_a_data_set_of_unknown_length_is_recorded_in_every_epoch(make, tmp_path):
    """Keras learns its length by running into its end, which is no failure."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 12)).astype("float32"), generator.integers(0, 3, 40)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    if make == "generator":
        data = tf.data.Dataset.from_generator(lambda: iter(zip(x, y, strict=True)), output_signature=data.element_spec)
    else:
        data = data.filter(lambda _, label: label >= 0)
    monitor = watch(tmp_path / "run")
    model = fresh()
    model.fit(data.batch(8), epochs=4, verbose=0, callbacks=[monitor])
    log = kgrad.read_run(monitor.run)
    assert log.steps.tolist() == list(range(20))
    assert log.info["status"] == "finished"
    assert model.train_function is not None
    plain = fresh()
    plain.fit(data.batch(8), epochs=4, verbose=0)
    assert same_weights(model, plain)
