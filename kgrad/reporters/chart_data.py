"""What the page's charts draw, for the script: small things as JSON, arrays as one compressed blob."""

from typing import Any

import numpy as np

from kgrad.diagnosis import Diagnosis
from kgrad.log import schema
from kgrad.log.run_log import FloatArray, RunLog
from kgrad.reporters.packing import Packing, codes
from kgrad.reporters.pictures import has_trend, running_median
from kgrad.reporters.view import View
from kgrad.reporters.wording import clip

# A series that spans more than this factor is drawn over logarithms: else its small end is a line on the axis.
_WIDE = 1e3
# Keras' logs per epoch that the overview shows beside the loss of the steps.
_VALIDATION = "val_loss"


def chart_data(view: View, diagnosis: Diagnosis) -> dict[str, Any]:
    """The data of every chart, in plain JSON types."""
    low, high = colour_scale(view)
    return {
        **_packed(view).to_dict(),
        "exact": view.bins.exact,
        "columns": len(view.bins),
        "layers": [clip(layer.name, 40) for layer in view.log.structure.weighted_layers],
        "series": {name: is_wide(view.log[name]) for name in view.series},
        "constant": [name for name in view.series if is_constant(view, name)],
        "profiles": [{"name": p.name, "says": p.says, "norms": _plain(p.norms)} for p in view.profiles],
        "updates": view.update is not None,
        "scale": [round(low, 3), round(high, 3)],
        "phases": [{"name": p.name, "first": p.first_step, "last": p.last_step} for p in diagnosis.phases],
        "validation": validation(view.log),
        "curvature": curvature(view.log),
    }


def is_wide(values: FloatArray) -> bool:
    """Whether a series is better drawn over logarithms."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() / known.min() > _WIDE)


def is_constant(view: View, name: str) -> bool:
    """Whether a series is the same number in every step."""
    series = view.series[name]
    return bool(np.fmin.reduce(series.low) == np.fmax.reduce(series.high)) and not series.broken.any()


def colour_scale(view: View) -> tuple[float, float]:
    """Decimal logarithms at the two ends of the colours: all but the outermost hundredth of the values."""
    if view.gradient is None:
        return 0.0, 1.0
    known = view.gradient.middle[view.gradient.middle > 0]
    if not known.size:
        return 0.0, 1.0
    low, high = np.log10(np.quantile(known, (0.01, 0.99), method="nearest"))
    return (float(low), float(high)) if high - low >= 1 else (float(low + high) / 2 - 0.5, float(low + high) / 2 + 0.5)


def validation(log: RunLog) -> list[list[float]]:
    """The validation loss of each epoch, at the last step of that epoch."""
    if _VALIDATION not in log.epochs or "last_step" not in log.epochs:
        return []
    pairs = np.stack([log.epochs["last_step"], log.epochs[_VALIDATION]], axis=1)
    return [[float(step), float(loss)] for step, loss in pairs if np.isfinite([step, loss]).all()]


def curvature(log: RunLog) -> list[list[float | None]]:
    """Of each curvature: the steps made, then the smallest and the largest eigenvalue, each with its error bound."""
    table = log.tables.get(schema.CURVATURE)
    if not table:
        return []
    columns = ("step", "smallest", "smallest_error", "largest", "largest_error")
    rows = np.stack([np.asarray(table[name], np.float64) for name in columns], axis=1)
    return [_plain(row) for row in rows[np.argsort(rows[:, 0], kind="stable")]]


def _packed(view: View) -> Packing:
    packing = Packing()
    if "loss" in view.series and has_trend(view.series["loss"].middle):
        shown = view.series["loss"].middle
        if is_wide(view.log["loss"]):
            with np.errstate(divide="ignore", invalid="ignore"):
                shown = np.log10(shown)
        packing.add_floats("trend", running_median(np.where(np.isfinite(shown), shown, np.nan)))
    packing.add_steps("first", view.bins.first)
    packing.add_steps("last", view.bins.last)
    sides = ("middle",) if view.bins.exact else ("middle", "low", "high")
    for side in sides:
        for name, series in view.series.items():
            packing.add_floats(f"{name}.{side}", getattr(series, side))
        if view.gradient is not None:
            packing.add_codes(
                f"gradient.{side}", codes(getattr(view.gradient, side), view.gradient.broken & (side == "middle"))
            )
    if view.update is not None:
        packing.add_codes("update.middle", codes(view.update.middle, view.update.broken))
    return packing


def _plain(values: FloatArray) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
