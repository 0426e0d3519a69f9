"""The probe: right numbers, bounded memory, and nothing of the training touched."""

import json
import os
import random
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture.curvature import Curvature, extreme_eigenvalues
from kgrad.capture.hessian import CurvatureUnavailable, HessianProduct
from kgrad.capture.probe import Probe
from kgrad.errors import CaptureError

from .probe_rows import Subclassed, rows_of

LAYERS = keras.layers


@pytest.fixture(autouse=True)
def seeds() -> None:
    keras.utils.set_random_seed(0)


def busy_model() -> keras.Model:
    """Whatever keeps state: moving statistics, dropout seeds, metrics, Adam's moments."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            LAYERS.GaussianNoise(0.1),
            LAYERS.Dense(8, "relu", kernel_regularizer="l2", activity_regularizer="l2"),
            LAYERS.BatchNormalization(),
            LAYERS.Dropout(0.5),
            LAYERS.SpectralNormalization(LAYERS.Dense(8, "tanh")),
            LAYERS.Dense(3, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def state_of(model: keras.Model) -> list[bytes]:
    """Every number that training reads or writes, and the random generators of Python and numpy."""
    seeds = [v for layer in model._flatten_layers() for g in layer._seed_generators for v in [g.state]]
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables, *seeds]
    random_states = [repr(random.getstate()).encode(), repr(np.random.get_state()).encode()]
    return [np.asarray(v).tobytes() for v in variables] + random_states


def test_state_is_the_same_bit_for_bit_after_every_method() -> None:
    model, x, labels = busy_model(), rows_of(32), np.arange(32) % 3
    model.fit(x, labels, verbose=0)
    before = state_of(model)
    assert len(before) > 30
    probe = Probe(model, x, labels)
    for training in (True, False):
        probe.activation_statistics(training)
        probe.gradient_profile(training)
    probe.curvature(5)
    assert state_of(model) == before
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    # The drawn seeds are what dropout used: without state of its own the probe repeats itself.
    assert probe.gradient_profile() == probe.gradient_profile()
    model.fit(x, labels, verbose=0)
    assert state_of(model) != before


TRAINING = """
import json, sys
import keras, numpy as np, tensorflow as tf
from kgrad.capture.probe import Probe

tf.config.experimental.enable_op_determinism()

def build(kind):
    L = keras.layers
    if kind == "two outputs":
        i = keras.Input((6,))
        h = L.Dropout(0.3)(L.Dense(8, "relu", kernel_regularizer="l2")(i))
        model = keras.Model(i, {"a": L.Dense(3, name="a")(h), "b": L.Dense(1, name="b")(h)})
        losses = {"a": keras.losses.SparseCategoricalCrossentropy(True), "b": "mse"}
        model.compile("adam", losses, metrics={"b": ["mae"]})
        return model
    layers = [L.Dense(8, "relu"), L.BatchNormalization(), L.Dropout(0.5), L.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"],
                  run_eagerly=kind == "eager")
    return model

class Probing(keras.callbacks.Callback):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.probe, self.taken = x, y, None, 0
    def on_train_batch_begin(self, batch, logs=None):
        if self.probe is None:
            self.probe = Probe(self.model, self.x, self.y, max_rows=16)
        if batch in (0, 3):
            self.probe.activation_statistics()
            self.probe.gradient_profile()
            self.probe.curvature(3)
            self.taken += 1

def train(kind, probing):
    keras.backend.clear_session()
    keras.utils.set_random_seed(3)
    g = np.random.default_rng(0)
    x, labels = g.normal(size=(64, 6)).astype("float32"), g.integers(0, 3, 64)
    y = {"a": labels, "b": x[:, :1]} if kind == "two outputs" else labels
    model = build(kind)
    callbacks = [Probing(x, y)] if probing else []
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
    assert not probing or callbacks[0].taken == 4
    state = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return {"state": [np.asarray(v).tobytes().hex() for v in state], "history": history.history}

kinds = ("plain", "two outputs", "eager")
print(json.dumps({kind: train(kind, False) == train(kind, True) for kind in kinds}))
first, second = train("plain", False), train("two outputs", False)
assert first != second
"""


def test_training_with_a_probe_in_the_middle_gives_the_same_bits() -> None:
    """In a process of its own: op determinism cannot be switched off again."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    same = json.loads(done.stdout.strip().splitlines()[-1])
    assert same == {"plain": True, "two outputs": True, "eager": True}


def test_layers_are_put_back_when_the_model_fails() -> None:
    class Failing(Subclassed):
        broken = False

        def call(self, inputs: Any) -> Any:
            if self.broken:
                raise RuntimeError("no luck today")
            return super().call(inputs)

    model = Failing()
    model(rows_of(8))
    model.broken = True
    activation = model.first.activation
    with pytest.raises(CaptureError, match="no luck today"):
        Probe(model, rows_of(8)).activation_statistics()
    assert "call" not in vars(model.first)
    assert model.first.activation is activation


def test_model_that_writes_state_of_its_own_is_refused_before_it_runs() -> None:
    class Counting(Subclassed):
        def __init__(self) -> None:
            super().__init__()
            self.count = tf.Variable(0.0, trainable=False)

        def call(self, inputs: Any) -> Any:
            self.count.assign_add(1.0)
            return super().call(inputs)

    model = Counting()
    model(rows_of(8))
    model.compile("sgd", "mse")
    probe = Probe(model, rows_of(8), np.zeros((8, 1)))
    for method in (probe.activation_statistics, probe.gradient_profile, probe.curvature):
        with pytest.raises(CaptureError, match="AssignAddVariableOp"):
            method()
    assert float(model.count) == 1


def test_model_that_writes_keras_variables_is_welcome_and_they_stay() -> None:
    class Counting(Subclassed):
        def __init__(self) -> None:
            super().__init__()
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, inputs: Any) -> Any:
            self.count.assign_add(1.0)
            return super().call(inputs)

    model = Counting()
    model(rows_of(8))
    model.compile("sgd", "mse")
    probe = Probe(model, rows_of(8), np.zeros((8, 1)))
    probe.curvature(3)
    probe.gradient_profile()
    probe.activation_statistics()
    assert float(model.count.value) == 1


def test_random_generator_outside_keras_is_refused() -> None:
    generator = tf.random.Generator.from_seed(1)

    class Drawing(Subclassed):
        def call(self, inputs: Any) -> Any:
            return super().call(inputs) + generator.normal((1,))

    model = Drawing()
    model(rows_of(8))
    state = generator.state.numpy()
    with pytest.raises(CaptureError, match="would disturb"):
        Probe(model, rows_of(8)).activation_statistics()
    np.testing.assert_array_equal(generator.state, state)


def test_unbuilt_model_is_refused() -> None:
    with pytest.raises(CaptureError, match="built model"):
        Probe(Subclassed(), rows_of(4))


def test_gradient_profile_is_that_of_a_tape() -> None:
    tokens = np.array([[1, 1, 2, 1], [2, 2, 2, 0]])
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            LAYERS.Embedding(5, 3, embeddings_regularizer="l2"),
            LAYERS.Flatten(),
            LAYERS.Dense(2, activity_regularizer="l2"),
        ]
    )
    model.compile("sgd", "mse")
    y, weights = np.ones((2, 2)), np.array([1.0, 3.0])
    with tf.GradientTape() as tape:
        loss = model.compute_loss(tokens, y, model(tokens), weights)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    profile = Probe(model, tokens, y, weights).gradient_profile()
    assert list(profile) == [v.path for v in model.trainable_variables]
    for norm, gradient in zip(profile.values(), gradients, strict=True):
        assert norm == pytest.approx(np.linalg.norm(tf.convert_to_tensor(gradient)), rel=1e-5)


def test_gradient_profile_tells_unconnected_from_vanished_and_equal_paths_apart() -> None:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = LAYERS.Dense(1, name="d"), LAYERS.Dense(1, name="d")

        def call(self, inputs: Any) -> Any:
            self.unused(inputs)
            return 1e-30 * self.used(inputs)

    model = Model()
    model(rows_of(8))
    model.compile("sgd", "mse")
    profile = Probe(model, rows_of(8), np.ones((8, 1))).gradient_profile()
    paths = [v.path for v in model.trainable_variables]
    assert paths[0] == paths[2]
    assert list(profile) == [paths[0], paths[1], f"{paths[0]}#2", f"{paths[1]}#2"]
    assert profile[f"{paths[0]}#2"] is None
    # Its square, 1e-60, does not exist in float32.
    assert profile[paths[1]] == pytest.approx(2e-30, rel=1e-3, abs=0)


def linear_model(**options: Any) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A model whose Hessian is known: 2/n X'X for the mean squared error of one linear unit."""
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dense(1, use_bias=False, **options)])
    model.compile("sgd", "mse")
    return model, rows_of(50), np.zeros((50, 1))


def test_curvature_of_a_linear_model() -> None:
    model, x, y = linear_model()
    curvature = Probe(model, x, y).curvature()
    eigenvalues = np.linalg.eigvalsh(2 * x.T @ x / 50)
    assert abs(curvature.smallest - eigenvalues[0]) <= curvature.smallest_error < 1e-5
    assert abs(curvature.largest - eigenvalues[-1]) <= curvature.largest_error < 1e-5
    assert (curvature.iterations, curvature.products, curvature.parameters) == (6, 8, 6)


def test_curvature_counts_sample_weights_and_regularization() -> None:
    plain, x, y = linear_model()
    weights = np.linspace(0, 2, 50)
    weighted = Probe(plain, x, y, weights).curvature()
    own = HessianProduct(lambda: plain.compute_loss(x, y, plain(x), weights), plain.trainable_variables)
    assert weighted.largest == pytest.approx(extreme_eigenvalues(own).largest, rel=1e-4)
    unweighted = Probe(plain, x, y).curvature()
    assert weighted.largest != pytest.approx(unweighted.largest, rel=1e-3)
    regularized_model, x, y = linear_model(kernel_regularizer=keras.regularizers.L2(0.25))
    regularized = Probe(regularized_model, x, y).curvature()
    assert regularized.smallest == pytest.approx(unweighted.smallest + 0.5, rel=1e-4)


def test_curvature_follows_weights_and_compile() -> None:
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dense(4, "tanh"), LAYERS.Dense(1)])
    x, y = rows_of(30), np.ones((30, 1))
    model.compile("sgd", "mse")
    probe = Probe(model, x, y)
    first = probe.curvature()
    assert probe.curvature() == first
    model.fit(x, y, epochs=3, verbose=0)
    moved = probe.curvature()
    assert moved != first
    model.compile("sgd", keras.losses.Huber())
    assert probe.curvature() != moved
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    assert probe.curvature().parameters == 5


def test_curvature_is_of_the_loss_without_dropout() -> None:
    x, labels = rows_of(32), np.arange(32) % 3
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dropout(0.9), LAYERS.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    twin = keras.Sequential([keras.Input((6,)), LAYERS.Dense(3, "softmax")])
    twin.set_weights(model.get_weights())
    twin.compile("sgd", "sparse_categorical_crossentropy")
    expected = Probe(twin, x, labels).curvature()
    assert Probe(model, x, labels).curvature().largest == pytest.approx(expected.largest, rel=1e-5)


def test_saddle_of_a_linear_network_is_seen_and_training_leaves_it() -> None:
    zeros = {"kernel_initializer": "zeros", "use_bias": False}
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dense(4, **zeros), LAYERS.Dense(2, **zeros)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = rows_of(64)
    y = x[:, :2]
    probe = Probe(model, x, y)
    assert set(probe.gradient_profile().values()) == {0.0}
    curvature = probe.curvature()
    # The loss averages over 64 rows and 2 outputs.
    singular = np.linalg.svd(2 * x.T @ y / (64 * 2), compute_uv=False)
    assert curvature.smallest == pytest.approx(-singular[0], abs=curvature.smallest_error)
    assert curvature.smallest + curvature.smallest_error < 0 < curvature.largest - curvature.largest_error


def test_several_outputs_before_any_fit() -> None:
    inputs = keras.Input((6,))
    hidden = LAYERS.Dense(4, "tanh")(inputs)
    model = keras.Model(inputs, {"a": LAYERS.Dense(1, name="a")(hidden), "b": LAYERS.Dense(1, name="b")(hidden)})
    model.compile("sgd", {"a": "mse", "b": "mae"})
    x = rows_of(16)
    y = {"a": x[:, :1], "b": x[:, 1:2]}
    curvature = Probe(model, x, y).curvature()

    def loss() -> Any:
        outputs = model(x)
        return tf.reduce_mean((outputs["a"] - y["a"]) ** 2) + tf.reduce_mean(tf.abs(outputs["b"] - y["b"]))

    expected = extreme_eigenvalues(HessianProduct(loss, model.trainable_variables))
    assert curvature.largest == pytest.approx(expected.largest, rel=1e-4)
    assert curvature.smallest == pytest.approx(expected.smallest, rel=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_refused_or_given_with_its_error(policy: str) -> None:
    x, labels = rows_of(32), np.arange(32) % 3
    models = []
    for dtype in ("float32", policy):
        layers = [LAYERS.Dense(8, "tanh", dtype=dtype), LAYERS.Dense(3, "softmax", dtype=dtype)]
        models.append(keras.Sequential([keras.Input((6,)), *layers]))
        models[-1].compile("sgd", "sparse_categorical_crossentropy")
    models[1].set_weights(models[0].get_weights())
    if policy == "mixed_float16":
        with pytest.raises(CurvatureUnavailable, match="float16"):
            Probe(models[1], x, labels).curvature()
        return
    true, coarse = (Probe(model, x, labels).curvature(60) for model in models)
    for end in ("smallest", "largest"):
        difference = abs(getattr(true, end) - getattr(coarse, end))
        assert 1e-6 < difference <= getattr(coarse, f"{end}_error") < 0.1 * coarse.largest


def test_model_without_a_loss_is_refused_with_kerass_own_reason() -> None:
    _, x, y = linear_model()
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dense(1)])
    model.compile("sgd")
    for method in (Probe(model, x, y).curvature, Probe(model, x, y).gradient_profile):
        with pytest.raises(CaptureError, match="No loss to compute"):
            method()
    assert Probe(model, x).activation_statistics()


def test_batch_on_which_the_loss_fails_is_refused_with_its_reason() -> None:
    model = keras.Sequential([keras.Input((6,)), LAYERS.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    probe = Probe(model, rows_of(4), np.array([0, 1, 2, 99]))
    for method in (probe.gradient_profile, probe.curvature):
        with pytest.raises(CaptureError, match="cannot run this model"):
            method()


def test_frozen_model_has_no_curvature() -> None:
    model, x, y = linear_model()
    model.trainable = False
    model.compile("sgd", "mse")
    probe = Probe(model, x, y)
    assert probe.gradient_profile() == {}
    with pytest.raises(CurvatureUnavailable, match="no trainable variable"):
        probe.curvature()


@pytest.mark.parametrize("kind", ["embedding and lstm", "attention", "convolution"])
def test_architectures_have_curvature(kind: str) -> None:
    generator = np.random.default_rng(0)
    x: np.ndarray
    if kind == "convolution":
        x = generator.normal(size=(8, 8, 8, 2)).astype(np.float32)
        layers = [LAYERS.Conv2D(3, 3, activation="relu"), LAYERS.BatchNormalization(), LAYERS.Flatten()]
    else:
        x = generator.integers(0, 9, (8, 5))
        layers = [LAYERS.Embedding(9, 4, mask_zero=kind != "attention")]
        layers.append(LAYERS.LSTM(3) if kind != "attention" else LAYERS.GlobalAveragePooling1D())
    inputs = keras.Input(x.shape[1:], dtype=x.dtype.name)
    hidden = layers[0](inputs)
    if kind == "attention":
        hidden = LAYERS.LayerNormalization()(LAYERS.MultiHeadAttention(2, 3)(hidden, hidden) + hidden)
    for layer in layers[1:]:
        hidden = layer(hidden)
    model = keras.Model(inputs, LAYERS.Dense(2, "softmax")(hidden))
    model.compile("sgd", "sparse_categorical_crossentropy")
    curvature = Probe(model, x, np.arange(8) % 2).curvature(10)
    assert isinstance(curvature, Curvature)
    assert curvature.largest - curvature.largest_error > 0
