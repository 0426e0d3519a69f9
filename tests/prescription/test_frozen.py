"""Frozen layers trained: the code runs on trained models, and `apply` keeps what they hold."""

import keras
import numpy as np
from keras import layers

import kgrad
from kgrad.diagnosis.finding import Finding
from kgrad.prescription.frozen import prescribe_unfrozen
from kgrad.treatment import apply

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
Y = X[:, :1]


def transferred(nested=False):
    """A frozen base with a normalization, in a model of its own or not."""
    base = [layers.Dense(8, name="features"), layers.BatchNormalization(name="norm")]
    for layer in base:
        layer.trainable = False
    if nested:
        base = [keras.Sequential([keras.Input((6,)), *base], name="base")]
        base[0].trainable = False
    model = keras.Sequential([keras.Input((6,)), *base, layers.Dense(1, name="head")])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def prescribed(model, folder):
    monitor = kgrad.GradientMonitor(folder, report=False, verbose=0, curvature="never")
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[monitor])
    return prescribe_unfrozen(monitor.log, Finding("plateau", "high", "it stands."))


def test_the_code_trains_what_was_frozen_and_leaves_moving_statistics(tmp_path):
    model = transferred()
    offered = prescribed(model, tmp_path / "run")
    features, norm = model.layers[:2]
    kernel, gamma = np.array(features.kernel), np.array(norm.gamma)
    exec(offered.code, {"keras": keras, "model": model})
    model.fit(X, Y, epochs=1, verbose=0)
    assert not np.array_equal(kernel, features.kernel)
    assert np.array_equal(gamma, norm.gamma)


def test_what_frozen_layers_hold_is_kept_where_weights_are(tmp_path):
    model = transferred()
    offered = prescribed(model, tmp_path / "run")
    kept = apply(model, offered, keep_weights=True)
    assert all(np.array_equal(one, other) for one, other in zip(model.get_weights(), kept.get_weights(), strict=True))


def test_how_much_of_a_model_inside_to_train_is_its_owners_to_say(tmp_path):
    assert prescribed(transferred(nested=True), tmp_path / "run") is None


def test_nothing_frozen_nothing_offered(tmp_path):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    assert prescribed(model, tmp_path / "run") is None
