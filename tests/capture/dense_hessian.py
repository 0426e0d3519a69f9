"""The whole Hessian, for models small enough to have one."""

import numpy as np

from kgrad.capture.hessian import HessianProduct


def eigenvalues_of(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh((matrix + matrix.T) / 2)


def dense(product: HessianProduct) -> np.ndarray:
    return np.stack([product(row) for row in np.eye(product.size)])
