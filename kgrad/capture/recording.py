"""What a callback saw of one model, on its way to the run folder."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from kgrad.capture.rows import Block
from kgrad.capture.topology import column_order, structure_of, units_last
from kgrad.log import schema
from kgrad.log.store import Store
from kgrad.log.writer import RunWriter


class Recording:
    """The run of one model and one set of trainable variables.

    Args:
        model: the model.
        variables: the variables in the order of the blocks' columns.
        claim: claims the folder, once it is known that the model can be described.
        facts: for `run.json`.

    Attributes:
        writer: of the run folder.
    """

    def __init__(
        self, model: keras.Model, variables: Sequence[Any], claim: Callable[[], Store], facts: Mapping[str, Any]
    ) -> None:
        structure = structure_of(model, variables)
        self.writer = RunWriter(claim(), structure, facts)
        self._order = column_order(structure, variables)
        self._names = [variable.name for variable in structure.variables]
        self._units_last = np.array(units_last(structure), bool)
        self._of = weakref.ref(model), _trained(model)

    def is_of(self, model: keras.Model) -> bool:
        """Whether the model is the recorded one, and trains the variables that it trained then."""
        recorded, variables = self._of
        return recorded() is model and variables == _trained(model)

    def add(self, block: Block, steps: NDArray[np.int64], epochs: NDArray[np.int64], sees_loss: bool) -> None:
        """Takes some steps.

        Args:
            block: as read from the ring.
            steps: their numbers, shape `(new,)`.
            epochs: the epoch of each, shape `(new,)`.
            sees_loss: whether the training step showed its loss.
        """
        series = {**block.series, "epoch": epochs}
        if not sees_loss:
            del series["loss"]
        statistics = {name: values[:, self._order] for name, values in block.statistics.items()}
        if "dead_units" in statistics:
            statistics["dead_units"][:, ~self._units_last] = np.nan
        if block.histograms is not None:
            self.writer.add_rows(schema.HISTOGRAMS, block.histograms.table(steps, self._order, self._names))
        self.writer.add_steps(steps, series, statistics)

    def add_epoch(self, epoch: int, last_step: int, logs: Mapping[str, Any]) -> None:
        """Takes the logs that Keras gave at the end of an epoch."""
        self.writer.add_epoch(epoch, last_step, _numbers(logs))


def _trained(model: keras.Model) -> list[int]:
    return [id(variable) for variable in model.trainable_variables]


def _numbers(logs: Mapping[str, Any]) -> dict[str, float]:
    """The logs of an epoch as numbers: a metric of several gives `name/0`, `name/1`, ...; what is no number is left."""
    numbers: dict[str, float] = {}
    for name, value in logs.items():
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            each = {f"{name}/{i}": float(entry) for i, entry in enumerate(array.ravel())}
            numbers |= each if array.ndim else {name: float(array)}
    return numbers
