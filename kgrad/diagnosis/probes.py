"""What the activations table says of a layer over the run: each measurement counts until the next."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kgrad.log.run_log import FloatArray, RunLog


@dataclass(frozen=True)
class Probed:
    """One number of a layer, measured on the reference batch now and then.

    Attributes:
        steps: steps made at each measurement, ascending.
        values: the number; the largest where the layer is called more than once.
        spans: how many steps each measurement stands for.
    """

    steps: NDArray[np.int64]
    values: FloatArray
    spans: FloatArray

    def lasting(self, limit: float) -> float:
        """Share of the run in which the number is at least `limit`."""
        return float(self.spans[self.values >= limit].sum() / self.spans.sum())

    def between(self, limit: float) -> tuple[int, int]:
        """First step from which on, and last at which, the number is at least `limit`; `(0, 0)` for never."""
        hit = np.flatnonzero(self.values >= limit)
        return (int(self.steps[hit[0]]), int(self.steps[hit[-1]])) if len(hit) else (0, 0)


def probed(log: RunLog, column: str) -> dict[str, Probed]:
    """A column of the activations table by layer, by depth; layers that never had a value are left out.

    Args:
        log: any run; one without the table gives nothing.
        column: as in `"saturated_fraction"`.
    """
    if "activations" not in log.tables or not len(log):
        return {}
    table = log.table("activations")
    steps, values = np.asarray(table["step"], np.int64), np.asarray(table[column], float)
    names = np.asarray(table["layer"])
    end = int(log.steps[-1]) + 1  # the log may be the first part of a run whose table goes on
    found: dict[str, Probed] = {}
    for layer in log.structure.layers:
        rows = (names == layer.name) & np.isfinite(values) & (steps <= end)
        if not rows.any():
            continue
        at = np.unique(steps[rows])
        level = np.array([values[rows & (steps == step)].max() for step in at])
        spans = np.diff(np.append(at, end)).astype(float)
        found[layer.name] = Probed(at, level, spans if spans.sum() > 0 else np.ones(len(at)))
    return found
