"""Numbers that several rules and the phases look at: the profile over depth, how far the weights move, saddles.

All are relative: to the run's own start, to its own noise, to other layers. None has a unit that a
factor on the loss would change.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis import windows
from kgrad.log.run_log import FloatArray, RunLog

# Where a saddle begins: smallest over largest eigenvalue, and gradient over the run's largest (see saddle-point).
STEEP_DOWN, SMALL_GRADIENT = -0.1, 0.1


def kernels(log: RunLog) -> list[int]:
    """Columns of the weight matrices and tensors, by depth; biases, scales and tables left out."""
    return [i for i, variable in enumerate(log.structure.variables) if variable.is_kernel]


def logarithm(values: FloatArray) -> FloatArray:
    """Decimal logarithm; NaN for what is not positive and finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(values)
    return np.where(np.isfinite(logs), logs, np.nan)


@dataclass(frozen=True)
class DepthTrend:
    """How the gradient changes from the output back to the input, by windows.

    Attributes:
        edges: as in `LossCurve`.
        decades: decades lost (positive) or gained (negative) from the last kernel to the first, by a
            straight line through the logarithms, shape `(windows,)`.
        agreement: rank correlation of depth and norm, from -1 to 1.
    """

    edges: NDArray[np.int64]
    decades: FloatArray
    agreement: FloatArray


def depth_trend(log: RunLog) -> DepthTrend:
    """The trend of the kernels' gradient norms over depth, the output layer left out.

    The gradient of the output layer comes straight from the loss and has another scale than those
    behind it (a softmax layer has few units), so it is no part of the trend.

    Args:
        log: a run with the column `gradient_norm`.
    """
    columns = kernels(log)[:-1]
    edges = windows.edges_of(len(log))
    profile = windows.medians(logarithm(log["gradient_norm"][:, columns]), edges)
    if len(columns) < 2:
        nothing = np.zeros(len(profile))
        return DepthTrend(edges, nothing, nothing)
    depth = np.arange(len(columns), dtype=float)
    depth -= depth.mean()
    known = np.isfinite(profile).all(axis=1)
    slope = np.where(known, (profile * depth).sum(axis=1) / (depth**2).sum(), 0.0)
    ranks = np.argsort(np.argsort(profile, axis=1), axis=1) - depth.mean() - (len(columns) - 1) / 2
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    agreement = np.where(known, (ranks * depth).sum(axis=1) / (depth**2).sum(), 0.0)
    return DepthTrend(edges, slope * (len(columns) - 1), agreement)


def at_saddles(log: RunLog) -> NDArray[np.bool_]:
    """Whether each probe of the curvature is that of a saddle, shape `(probes,)`.

    The smallest eigenvalue is negative beyond its error and not tiny beside the largest (`STEEP_DOWN`), and the
    gradient is small beside the run's largest (`SMALL_GRADIENT`), where that is known.

    Args:
        log: a run with the table of curvature.
    """
    table = {name: np.asarray(values) for name, values in log.table("curvature").items()}
    smallest, scale = table["smallest"], np.maximum(np.abs(table["largest"]), np.abs(table["smallest"]))
    found = (smallest + table["smallest_error"] < 0) & (smallest <= STEEP_DOWN * scale)
    norms = log["global_norm"] if "global_norm" in log else np.zeros(0)
    finite = norms[np.isfinite(norms)]
    if len(finite):
        found &= table["gradient_norm"] <= SMALL_GRADIENT * finite.max()
    return np.asarray(found)


def update_ratio(log: RunLog, columns: list[int]) -> FloatArray:
    """`update_norm / weight_norm` of some variables, NaN where it has no value, shape `(steps, columns)`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = log["update_norm"][:, columns] / log["weight_norm"][:, columns]
    return np.where(np.isfinite(ratio), ratio, np.nan)


def path(log: RunLog) -> float:
    """How far the weights travelled: the sum over steps of the median kernel's update, in units of its own size.

    Steps between two recorded ones count as those beside them. An upper bound of the distance gone, since
    steps back and forth add up.

    Args:
        log: a run with the columns `update_norm` and `weight_norm`.
    """
    columns = kernels(log)
    if not columns or not len(log):
        return 0.0
    known = np.nan_to_num(update_ratio(log, columns), nan=0.0)
    every = (log.steps[-1] - log.steps[0]) / max(len(log) - 1, 1) if len(log) > 1 else 1.0
    return float(np.median(known, axis=1).sum() * max(every, 1.0))
