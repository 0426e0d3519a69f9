"""Programs as people post them, each with one fault: the first prescription mends it, and training goes well."""

import keras
import numpy as np
import pytest
from keras import layers

import kgrad
from kgrad.prescription.together import parts_of
from kgrad.treatment import apply, fit_arguments

RELU = {"activation": "relu", "kernel_initializer": "he_normal"}


def parity():
    x = np.random.default_rng(0).integers(0, 2, (600, 8)).astype("float32")
    return x, (x[:, 0] != x[:, 1]).astype("float32")


def clusters(steps=0, noise=1.0):
    """Six classes of noisy vectors, or of sequences of them."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(6, 12))
    y = generator.integers(0, 6, 600)
    shape = (600, steps, 12) if steps else (600, 12)
    held = np.repeat(centres[y][:, None], max(steps, 1), 1).reshape(shape)
    return (held + noise * generator.normal(size=shape)).astype("float32"), y


def compiled(*middle, shape, out=None, optimizer="adam", loss="sparse_categorical_crossentropy"):
    model = keras.Sequential([keras.Input(shape), *middle, out or layers.Dense(6, activation="softmax")])
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def no_hidden_layer():
    out = layers.Dense(1, activation="sigmoid", name="out")
    adam = keras.optimizers.Adam(0.01)
    return compiled(shape=(8,), out=out, optimizer=adam, loss="binary_crossentropy"), parity()


def no_hidden_layer_in_a_graph():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="out")(layers.Flatten()(inputs)))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model, parity()


def decay_as_of_a_rate():
    decay = keras.optimizers.AdamW(0.003, weight_decay=50.0)
    return compiled(layers.Dense(32, activation="relu"), shape=(12,), optimizer=decay), clusters()


def dropout_inside():
    inside = layers.GRU(16, recurrent_dropout=0.95, dropout=0.95, name="gru")
    return compiled(inside, shape=(8, 12), optimizer=keras.optimizers.Adam(0.003)), clusters(8)


def units_alike():
    alike = keras.initializers.Constant(0.05)
    gru = layers.GRU(16, kernel_initializer=alike, recurrent_initializer=alike, name="gru")
    out = layers.Dense(6, activation="softmax", kernel_initializer=alike)
    return compiled(gru, shape=(8, 12), out=out, optimizer=keras.optimizers.Adam(0.003)), clusters(8)


def weights_of_one_sign():
    start = keras.initializers.RandomUniform(0.0, 1.0, seed=1)
    hidden = [layers.Dense(32, activation="sigmoid", kernel_initializer=start, name=f"h{i}") for i in range(2)]
    x, y = clusters()
    return compiled(*hidden, shape=(12,), optimizer=keras.optimizers.SGD(0.1, momentum=0.9)), (x - x.min(), y)


def gates_held_open():
    wild = keras.initializers.RandomUniform(-4.0, 4.0, seed=1)
    lstm = layers.LSTM(16, kernel_initializer=wild, recurrent_initializer=wild, name="lstm")
    return compiled(lstm, shape=(8, 12), optimizer=keras.optimizers.Adam(0.003)), clusters(8, noise=2.0)


def frozen_at_random():
    x = np.random.default_rng(0).integers(0, 200, (600, 12))
    y = (x < 100).sum(axis=1) > 6
    words = layers.Embedding(200, 4, trainable=False, name="words")
    out = layers.Dense(1, activation="sigmoid")
    model = compiled(words, layers.GlobalAveragePooling1D(), layers.Dense(8, activation="relu"), shape=(12,), out=out)
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model, (x, y.astype("float32"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "rule", "change"),
    [
        (
            no_hidden_layer,
            "plateau",
            {"hidden": {**RELU, "units": 32}},
        ),
        (no_hidden_layer_in_a_graph, "plateau", {}),
        (decay_as_of_a_rate, "over-regularised", {"weight_decay": 0.004}),
        (dropout_inside, "over-regularised", {"layers": {"gru": {"dropout": 0.0, "recurrent_dropout": 0.2}}}),
        (units_alike, "poor-initialization", {}),
        (weights_of_one_sign, "saturated-activation", {}),
        (gates_held_open, "poor-initialization", {}),
        (frozen_at_random, "plateau", {"layers": {"words": {"trainable": True}}}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_first_prescription_cures(program, rule, change, tmp_path):
    keras.utils.set_random_seed(0)
    model, (x, y) = program()
    fit = {"epochs": 15, "batch_size": 32, "verbose": 0}
    monitor = kgrad.GradientMonitor(tmp_path / "sick", report=False, verbose=0, strict=True, curvature="never")
    sick = apply(model, (), seed=0)
    sick.fit(x, y, callbacks=[monitor], **fit)
    first = monitor.examination.prescriptions[0]
    assert first.finding == rule
    assert change.items() <= next(iter(parts_of([first]))).settings.items()
    cured = apply(model, first, seed=0)
    cured.fit(x, y, **fit_arguments([first], **fit))
    before, after = sick.evaluate(x, y, verbose=0)[1], cured.evaluate(x, y, verbose=0)[1]
    assert after > max(0.85, before), (before, after, first.code)


def test_one_number_and_a_loss_that_compares_directions(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 5)).astype("float32")
    y = (x @ np.arange(5)).astype("float32")
    model = compiled(layers.Dense(16, activation="relu"), shape=(5,), out=layers.Dense(1), loss="cosine_similarity")
    monitor = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, curvature="never")
    model.fit(x, y, epochs=5, verbose=0, callbacks=[monitor])
    cured = apply(model, monitor.examination.prescriptions[0], seed=0, x=x)
    assert (cured.loss, cured.layers[-1].activation.__name__) == ("mean_squared_error", "linear")
