"""What a page shows of a run's numbers, worked out once: bins, norms by layer, profiles through depth."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray, RunLog
from kgrad.reporters.binning import Bins, Reduced, bins_of, reduce
from kgrad.reporters.wording import steps_between

# Steps that the profile "at the start" and "at the end" is a median of: a hundredth of the run, so that one batch
# does not stand for it.
_SHARE_OF_RUN = 0.01
SERIES = ("loss", "global_norm", "applied_global_norm", "learning_rate", "loss_scale")


@dataclass(frozen=True)
class Profile:
    """The gradient norm of each layer at one place of the run.

    Attributes:
        name: `"start"`, `"worst"` or `"end"`.
        says: which steps, in words.
        norms: by layer, NaN where unknown, shape `(layers,)`.
    """

    name: str
    says: str
    norms: FloatArray


@dataclass(frozen=True)
class View:
    """The numbers of a run as a page needs them.

    Attributes:
        log: the run.
        bins: its steps.
        gradient: gradient norm by layer, `None` where the run has none.
        update: update norm / weight norm by layer, `None` where the run has not both.
        series: the numbers of each step by column.
        profiles: the gradient norm through depth at the start, worst and end.
    """

    log: RunLog
    bins: Bins
    gradient: Reduced | None
    update: Reduced | None
    series: dict[str, Reduced]
    profiles: tuple[Profile, ...]


def look_at(log: RunLog) -> View:
    """The view of a run."""
    bins = bins_of(log)
    gradient = _gradient(log, bins)
    return View(log, bins, gradient, _update(log, bins), _series(log, bins), _profiles(bins, gradient))


def _layered(log: RunLog, *columns: str) -> bool:
    return bool(len(log) and log.structure.weighted_layers) and all(column in log for column in columns)


def _gradient(log: RunLog, bins: Bins) -> Reduced | None:
    if not _layered(log, "gradient_norm"):
        return None
    norms = log.layer_norms()
    return reduce(norms, np.isinf(norms) | _lost(log, norms), bins)


def _lost(log: RunLog, norms: FloatArray) -> NDArray[np.bool_]:
    """Where a layer's gradient held NaN or infinities; a norm that was merely not recorded is something else."""
    if "nonfinite_count" not in log:
        return np.zeros(norms.shape, dtype=bool)
    counts = log["nonfinite_count"] > 0
    layers = log.structure.weighted_layers
    return np.stack([counts[:, log.structure.indices_of(layer.name)].any(axis=1) for layer in layers], axis=1)


def _update(log: RunLog, bins: Bins) -> Reduced | None:
    if not _layered(log, "update_norm", "weight_norm"):
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = log.layer_norms("update_norm") / log.layer_norms("weight_norm")
    return reduce(ratio, np.zeros(ratio.shape, dtype=bool), bins)


def _series(log: RunLog, bins: Bins) -> dict[str, Reduced]:
    if not len(log):
        return {}
    held = [name for name in SERIES if name in log]
    return {name: reduce(log[name], ~np.isfinite(log[name]), bins) for name in held if _is_told(log, name)}


def _is_told(log: RunLog, name: str) -> bool:
    """Whether a series says something: not what never was recorded, nor a copy, nor a scale that was not used."""
    values = log[name]
    if name == "applied_global_norm" and "global_norm" in log:
        return not np.allclose(values, log["global_norm"], equal_nan=True)
    if name == "loss_scale":
        return bool(np.any(np.isfinite(values) & (values != 1)))
    return name == "loss" or not np.isnan(values).all()


def _profiles(bins: Bins, gradient: Reduced | None) -> tuple[Profile, ...]:
    if gradient is None:
        return ()
    ends = max(1, round(_SHARE_OF_RUN * len(bins)))
    places = {"start": slice(0, ends), "worst": _worst(gradient), "end": slice(len(bins) - ends, len(bins))}
    profiles = []
    for name, place in places.items():
        says = steps_between(int(bins.first[place][0]), int(bins.last[place][-1]))
        profiles.append(Profile(name, says, median(gradient.middle[place])))
    return tuple(profiles)


def _worst(gradient: Reduced) -> slice:
    """The bin in which the layers' norms lie furthest apart."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log10(np.where(gradient.middle > 0, gradient.middle, np.nan))
    spread = np.fmax.reduce(logs, axis=1) - np.fmin.reduce(logs, axis=1)
    place = int(np.nanargmax(spread)) if np.isfinite(spread).any() else 0
    return slice(place, place + 1)


def median(values: FloatArray) -> FloatArray:
    """The median along the first axis, NaN where nothing is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN alone is an answer here
        return np.asarray(np.nanmedian(values, axis=0))
