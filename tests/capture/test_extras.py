"""Cosine, histograms and units without gradient: equal to numpy on gradients taken by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad
from kgrad.capture import extras
from kgrad.errors import CaptureError

from .conftest import batches_of
from .twin import same_weights, train_plain

LOSS = "sparse_categorical_crossentropy"


def build(optimizer="sgd", **settings):
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(8, activation="relu", bias_initializer=keras.initializers.Constant(-2.0)),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, LOSS, **settings)
    return model


def watched(vectors, run, build=build, **settings):
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = build()
    monitor = kgrad.GradientMonitor(run, report=False, verbose=0, strict=True, **settings)
    model.fit(*vectors, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[monitor])
    return model, kgrad.read_run(monitor.run)


def gradients_by_hand(vectors, build=build):
    """The gradients of every step, as lists of arrays."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = build()
    taken = []
    for x, y in batches_of(vectors) * 2:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        taken.append([gradient.numpy() for gradient in gradients])
        model.optimizer.apply(gradients, model.trainable_variables)
    return taken


@pytest.mark.parametrize("every", [1, 3])
def test_cosine_with_the_gradient_recorded_before(every, vectors, tmp_path):
    model, log = watched(vectors, tmp_path / "run", every=every, cosine=True)
    taken = gradients_by_hand(vectors)[::every]
    assert np.isnan(log["cosine"][0]).all()
    for row in range(1, len(log)):
        for column in range(len(log.structure.variables)):
            before, now = taken[row - 1][column].ravel(), taken[row][column].ravel()
            expected = before @ now / (np.linalg.norm(before) * np.linalg.norm(now))
            assert log["cosine"][row, column] == pytest.approx(expected, abs=1e-4)
    assert same_weights(model, train_plain(build, vectors))


@pytest.mark.parametrize("settings", [{}, {"jit_compile": True}, {"run_eagerly": True}])
def test_histogram_and_dead_units(settings, vectors, tmp_path):
    def built():
        return build(**settings)

    model, log = watched(vectors, tmp_path / "run", built, histogram_every=3)
    taken = gradients_by_hand(vectors, built)
    table = log.table("histograms")
    assert sorted(set(table["step"])) == [step for step in log.steps if step % 3 == 0]
    for step in range(0, len(log), 3):
        for column, variable in enumerate(log.structure.variables):
            gradient = taken[step][column]
            magnitudes = np.abs(gradient[gradient != 0])
            expected = np.bincount(
                np.clip(np.floor(np.log2(magnitudes)), extras.LOWEST, extras.HIGHEST).astype(int) - extras.LOWEST,
                minlength=extras.BINS,
            )
            rows = (table["step"] == step) & (table["variable"] == variable.name)
            counted = np.zeros(extras.BINS)
            counted[table["exponent"][rows].astype(int) - extras.LOWEST] = table["count"][rows]
            # A magnitude within rounding of a power of two may fall on either side.
            assert np.abs(counted - expected).sum() <= 2
            if gradient.ndim == 2:
                assert log["dead_units"][step, column] == (gradient == 0).all(axis=0).sum()
            else:
                assert np.isnan(log["dead_units"][step, column])
    assert np.isnan(log["dead_units"][1]).all()
    assert log["dead_units"][0].tolist()[0] > 0  # the biases above kill some
    if not settings:
        assert same_weights(model, train_plain(built, vectors))


def test_units_are_counted_only_where_a_kernel_ends_in_them(tmp_path):
    """A transposed convolution ends in its inputs, an LSTM in its gates, a depthwise one in a multiplier."""

    def build():
        hidden = [
            layers.Conv2DTranspose(3, 2, activation="relu", use_bias=False),
            layers.SeparableConv2D(5, 2),
            layers.DepthwiseConv2D(2),
            layers.Reshape((-1, 5)),
            layers.LSTM(3),
        ]
        model = keras.Sequential([keras.Input((4, 4, 2)), *hidden, layers.Dense(3, activation="softmax")])
        model.compile("sgd", LOSS)
        return model

    pictures = np.random.default_rng(0).normal(size=(16, 4, 4, 2)).astype("float32"), np.arange(16) % 3
    _, log = watched(pictures, tmp_path / "run", build, histogram_every=1, probe=False)
    counted = [v.name for v, dead in zip(log.structure.variables, log["dead_units"][0], strict=True) if dead == dead]
    assert [name.split("/")[-2:] for name in counted] == [["separable_conv2d", "pointwise_kernel"], ["dense", "kernel"]]


def test_neither_is_logged_unless_asked_for(vectors, tmp_path):
    _, log = watched(vectors, tmp_path / "run")
    assert "cosine" not in log
    assert "dead_units" not in log
    assert "histograms" not in log.tables


def test_an_embedding_has_no_cosine_and_a_true_histogram(tmp_path):
    def embedded():
        model = keras.Sequential(
            [keras.Input((5,)), layers.Embedding(7, 4), layers.Flatten(), layers.Dense(3, activation="softmax")]
        )
        model.compile("sgd", LOSS)
        return model

    tokens = np.random.default_rng(0).integers(0, 7, (64, 5)), np.arange(64) % 3
    _, log = watched(tokens, tmp_path / "run", embedded, cosine=True, histogram_every=1)
    place = [variable.role for variable in log.structure.variables].index("embeddings")
    assert np.isnan(log["cosine"][:, place]).all()
    assert np.isfinite(log["cosine"][1:, place + 1 :]).all()
    table = log.table("histograms")
    name = log.structure.variables[place].name
    first = (table["variable"] == name) & (table["step"] == 0)
    assert 0 < table["count"][first].sum() <= 7 * 4


def test_under_loss_scaling_the_histogram_is_that_of_the_unscaled_gradient(vectors, tmp_path):
    def scaled():
        return build(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=1024.0))

    _, plain = watched(vectors, tmp_path / "plain", histogram_every=4)
    _, log = watched(vectors, tmp_path / "scaled", scaled, histogram_every=4)
    for step in (0, 4):
        one, other = (
            {
                (v, e): c
                for s, v, e, c in zip(*(t[k].tolist() for k in ("step", "variable", "exponent", "count")), strict=True)
                if s == step
            }
            for t in (plain.table("histograms"), log.table("histograms"))
        )
        assert one == other


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_a_schedule_that_is_none_is_refused(every):
    with pytest.raises(CaptureError, match="histogram_every"):
        kgrad.GradientMonitor(histogram_every=every)
