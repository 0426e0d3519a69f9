"""Curvature of a loss: the extreme eigenvalues of its Hessian, from products with it alone.

At a saddle point the gradient is as small as at a minimum; what tells them apart is the sign of the
smallest eigenvalue of the Hessian. A Lanczos iteration needs a few tens of Hessian-vector products for both
ends of the spectrum, and says how far each may be off. Products that are not symmetric are refused.
"""

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from kgrad.capture.hessian import CurvatureUnavailable, HessianProduct, Vector

# Memory that the basis of a Lanczos iteration may take, unless the caller says otherwise.
DEFAULT_BASIS_BYTES = 1 << 30


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
