"""Real handwritten digits: 1,797 pictures of 8 x 8 pixels, shipped with scikit-learn."""

import numpy as np
from numpy.typing import NDArray

from kgrad.errors import MissingDependencyError


def load() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The pictures, shape `(1797, 64)`, scaled to 0..1, and their digits, shape `(1797,)`.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "the demo trains on the digits of scikit-learn, which is not installed: pip install 'kgrad[demo]'"
        ) from error
    pictures, digits = load_digits(return_X_y=True)
    return (pictures / 16.0).astype(np.float32), digits.astype(np.int64)
