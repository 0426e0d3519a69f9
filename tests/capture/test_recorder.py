"""`GradientRecorder`: the same log for loops that people write themselves."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad

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
