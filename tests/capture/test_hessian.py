"""Hessian-vector products against finite differences and the dense Hessian; what has no second derivative."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture.curvature import extreme_eigenvalues
from kgrad.capture.hessian import CurvatureUnavailable, HessianProduct
from kgrad.capture.moments import differentiable_moments

from .dense_hessian import dense, eigenvalues_of

LAYERS = keras.layers


def test_product_is_the_dense_hessian() -> None:
    """In float64, against the Jacobian of the gradient, taken by TensorFlow in another way."""
    generator = np.random.default_rng(0)
    first, second = (tf.Variable(generator.normal(size=shape)) for shape in ((3, 4), (4, 2)))
    x = tf.constant(generator.normal(size=(6, 3)))

    def loss() -> Any:
        return tf.reduce_mean(tf.square(tf.tanh(x @ first) @ second - 1.0))

    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape() as inner:
            value = loss()
        gradients = inner.gradient(value, [first, second])
    rows = [
        [tf.reshape(j, (g.shape.num_elements(), -1)) for j in outer.jacobian(g, [first, second])] for g in gradients
    ]
    expected = np.block([[block.numpy() for block in row] for row in rows])
    product = HessianProduct(loss, [first, second])
    assert product.mode == "reverse over reverse"
    np.testing.assert_allclose(dense(product), expected, atol=1e-12)
    eigenvalues = eigenvalues_of(expected)
    curvature = extreme_eigenvalues(product, iterations=20)
    assert curvature.smallest == pytest.approx(eigenvalues[0], abs=1e-10)
    assert curvature.largest == pytest.approx(eigenvalues[-1], abs=1e-10)


VECTOR, SEQUENCE, IMAGE, VOLUME, TOKENS = (5,), (5, 3), (6, 6, 2), (4, 4, 4, 1), (6,)
TANH = "tanh"
# Layers whose second derivatives are right, each behind or before something curved.
ZOO: dict[str, tuple[tuple[int, ...], Callable[[], list[Any]]]] = {
    "dense": (VECTOR, lambda: [LAYERS.Dense(4, TANH), LAYERS.Dense(2)]),
    "layer normalization": (
        VECTOR,
        lambda: [LAYERS.Dense(4), LAYERS.LayerNormalization(), LAYERS.Dense(2, TANH)],
    ),
    "group normalization": (
        IMAGE,
        lambda: [LAYERS.Conv2D(4, 3), LAYERS.GroupNormalization(2), LAYERS.Dense(2, TANH)],
    ),
    "batch normalization": (
        VECTOR,
        lambda: [LAYERS.Dense(4), LAYERS.BatchNormalization(), LAYERS.Dense(2, TANH)],
    ),
    "unit normalization": (
        VECTOR,
        lambda: [LAYERS.Dense(4), LAYERS.UnitNormalization(), LAYERS.Dense(2, TANH)],
    ),
    "spectral normalization": (VECTOR, lambda: [LAYERS.SpectralNormalization(LAYERS.Dense(4, TANH))]),
    "convolution 1d": (SEQUENCE, lambda: [LAYERS.Conv1D(3, 2, activation=TANH), LAYERS.Conv1D(2, 2)]),
    "convolution 2d": (IMAGE, lambda: [LAYERS.Conv2D(3, 3, strides=2, activation=TANH), LAYERS.Conv2D(2, 2)]),
    "convolution 3d": (VOLUME, lambda: [LAYERS.Conv3D(2, 2, activation=TANH), LAYERS.Conv3D(2, 2)]),
    "separable": (IMAGE, lambda: [LAYERS.DepthwiseConv2D(3, activation=TANH), LAYERS.SeparableConv2D(3, 2)]),
    "transposed": (
        IMAGE,
        lambda: [LAYERS.Conv2DTranspose(3, 3, strides=2, activation=TANH), LAYERS.Conv2D(2, 3)],
    ),
    "pooling": (
        IMAGE,
        lambda: [
            LAYERS.Conv2D(3, 3, activation=TANH),
            LAYERS.MaxPooling2D(),
            LAYERS.AveragePooling2D(2),
            LAYERS.Flatten(),
            LAYERS.Dense(2, TANH),
        ],
    ),
    "nearest upsampling": (
        IMAGE,
        lambda: [LAYERS.Conv2D(2, 3), LAYERS.UpSampling2D(), LAYERS.Dense(2, TANH)],
    ),
    "lstm": (SEQUENCE, lambda: [LAYERS.LSTM(3)]),
    "gru": (SEQUENCE, lambda: [LAYERS.Bidirectional(LAYERS.GRU(2))]),
    "embedding": (TOKENS, lambda: [LAYERS.Embedding(7, 3), LAYERS.SimpleRNN(3)]),
    "attention": (
        TOKENS,
        lambda: [
            LAYERS.Embedding(7, 4, embeddings_initializer="normal"),
            SelfAttention(),
            LAYERS.Dense(2, TANH),
        ],
    ),
    "gelu": (VECTOR, lambda: [LAYERS.Dense(4, "gelu"), LAYERS.Dense(2, "silu")]),
    "softmax": (VECTOR, lambda: [LAYERS.Dense(4, "elu"), LAYERS.Dense(3, "softmax")]),
}


class SelfAttention(LAYERS.Layer):  # type: ignore[misc]
    """Attention of a sequence to itself, with a residual."""

    def build(self, shape: Any) -> None:
        self.attention = LAYERS.MultiHeadAttention(2, 3)
        self.attention.build(shape, shape)

    def call(self, inputs: Any) -> Any:
        return self.attention(inputs, inputs) + inputs


@pytest.fixture
def float64() -> Any:
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", ZOO)
def test_product_is_the_finite_difference_of_the_gradient(name: str, float64: None) -> None:
    """In float64, along a random direction: an oracle that knows no second derivatives."""
    shape, build = ZOO[name]
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 7, (4, *shape)) if shape == TOKENS else generator.normal(size=(4, *shape))
    model = keras.Sequential(build())
    target = tf.constant(generator.normal(size=model(x).shape))
    variables = model.trainable_variables
    sizes = [int(np.prod(v.shape)) for v in variables]
    vector = generator.normal(size=sum(sizes))
    starts = [v.numpy() for v in variables]

    def loss() -> Any:
        return tf.reduce_sum(tf.square(model(x) - target))

    @tf.function(autograph=False)
    def gradient() -> Any:
        with tf.GradientTape() as tape:
            value = loss()
        return [tf.convert_to_tensor(g) for g in tape.gradient(value, [v.value for v in variables])]

    def gradient_at(shift: float) -> np.ndarray:
        pieces = np.split(vector, np.cumsum(sizes)[:-1])
        for variable, start, piece in zip(variables, starts, pieces, strict=True):
            variable.assign(start + shift * piece.reshape(variable.shape))
        return np.concatenate([g.numpy().ravel() for g in gradient()])

    expected = (gradient_at(1e-6) - gradient_at(-1e-6)) / 2e-6
    gradient_at(0.0)
    np.testing.assert_allclose(HessianProduct(loss, variables)(vector), expected, atol=1e-7 * np.abs(expected).max())


def test_moments_are_put_back_after_the_trace() -> None:
    before = tf.nn.moments
    x = tf.Variable([1.0, 2.0])
    HessianProduct(lambda: tf.reduce_sum(tf.nn.moments(x, [0])[1] ** 2), [x])
    with pytest.raises(CurvatureUnavailable):
        HessianProduct(lambda: tf.reduce_sum(tf.math.no_such_function(x)), [x])
    assert tf.nn.moments is before


@pytest.mark.parametrize("keepdims", [True, False])
def test_replaced_moments_are_those_of_tensorflow(keepdims: bool) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    expected = tf.nn.moments(x, [0, 2], keepdims=keepdims)
    with differentiable_moments():
        moments = tf.nn.moments(tf.constant(x), [0, 2], keepdims=keepdims)
    for moment, value in zip(moments, expected, strict=True):
        assert moment.shape == value.shape
        np.testing.assert_allclose(moment, value, rtol=1e-6)


def test_bilinear_resizing_whose_gradient_counts_as_constant_is_refused() -> None:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32)
    model = keras.Sequential([LAYERS.Conv2D(2, 3), LAYERS.UpSampling2D(interpolation="bilinear")])
    model(x)
    with pytest.raises(CurvatureUnavailable, match="ResizeBilinearGrad"):
        HessianProduct(lambda: tf.reduce_mean(tf.tanh(model(x))), model.trainable_variables)


def test_bilinear_resizing_of_the_input_is_no_obstacle() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32)
    model = keras.Sequential([LAYERS.Resizing(3, 3), LAYERS.Conv2D(2, 3)])
    model(x)
    product = HessianProduct(lambda: tf.reduce_mean(tf.square(model(x))), model.trainable_variables)
    assert extreme_eigenvalues(product).largest > 0


def test_loss_without_second_derivative_is_refused_with_both_reasons() -> None:
    logits = tf.Variable(np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32))
    labels = tf.constant([[1, 2], [2, 3]])

    def loss() -> Any:
        return tf.reduce_sum(keras.losses.ctc(labels, logits))

    with pytest.raises(CurvatureUnavailable, match=r"reverse over reverse.*forward over reverse"):
        HessianProduct(loss, [logits])


def test_infinite_curvature_is_refused() -> None:
    x = tf.Variable([0.0, 1.0])
    with pytest.raises(CurvatureUnavailable, match="not finite"):
        extreme_eigenvalues(HessianProduct(lambda: tf.reduce_sum(tf.sqrt(x)), [x]))


def test_nothing_to_differentiate_is_refused() -> None:
    with pytest.raises(CurvatureUnavailable, match="no trainable variable"):
        HessianProduct(lambda: tf.constant(1.0), [])


def test_forward_mode_takes_over_where_reverse_mode_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: HessianProduct, vector: Any) -> Any:
        raise LookupError("gradient registry has no entry")

    monkeypatch.setattr(HessianProduct, "_reverse_over_reverse", fail)
    x, table = tf.Variable([1.0, 2.0]), tf.Variable([[1.0], [3.0]])
    product = HessianProduct(lambda: tf.reduce_sum(x**3) * tf.gather(table, [1, 1])[0, 0], [x, table])
    assert product.mode == "forward over reverse"
    np.testing.assert_allclose(product(np.array([1.0, 1.0, 0.0, 0.0])), [18.0, 36.0, 0.0, 15.0])


def test_variable_that_the_loss_ignores_has_rows_of_zeros() -> None:
    used, ignored = tf.Variable([1.0, 2.0]), tf.Variable([5.0])
    product = HessianProduct(lambda: tf.reduce_sum(used**2), [ignored, used])
    np.testing.assert_array_equal(product(np.ones(3)), [0.0, 2.0, 2.0])


def test_product_follows_the_variables() -> None:
    x = tf.Variable([1.0])
    product = HessianProduct(lambda: tf.reduce_sum(x**3), [x])
    assert product(np.ones(1)) == pytest.approx(6)
    x.assign([2.0])
    assert product(np.ones(1)) == pytest.approx(12)
