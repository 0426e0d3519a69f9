"""Layers, losses and data of every kind: the log equals a hand-written loop, the weights are those without kgrad."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kgrad

from .twin import assert_agrees, same_weights, train_by_hand, train_plain, train_watched

LOSS = "sparse_categorical_crossentropy"
GENERATOR = np.random.default_rng(3)
PICTURES = GENERATOR.normal(size=(40, 8, 8, 1)).astype("float32")
SEQUENCES = GENERATOR.normal(size=(40, 6, 4)).astype("float32")
TOKENS = GENERATOR.integers(0, 9, (40, 6)).astype("int32")  # every batch holds repeated tokens
LABELS = GENERATOR.integers(0, 3, 40)


def sequential(shape, *inside, dtype="float32", **settings):
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *inside, layers.Dense(3, activation="softmax")])
    model.compile("sgd", LOSS, **settings)
    return model


def attention():
    inputs = keras.Input((6, 4))
    # Without biases: the true gradient of the keys' biases is zero, and what is measured is rounding.
    attended = layers.MultiHeadAttention(2, 4, use_bias=False)(inputs, inputs)
    hidden = layers.LayerNormalization()(layers.Add()([inputs, attended]))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(hidden)))
    model.compile("sgd", LOSS)
    return model


def equal_names():
    inner = [keras.Sequential([keras.Input((6,)), layers.Dense(6, name="same")], name=f"part_{i}") for i in range(2)]
    for part in inner:
        part.layers[0]._path = "same"  # as lists of layers in a subclassed model have it
    return sequential((6, 4), layers.Flatten(), layers.Dense(6), *inner)


class Unconnected(keras.Model):
    """Owns a layer that the loss does not depend on."""

    def __init__(self):
        super().__init__()
        self.used = layers.Dense(3, activation="softmax")
        self.unused = layers.Dense(2)

    def call(self, x):
        flat = tf.reshape(x, [-1, 24])
        self.unused(flat)
        return self.used(flat)


def unconnected():
    model = Unconnected()
    model.compile("sgd", LOSS)
    return model


KINDS = {
    "convolutions": (
        lambda: sequential(
            (8, 8, 1),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ),
        PICTURES,
    ),
    "simple recurrent": (lambda: sequential((6, 4), layers.SimpleRNN(5)), SEQUENCES),
    "lstm": (lambda: sequential((6, 4), layers.Bidirectional(layers.LSTM(4))), SEQUENCES),
    "gru": (lambda: sequential((6, 4), layers.GRU(4, return_sequences=True), layers.GRU(3)), SEQUENCES),
    "attention": (attention, SEQUENCES),
    "embedding": (
        lambda: sequential((6,), layers.Embedding(12, 4), layers.GlobalAveragePooling1D(), dtype="int32"),
        TOKENS,
    ),
    "time distributed": (
        lambda: sequential((6, 4), layers.TimeDistributed(layers.Dense(3, activation="relu")), layers.Flatten()),
        SEQUENCES,
    ),
}


def batches(x, y=LABELS, epochs=2):
    return [(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)] * epochs


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_equals_a_hand_written_loop(kind, tmp_path):
    build, x = KINDS[kind]
    watched, log = train_watched(build, (x, LABELS), tmp_path / "run")
    assert_agrees(log, train_by_hand(build, batches(x)), tolerance=1e-3)
    assert same_weights(watched, train_plain(build, (x, LABELS)))


def test_an_unconnected_variable_is_missing_and_not_zero(tmp_path):
    watched, log = train_watched(unconnected, (SEQUENCES, LABELS), tmp_path / "run")
    assert same_weights(watched, train_plain(unconnected, (SEQUENCES, LABELS)))
    unused = [i for i, v in enumerate(log.structure.variables) if "dense_1" in v.name or v.layer.startswith("unused")]
    unused = unused or [i for i in range(4) if np.isnan(log["gradient_norm"][:, i]).all()]
    assert len(unused) == 2
    assert np.isnan(log["gradient_norm"][:, unused]).all()
    assert (log["nonfinite_count"][:, unused] == 0).all()
    assert (log["update_norm"][:, unused] == 0).all()
    assert np.isfinite(log["global_norm"]).all()


def test_variables_of_equal_names_stay_apart(tmp_path):
    watched, log = train_watched(equal_names, (SEQUENCES, LABELS), tmp_path / "run")
    assert same_weights(watched, train_plain(equal_names, (SEQUENCES, LABELS)))
    norms = train_by_hand(equal_names, batches(SEQUENCES))["gradient_norm"]
    # The hand-made columns are told apart by their values, in any order.
    np.testing.assert_allclose(np.sort(log["gradient_norm"][0]), np.sort(norms[0]), rtol=1e-4)
    assert len(np.unique(norms[0].round(6))) == 8
    names = [variable.name for variable in log.structure.variables]
    assert len(set(names)) == len(names) == 8
    layers_named = [layer.name for layer in log.structure.layers]
    assert len(set(layers_named)) == len(layers_named)


def test_several_inputs_and_outputs(tmp_path):
    def build():
        one, other = keras.Input((4,), name="one"), keras.Input((3,), name="other")
        hidden = layers.Concatenate()([layers.Dense(4, name="a")(one), layers.Dense(4, name="b")(other)])
        model = keras.Model(
            {"one": one, "other": other},
            {"class": layers.Dense(3, activation="softmax")(hidden), "size": layers.Dense(1)(hidden)},
        )
        model.compile("sgd", {"class": LOSS, "size": "mse"}, loss_weights={"class": 1.0, "size": 0.1})
        return model

    data = tf.data.Dataset.from_tensor_slices(
        ({"one": SEQUENCES[:, 0], "other": SEQUENCES[:, 1, :3]}, {"class": LABELS, "size": LABELS[:, None] * 1.0})
    ).batch(16)
    watched, log = train_watched(build, data, tmp_path / "run")
    assert len(log) == 6
    assert_agrees(log, train_by_hand(build, list(data) * 2))
    assert same_weights(watched, train_plain(build, data))


def small():
    return sequential((6, 4), layers.Flatten(), layers.Dense(4, activation="relu"))


class Rows(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(16 * index, 16 * index + 16)
        return SEQUENCES[rows], LABELS[rows]


DATA = {
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((SEQUENCES, LABELS)).batch(16),
    "PyDataset": Rows,
}


@pytest.mark.parametrize("source", DATA)
def test_every_source_of_data_gives_the_same_log(source, tmp_path):
    watched, log = train_watched(small, DATA[source](), tmp_path / "run")
    assert_agrees(log, train_by_hand(small, batches(SEQUENCES)))
    assert same_weights(watched, train_plain(small, DATA[source]()))


def test_a_generator_gives_the_same_log(tmp_path):
    def endless():
        while True:
            yield from batches(SEQUENCES, epochs=1)

    watched, log = train_watched(small, endless(), tmp_path / "run", steps_per_epoch=3)
    assert_agrees(log, train_by_hand(small, batches(SEQUENCES)))
    assert same_weights(watched, train_plain(small, endless(), steps_per_epoch=3))


def test_bfloat16_is_logged_in_full(tmp_path):
    def build():
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            return small()
        finally:
            keras.config.set_dtype_policy("float32")

    watched, log = train_watched(build, (SEQUENCES, LABELS), tmp_path / "run")
    assert_agrees(log, train_by_hand(build, batches(SEQUENCES)), tolerance=0.05)
    assert same_weights(watched, train_plain(build, (SEQUENCES, LABELS)))


def test_checkpoints_and_backups_go_on(tmp_path):
    model = small()
    monitor = kgrad.GradientMonitor(tmp_path / "run", report=False, verbose=0, strict=True)
    callbacks = [
        monitor,
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_freq=2),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    keras.utils.set_random_seed(0)
    model.fit(SEQUENCES, LABELS, batch_size=16, epochs=3, verbose=0, callbacks=callbacks)
    assert len(kgrad.read_run(tmp_path / "run")) == 9
    assert keras.models.load_model(tmp_path / "best.keras").count_params() == model.count_params()


class Steps(layers.Layer):
    """Ten small steps from its input, each with a kernel and a bias of its own."""

    def build(self, shape):
        normal = functools.partial(keras.initializers.RandomNormal, stddev=0.05)
        self.kernels = [self.add_weight(shape=(4, 4), initializer=normal(), name=f"kernel_{i}") for i in range(10)]
        self.biases = [self.add_weight(shape=(4,), initializer="zeros", name=f"bias_{i}") for i in range(10)]

    def call(self, x):
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = x + keras.ops.tanh(keras.ops.matmul(x, kernel) + bias)
        return x


def test_a_thousand_variables(tmp_path):
    """Each with a gradient worth comparing, since every step is added to what came before."""

    def build():
        model = keras.Sequential([keras.Input((4,)), *(Steps() for _ in range(50))])
        model.compile("sgd", "mse")
        return model

    data = SEQUENCES[:32, 0], SEQUENCES[:32, 1]
    settings = {"probe": False, "details_every": 1}
    watched, log = train_watched(build, data, tmp_path / "run", monitor=settings, epochs=1)
    assert log["gradient_norm"].shape == (2, 1000)
    assert (log["gradient_norm"] > 0).all()
    assert_agrees(log, train_by_hand(build, batches(*data, epochs=1)))
    assert same_weights(watched, train_plain(build, data, epochs=1))


class Part(keras.Model):
    """Trains a part of itself in a step of its own, and is never built as a whole."""

    def __init__(self):
        super().__init__()
        self.part = keras.Sequential([keras.Input((4,)), layers.Dense(3)])

    def gradients(self, x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.part(x) ** 2)
        return loss, tape.gradient(loss, self.part.trainable_weights)

    def train_step(self, data):
        loss, gradients = self.gradients(data)
        self.optimizer.apply_gradients(zip(gradients, self.part.trainable_weights, strict=True))
        return {"loss": loss}


def test_a_model_that_is_never_built_is_recorded(tmp_path):
    def build():
        model = Part()
        model.compile(keras.optimizers.SGD(0.1))
        return model

    data = tf.data.Dataset.from_tensor_slices(SEQUENCES[:, 0]).batch(8)
    watched, log = train_watched(build, data, tmp_path / "run")
    assert len(log) == 10
    assert same_weights(watched, train_plain(build, data))
    keras.utils.set_random_seed(0)
    by_hand = build()
    for step, x in enumerate(list(data) * 2):
        _, gradients = by_hand.gradients(x)
        np.testing.assert_allclose(log["gradient_norm"][step], [np.linalg.norm(g) for g in gradients], rtol=1e-4)
        by_hand.optimizer.apply(gradients, by_hand.part.trainable_weights)
