"""The extreme eigenvalues against dense Hessians and closed forms, with their bounds."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kgrad.capture.curvature import Curvature, extreme_eigenvalues
from kgrad.capture.hessian import CurvatureUnavailable, HessianProduct

from .dense_hessian import dense, eigenvalues_of

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


@pytest.mark.parametrize("learned", [0, 1, 2])
def test_saddles_of_a_linear_network_that_has_learned_one_mode(learned: int) -> None:
    """One hidden unit that carries one of three modes: a minimum where it is the strongest, a strict saddle else.

    With white inputs the Hessian falls into blocks, one for each pair of the learned mode s and another r, with the
    eigenvalues s + r and s - r; along the learned mode itself they are 2 s and, for its scale, 0.

    Source: Baldi and Hornik (1989), "Neural networks and principal component analysis", for the critical points.
    """
    modes = np.array([3.0, 2.0, 1.0], np.float32)
    strength = modes[learned]
    unit = np.eye(3, dtype=np.float32)[:, [learned]] * np.sqrt(strength)
    first, second = tf.Variable(unit), tf.Variable(unit.T)
    product = HessianProduct(lambda: tf.reduce_sum(tf.square(first @ second - np.diag(modes))) / 2, [first, second])
    others = np.delete(modes, learned)
    expected = np.sort(np.concatenate([strength + others, strength - others, [2 * strength, 0]]))
    np.testing.assert_allclose(eigenvalues_of(dense(product)), expected, atol=1e-6)
    curvature = extreme_eigenvalues(product)
    assert curvature.smallest == pytest.approx(expected[0], abs=curvature.smallest_error + 1e-6)
    assert curvature.largest == pytest.approx(expected[-1], abs=curvature.largest_error + 1e-6)
    assert (curvature.smallest + curvature.smallest_error < 0) == (learned > 0)


def test_origin_of_a_three_layer_linear_network_is_flat() -> None:
    weights, loss, _ = deep_linear([5, 4, 4, 3])
    curvature = extreme_eigenvalues(HessianProduct(loss, weights))
    assert (curvature.smallest, curvature.largest) == (0.0, 0.0)
    assert curvature.smallest_error < 1e-30
    assert curvature.iterations == 1


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
