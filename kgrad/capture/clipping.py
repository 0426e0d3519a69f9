"""What clipping leaves of a step's gradients, worked out from what came before it.

The clipped gradients are never touched: a second reader of them would let TensorFlow's graph optimizer order the
arithmetic of the update differently, and the last bit of the weights would change.
"""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def applied_by(optimizer: keras.optimizers.Optimizer) -> str | None:
    """Which clipping the optimizer applies: the first that is set, in the order Keras looks."""
    for setting in ("clipnorm", "global_clipnorm", "clipvalue"):
        bound = getattr(optimizer, setting)
        if bound is not None and bound > 0:
            return setting
    return None


def applied_norm(
    norms: NDArray[Any], optimizer: keras.optimizers.Optimizer, half_squares: NDArray[Any]
) -> NDArray[Any]:
    """The global norm after clipping, shape `(steps,)`.

    Args:
        norms: norms of the variables before clipping, shape `(steps, variables)`.
        optimizer: the optimizer that clips.
        half_squares: half the squares of the gradients after `clipvalue`, shape `(steps,)`.
    """
    clipping = applied_by(optimizer)
    if clipping == "clipnorm":
        return together(np.minimum(norms, optimizer.clipnorm))
    if clipping == "global_clipnorm":
        return np.minimum(together(norms), optimizer.global_clipnorm)
    return together(norms) if clipping is None else np.sqrt(2.0 * half_squares)


def together(norms: NDArray[Any]) -> NDArray[Any]:
    """The norm of all variables together, shape `(steps,)`, from theirs, shape `(steps, variables)`."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.sum(norms**2, axis=1)))
