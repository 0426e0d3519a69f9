"""Phases: spans of steps with one name, for the whole model and per layer.

Method: the run is cut into at most 60 windows; each window gets a name from medians over its steps and its
neighbours (`kgrad.diagnosis.signals`), the gravest that fits; stretches shorter than three windows are given to
the longer neighbour; windows of one name in a row are one phase. Medians over a share of the run, rather than over
a number of steps, are what keeps the phases in place when the log is thinned.
"""

from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from kgrad.diagnosis import signals
from kgrad.log.run_log import FloatArray, RunLog

PHASES = ("healthy", "vanishing", "exploding", "plateau", "saddle", "converged")
_SHORTEST = 3
# The same limits as in the rules of these names: three decades through depth, two over the steps.
_VANISHED, _EXPLODED = 3.0, 2.0


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
    edges = signals.window_edges(len(log))
    return _phases(log, edges, _smooth(_model_names(log, edges)))


def layer_phases(log: RunLog) -> dict[str, tuple[Phase, ...]]:
    """The phases of each layer with weights: those of the model, with the layer's own gradient in place.

    A layer explodes or vanishes by its own norm, against its own calmest windows and against the layer
    nearest the output; whether the loss stands still is a matter of the whole model.
    """
    if not len(log) or "gradient_norm" not in log:
        return {}
    edges = signals.window_edges(len(log))
    shared = _loss_names(log, edges)
    norms = signals.medians(signals.logarithm(log.layer_norms()), edges)
    broken = signals.medians((~np.isfinite(log.layer_norms())).astype(float), edges) > 0
    layers = log.structure.weighted_layers
    flat = np.isin(shared, ("plateau", "converged"))
    found = {}
    for place, layer in enumerate(layers):
        names = shared.copy()
        reference = norms[:, min(len(layers) - 1, max(0, len(layers) - 2))]
        with np.errstate(invalid="ignore"):
            names[flat & (reference - norms[:, place] >= _VANISHED)] = "vanishing"
            names[_exploded(norms[:, place]) | broken[:, place]] = "exploding"
        found[layer.name] = _phases(log, edges, _smooth(names))
    return found


def _model_names(log: RunLog, edges: NDArray[np.int64]) -> NDArray[np.str_]:
    names = _loss_names(log, edges)
    if "gradient_norm" in log:
        trend = signals.depth_trend(log)
        stuck = np.isin(names, ("plateau", "converged"))
        names[stuck & (trend.decades >= _VANISHED) & (trend.agreement >= 0.8)] = "vanishing"
    if "global_norm" in log:
        norm = signals.medians(signals.logarithm(log["global_norm"]), edges)
        broken = signals.medians((~np.isfinite(log["global_norm"])).astype(float), edges) > 0
        names[_exploded(norm) | broken] = "exploding"
    return names


def _loss_names(log: RunLog, edges: NDArray[np.int64]) -> NDArray[np.str_]:
    """Healthy, plateau or converged, by the loss alone."""
    names = np.full(len(edges) - 1, "healthy", dtype="<U12")
    if "loss" not in log or len(names) < 3:
        return names
    curve = signals.loss_curve(log)
    stuck = curve.progress < 0.3
    stands = curve.flat & (((curve.leaves > 0.2) & ~curve.learned) | stuck)
    names[curve.flat & curve.learned & (curve.leaves <= 0.2)] = "converged"
    names[curve.level <= 0.02 * abs(curve.start)] = "converged"
    names[stands] = "plateau"
    return names


def _exploded(norm: FloatArray) -> NDArray[np.bool_]:
    """Windows whose norm lies two decades over the calmest window before."""
    calm = np.fmin.accumulate(np.where(np.isnan(norm), np.inf, norm))
    with np.errstate(invalid="ignore"):
        return np.asarray(norm - calm >= _EXPLODED)


def _smooth(names: NDArray[np.str_]) -> list[str]:
    """Names with stretches under three windows given to the longer neighbour."""
    stretches = _merged([(str(name), 1) for name in names])
    while len(stretches) > 1:
        place = min(range(len(stretches)), key=lambda i: stretches[i][1])
        if stretches[place][1] >= _SHORTEST:
            break
        neighbours = stretches[max(0, place - 1) : place] + stretches[place + 1 : place + 2]
        heir = max(neighbours, key=lambda stretch: stretch[1])
        stretches[place] = (heir[0], stretches[place][1])
        stretches = _merged(stretches)
    return [name for name, count in stretches for _ in range(count)]


def _merged(stretches: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Neighbours of one name joined."""
    return [(name, sum(count for _, count in group)) for name, group in groupby(stretches, key=itemgetter(0))]


def _phases(log: RunLog, edges: NDArray[np.int64], names: list[str]) -> tuple[Phase, ...]:
    starts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]] + [len(names)]
    return tuple(Phase(names[a], *signals.span(log, edges, a, b)) for a, b in pairwise(starts))
