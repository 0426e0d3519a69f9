"""`GradientRecorder`: the same log for loops that people write themselves."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad
from kgrad.capture import statistics
from kgrad.log.store import Store

from .conftest import batches_of
from .twin import train_by_hand


def build():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="relu"), layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("graph", [True, False])
def test_a_loop_of_ones_own_gives_the_same_log(graph, vectors, tmp_path):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = build()
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    with kgrad.GradientRecorder(tmp_path / "run", model, tags={"mine": 1}) as recorder:

        def step(x, y):
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
            gradients = tape.gradient(loss, model.trainable_variables)
            recorder.record(gradients, model.trainable_variables, loss=loss)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        run = tf.function(step, reduce_retracing=True) if graph else step
        for x, y in batches_of(vectors):
            run(tf.constant(x), tf.constant(y))
            recorder.tick()
    expected = train_by_hand(build, batches_of(vectors))
    log = kgrad.read_run(tmp_path / "run")
    assert (log.status, len(log)) == ("finished", 8)
    assert np.isnan(log["update_norm"]).all()
    for name in ("gradient_norm", "gradient_max", "zero_fraction", "weight_norm", "loss"):
        np.testing.assert_allclose(log[name], expected[name], rtol=2e-4, atol=1e-6, err_msg=name)
    assert recorder.examination.log.info["tags"] == {"mine": 1}


def test_two_optimizers_of_a_gan_are_one_run(tmp_path):
    generator = keras.Sequential([keras.Input((4,)), layers.Dense(12)], name="generator")
    critic = keras.Sequential([keras.Input((12,)), layers.Dense(1)], name="critic")
    optimizers = {generator: keras.optimizers.Adam(), critic: keras.optimizers.Adam()}
    for model, optimizer in optimizers.items():
        optimizer.build(model.trainable_variables)
    with kgrad.GradientRecorder(tmp_path / "run", {"generator": generator, "critic": critic}) as recorder:

        @tf.function
        def train(model, sign):
            with tf.GradientTape() as tape:
                loss = sign * tf.reduce_mean(critic(generator(tf.ones((8, 4)))))
            gradients = tape.gradient(loss, model.trainable_variables)
            recorder.record(gradients, model.trainable_variables, loss=loss)
            optimizers[model].apply_gradients(zip(gradients, model.trainable_variables, strict=True))

        for _ in range(300):
            train(critic, 1.0)
            train(generator, -1.0)
            recorder.tick()
    log = kgrad.read_run(tmp_path / "run")
    assert len(log) == 300
    assert [v.layer.split("/")[0] for v in log.structure.variables] == ["generator"] * 2 + ["critic"] * 2
    assert np.isfinite(log["gradient_norm"]).all()


def test_an_exception_in_the_loop_closes_the_run_as_failed(tmp_path):
    model = build()

    def loop():
        with kgrad.GradientRecorder(tmp_path / "run", model) as recorder:
            recorder.record([tf.ones_like(v) for v in model.trainable_variables], model.trainable_variables)
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        loop()
    log = kgrad.read_run(tmp_path / "run")
    assert (log.status, len(log)) == ("failed", 1)
    assert "mine" in log.info["error"]


def test_unequal_lists_are_refused(tmp_path):
    model = build()
    with pytest.raises(kgrad.KgradError, match="3 gradients came with 4 variables"):
        kgrad.GradientRecorder(tmp_path / "run", model).record([None] * 3, model.trainable_variables)


def test_a_training_step_without_the_compiled_optimizer_is_told(vectors, tmp_path, caplog):
    class Own(keras.Model):
        def train_step(self, data):
            return {"loss": tf.constant(0.0)}

    keras.utils.set_random_seed(0)
    inputs = keras.Input((12,))
    model = Own(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    model.fit(*vectors, verbose=0, callbacks=[kgrad.GradientMonitor(tmp_path / "run", verbose=0)])
    assert "GradientRecorder" in caplog.text


def two_rings(recorder, models, per_step, steps, tick=True):
    """Gradients that say which call they are of, recorded so many times per step by each model."""
    calls = dict.fromkeys(models, 0)

    @tf.function
    def record(model, value):
        recorder.record([tf.fill(v.shape, value) for v in model.trainable_variables], model.trainable_variables)

    for _ in range(steps):
        for model, times in zip(models, per_step, strict=True):
            for _ in range(times):
                calls[model] += 1
                record(model, tf.constant(float(calls[model])))
        if tick:
            recorder.tick()


def parts():
    return [keras.Sequential([keras.Input((4,)), layers.Dense(3, use_bias=False)], name=name) for name in ("a", "b")]


@pytest.mark.parametrize("per_step", [(5, 1), (1, 5), (1, 1)])
def test_steps_of_two_optimizers_stand_beside_each_other(per_step, tmp_path):
    """Five steps of a critic to one of the generator: nothing is lost unseen, and nothing drifts apart."""
    models = parts()
    with kgrad.GradientRecorder(tmp_path / "run", dict(zip("ab", models, strict=True)), strict=True) as recorder:
        two_rings(recorder, models, per_step, 300)
    log = kgrad.read_run(tmp_path / "run")
    assert len(log) == 300
    assert not log.info["events"]
    expected = np.arange(1, 301)[:, None] * np.array(per_step)
    np.testing.assert_array_equal(log["gradient_max"], expected)


def test_rows_lost_for_want_of_ticks_are_told(tmp_path, caplog):
    model = parts()[0]
    with kgrad.GradientRecorder(tmp_path / "run", model, strict=True) as recorder:
        two_rings(recorder, [model], (1,), 300, tick=False)
    log = kgrad.read_run(tmp_path / "run")
    assert len(log) == 256
    assert "44 calls of record came between two of tick and were lost" in log.info["events"][0]["message"]
    assert "call tick after every step" in caplog.text


@pytest.mark.parametrize("place", ["write", "statistics"])
def test_its_own_failure_is_said_once_and_the_loop_goes_on(place, tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise OSError("no room")

    monkeypatch.setattr(*((Store, "write") if place == "write" else (statistics, "parts_of")), broken)
    model = parts()[0]
    with kgrad.GradientRecorder(tmp_path / "run", model) as recorder:
        two_rings(recorder, [model], (1,), 300)
    assert sum("kgrad stopped recording (OSError: no room)" in each.message for each in caplog.records) == 1
    strict = kgrad.GradientRecorder(tmp_path / "strict", model, strict=True)
    with pytest.raises(Exception, match="no room"):
        two_rings(strict, [model], (1,), 300)


class Gan(keras.Model):
    """Two optimizers in a `train_step`, as GANs are written for Keras."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((4,)), layers.Dense(12)], name="generator")
        self.critic = keras.Sequential([keras.Input((12,)), layers.Dense(1)], name="critic")
        self.optimizers = {"critic": keras.optimizers.Adam(), "generator": keras.optimizers.Adam()}
        self.recorder = None

    def train_step(self, data):
        losses = {}
        for name, part in (("critic", self.critic), ("generator", self.generator)):
            with tf.GradientTape() as tape:
                fake = tf.reduce_mean(self.critic(self.generator(tf.ones((8, 4)))))
                losses[name] = -fake if name == "generator" else fake - tf.reduce_mean(self.critic(data))
            gradients = tape.gradient(losses[name], part.trainable_weights)
            if self.recorder is not None:
                self.recorder.record(gradients, part.trainable_weights, loss=losses[name])
            self.optimizers[name].apply_gradients(zip(gradients, part.trainable_weights, strict=True))
        return losses


def train_gan(x, run=None):
    """The weights of both parts, recorded where a run is named."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    gan = Gan()
    gan.compile()
    callbacks = []
    if run is not None:
        gan.recorder = kgrad.GradientRecorder(run, {"generator": gan.generator, "critic": gan.critic}, strict=True)
        callbacks.append(keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: gan.recorder.tick()))
    gan.fit(x, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    if run is not None:
        gan.recorder.close()
    return [*gan.generator.get_weights(), *gan.critic.get_weights()]


def test_a_gan_in_fit_is_recorded_from_its_train_step(vectors, tmp_path):
    recorded, plain = train_gan(vectors[0], tmp_path / "run"), train_gan(vectors[0])
    assert all(np.array_equal(*pair) for pair in zip(recorded, plain, strict=True))
    log = kgrad.read_run(tmp_path / "run")
    assert (log.status, len(log)) == ("finished", 14)
    assert (log["gradient_norm"] > 0).any(axis=0).sum() == 4 - 1  # the critic's bias cancels out of its loss
