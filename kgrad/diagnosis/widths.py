"""How wide the hidden layers of a chain are."""

import math
import re

from kgrad.log.run_log import RunLog
from kgrad.log.structure import Layer, Structure, in_a_row

_WITH_UNITS = ("Dense", "SimpleRNN", "LSTM", "GRU")
# Layers that say how many numbers they hand on, whatever they are given; the last of them is the output.
SETS_WIDTH = re.compile(r"Dense|SimpleRNN|LSTM|GRU|(Separable)?Conv[123]D")
# Five in six healthy trainings have so many units or more in their narrowest dense or recurrent hidden layer, nine in
# ten have 8, and one in five has 64 (`benchmarks/healthy_trainings.py`).
USUAL_UNITS, FEW_UNITS, AMPLE_UNITS = 16, 8, 64


def hidden_with_units(structure: Structure) -> list[Layer]:
    """The dense and recurrent layers before the last layer of a chain that sets a width; none where it is no chain.

    In a chain each layer reads the one before it and nothing else, so that no width hangs on that of another.
    """
    layers = structure.layers
    is_chain = structure.kind in ("sequential", "functional") and in_a_row(layers)
    setting = [layer for layer in layers if SETS_WIDTH.fullmatch(layer.class_name)]
    return [layer for layer in setting[:-1] if layer.class_name in _WITH_UNITS] if is_chain else []


def narrow_layers(log: RunLog, fewer_than: int = FEW_UNITS) -> list[Layer]:
    """Those of a handful of units, unless inputs may be given back, for which a narrow layer is what is wanted."""
    if _may_give_back(log):
        return []
    return [layer for layer in hidden_with_units(log.structure) if (layer.units or fewer_than) < fewer_than]


def _may_give_back(log: RunLog) -> bool:
    """Whether targets are as large as the inputs, as in an autoencoder, or nobody saw either."""
    data = log.data
    if data is None or not data.inputs or not data.targets:
        return True
    given = data.inputs[0]
    classes = [each.one_hot or each.row_sums_one for each in data.targets]
    alike = [math.prod(each.shape) == math.prod(given.shape) > 1 for each in data.targets]
    same_kind = given.one_hot or given.row_sums_one
    return any(is_alike and (same_kind or not of_classes) for is_alike, of_classes in zip(alike, classes, strict=True))
