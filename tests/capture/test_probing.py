"""The reference batch in a real fit: which batch it is, when it is run, and that it changes nothing."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad
from kgrad.capture import probing
from kgrad.capture.stall import is_stalled
from kgrad.errors import CaptureError

from .twin import same_weights, train_plain, train_watched

LOSS = "sparse_categorical_crossentropy"


def build(**settings):
    inputs = keras.Input((12,), name="features")
    hidden = layers.Dense(8, activation="tanh", name="hidden")(inputs)
    hidden = layers.Dropout(0.2)(layers.BatchNormalization()(hidden))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(hidden))
    model.compile("sgd", LOSS, metrics=["accuracy"], **settings)
    return model


def fit(model, data, run, **settings):
    monitor = kgrad.GradientMonitor(run, report=False, verbose=0, strict=True, **settings.pop("monitor", {}))
    if isinstance(data, tuple):
        model.fit(*data, **{"batch_size": 16, "verbose": 0, "shuffle": False, **settings}, callbacks=[monitor])
    else:
        model.fit(data, **{"verbose": 0, **settings}, callbacks=[monitor])
    return kgrad.read_run(monitor.run)


def test_the_first_batch_is_the_one_that_was_trained_on(vectors, tmp_path):
    log = fit(build(), vectors, tmp_path / "run", epochs=3)
    first = vectors[0][:16]
    assert log.batch.source == "first training batch"
    assert log.batch.rows == 16
    assert log.batch.inputs[0].mean == pytest.approx(float(first.mean()), rel=1e-5)
    assert log.batch.inputs[0].feature_std_maximum == pytest.approx(float(first.std(axis=0).max()), rel=1e-5)
    assert log.batch.targets[0].integers
    table = log.table("activations")
    assert sorted(set(table["step"])) == [1, 8, 12]
    assert {"hidden", "out"} <= set(table["layer"])
    assert "model" not in json.dumps(log.info["events"])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_weights_and_moving_statistics_are_those_without(jit_compile, steps_per_execution, vectors, tmp_path):
    def built():
        return build(jit_compile=jit_compile, steps_per_execution=steps_per_execution)

    model, log = train_watched(built, vectors, tmp_path / "run", epochs=3)
    assert log.batch is not None
    assert "activations" in log.tables
    if not jit_compile:  # XLA fuses anew around what kgrad adds; test_ways_of_training has the numbers
        assert same_weights(model, train_plain(built, vectors, epochs=3))


def data_sets(vectors):
    x, y = vectors
    yield tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    yield (item for item in [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)])


@pytest.mark.parametrize("kind", [0, 1])
def test_a_data_set_or_generator_loses_no_batch(kind, vectors, tmp_path):
    drawn = list(data_sets(vectors))[kind]
    log = fit(build(), drawn, tmp_path / "run", steps_per_epoch=None if kind == 0 else 4)
    assert len(log) == 4
    assert log.batch.rows == 16


def test_a_batch_of_ones_own(vectors, tmp_path):
    x, y = vectors
    log = fit(build(), vectors, tmp_path / "run", monitor={"probe": (x[:40], y[:40])})
    assert (log.batch.source, log.batch.rows) == ("given", 40)


def test_no_probe_is_no_probe(vectors, tmp_path):
    log = fit(build(), vectors, tmp_path / "run", monitor={"probe": False})
    assert log.batch is None
    assert not log.tables


def test_inputs_by_name_and_sequences_of_any_length(tmp_path):
    tokens = keras.Input((None,), name="tokens")
    extra = keras.Input((3,), name="extra")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(tokens))
    model = keras.Model([tokens, extra], layers.Dense(1)(layers.Concatenate()([hidden, extra])))
    model.compile("sgd", "mse")
    generator = np.random.default_rng(0)

    def batches():
        for length in (4, 6, 5):
            x = {"tokens": generator.integers(0, 9, (8, length)), "extra": generator.normal(size=(8, 3))}
            yield x, generator.normal(size=(8, 1))

    log = fit(model, batches(), tmp_path / "run")
    assert {facts.name for facts in log.batch.inputs} == {"tokens", "extra"}
    assert log.info["events"] == []
    assert len(log) == 3


def test_data_that_cannot_be_kept_is_said_and_harms_nothing(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])

    class Ragged(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = model

        def call(self, x):
            return self.inner(x.to_tensor(shape=[None, 4]))

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x) - y) ** 2)
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            return {"loss": loss}

    whole = Ragged()
    whole.compile("sgd")
    ragged = tf.ragged.constant([[1.0, 2.0], [3.0], [1.0, 2.0, 3.0, 4.0], [2.0]])
    data = tf.data.Dataset.from_tensor_slices((ragged, tf.ones((4, 1)))).batch(2)
    log = fit(whole, data, tmp_path / "run")
    assert len(log) == 2
    assert "RaggedTensor" in log.info["events"][0]["message"]


def test_curvature_on_a_schedule_and_its_refusal(vectors, tmp_path):
    log = fit(build(), vectors, tmp_path / "run", epochs=3, monitor={"curvature": 4})
    table = log.table("curvature")
    assert sorted(table["step"]) == [4, 8, 12]
    assert (table["smallest"] <= table["largest"]).all()
    assert (table["gradient_norm"] > 0).all()

    class Half(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = layers.Dense(3, activation="softmax", dtype="mixed_float16")

        def call(self, x):
            return self.out(x)

    model = Half()
    model.compile("sgd", LOSS)
    refused = fit(model, vectors, tmp_path / "half", epochs=3, monitor={"curvature": 4})
    assert "curvature" not in refused.tables
    assert [event for event in refused.info["events"] if "no curvature" in event["message"]]


def test_a_loss_that_stands_still_is_asked_for_its_curvature(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "_SECONDS_AT_END", 600.0)  # tracing takes long on a busy machine
    model = build()
    model.compile(keras.optimizers.SGD(0.0), LOSS)
    log = fit(model, vectors, tmp_path / "run", epochs=30)
    assert len(log.table("curvature")["step"]) >= 1


def test_the_time_it_may_take_is_bounded(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "_SECONDS_AT_END", 0.0)
    monkeypatch.setattr(probing, "_SHARE", 0.0)
    model = build()
    model.compile(keras.optimizers.SGD(0.0), LOSS)
    assert "curvature" not in fit(model, vectors, tmp_path / "run", epochs=30).tables


@pytest.mark.parametrize(
    "settings", [{"probe": 3}, {"probe": (1,)}, {"curvature": "now"}, {"curvature": 0}, {"curvature": True}]
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(CaptureError, match=next(iter(settings))):
        kgrad.GradientMonitor(**settings)


def test_what_stalls_and_what_does_not():
    steps = np.arange(400)
    noise = np.random.default_rng(0).normal(0, 0.02, 400)
    assert is_stalled(2.3 + noise)
    assert not is_stalled(2.3 * np.exp(-steps / 100) + 0.02 * noise)
    assert not is_stalled(np.full(20, 1.0))
    assert not is_stalled(np.full(400, np.nan))
