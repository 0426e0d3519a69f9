"""Curvature of a loss: Hessian-vector products, and from them the extreme eigenvalues.

At a saddle point the gradient is as small as at a minimum; what tells them apart is the sign of the
smallest eigenvalue of the Hessian. The Hessian is never formed: a product of it with a vector costs a few
gradients, and a Lanczos iteration needs a few tens of products.

TensorFlow's second derivatives are not all right (found in 2.21, by finite differences). `tf.nn.moments`
stops a gradient that vanishes in first order and not in second, which makes the Hessian of layer and group
normalization wrong by tens of per cent and leaves it symmetric: it is replaced while the product is traced.
The gradient of bilinear resizing counts as constant: refused. Products that are not symmetric: refused. What
nothing here can see: another rule that is wrong and symmetric (`tests/capture/test_curvature.py` lists the
layers that were checked); a `stop_gradient` in the model, after which there is no Hessian; and the kinks of
piecewise-linear layers (the Hessian of a ReLU network is that of the piece on which the weights stand).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kgrad.errors import CaptureError

Vector = NDArray[np.float64]

# Memory that the basis of a Lanczos iteration may take, unless the caller says otherwise.
DEFAULT_BASIS_BYTES = 1 << 30
# Gradient operations that TensorFlow declares constant: differentiating again silently loses terms.
_SILENT = frozenset(
    {
        "ResizeBilinearGrad",
        "FakeQuantWithMinMaxArgsGradient",
        "FakeQuantWithMinMaxVarsGradient",
        "FakeQuantWithMinMaxVarsPerChannelGradient",
    }
)


class CurvatureUnavailable(CaptureError):
    """The curvature of this loss cannot be taken; the message says why (*not applicable*, not zero)."""


@dataclass(frozen=True)
class Curvature:
    """The extreme eigenvalues of a Hessian, each within its error of a true eigenvalue.

    `smallest + smallest_error < 0` proves a direction of negative curvature. The converse is not proved:
    Lanczos may not yet have found the most negative direction; `unseen` says by how much at worst.

    Attributes:
        smallest: smallest Ritz value, in units of loss per squared unit of weight.
        smallest_error: an eigenvalue lies within this distance of `smallest`.
        largest: largest Ritz value.
        largest_error: an eigenvalue lies within this distance of `largest`.
        iterations: Lanczos steps done; fewer than asked for where the Krylov space was exhausted.
        products: Hessian-vector products that this estimate took.
        parameters: rows of the Hessian.
    """

    smallest: float
    smallest_error: float
    largest: float
    largest_error: float
    iterations: int
    products: int
    parameters: int

    def unseen(self, probability: float = 0.01) -> float:
        """How far beyond `smallest` or `largest` the true extreme may lie, but for the given probability.

        Infinite where so few steps were done that nothing can be said.

        Source: Kuczynski and Wozniakowski (1992), Theorem 4.2: from a random start, k steps miss the
        extreme by more than a share e of the spectrum's width with probability at most
        1.648 sqrt(n) exp(-(2k - 1) sqrt(e)). The width itself is solved for.
        """
        if self.iterations >= self.parameters:
            return 0.0
        exponent = log(1.648 * sqrt(self.parameters) / probability) / (2 * self.iterations - 1)
        share = exponent**2
        # The true width is at most the seen one plus a share of itself at either end.
        return share * (self.largest - self.smallest) / (1 - 2 * share) if share < 0.5 else float("inf")


class HessianProduct:
    """Products of the Hessian of `loss` at the variables' current values with vectors.

    Calling it with a float64 vector of shape `(size,)` returns the product, float64, of the same shape; the
    variables' elements come in the order of `variables`, each flattened row by row. The graph reads the
    variables and writes nothing.

    Reverse-over-reverse first, because it also covers embeddings and loops; where an operation's gradient
    has no gradient, forward-over-reverse.

    Source: Pearlmutter (1994), "Fast exact multiplication by the Hessian".

    Attributes:
        size: number of elements of all variables.
        precision: relative rounding unit of what a product is computed in.
        products: how many products were asked for so far.
        mode: `"reverse over reverse"` or `"forward over reverse"`.
    """

    def __init__(self, loss: Callable[[], Any], variables: Sequence[Any], precision: float | None = None) -> None:
        """Traces the product, and runs it once: some operations fail only then.

        Args:
            loss: computes the scalar loss from the variables' current values; traced, so it must not write.
            variables: Keras or TensorFlow variables of float dtype.
            precision: relative rounding unit, where the loss computes in a coarser type than its variables.

        Raises:
            CurvatureUnavailable: there is nothing to differentiate, or TensorFlow cannot differentiate twice.
        """
        if not variables:
            raise CurvatureUnavailable("No curvature: there is no trainable variable to take it for.")
        self._loss = loss
        self._variables = [v.value if isinstance(v, keras.Variable) else v for v in variables]
        self._sizes = [int(np.prod(v.shape)) for v in self._variables]
        wide = all(v.dtype == tf.float64 for v in self._variables)
        self._dtype = tf.float64 if wide else tf.float32
        self.size = sum(self._sizes)
        self.precision = precision or _precision(wide)
        self.products = 0
        self.mode, self._concrete = self._trace()

    def __call__(self, vector: Vector) -> Vector:
        """The Hessian times `vector`, shape `(size,)`, float64.

        Raises:
            CurvatureUnavailable: the product is not finite or fails while running.
        """
        self.products += 1
        try:
            result: Vector = self._concrete(tf.constant(vector, self._dtype)).numpy().astype(np.float64)
        except tf.errors.OpError as error:
            raise CurvatureUnavailable(f"No curvature: {summary_of(error)}") from error
        if not np.isfinite(result).all():
            raise CurvatureUnavailable("No curvature: the Hessian-vector product is not finite (NaN or Inf).")
        return result

    def _trace(self) -> tuple[str, Any]:
        failures = []
        for mode in (self._reverse_over_reverse, self._forward_over_reverse):
            name = mode.__name__.strip("_").replace("_", " ")
            try:
                concrete = tf.function(mode, autograph=False).get_concrete_function(
                    tf.TensorSpec((self.size,), self._dtype)
                )
                # Loops in forward mode fail only here.
                concrete(tf.zeros((self.size,), self._dtype))
            except Exception as error:  # whatever foreign code raises means: not applicable
                failures.append(f"{name}: {summary_of(error)}")
            else:
                self._refuse_silent_rules(concrete.graph)
                return name, concrete
        raise CurvatureUnavailable("No curvature: the loss has no second derivative. " + "; ".join(failures))

    @staticmethod
    def _refuse_silent_rules(graph: Any) -> None:
        silent = sorted(operations_of(graph) & _SILENT)
        if silent:
            raise CurvatureUnavailable(
                f"No curvature: TensorFlow has no second derivative for {', '.join(silent)}, and takes it for 0."
            )

    def _reverse_over_reverse(self, vector: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(self._variables)
            pairs = zip(self._gradients(), self._split(vector), strict=True)
            slopes = [tf.reduce_sum(g * piece) for g, piece in pairs if g is not None]
            slope = tf.add_n([tf.cast(s, self._dtype) for s in slopes]) if slopes else None
        if slope is None:
            return tf.zeros_like(vector)
        return self._join(outer.gradient(slope, self._variables))

    def _forward_over_reverse(self, vector: Any) -> Any:
        with tf.autodiff.ForwardAccumulator(self._variables, self._split(vector)) as accumulator:
            gradients = self._gradients()
        return self._join([None if g is None else accumulator.jvp(g) for g in gradients])

    def _gradients(self) -> list[Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            with _differentiable_moments():
                loss = self._loss()
        # IndexedSlices (embeddings) become dense: the vector is dense anyway.
        gradients = tape.gradient(loss, self._variables)
        return [None if g is None else tf.convert_to_tensor(g) for g in gradients]

    def _split(self, vector: Any) -> list[Any]:
        pieces = zip(tf.split(vector, self._sizes), self._variables, strict=True)
        return [tf.cast(tf.reshape(piece, v.shape), v.dtype) for piece, v in pieces]

    def _join(self, products: Sequence[Any]) -> Any:
        flat = []
        for product, size in zip(products, self._sizes, strict=True):
            # A variable the gradient does not depend on has rows of zeros.
            dense = tf.zeros((size,), self._dtype) if product is None else tf.convert_to_tensor(product)
            flat.append(tf.cast(tf.reshape(dense, (size,)), self._dtype))
        return tf.concat(flat, axis=0)


def operations_of(graph: Any) -> set[str]:
    """The types of all operations in a traced graph and in the functions it calls."""
    definition = graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return {node.op for body in bodies for node in body}


@contextmanager
def _differentiable_moments() -> Iterator[None]:
    """Gives Keras moments that can be differentiated twice, for as long as the loss is traced.

    A trace in another thread meanwhile gets the same values and first derivatives as ever.
    """
    original = tf.nn.moments
    tf.nn.moments = _moments
    try:
        yield
    finally:
        tf.nn.moments = original


def _moments(x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """`tf.nn.moments` without its `stop_gradient`."""
    del shift  # unused there too
    with tf.name_scope(name or "moments"):
        wide = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
        mean = tf.reduce_mean(wide, axes, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axes, keepdims=True)
        both = (mean, variance) if keepdims else (tf.squeeze(mean, axes), tf.squeeze(variance, axes))
        return tuple(tf.cast(moment, x.dtype) for moment in both)


def extreme_eigenvalues(
    product: HessianProduct, iterations: int = 20, seed: int = 0, max_bytes: int = DEFAULT_BASIS_BYTES
) -> Curvature:
    """The smallest and the largest eigenvalue of the Hessian, with bounds.

    For a Ritz pair (t, y) some eigenvalue lies within |Hy - ty| of t. That residual has three parts, and the
    error is their sum: what Lanczos leaves, |beta_k s_k|; the asymmetry of the computed products, seen as
    what full orthogonalisation had to remove beyond the tridiagonal part; and the rounding noise of the
    products. The noise is measured: each Ritz vector goes through the product once more and is compared
    with what the basis predicts. One rounding unit of the spectral radius is added for what all products
    share (the vectors' own rounding).

    Deterministic for a given seed; no global random state is touched. Memory: `8 * (iterations + 5)` bytes
    per parameter on the host; `iterations` is lowered where that would exceed `max_bytes`.

    Args:
        product: the Hessian, as something that multiplies.
        iterations: Lanczos steps at most; never more than there are parameters.
        seed: of the random start vector.
        max_bytes: bound of the basis.

    Raises:
        CurvatureUnavailable: a product fails, the products are not symmetric, or not even two basis
            vectors fit into `max_bytes`.
        ValueError: `iterations` is less than 1.

    Source: Parlett (1998), "The Symmetric Eigenvalue Problem", section 13.2 (residual bound) and 13.8
    (full orthogonalisation).
    """
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, and is {iterations}.")
    spent_before = product.products
    steps = min(iterations, product.size, max_bytes // (8 * product.size) - 5)
    if steps < min(2, product.size, iterations):
        raise CurvatureUnavailable(
            f"No curvature: a basis for {product.size} parameters needs at least {56 * product.size} bytes, "
            f"and max_bytes is {max_bytes}."
        )
    basis, hessenberg = _krylov(product, steps, np.random.default_rng(seed))
    count = hessenberg.shape[1]
    symmetric = (hessenberg[:count] + hessenberg[:count].T) / 2
    values, vectors = np.linalg.eigh(symmetric)
    scale = float(np.abs(values).max())
    _refuse_asymmetry(float(np.abs(hessenberg[:count] - symmetric).max()), scale, product.precision)
    errors = [_residual(product, basis, hessenberg, symmetric, vectors[:, end]) for end in (0, -1)[:count]]
    # A vector or result smaller than the smallest number of the dtype reads as zero.
    floor = product.precision * scale + float(np.finfo(np.float32).tiny) * sqrt(product.size)
    return Curvature(
        float(values[0]),
        errors[0] + floor,
        float(values[-1]),
        errors[-1] + floor,
        count,
        product.products - spent_before,
        product.size,
    )


def _krylov(product: HessianProduct, steps: int, generator: np.random.Generator) -> tuple[Vector, Vector]:
    """Rows of an orthonormal basis `(k + 1, n)` and `(k + 1, k)` with H basis[:k].T = basis.T hessenberg.

    The relation holds to float64 for the products *as computed*: all that they contain is kept, noise too.
    """
    basis = np.zeros((steps + 1, product.size))
    hessenberg = np.zeros((steps + 1, steps))
    start = generator.standard_normal(product.size)
    basis[0] = start / np.linalg.norm(start)
    for step in range(steps):
        known = basis[: step + 1]
        image = product(basis[step])
        # Twice is enough (Parlett 1998, section 6.9).
        for _ in range(2):
            shares = known @ image
            hessenberg[: step + 1, step] += shares
            image -= shares @ known
        beta = np.linalg.norm(image)
        if beta <= np.finfo(np.float64).eps * np.abs(hessenberg).max(initial=0.0):
            return basis[: step + 2], hessenberg[: step + 2, : step + 1]
        hessenberg[step + 1, step] = beta
        basis[step + 1] = image / beta
    return basis, hessenberg


def _residual(product: HessianProduct, basis: Vector, hessenberg: Vector, symmetric: Vector, weights: Vector) -> float:
    """The part of |Hy - ty| that is measured for the Ritz vector y = weights @ basis[:-1]."""
    predicted = hessenberg @ weights
    remainder = abs(predicted[-1])
    asymmetry = float(np.linalg.norm(predicted[:-1] - symmetric @ weights))
    noise = float(np.linalg.norm(product(weights @ basis[:-1]) - predicted @ basis))
    return float(remainder) + asymmetry + noise


def _refuse_asymmetry(asymmetry: float, scale: float, precision: float) -> None:
    """Raises where the products differ from a symmetric matrix by more than half the digits they have."""
    if asymmetry > sqrt(precision) * scale:
        raise CurvatureUnavailable(
            "No curvature: TensorFlow's second derivative of this loss is wrong. Its products are asymmetric "
            f"by {asymmetry:.1e} where the largest eigenvalue is {scale:.1e}; a Hessian is symmetric."
        )


def _precision(wide: bool) -> float:
    """Relative rounding unit of float64 or float32 arithmetic, as this machine does it."""
    if wide:
        return float(np.finfo(np.float64).eps)
    # TensorFloat-32 keeps 10 bits of what a GPU multiplies.
    coarse = tf.config.experimental.tensor_float_32_execution_enabled()
    return 2.0**-10 if coarse and tf.config.list_physical_devices("GPU") else float(np.finfo(np.float32).eps)


def summary_of(error: Exception) -> str:
    """The first telling line of a foreign error's message, short enough for a sentence."""
    frames = ("Graph execution error", "Exception encountered when calling")
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(frames)]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"
