"""Every way of training: the log equals a hand-written loop, the weights are those without kgrad."""

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from keras import layers

import kgrad

from .conftest import batches_of
from .twin import assert_agrees, same_weights, train_by_hand, train_plain, train_watched

LOSS = "sparse_categorical_crossentropy"


def compiled(model, optimizer="sgd", loss=LOSS, **settings):
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], **settings)
    return model


def dense(**first):
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(8, activation="relu", **first),
            layers.Dense(3, activation="softmax"),
        ]
    )


def functional():
    inputs = keras.Input((12,))
    shared = layers.Dense(12, activation="tanh", name="shared")
    hidden = layers.Add()([shared(inputs), shared(shared(inputs))])
    inner = keras.Sequential([keras.Input((12,)), layers.Dense(6, activation="elu"), layers.Dense(6)], name="inner")
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(inner(hidden)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = layers.Dense(3, activation="softmax")
        self.body = [layers.Dense(8, activation="relu"), layers.Dense(8, activation="relu")]
        self.norm = layers.BatchNormalization()

    def call(self, x, training=False):
        for layer in self.body:
            x = layer(x)
        return self.out(self.norm(x, training=training))


class OwnStep(keras.Model):
    """A custom train_step with its own tape that never shows its loss to the optimizer."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def own_step_model():
    inputs = keras.Input((12,))
    return OwnStep(inputs, layers.Dense(3, activation="softmax")(layers.Dense(8, activation="relu")(inputs)))


def own_step():
    model = own_step_model()
    model.compile("sgd", LOSS)
    return model


def frozen():
    model = dense()
    model.layers[0].trainable = False
    return model


def regularized():
    return dense(kernel_regularizer="l2", kernel_constraint=keras.constraints.MaxNorm(0.5))


def dropped():
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5, seed=7),
            layers.Dense(3, activation="softmax"),
        ]
    )


WAYS = {
    "sequential": lambda: compiled(dense()),
    "adam": lambda: compiled(dense(), "adam"),
    "functional, nested, shared": lambda: compiled(functional()),
    "subclassed": lambda: compiled(Subclassed()),
    "frozen": lambda: compiled(frozen()),
    "regularized and constrained": lambda: compiled(regularized()),
    "dropout and batch normalization": lambda: compiled(dropped()),
    "weight decay": lambda: compiled(dense(), keras.optimizers.AdamW(0.01, weight_decay=0.1)),
    "schedule": lambda: compiled(dense(), keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.5, 8))),
    "clipnorm": lambda: compiled(dense(), keras.optimizers.SGD(0.1, clipnorm=0.1)),
    "clipvalue": lambda: compiled(dense(), keras.optimizers.SGD(0.1, clipvalue=0.01)),
    "global_clipnorm": lambda: compiled(dense(), keras.optimizers.SGD(0.1, global_clipnorm=0.1)),
    "moving average": lambda: compiled(
        dense(), keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3)
    ),
    "gradient accumulation": lambda: compiled(dense(), keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)),
    "static loss scale": lambda: compiled(dense(), keras.optimizers.SGD(0.1, loss_scale_factor=64.0)),
    "eager": lambda: compiled(dense(), run_eagerly=True),
    "eight steps per execution": lambda: compiled(dense(), steps_per_execution=8),
    "three steps per execution": lambda: compiled(dense(), steps_per_execution=3),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "gradient accumulation"])
def test_the_log_equals_a_hand_written_loop(way, vectors, tmp_path):
    _, log = train_watched(WAYS[way], vectors, tmp_path / "run")
    # The hand-made loop has no use for a loss scale: its gradients are unscaled to begin with.
    by_hand = WAYS[way] if way != "static loss scale" else lambda: compiled(dense(), keras.optimizers.SGD(0.1))
    expected = train_by_hand(by_hand, batches_of(vectors))
    assert len(log) == 8
    assert_agrees(log, expected)


@pytest.mark.parametrize("way", WAYS)
def test_the_weights_are_those_of_a_training_without_kgrad(way, vectors, tmp_path):
    watched, _ = train_watched(WAYS[way], vectors, tmp_path / "run")
    assert same_weights(watched, train_plain(WAYS[way], vectors))


CLASS_WEIGHT = {0: 1.0, 1: 3.0, 2: 0.25}
SAMPLE_WEIGHT = np.linspace(0.0, 2.0, 56).astype("float32")
ARGUMENTS = {
    "class_weight": ({"class_weight": CLASS_WEIGHT}, 56, lambda y: np.array([CLASS_WEIGHT[each] for each in y])),
    "sample_weight": ({"sample_weight": SAMPLE_WEIGHT}, 56, lambda _: SAMPLE_WEIGHT),
    "validation_split": ({"validation_split": 0.25}, 42, np.ones_like),
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_arguments_of_fit(argument, vectors, tmp_path):
    settings, rows, weights_of = ARGUMENTS[argument]
    watched, log = train_watched(
        WAYS["sequential"], vectors, tmp_path / "run", monitor={"probe": False}, epochs=1, **settings
    )
    x, y = (each[:rows] for each in vectors)
    weights = weights_of(y).astype("float32")
    batches = [(x[i : i + 16], y[i : i + 16], weights[i : i + 16]) for i in range(0, rows, 16)]
    assert_agrees(log, train_by_hand(WAYS["sequential"], batches))
    assert same_weights(watched, train_plain(WAYS["sequential"], vectors, epochs=1, **settings))


def test_a_hidden_loss_leaves_the_column_out(vectors, tmp_path):
    watched, log = train_watched(own_step, vectors, tmp_path / "run")
    assert "loss" not in log
    assert len(log) == 8
    assert same_weights(watched, train_plain(own_step, vectors))
    expected = train_by_hand(own_step, batches_of(vectors))
    del expected["loss"]
    assert_agrees(log, expected)


@pytest.mark.parametrize("setting", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_raw_and_applied_norms_are_both_logged(setting, vectors, tmp_path):
    _, log = train_watched(WAYS[setting], vectors, tmp_path / "run")
    assert (log["applied_global_norm"] < log["global_norm"]).all()
    if setting == "global_clipnorm":
        np.testing.assert_allclose(log["applied_global_norm"], 0.1, rtol=1e-5)


def test_without_clipping_the_applied_norm_is_the_raw_one(vectors, tmp_path):
    _, log = train_watched(WAYS["sequential"], vectors, tmp_path / "run")
    np.testing.assert_array_equal(log["applied_global_norm"], log["global_norm"])
    np.testing.assert_allclose(log["global_norm"], np.sqrt((log["gradient_norm"] ** 2).sum(axis=1)), rtol=1e-6)


def test_accumulated_micro_batches_make_one_step(vectors, tmp_path):
    """Two micro-batches of 8 are one step on 16: the same gradients as whole batches give."""
    x, y = vectors[0][:48], vectors[1][:48]
    _, log = train_watched(WAYS["gradient accumulation"], (x, y), tmp_path / "run", batch_size=8)
    whole = lambda: compiled(dense(), keras.optimizers.SGD(0.1))  # noqa: E731
    expected = train_by_hand(whole, batches_of((x, y)))
    assert len(log) == 6
    del expected["loss"]  # the loss of a step is that of its last micro-batch
    assert_agrees(log, expected)
    assert not log["skipped"].any()
    np.testing.assert_array_equal(log["epoch"], [0, 0, 0, 1, 1, 1])


def test_mixed_precision_is_unscaled_and_skipped_steps_are_marked(vectors, tmp_path):
    """float16 overflows under the first loss scales: those steps are skipped, later ones come out right."""

    def build(scale=2.0**30):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = dense()
        finally:
            keras.config.set_dtype_policy("float32")
        return compiled(model, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=scale))

    watched, log = train_watched(build, vectors, tmp_path / "run", epochs=6)
    skipped = log["skipped"].astype(bool)
    assert skipped[0]
    assert not skipped[-1]
    assert (log["nonfinite_count"][skipped].sum(axis=1) > 0).all()
    assert (log["update_norm"][skipped & (log["detailed"] == 1)] == 0).all()
    np.testing.assert_array_equal(log["loss_scale"][1:][skipped[:-1]], log["loss_scale"][:-1][skipped[:-1]] / 2)
    plain = train_by_hand(lambda: compiled(dense(), keras.optimizers.SGD(0.1)), batches_of(vectors, epochs=6))
    first = int(np.argmin(skipped)) // 4 * 4 + 4  # the first batch of the data, in a later epoch
    ratio = log["gradient_norm"][first] / plain["gradient_norm"][0]
    assert np.all((ratio > 0.3) & (ratio < 3))  # unscaled: some weights have moved since, by a few steps
    assert same_weights(watched, train_plain(build, vectors, epochs=6))


@pytest.mark.parametrize(
    ("every", "settings", "expected"),
    [
        (3, {}, [0, 3, 6]),
        (5, {}, [0, 5]),
        (2, {"steps_per_execution": 4}, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, {"steps_per_execution": 4}, [0, 1, 2, 3]),
        (3, {"run_eagerly": True}, [0, 3, 6]),
    ],
)
def test_one_step_in_so_many(every, settings, expected, vectors, tmp_path):
    def build():
        return compiled(dense(), **settings)

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = build()
    monitor = kgrad.GradientMonitor(tmp_path / "run", every=every, report=False, verbose=0, strict=True)
    model.fit(*vectors, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[monitor])
    log = kgrad.read_run(tmp_path / "run")
    np.testing.assert_array_equal(log.steps, expected)
    np.testing.assert_array_equal(log["epoch"], np.array(expected) // 4)
    by_hand = train_by_hand(lambda: compiled(dense()), batches_of(vectors))
    chosen = {name: values[expected] if name != "weights" else values for name, values in by_hand.items()}
    assert_agrees(log, chosen)
    assert same_weights(model, train_plain(build, vectors))


def test_every_second_step_of_accumulated_micro_batches(vectors, tmp_path):
    x, y = vectors[0][:48], vectors[1][:48]
    keras.utils.set_random_seed(0)
    model = WAYS["gradient accumulation"]()
    monitor = kgrad.GradientMonitor(tmp_path / "run", every=2, report=False, verbose=0, strict=True)
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[monitor])
    log = kgrad.read_run(tmp_path / "run")
    np.testing.assert_array_equal(log.steps, [0, 2, 4])
    np.testing.assert_array_equal(log["epoch"], [0, 0, 1])


def test_every_must_be_a_whole_number_from_one_on():
    with pytest.raises(kgrad.KgradError, match="every=0"):
        kgrad.GradientMonitor(every=0)


@pytest.mark.parametrize(
    ("settings", "fit", "expected"),
    [
        ({}, {}, [0]),
        ({"details_every": 4}, {}, [0, 7]),
        ({"details_every": 2, "every": 2}, {}, [0, 6]),
        ({"details_every": 1}, {}, list(range(8))),
        ({"details_every": 2}, {"steps_per_execution": 2}, [0, 1, 6, 7]),
    ],
)
def test_details_are_taken_in_one_of_so_many_recorded_steps(settings, fit, expected, vectors, tmp_path):
    keras.utils.set_random_seed(0)
    model = compiled(dense(), **fit)
    monitor = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, strict=True, **settings)
    model.fit(*vectors, batch_size=16, epochs=2, verbose=0, callbacks=[monitor])
    log = kgrad.read_run(monitor.run)
    assert log.steps[log["detailed"] == 1].tolist() == expected
    assert np.isfinite(log["gradient_norm"]).all()
    assert np.isfinite(log["update_norm"]).all()  # held where it was not taken
    table = pq.read_table(tmp_path / "run" / "gradients").to_pandas()
    assert sorted(set(table["step"][table["update_norm"].notna()])) == expected


def test_norms_alone_are_right_where_squares_underflow(vectors, tmp_path):
    """The loss is so small that the sums of squares are under float32's range: the norm is rebuilt."""

    def build(factor):
        return lambda: compiled(
            keras.Sequential([keras.Input((12,)), layers.Dense(3)]),
            loss=lambda y, p: factor * keras.ops.square(p[:, 0]),
        )

    _, plain = train_watched(build(1.0), vectors, tmp_path / "plain", epochs=1)
    _, tiny = train_watched(build(1e-20), vectors, tmp_path / "tiny", epochs=1)
    ratio = tiny["gradient_norm"][0] / plain["gradient_norm"][0]
    assert np.all((ratio > 1e-21) & (ratio < 1e-19))
    assert np.all(tiny["gradient_norm"][1:] > 0)
