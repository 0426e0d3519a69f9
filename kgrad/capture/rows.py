"""What the rows of a ring say, on the host."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kgrad.capture import statistics
from kgrad.capture.clipping import applied_norm, together
from kgrad.capture.extras import HistogramBlock
from kgrad.capture.stacks import Stacks

# What a row holds before the parts of the variables.
HEADER = ("loss", "learning_rate", "loss_scale", "half_applied", "skipped", "detailed")


@dataclass(frozen=True)
class Block:
    """Some steps as read from the ring.

    Attributes:
        series: the numbers per step by name, each of shape `(steps,)`.
        statistics: the numbers per step and variable by name, each of shape `(steps, variables)`.
        histograms: those of some of the steps, `None` where none was taken.
    """

    series: dict[str, NDArray[Any]]
    statistics: dict[str, NDArray[Any]]
    histograms: HistogramBlock | None = None


class Rows:
    """Makes statistics of rows.

    Args:
        variables: in the order in which the step takes them.
        stacks: which of them are reduced together.
        optimizer: the one that clips.
    """

    def __init__(self, variables: Sequence[Any], stacks: Stacks, optimizer: keras.optimizers.Optimizer) -> None:
        self.stacks = stacks
        self._sizes = [int(np.prod(variable.shape)) for variable in variables]
        self._optimizer = optimizer
        self._last_norms: NDArray[Any] = np.zeros(len(self._sizes))

    def block(self, rows: NDArray[np.float32]) -> Block:
        """The statistics of some rows, oldest first, shape `(steps, numbers)`: header, parts, cosines if any."""
        header = dict(zip(HEADER, rows[:, : len(HEADER)].T.astype(np.float64), strict=True))
        end = len(HEADER) + len(statistics.PARTS) * len(self._sizes)
        taken = statistics.finish(self.stacks, rows[:, len(HEADER) : end], self._sizes, header["loss_scale"])
        norms = statistics.held(taken["gradient_norm"], header["detailed"] == 1, header["loss_scale"], self._last_norms)
        taken["gradient_norm"], self._last_norms = norms
        if end < rows.shape[1]:
            taken["cosine"] = np.clip(rows[:, end:], -1.0, 1.0)
        return Block(self._series(header, taken), taken)

    def _series(self, header: dict[str, NDArray[Any]], taken: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        norms = taken["gradient_norm"]
        unconnected = np.isnan(norms) & (taken["nonfinite_count"] == 0)
        present = np.where(unconnected, 0.0, norms)
        return {
            **{name: header[name] for name in HEADER if name != "half_applied"},
            "global_norm": together(present),
            "applied_global_norm": applied_norm(present, self._optimizer, header["half_applied"]),
        }


def with_histograms(block: Block, histograms: HistogramBlock | None) -> Block:
    """The block with the histograms of some of its steps, and the units without gradient in them."""
    dead = np.full(block.statistics["gradient_norm"].shape, np.nan)
    if histograms is not None:
        dead[histograms.rows] = histograms.dead_units
    return dataclasses.replace(block, statistics={**block.statistics, "dead_units": dead}, histograms=histograms)
