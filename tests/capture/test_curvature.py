"""Hessian-vector products and Lanczos against finite differences, dense Hessians and closed forms."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture import curvature as curvature_module
from kgrad.capture.curvature import Curvature, CurvatureUnavailable, HessianProduct, extreme_eigenvalues

LAYERS = keras.layers


class MatrixProduct:
    """A known matrix in the place of a Hessian, with noise where asked."""

    def __init__(self, matrix: np.ndarray, noise: float = 0.0) -> None:
        self.matrix, self.noise = matrix, noise
        self.size, self.products, self.precision = len(matrix), 0, max(noise, 1e-12)
        self._generator = np.random.default_rng(5)

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        self.products += 1
        return self.matrix @ vector + self.noise * self._generator.standard_normal(self.size)


def eigenvalues_of(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh((matrix + matrix.T) / 2)


def dense(product: HessianProduct) -> np.ndarray:
    return np.stack([product(row) for row in np.eye(product.size)])


def distance(value: float, eigenvalues: np.ndarray) -> float:
    return float(np.abs(eigenvalues - value).min())


@pytest.mark.parametrize(
    ("function", "point", "smallest", "largest"),
    [
        pytest.param(lambda x, y: x**2 - y**2, (0.0, 0.0), -2, 2, id="strict saddle"),
        pytest.param(lambda x, y: x * y, (0.0, 0.0), -1, 1, id="saddle without a diagonal"),
        pytest.param(lambda x, y: x**3 - 3 * x * y**2, (0.0, 0.0), 0, 0, id="monkey saddle"),
        pytest.param(lambda x, y: x**3 - 3 * x * y**2, (1.0, 0.0), -6, 6, id="beside the monkey saddle"),
        pytest.param(lambda x, y: x**2 + 2 * y**2, (0.0, 0.0), 2, 4, id="minimum"),
        pytest.param(lambda x, y: x**2, (0.3, 5.0), 0, 2, id="flat valley along an unused variable"),
        pytest.param(lambda x, y: (x - y) ** 2, (1.0, 1.0), 0, 4, id="flat valley across the axes"),
        pytest.param(lambda x, y: 3 * x + y, (1.0, 1.0), 0, 0, id="plane"),
    ],
)
def test_analytic_functions(
    function: Callable[..., Any], point: tuple[float, float], smallest: float, largest: float
) -> None:
    x, y = (tf.Variable(value) for value in point)
    curvature = extreme_eigenvalues(HessianProduct(lambda: function(x, y), [x, y]))
    assert abs(curvature.smallest - smallest) <= curvature.smallest_error < 1e-5
    assert abs(curvature.largest - largest) <= curvature.largest_error < 1e-5
    assert curvature.iterations <= 2
    assert curvature.parameters == 2


def deep_linear(widths: list[int], rows: int = 40) -> tuple[list[tf.Variable], Callable[[], Any], np.ndarray]:
    """Weights at the origin, the mean squared error of their product, and the input-output correlation."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, widths[0])).astype(np.float32)
    y = generator.normal(size=(rows, widths[-1])).astype(np.float32)
    weights = [tf.Variable(tf.zeros(shape)) for shape in itertools.pairwise(widths)]

    def loss() -> Any:
        output = tf.constant(x)
        for weight in weights:
            output = output @ weight
        return tf.reduce_sum(tf.square(output - y)) / (2 * rows)

    return weights, loss, x.T @ y / rows


def test_origin_of_a_two_layer_linear_network_is_a_strict_saddle() -> None:
    """Its Hessian's eigenvalues are plus and minus the singular values of the input-output correlation."""
    weights, loss, correlation = deep_linear([5, 4, 3])
    product = HessianProduct(loss, weights)
    singular = np.linalg.svd(correlation, compute_uv=False)
    curvature = extreme_eigenvalues(product)
    assert curvature.smallest == pytest.approx(-singular[0], abs=curvature.smallest_error)
    assert curvature.largest == pytest.approx(singular[0], abs=curvature.largest_error)
    assert curvature.smallest + curvature.smallest_error < 0
    # Each singular value once per hidden unit, with either sign; the rest is flat.
    expected = np.sort(np.concatenate([np.repeat(singular, 4), -np.repeat(singular, 4), np.zeros(32 - 24)]))
    np.testing.assert_allclose(eigenvalues_of(dense(product)), expected, atol=1e-6)


def test_origin_of_a_three_layer_linear_network_is_flat() -> None:
    weights, loss, _ = deep_linear([5, 4, 4, 3])
    curvature = extreme_eigenvalues(HessianProduct(loss, weights))
    assert (curvature.smallest, curvature.largest) == (0.0, 0.0)
    assert curvature.smallest_error < 1e-30
    assert curvature.iterations == 1


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
    with curvature_module._differentiable_moments():
        moments = tf.nn.moments(tf.constant(x), [0, 2], keepdims=keepdims)
    for moment, value in zip(moments, expected, strict=True):
        assert moment.shape == value.shape
        np.testing.assert_allclose(moment, value, rtol=1e-6)


@pytest.fixture(scope="module")
def classifier() -> tuple[HessianProduct, np.ndarray]:
    """A float32 product, and the eigenvalues of the same Hessian computed in float64."""
    generator = np.random.default_rng(0)
    x, labels = generator.normal(size=(32, 6)).astype(np.float32), generator.integers(0, 3, 32)
    keras.utils.set_random_seed(1)
    products: list[HessianProduct] = []
    weights: list[np.ndarray] = []
    for dtype in ("float32", "float64"):
        model = keras.Sequential(
            [keras.Input((6,)), LAYERS.Dense(8, "tanh", dtype=dtype), LAYERS.Dense(3, dtype=dtype)]
        )
        if products:
            model.set_weights([weight.astype(dtype) for weight in weights])
        weights = model.get_weights()

        def loss(model: keras.Model = model) -> Any:
            logits = model(x)
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))

        products.append(HessianProduct(loss, model.trainable_variables))
    return products[0], eigenvalues_of(dense(products[1]))


@pytest.mark.parametrize("iterations", [1, 2, 3, 5, 10, 20, 40, 83])
def test_bounds_hold_in_float32(classifier: tuple[HessianProduct, np.ndarray], iterations: int) -> None:
    product, eigenvalues = classifier
    assert product.size == len(eigenvalues) == 83
    for seed in range(3):
        curvature = extreme_eigenvalues(product, iterations, seed)
        assert distance(curvature.smallest, eigenvalues) <= curvature.smallest_error
        assert distance(curvature.largest, eigenvalues) <= curvature.largest_error
        assert curvature.smallest >= eigenvalues[0] - curvature.smallest_error
        assert eigenvalues[0] >= curvature.smallest - curvature.smallest_error - curvature.unseen()
        assert curvature.iterations == iterations
        assert curvature.products == iterations + (1 if iterations == 1 else 2)


def test_converged_eigenvalues_are_as_good_as_float32_allows(
    classifier: tuple[HessianProduct, np.ndarray],
) -> None:
    product, eigenvalues = classifier
    curvature = extreme_eigenvalues(product, 40)
    assert abs(curvature.smallest - eigenvalues[0]) <= curvature.smallest_error < 2e-6 * eigenvalues[-1]
    assert abs(curvature.largest - eigenvalues[-1]) <= curvature.largest_error < 2e-6 * eigenvalues[-1]


@pytest.mark.parametrize("noise", [1e-6, 1e-4])
def test_bounds_hold_for_a_noisy_product_and_grow_with_its_noise(noise: float) -> None:
    generator = np.random.default_rng(1)
    basis = np.linalg.qr(generator.normal(size=(60, 60)))[0]
    eigenvalues = np.linspace(-1, 3, 60)
    matrix = basis * eigenvalues @ basis.T
    for seed in range(5):
        curvature = extreme_eigenvalues(MatrixProduct(matrix, noise), 60, seed)  # type: ignore[arg-type]
        assert distance(curvature.smallest, eigenvalues) <= curvature.smallest_error
        assert distance(curvature.largest, eigenvalues) <= curvature.largest_error
        assert noise < curvature.smallest_error < 1000 * noise


def test_noise_that_leaves_products_symmetric_is_measured_too() -> None:
    """Along each vector itself it looks like another Hessian; only a second look at a vector shows it."""
    eigenvalues = np.linspace(-1, 3, 40)
    generator = np.random.default_rng(2)

    class Wavering(MatrixProduct):
        def __call__(self, vector: np.ndarray) -> np.ndarray:
            return super().__call__(vector) + 1e-5 * generator.standard_normal() * vector

    for seed in range(5):
        curvature = extreme_eigenvalues(Wavering(np.diag(eigenvalues)), 40, seed)  # type: ignore[arg-type]
        assert distance(curvature.smallest, eigenvalues) <= curvature.smallest_error < 1e-4
        assert distance(curvature.largest, eigenvalues) <= curvature.largest_error < 1e-4


def test_unseen_eigenvalue_lies_within_what_may_be_unseen() -> None:
    """A single eigenvalue just below a dense band is what Lanczos misses most easily."""
    matrix = np.diag(np.concatenate([[-0.02], np.linspace(0, 1, 299)]))
    misses = 0
    for seed in range(100):
        curvature = extreme_eigenvalues(MatrixProduct(matrix), 12, seed)  # type: ignore[arg-type]
        assert curvature.smallest > -0.02
        misses += curvature.smallest - curvature.unseen(probability=0.1) > -0.02
    assert misses <= 10
    assert 0 < curvature.unseen(0.1) < curvature.unseen(0.001) < float("inf")


def test_unseen_is_nothing_after_a_full_run_and_anything_after_one_step() -> None:
    assert Curvature(-1, 0, 1, 0, iterations=5, products=7, parameters=5).unseen() == 0
    assert Curvature(-1, 0, 1, 0, iterations=1, products=2, parameters=500).unseen() == float("inf")


def test_same_seed_same_numbers_and_global_seeds_are_left_alone(
    classifier: tuple[HessianProduct, np.ndarray],
) -> None:
    product, _ = classifier
    keras.utils.set_random_seed(7)
    expected = (
        random.random(),
        np.random.random(),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
    )
    keras.utils.set_random_seed(7)
    first = extreme_eigenvalues(product, 6, seed=3)
    drawn = (
        random.random(),
        np.random.random(),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
    )
    assert drawn == expected
    assert extreme_eigenvalues(product, 6, seed=3) == first
    assert extreme_eigenvalues(product, 6, seed=4) != first


def test_basis_stays_within_its_bytes() -> None:
    product = MatrixProduct(np.diag(np.arange(50.0)))
    assert extreme_eigenvalues(product, 20, max_bytes=8 * 50 * 12).iterations == 7  # type: ignore[arg-type]
    with pytest.raises(CurvatureUnavailable, match="max_bytes is 2000"):
        extreme_eigenvalues(product, 20, max_bytes=2000)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="iterations must be 1 or more"):
        extreme_eigenvalues(product, 0)  # type: ignore[arg-type]


def test_asymmetric_products_are_refused() -> None:
    matrix = np.diag(np.arange(1.0, 9.0))
    matrix[0, 1] = 1.0
    with pytest.raises(CurvatureUnavailable, match="asymmetric"):
        extreme_eigenvalues(MatrixProduct(matrix))  # type: ignore[arg-type]


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
