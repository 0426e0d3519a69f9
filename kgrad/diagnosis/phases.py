"""Phases: spans of steps with one name, for the whole model and per layer.

Method: the run is cut into at most 60 windows; each window gets a name from medians over its steps and its
neighbours (`kgrad.diagnosis.signals`), the gravest that fits; the phases are then the segmentation that disagrees with
the fewest windows, each change of phase counting as one and a quarter of them (optimal partitioning: Jackson et al.
2005, "An algorithm for optimal partitioning of data on an interval"; by dynamic programming over the names, exact).
Medians over a share of the run, rather than over a number of steps, keep the phases in place when the log is thinned.

ruptures (`KernelCPD` on the indicator vectors) finds the same change points, which a test holds; it is not
used here because its import takes longer than a whole report.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis import signals, windows
from kgrad.diagnosis.loss_curve import is_standing, late_fall, loss_curve, waits
from kgrad.diagnosis.skill import harm
from kgrad.log.run_log import FloatArray, RunLog

PHASES = ("healthy", "vanishing", "exploding", "plateau", "saddle", "converged")
# Windows that a change of phase costs: a stretch of two inside another phase is dropped, one of three is kept.
_CHANGE = 1.25
# Median cosine of successive gradients above which they agree: the signal is then a quarter of the square.
_SIGNAL = 0.25
# The same limits as in the rules of these names: three decades through depth, two over the steps.
_VANISHED, _EXPLODED = 3.0, 2.0
# As in the rule plateau: the share of the level by which a loss falls after one.
_LEAVES = 0.2


@dataclass(frozen=True)
class Phase:
    """A span of steps with one name.

    Attributes:
        name: one of `PHASES`.
        first_step: step number where it begins.
        last_step: step number where it ends, that step included.
    """

    name: str
    first_step: int
    last_step: int


def model_phases(log: RunLog) -> tuple[Phase, ...]:
    """The phases of the whole model, in order; every recorded step lies in exactly one."""
    if not len(log):
        return ()
    edges = windows.edges_of(len(log))
    return _phases(log, edges, _smooth(_model_names(log, edges)))


def layer_phases(log: RunLog) -> dict[str, tuple[Phase, ...]]:
    """The phases of each layer with weights: those of the model, with the layer's own gradient in place.

    A layer explodes or vanishes by its own norm, against its own calmest windows and against the layer
    nearest the output; whether the loss stands still is a matter of the whole model.
    """
    if not len(log) or "gradient_norm" not in log:
        return {}
    edges = windows.edges_of(len(log))
    shared = _loss_names(log, edges)
    norms = windows.medians(signals.logarithm(log.layer_norms()), edges)
    broken = windows.medians((~np.isfinite(log.layer_norms())).astype(float), edges) > 0
    layers = log.structure.weighted_layers
    flat = np.isin(shared, ("plateau", "saddle", "converged"))
    found: dict[str, tuple[Phase, ...]] = {}
    known: dict[bytes, tuple[Phase, ...]] = {}  # most layers of a deep model tell the same story
    for place, layer in enumerate(layers):
        names = shared.copy()
        reference = norms[:, min(len(layers) - 1, max(0, len(layers) - 2))]
        with np.errstate(invalid="ignore"):
            names[flat & (reference - norms[:, place] >= _VANISHED)] = "vanishing"
            names[_exploded(norms[:, place]) | broken[:, place]] = "exploding"
        told = names.tobytes()
        if told not in known:
            known[told] = _phases(log, edges, _smooth(names))
        found[layer.name] = known[told]
    return found


def _model_names(log: RunLog, edges: NDArray[np.int64]) -> NDArray[np.str_]:
    names = _loss_names(log, edges)
    if "gradient_norm" in log:
        trend = signals.depth_trend(log)
        stuck = np.isin(names, ("plateau", "saddle", "converged"))
        names[stuck & (trend.decades >= _VANISHED) & (trend.agreement >= 0.8)] = "vanishing"
    if "global_norm" in log:
        norm = windows.medians(signals.logarithm(log["global_norm"]), edges)
        broken = windows.medians((~np.isfinite(log["global_norm"])).astype(float), edges) > 0
        names[_exploded(norm) | broken] = "exploding"
    return names


def _loss_names(log: RunLog, edges: NDArray[np.int64]) -> NDArray[np.str_]:
    """Healthy, plateau, saddle or converged: by the slope of the loss against its noise, the level, the curvature.

    A flat stretch is convergence where the loss has been learned and nothing better comes (a fall from a bad start to
    what a constant answer gets is no learning); a plateau where little was learned in all, or where the loss falls
    later and is shown to stand until then; a saddle where the curvature was taken on a plateau and was negative.
    A flat stretch whose gradients still agree with each other is no convergence either: the run is on its way.
    """
    names = np.full(len(edges) - 1, "healthy", dtype="<U12")
    if "loss" not in log or len(names) < 3:
        return names
    curve = loss_curve(log)
    fall, noise = late_fall(log)
    nothing = harm(log) == "high"
    stuck = nothing and fall <= max(0.02, noise)
    stands = curve.flat & (((curve.leaves > _LEAVES) & ~curve.learned) | stuck)
    agrees = _agreement(log, edges) > _SIGNAL
    if not nothing:
        names[curve.flat & curve.learned & (curve.leaves <= _LEAVES) & ~agrees] = "converged"
        if not (curve.level < 0).any():
            names[curve.level <= 0.02 * abs(curve.start)] = "converged"
    # One window between two is a chance fall; what is left of a stretch cut there is too short to be judged by itself.
    for first, end in _stretches(windows.closed(stands, 1)):
        begin, after = int(edges[first]), int(edges[end])
        if not stuck and not (is_standing(log["loss"][begin:after], _LEAVES) and waits(log["loss"], begin, after)):
            continue
        names[first:end] = "plateau"
        if _curves_down(log, int(log.steps[edges[first]]), int(log.steps[edges[end] - 1])):
            names[first:end] = "saddle"
    return names


def _agreement(log: RunLog, edges: NDArray[np.int64]) -> FloatArray:
    """Median cosine of successive gradients, over kernels; 0 where it was not recorded."""
    columns = signals.kernels(log)
    if "cosine" not in log or not columns:
        return np.zeros(len(edges) - 1)
    return np.nan_to_num(np.median(windows.medians(log["cosine"][:, columns], edges), axis=1))


def _stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and end of every unbroken stretch of `True`."""
    turns = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True))


def _curves_down(log: RunLog, first: int, last: int) -> bool:
    """Whether a curvature taken in these steps is that of a saddle."""
    if "curvature" not in log.tables:
        return False
    steps = log.table("curvature")["step"]
    return bool((signals.at_saddles(log) & (steps >= first) & (steps <= last + 1)).any())


def _exploded(norm: FloatArray) -> NDArray[np.bool_]:
    """Windows whose norm lies two decades over the calmest window before."""
    calm = np.fmin.accumulate(np.where(np.isnan(norm), np.inf, norm))
    with np.errstate(invalid="ignore"):
        return np.asarray(norm - calm >= _EXPLODED)


def _smooth(names: NDArray[np.str_]) -> list[str]:
    """The segmentation that disagrees with the fewest windows, a change counting `_CHANGE` of them.

    >>> _smooth(np.array(["healthy"] * 5 + ["plateau"] * 2 + ["healthy"] * 5)) == ["healthy"] * 12
    True
    """
    misses = (names[:, None] != np.array(PHASES)[None, :]).astype(float)
    total = misses[0]
    came_from = np.zeros(misses.shape, dtype=np.int64)
    for window in range(1, len(names)):
        best = int(np.argmin(total))
        changed = total[best] + _CHANGE < total
        came_from[window] = np.where(changed, best, np.arange(len(PHASES)))
        total = np.where(changed, total[best] + _CHANGE, total) + misses[window]
    path = [int(np.argmin(total))]
    for window in range(len(names) - 1, 0, -1):
        path.append(int(came_from[window, path[-1]]))
    return [PHASES[place] for place in reversed(path)]


def _phases(log: RunLog, edges: NDArray[np.int64], names: list[str]) -> tuple[Phase, ...]:
    starts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]] + [len(names)]
    return tuple(Phase(names[a], *windows.span(log, edges, a, b)) for a, b in pairwise(starts))
